"""NumPy or CuPy? The one file that knows which kind of array is which, and the only one that may import cupy.

Everything else asks here. An operation is written once for NumPy and once for CUDA; `by_array` makes the function
that the rest of the library calls, and the type of its first array decides which of the two runs:

    numpy.ndarray     "cpu"        NumPy
    cupy.ndarray      "cuda"       the CUDA kernels, on an NVIDIA GPU
    EmulatorArray     "emulator"   the same kernels, run by `minicam.emulator` on the CPU
"""

import ctypes
import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import chain
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from minicam import MinicamError

INSTALL = "install the extra cuda13 (NVIDIA driver 580 or newer) or cuda12, or compute without a GPU"


class EmulatorArray(np.ndarray):
    """A NumPy array that passes for one on a GPU: operations take their CUDA path with it, and the emulator runs it."""


def by_array(numpy_function: Callable, cuda_function: Callable) -> Callable:
    """Return a function that calls one of the two, as the type of its first argument says.

    Raises MinicamError where that is no array, and where the arrays among the arguments, those in tuples too, are not
    all on one device.
    """
    name = f"{numpy_function.__module__}.{numpy_function.__name__.removesuffix('_numpy')}"

    @functools.wraps(numpy_function)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        if not given or not is_array(given[0]):
            found = type(given[0]).__name__ if given else "nothing"
            raise MinicamError(f"{name} takes a numpy.ndarray, a cupy.ndarray or an EmulatorArray, not {found}")
        device = device_of(given[0])
        for other in chain.from_iterable(value if isinstance(value, tuple) else (value,) for value in given):
            if is_array(other) and device_of(other) != device:
                raise MinicamError(
                    f"{name}: the first array is on the device {device!r}, another on {device_of(other)!r}; "
                    "bring both to one with backend.to_device"
                )
        return (numpy_function if device == "cpu" else cuda_function)(*args, **kwargs)

    dispatch.__name__ = numpy_function.__name__.removesuffix("_numpy")
    return dispatch


# -- arrays and where they are


def is_array(value: Any) -> bool:
    """Is it an array of one of the three kinds?"""
    return isinstance(value, np.ndarray) or _is_cupy(value)


def device_of(array: Any) -> str:
    """"cpu", "cuda" or "emulator"."""
    if _is_cupy(array):
        return "cuda"
    return "emulator" if isinstance(array, EmulatorArray) else "cpu"


def _is_cupy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "cupy"


def to_device(array: Any, device: str) -> Any:
    """The array on a device: itself where it is there, without a copy between "cpu" and "emulator"."""
    if device == device_of(array):
        return array
    array = to_cpu(array)
    if device == "cpu":
        return array
    if device == "emulator":
        return np.ascontiguousarray(array).view(EmulatorArray)
    return cupy().asarray(array, order="C")


def to_cpu(array: Any) -> np.ndarray:
    """The array as a numpy.ndarray."""
    return array.get() if _is_cupy(array) else array.view(np.ndarray)


def assign(target: Any, values: np.ndarray) -> None:
    """Write NumPy values into an array on any device, in place."""
    if _is_cupy(target):
        target.set(np.ascontiguousarray(values, target.dtype))
    else:
        target[...] = values


def empty(shape: int | Sequence[int], dtype: Any, like: Any) -> Any:
    """An array on the device of `like`, for a kernel to write. In the emulator it is full of NaN: see what is not."""
    if _is_cupy(like):
        return cupy().empty(shape, dtype)
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8).fill(0xFF)  # a NaN in any float; in an integer -1, or the largest
    return array.view(EmulatorArray)


def stack(arrays: Sequence[Any]) -> Any:
    """Arrays of one shape and device as one array, with a first axis more."""
    return cupy().stack(arrays) if _is_cupy(arrays[0]) else to_device(np.stack(arrays), device_of(arrays[0]))


# -- CuPy and its GPU


