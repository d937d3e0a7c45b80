"""How fast is this GPU at best? Measured in the same run, as what a data sheet promises depends on clocks and cooling.

The copy is CuPy's, of a gibibyte from one place in the GPU's memory to another. The product is that of two square
matrices by a library, PyTorch's or CuPy's cuBLAS; minicam has no need of either, so there may be none.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam.backend import cupy
from minicam.bench.cases import Place
from minicam.bench.clock import Clock, in_turn


def copier(device: str, size: int) -> Callable[[], None]:
    """A function that copies so many bytes on the device."""
    xp = cupy() if device == "cuda" else np
    source = xp.arange(size // 4, dtype=np.float32)
    target = xp.empty_like(source)
    return lambda: xp.copyto(target, source)


def copy_peak(device: str, clock: Clock, size: int, repeats: int) -> float:
    """Bytes a second, read and written, of the fastest copy of so many bytes."""
    return 2 * size / in_turn(clock, [copier(device, size)], repeats).min()


def matrix_peak(place: Place, precision: str, clock: Clock, side: int, repeats: int) -> float | None:
    """Multiplications and additions a second of the fastest product of two matrices; None without a library.

    On a CPU it is NumPy's, with the threads of its BLAS.
    """
    product = _product(place, precision, place.put(place.normal(side, side), place.normal(side, side)))
    if product is None:
        return None
    return 2 * side**3 / in_turn(clock, [product], repeats).min()


def _product(place: Place, precision: str, matrices: list[Any]) -> Callable[[], Any] | None:
    if place.device == "cpu":
        return lambda: np.matmul(*matrices)
    if place.twins:
        twin = place.twins[0]
        twin.set_precision(precision)
        a, b = map(twin.tensor, matrices)
        return lambda: a @ b
    if place.device != "cuda" or precision != "tf32":
        return None
    os.environ["CUPY_TF32"] = "1"  # CuPy reads it at its first product, and stays with it: there is no way back
    try:
        cupy().matmul(*matrices)
    except MemoryError:
        raise
    except Exception:  # cuBLAS is not installed, which CuPy says in several ways
        return None
    return lambda: cupy().matmul(*matrices)
