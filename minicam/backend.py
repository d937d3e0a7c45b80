"""NumPy or CuPy? The one file that knows which kind of array is which, and the only one that may import cupy.

Everything else asks here. An operation is written once for NumPy and once for CUDA; `by_array` makes the function
that the rest of the library calls, and the type of its first array decides which of the two runs.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam import MinicamError

DEVICES = ("auto", "cpu", "cuda", "emulator")


def by_array(numpy_function: Callable, cuda_function: Callable | None = None) -> Callable:
    """Return a function that calls `numpy_function` where its first argument is a `numpy.ndarray`.

    Any other array goes to `cuda_function`; where there is none yet, that is an error that says so.
    """
    name = f"{numpy_function.__module__}.{numpy_function.__name__.removesuffix('_numpy')}"

    @functools.wraps(numpy_function)
    def dispatch(array: Any, *args: Any, **kwargs: Any) -> Any:
        if type(array) is np.ndarray:
            return numpy_function(array, *args, **kwargs)
        if cuda_function is None:
            raise MinicamError(f"{name} takes a numpy.ndarray, not {type(array).__name__}; it has no CUDA kernel yet")
        return cuda_function(array, *args, **kwargs)

    dispatch.__name__ = numpy_function.__name__.removesuffix("_numpy")
    return dispatch


def choose_device(name: str) -> str:
    """The device that `--device name` means on this machine: today always "cpu".

    Raises MinicamError for a device that this version cannot use, rather than falling back without a word.
    """
    if name not in DEVICES:
        raise MinicamError(f"device {name!r} is not known; choose one of {', '.join(DEVICES)}")
    if name in ("cuda", "emulator"):
        raise MinicamError(f"--device {name}: this version has no CUDA kernels yet; use --device cpu")
    return "cpu"
