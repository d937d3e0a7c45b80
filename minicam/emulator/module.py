"""A compiled .cu file in this process: hand a kernel its arguments, run it, and put what it reports into words."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.emulator import build
from minicam.source import Source

ORDERS = ("forward", "reverse", "random")
OWN_FILES = {path.name for path in build.HERE.iterdir() if path.suffix in (".h", ".cpp")}


class EmulatorError(MinicamError):
    """A kernel did what a GPU does not allow, or does not promise the result of. `file` and `kernel` say which."""

    def __init__(self, file: str, kernel: str, what: str) -> None:
        super().__init__(f"{file}: {kernel}: {what}")
        self.file, self.kernel = file, kernel


# The structures of runtime.h and checker.cpp, field by field.


class _Memory(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("item_bytes", ctypes.c_size_t)]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("order", ctypes.c_uint),
        ("seed", ctypes.c_uint64),
        ("arguments", ctypes.POINTER(_Memory)),
        ("argument_count", ctypes.c_uint),
        ("trace", ctypes.c_uint),
        ("message", ctypes.c_char_p),
        ("message_bytes", ctypes.c_uint),
    ]


class SharedArray(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("bytes", ctypes.c_size_t),
        ("alignment", ctypes.c_size_t),
        ("item_bytes", ctypes.c_size_t),
        ("dimensions", ctypes.c_int),
        ("length", ctypes.c_size_t * 4),
    ]


EVENT = np.dtype(
    [
        ("place", np.uintp),
        ("offset", np.uint64),
        ("block", np.uint32),
        ("thread", np.uint32),
        ("interval", np.uint32),
        ("bytes", np.uint32),
        ("kind", np.uint32),
        ("array", np.int32),
    ]
)


class Module:
    """The kernels of a file, compiled and loaded."""

    def __init__(self, source: Source, check: bool) -> None:
        self.source = source
        self.path = build.module(source, check)
        self.library = ctypes.CDLL(str(self.path))
        self.library.emulator_base.restype = ctypes.c_void_p
        if check:
            self.library.emulator_events.restype = ctypes.c_void_p
            self.library.emulator_shared_array.restype = ctypes.POINTER(SharedArray)

    def run(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        shared: int,
        order: str,
        seed: int,
        trace: bool = False,
    ) -> None:
        """Run a kernel. Raises EmulatorError with what the runtime reports. One call at a time: see `launches`."""
        memory = (_Memory * len(args))()
        pointers = (ctypes.c_void_p * len(args))()
        for i, value in enumerate(args):
            if isinstance(value, np.ndarray):
                memory[i] = _Memory(value.ctypes.data, value.nbytes, value.itemsize)
        # A kernel gets the address of each argument; that of an array is an address itself.
        cells = [
            np.asarray(memory[i].start or 0, np.uintp) if _is_pointer(value) else np.asarray(value)
            for i, value in enumerate(args)
        ]
        for i, cell in enumerate(cells):
            pointers[i] = cell.ctypes.data
        message = ctypes.create_string_buffer(2048)
        launch = _Launch(
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            shared,
            ORDERS.index(order),
            seed,
            memory,
            len(args),
            trace,
            ctypes.cast(message, ctypes.c_char_p),
            len(message),
        )
        if self.library.emulator_run(ctypes.byref(launch), self.library[f"emulator_call_{kernel}"], pointers):
            raise EmulatorError(self.source.name, kernel, self._in_words(message.value.decode(), kernel, args))

    def events(self) -> np.ndarray:
        """What the last launch did with memory, where it was traced: an array of EVENT."""
        count = ctypes.c_size_t()
        start = self.library.emulator_events(ctypes.byref(count))
        return np.frombuffer(ctypes.string_at(start, count.value * EVENT.itemsize), EVENT)

    def shared_array(self, number: int) -> SharedArray:
        """The description of a shared array of the last launch."""
        return self.library.emulator_shared_array(number).contents

    def lines(self, places: Sequence[int]) -> list[str]:
        """The line of each address in the program: "gap.cu:16", or "tile.cuh:8 from conv_tiled.cu:40" in a header."""
        tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
        if tool is None:
            return ["an unknown line (addr2line, of binutils, is not installed)"] * len(places)
        base = self.library.emulator_base()
        # The address is the one to return to: the call itself lies before it.
        addresses = "".join(f"{place - base - 1:#x}\n" for place in places)
        done = subprocess.run([tool, "-a", "-i", "-e", str(self.path)], input=addresses, capture_output=True, text=True)
        answers = re.split(r"^0x[0-9a-f]+\n", done.stdout, flags=re.MULTILINE)[1:]
        return [self._line(answer.split("\n")) for answer in answers]

    def _line(self, frames: list[str]) -> str:
        """From the innermost call, which may be in a header, outwards to the first in the file itself."""
        named = [os.path.basename(re.sub(r" \(discriminator \d+\)$", "", frame)) for frame in frames if ":" in frame]
        known = [n for n in named if n.partition(":")[0] not in OWN_FILES and not n.startswith("?")]
        if not known:
            return "an unknown line"
        own = [n for n in known if n.startswith(f"{self.source.name}:")]
        return known[0] if known[0] in own or not own else f"{known[0]} from {own[0]}"

    def _in_words(self, text: str, kernel: str, args: Sequence[Any]) -> str:
        """Replace "<line 0x12ab>" and "<array 3 16>" by the names that the kernel's author knows."""
        places = [int(place, 16) for place in re.findall(r"<line (\w+)>", text)]
        for place, line in zip(places, self.lines(places) if places else (), strict=True):
            text = text.replace(f"<line {place:#x}>", line)
        parameters = self.source.kernels[kernel]

        def array(found: re.Match) -> str:
            number = int(found[1])
            name, value = parameters[number].name, args[number]
            if found[2] is None:
                return f"{name}, whose shape is {value.shape}"
            return element(name, index_of(value, int(found[2])))

        return re.sub(r"<array (\d+)(?: (\d+))?>", array, text)


def index_of(array: np.ndarray, offset: int) -> tuple[int, ...]:
    """The NumPy index of the element at an offset in bytes."""
    return tuple(int(i) for i in np.unravel_index(offset // array.itemsize, array.shape)) if array.shape else ()


def element(name: str, index: Sequence[int]) -> str:
    """As NumPy has it: "x[0,3,1]"."""
    return f"{name}[{','.join(map(str, index))}]" if index else name


def _is_pointer(value: Any) -> bool:
    return value is None or isinstance(value, np.ndarray)


def load(source: Source, check: bool) -> Module:
    """The module of a file: compiled and loaded when it is first asked for."""
    key = source.name, source.text, check
    if key not in _loaded:
        _loaded[key] = Module(source, check)
    return _loaded[key]


_loaded: dict[tuple, Module] = {}
