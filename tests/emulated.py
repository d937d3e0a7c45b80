"""Kernels of the tests' own, run in the emulator."""

from pathlib import Path

import numpy as np

from minicam import backend, emulator, source
from minicam.backend import EmulatorArray

# Every kind of module, and every order: arguments of `emulator.options`.
HOW = {
    "fast": {},
    "fast reverse": {"order": "reverse"},
    "fast random": {"order": "random", "seed": 5},
    "check": {"check": True},
    "check reverse": {"check": True, "order": "reverse"},
    "check random": {"check": True, "order": "random", "seed": 6},
}


def kernels(folder: Path, text: str, name: str = "k.cu", real: str | None = None) -> source.Source:
    """A .cu file with this text, read."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return source.read(path, (("real", real),) if real else ())


def array(values, dtype=np.float32):
    """An array of the emulator."""
    return np.array(values, dtype, order="C").view(EmulatorArray)


def empty(shape, dtype=np.float32):
    """One full of NaN, or of -1."""
    return backend.empty(shape, dtype, like=array([]))


def run(text, kernel, *args, grid=1, block=32, shared=0):
    """Launch a kernel; Python's numbers are its ints and floats, and one number stands for a grid or block along x."""
    c_types = {int: np.int32, float: np.float32}
    exact = [c_types[type(a)](a) if type(a) in c_types else a for a in args]
    grid, block = ((*size, 1, 1)[:3] if isinstance(size, tuple) else (size, 1, 1) for size in (grid, block))
    emulator.launch(text, kernel, grid, block, exact, shared)
