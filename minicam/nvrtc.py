"""Compile a .cu file with NVRTC and ask what its kernels cost: registers, shared memory, and what spills.

This needs neither a GPU nor a driver, only the library, which comes as a wheel of 60 to 90 MB or with a CUDA toolkit.
The options are those that CuPy gives it, so what compiles here compiles there. CuPy itself cannot be asked: it first
looks for a GPU.

A kernel spills where it needs more registers than a thread can have (255, or what `__launch_bounds__` leaves): values
then go to memory and come back, which costs more than almost anything else that a kernel can do wrong.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
import re
import time
from dataclasses import dataclass
from pathlib import Path

from minicam import MinicamError
from minicam.source import Source

OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space")
REPORT = "--ptxas-options=-v"  # what a kernel uses, into the log
ERROR = re.compile(r"^(?P<file>.+)\((?P<line>\d+)\): (?:catastrophic )?error: (?P<text>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """What a kernel takes: registers of a thread; bytes of static shared memory of a block; of a thread's stack; and
    bytes that each thread stores and loads again for want of registers.

    A device function that is called, and not inlined, has an entry of its own, whose registers are its callers'.
    """

    registers: int = 0
    shared: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0


@dataclass(frozen=True)
class Compiled:
    """Machine code for one architecture, what each kernel in it takes, and how long it took to compile."""

    cubin: bytes
    usage: dict[str, Usage]
    seconds: float


def compile(source: Source, arch: str) -> Compiled:
    """Compile for an architecture such as "sm_80".

    Raises MinicamError where there is no NVRTC, where it does not know the architecture, and where it finds an error:
    the first one, with its file and line.
    """
    known = architectures()
    if re.sub(r"(?<=\d)[af]$", "", arch) not in known:  # sm_90a is sm_90 with what no other has
        raise MinicamError(f"{version()} cannot compile for {arch!r}; it knows {', '.join(known)}")
    start = time.perf_counter()
    log, cubin = _compiled(source, (f"-arch={arch}", *OPTIONS, REPORT))
    seconds = time.perf_counter() - start
    if cubin is None:
        # Once more without the report, which takes the place of some of ptxas's errors.
        raise MinicamError(_error(source, _compiled(source, (f"-arch={arch}", *OPTIONS))[0]))
    return Compiled(cubin, _usage(log), seconds)


def version() -> str:
    """Which NVRTC it is: "NVRTC 13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"NVRTC {major.value}.{minor.value}"


def architectures() -> list[str]:
    """The architectures that it compiles for."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", numbers)
    return [f"sm_{number}" for number in numbers]


def find() -> str | None:
    """The library: of the newest wheel that is installed, or else of a CUDA toolkit; None where there is none."""
    wheels = importlib.util.find_spec("nvidia")  # the CUDA 13 and 12 wheels share this package, in folders of their own
    folders = [Path(folder) for folder in wheels.submodule_search_locations or ()] if wheels else []
    patterns = ("*/lib/libnvrtc.so.*", "*/bin/**/nvrtc64_*.dll")
    found = [path for folder in folders for pattern in patterns for path in folder.glob(pattern)]
    found = [path for path in found if not re.search("builtins|alt", path.name)]
    return str(max(found, key=lambda path: path.name)) if found else ctypes.util.find_library("nvrtc")


@functools.cache
def _library() -> ctypes.CDLL:
    path = find()
    if path is None:
        raise MinicamError(
            "cannot find NVRTC, the compiler of CUDA kernels; pip install 'nvidia-cuda-nvrtc==13.*' "
            "(or nvidia-cuda-nvrtc-cu12): it needs no GPU"
        )
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise MinicamError(f"cannot load NVRTC ({error}); install the wheel nvidia-cuda-nvrtc again") from None
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _call(function: str, *args: object) -> None:
    code = getattr(_library(), function)(*args)
    if code:
        raise MinicamError(f"NVRTC: {function} failed: {_library().nvrtcGetErrorString(code).decode()}")


def _compiled(source: Source, options: tuple[str, ...]) -> tuple[str, bytes | None]:
    """The log, and the machine code: None where there is an error in the source."""
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.text.encode(), source.name.encode(), 0, None, None)
    try:
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = _library().nvrtcCompileProgram(program, len(options), array)
        log = _output(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        return log, None if failed else _output(program, "CUBIN")
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))


def _output(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{what}", program, buffer)
    return buffer.raw


def _error(source: Source, log: str) -> str:
    """The first error of a log as one line: of the compiler, with file and line, or of the assembler behind it."""
    if found := ERROR.search(log):
        return f"{found['file']}:{found['line']}: {found['text']}"
    lines = [line for line in log.splitlines() if "error" in line] or log.splitlines() or ["it does not say why"]
    return f"{source.name}: {version()} cannot compile it: {' '.join(lines[0].split())}"


def _usage(log: str) -> dict[str, Usage]:
    """What the assembler reports of each function: some lines that follow its name."""
    usage: dict[str, dict[str, int]] = {}
    for line in log.splitlines():
        if found := re.search(r"Function properties for (\S+)", line):
            mine = usage[found[1]] = {}
        if found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            mine.update(stack=int(found[1]), spill_stores=int(found[2]), spill_loads=int(found[3]))
        if found := re.search(r"Used (\d+) registers", line):
            mine["registers"] = int(found[1])
        if found := re.search(r"(\d+) bytes smem", line):
            mine["shared"] = int(found[1])
    return {name: Usage(**found) for name, found in usage.items()}
