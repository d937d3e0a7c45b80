"""NumPy or CuPy? The one file that knows which kind of array is which, and the only one that may import cupy.

Everything else asks here. An operation is written once for NumPy and once for CUDA; `by_array` makes the function
that the rest of the library calls, and the type of its first array decides which of the two runs.
"""

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minicam import MinicamError

DEVICES = ("auto", "cpu", "cuda", "emulator")


def by_array(numpy_function: Callable, cuda_function: Callable | None = None) -> Callable:
    """Return a function that calls `numpy_function` where its first argument is a `numpy.ndarray`.

    Any other array goes to `cuda_function`; where there is none yet, that is an error that says so.
    """
    name = f"{numpy_function.__module__}.{numpy_function.__name__.removesuffix('_numpy')}"

    @functools.wraps(numpy_function)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        array = args[0] if args else next(iter(kwargs.values()))
        if type(array) is np.ndarray:
            return numpy_function(*args, **kwargs)
        if cuda_function is None:
            raise MinicamError(f"{name} takes a numpy.ndarray, not {type(array).__name__}; it has no CUDA kernel yet")
        return cuda_function(*args, **kwargs)

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


def add_options(parser: argparse._ActionsContainer, purpose: str) -> None:
    """Give a command the options that say what to compute on: --workers, threads for this purpose, and --device."""
    parser.add_argument("--workers", type=int, default=2, metavar="N", help=f"threads that {purpose}")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to compute")


def check_options(workers: int, device: str) -> None:
    """Raise MinicamError where what was given to the options of `add_options` cannot be."""
    if workers < 1:
        raise MinicamError(f"--workers is {workers}; it must be at least 1")
    choose_device(device)


def each(function: Callable, items: Sequence) -> list:
    """[function(item) for item in items], on all cores: NumPy lets other threads run while it works on large arrays.

    Inside, BLAS keeps to one thread: two libraries that both fill the machine with threads slow each other down.
    What the caller's `np.errstate` says holds there, too; threads do not see it by themselves.
    """
    errors = np.geterr()

    def one(item: Any) -> Any:
        with np.errstate(**errors):
            return function(item)

    with _blas().limit(limits=1, user_api="blas"):
        return list(_pool().map(one, items))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
