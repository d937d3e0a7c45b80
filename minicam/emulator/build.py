"""Compile a .cu file with an ordinary C++ compiler, once: the result is kept on disk under the hash of all that went
into it.

A module is a shared library: the kernels of one file behind emulator.h, and the runtime. There are two kinds of it.
The fast one is optimised; in the other the compiler reports every access to memory to the checker.
"""

import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from minicam import MinicamError
from minicam.emulator.rewrite import to_cpp
from minicam.source import Source

HERE = Path(__file__).parent

# No aliasing by type: kernels read float arrays in fours. No contraction of a * b + c: NumPy does not contract either.
# Lines are in the debug information; version 4, as not every addr2line reads version 5 right.
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off", "-g1", "-gdwarf-4"]
RUNTIME_FLAGS = ["-O2", "-Wall", "-Wextra"]
# Sibling calls would leave out the return address that tells the line.
KERNEL_FLAGS = ["-w", "-fno-optimize-sibling-calls"]
FAST = ["-O2", *KERNEL_FLAGS]
CHECK = [
    "-O1",
    *KERNEL_FLAGS,
    "-fsanitize=thread",
    "-fsanitize=alignment,bounds,signed-integer-overflow,integer-divide-by-zero,shift",
]
# clang++ leaves out a read that a write to the same place follows, as in `sum += x`; it shall not.
CHECK_CLANG = ["-mllvm", "-tsan-instrument-read-before-write"]
CHECKER = {"checker.cpp", "sanitizer.cpp"}  # not part of a fast module


def module(source: Source, check: bool) -> Path:
    """The shared library of a .cu file, compiled where it has not been before.

    Raises MinicamError where there is no compiler, or where it finds an error in the file; the message has its line.
    """
    text = to_cpp(source)
    command = [*compiler(), *FLAGS, *(CHECK if check else FAST)]
    if check and "clang" in version(compiler()):
        command += CHECK_CLANG

    def make(folder: Path) -> None:
        kernels, library = folder / "kernels.cpp", folder / "module.so"
        kernels.write_text(text, encoding="utf-8")
        objects = sorted(_runtime(check).glob("*.o"))
        _run(source.name, [*command, f"-I{HERE}", "-c", "kernels.cpp", "-o", "kernels.o"], folder)
        _run(source.name, [*compiler(), "-shared", "kernels.o", *map(str, objects), "-o", library.name], folder)
        (folder / "kernels.o").unlink()

    return _cached(source.name, [*command, text, _runtime_text()], make) / "module.so"


def _runtime(check: bool) -> Path:
    """The folder of the runtime's object files."""
    files = [path for path in sorted(HERE.glob("*.cpp")) if check or path.name not in CHECKER]
    command = [*compiler(), *FLAGS, *RUNTIME_FLAGS, *(["-DEMULATOR_CHECK"] if check else [])]

    def make(folder: Path) -> None:
        _run("the emulator's runtime", [*command, "-c", *map(str, files)], folder)

    return _cached("runtime", [*command, _runtime_text()], make)


def _runtime_text() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted([*HERE.glob("*.cpp"), *HERE.glob("*.h")]))


# -- the compiler


def compiler() -> tuple[str, ...]:
    """The command of the C++ compiler: what CXX names, g++, clang++, or Zig's from the package `ziglang`."""
    try:
        named = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise MinicamError(f"CXX is {os.environ['CXX']}, which is no command ({error})") from None
    if named:
        if shutil.which(named[0]) is None:
            raise MinicamError(f"CXX names {named[0]}, which is not there; let it name a C++ compiler, or unset it")
        return tuple(named)
    for name in ("g++", "clang++"):
        if shutil.which(name):
            return (name,)
    if find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    raise MinicamError(
        "the emulator needs a C++ compiler and found none; install g++ or clang++ (or `pip install ziglang`), "
        "or name one in CXX"
    )


@functools.cache
def version(command: tuple[str, ...]) -> str:
    """What the compiler says of itself."""
    try:
        return subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    except OSError as error:
        reason = error.strerror or error
        raise MinicamError(f"cannot run {command[0]}: {reason}; let CXX name a C++ compiler, or unset it") from None


def _run(name: str, command: Iterable[str], folder: Path) -> None:
    done = subprocess.run([*command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = _first_error(name, done.stderr) or (
            f"{name}: {shlex.join(compiler())} ended with exit code {done.returncode} and without a message; "
            "let CXX name a C++ compiler"
        )
        raise MinicamError(f"cannot compile {said}")


def _first_error(name: str, output: str) -> str | None:
    """The first error of the compiler, in a line that begins with the file and line of the kernel; None: no message."""
    found = re.search(r"^([^\s:]+):(\d+)(?::\d+)?: (?:fatal )?error: (.*)$", output, re.MULTILINE)
    if found is None:
        lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines()
        return f"{name}: {lines[0].strip()}" if lines else None
    file, line, message = Path(found[1]).name, found[2], found[3]
    within = re.search(rf"\b({re.escape(name)}:\d+)", output)
    if within and not file.endswith((".cu", ".cuh")):  # found in emulator.h or beyond, caused by a line of the kernel
        return f"{within[1]}: {message} ({file}:{line})"
    return f"{file}:{line}: {message}"


# -- what was compiled before


def cache_folder() -> Path:
    """Where compiled modules are kept: $MINICAM_CACHE, or minicam in the cache of the user."""
    home = os.environ.get("MINICAM_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home) if home else cache / "minicam") / "emulator"


def _cached(name: str, key: list[str], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, once for each key.

    It gets its name when it is whole, so that others who look for it, or are making the same, never see half of it.
    """
    digest = hashlib.sha256(json.dumps([*key, version(compiler())]).encode()).hexdigest()[:24]
    folder = cache_folder() / f"{Path(name).stem}-{digest}"
    try:
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
            made = Path(unfinished) / "made"
            made.mkdir()
            make(made)
            if not folder.is_dir():
                _rename(made, folder)
    except OSError as error:
        raise MinicamError(
            f"cannot keep compiled kernels in {folder.parent}: {error}; name another folder in MINICAM_CACHE"
        ) from None
    return folder


def _rename(made: Path, folder: Path) -> None:
    try:
        os.replace(made, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster, and made the same
            raise