@functools.cache
def cupy() -> ModuleType:
    """CuPy, once it is known that there is a GPU which it can use. MinicamError where there is not."""
    try:
        import cupy
    except ImportError as error:
        raise MinicamError(f"the device cuda needs CuPy, which cannot be imported ({error}); {INSTALL}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own types of error cannot be named without a working CuPy
        raise MinicamError(f"CuPy finds no NVIDIA GPU that it can use ({first_line(error)}); {INSTALL}") from None
    if count == 0:
        raise MinicamError(f"CuPy finds no NVIDIA GPU; {INSTALL}")
    return cupy


def capability() -> int:
    """The compute capability of the GPU, as 80 for 8.0."""
    return int(cupy().cuda.Device().compute_capability)


def gpu_name() -> str:
    """What the GPU is called: "NVIDIA GeForce RTX 4090"."""
    return cupy().cuda.runtime.getDeviceProperties(cupy().cuda.Device().id)["name"].decode()


def gpu_memory() -> tuple[int, int, int]:
    """Bytes of the GPU's memory: held by CuPy's pool, which keeps what it once took, and so the most so far, unless it
    ever had to give some back; in all; and free beside the pool."""
    free, total = cupy().cuda.runtime.memGetInfo()
    return cupy().get_default_memory_pool().total_bytes(), total, free


def free_gpu_memory() -> None:
    """Give what the pool holds and nobody uses back to the GPU."""
    cupy().get_default_memory_pool().free_all_blocks()


def first_line(error: BaseException) -> str:
    """What an error of another library says, as far as it fits in a line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# -- how the CPU computes


def each(function: Callable, items: Sequence) -> list:
    """[function(item) for item in items], on all threads: NumPy lets others run while it works on large arrays.

    The calling thread is one of them, so that little work is done before another has woken up. Each takes the next
    item that nobody has; after an error nobody takes one.

    Inside, BLAS keeps to one thread: two libraries that both fill the machine with threads slow each other down.
    What the caller's `np.errstate` says holds there, too; threads do not see it by themselves.
    """
    errors, left, results = np.geterr(), iter(range(len(items))), [None] * len(items)

    def work() -> None:
        try:
            with np.errstate(**errors):
                for i in left:
                    results[i] = function(items[i])
        finally:
            deque(left, maxlen=0)

    with blas_on_one_thread():
        helpers = [_pool().submit(work) for _ in range(min(threads(), len(items)) - 1)]
        try:
            work()
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)  # for all of them, whatever error there is: none works on after the caller has gone on
        for helper in begun:
            helper.result()
    return results


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """BLAS keeps to one thread until the last of those who are in such a block has left it.

    On several it cuts a sum into as many parts as there are threads: so their number would change bits of the result.
    """
    global _inside, _limited
    with _lock:
        if _inside == 0:
            _limited = _blas().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limited.restore_original_limits()


def in_parts(items: Sequence, count: int) -> list[Sequence]:
    """Items, in their order, cut into so many parts, as even as can be: what to give `each` where sums are made."""
    return [items[len(items) * i // count : len(items) * (i + 1) // count] for i in range(count)]


def threads() -> int:
    """How many threads `each` spreads work over."""
    return _threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def set_threads(count: int | None) -> None:
    """Spread work over so many threads from now on; None: as many as there are cores for this process."""
    global _threads
    if count is not None and count < 1:
        raise MinicamError(f"--threads is {count}; it must be at least 1")
    _threads = count
    _pool.cache_clear()
    _blas().limit(limits=threads(), user_api="blas")  # of BLAS, too, where it is called outside of `each`


def exact() -> bool:
    """Must convolutions on the CPU keep to the form that rounds least, be it slower?"""
    return _exact


def set_exact(wanted: bool) -> None:
    """Demand so, or no longer. It is not demanded unless this has been called."""
    global _exact
    _exact = wanted


def keep_memory() -> None:
    """Have this process keep what it once had of memory, and use it again, where it runs with the GNU C library.

    An array of some megabytes is given back to the system when nobody uses it. The next one then comes in pages that
    the system has to find and to clear first, which takes longer than to write something into them.
    """
    with suppress(OSError, AttributeError, TypeError):  # another system, or another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of <malloc.h>
_threads: int | None = None
_exact = False


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="minicam")


_lock, _inside, _limited = Lock(), 0, None


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
