"""A stand-in for CuPy, whose GPU is the emulator: what minicam asks of CuPy, and as strict as CuPy is.

With it every line that runs on a GPU runs on any machine. What it cannot show is whether CuPy is as it takes it to be;
that is what `pytest -m gpu` is for, on a machine with a GPU.
"""

import re
import sys
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np

from minicam import backend, cuda, emulator, source


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class CompileException(Exception):  # noqa: N818 - CuPy's name
    """As cupy.cuda.compiler.CompileException."""


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """As cupy.ndarray: there is no way from it to NumPy but `get`, and none back but `set`."""

    __module__ = "cupy"
    device = SimpleNamespace(id=0)

    def get(self):
        return self.view(np.ndarray).copy()

    def set(self, values):
        assert type(values) is np.ndarray
        assert values.dtype == self.dtype
        assert values.shape == self.shape
        assert values.flags.c_contiguous
        self.view(np.ndarray)[...] = values

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __setitem__(self, key, value):
        assert not isinstance(value, np.ndarray) or isinstance(value, ndarray), "Unsupported type numpy.ndarray"
        super().__setitem__(key, value)

    def __array_function__(self, function, types, args, kwargs):
        """NumPy's functions ask it, too. Their new arrays are on the GPU, and take memory there."""
        result = super().__array_function__(function, types, args, kwargs)
        return place(result.view(np.ndarray)) if function is np.zeros_like else result

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        for value in inputs:
            assert not isinstance(value, np.ndarray) or isinstance(value, ndarray), "Unsupported type numpy.ndarray"
        assert ufunc is not np.matmul, "needs cuBLAS"
        plain = [value.view(np.ndarray) if isinstance(value, ndarray) else value for value in inputs]
        return place(np.asarray(getattr(ufunc, method)(*plain, **kwargs)))


class Pool:
    """A memory pool: it keeps what it once took, until it is told to give back what is free."""

    def __init__(self, capacity):
        self.capacity, self.live, self.held = capacity, 0, 0

    def take(self, array):
        if self.live + array.nbytes > self.capacity:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes\n(more lines)")
        self.live += array.nbytes
        self.held = max(self.held, self.live)
        weakref.finalize(array, self._give, array.nbytes)

    def _give(self, size):
        self.live -= size

    def total_bytes(self):
        return self.held

    def free_all_blocks(self):
        self.held = self.live


pool = Pool(1 << 40)


def place(array):
    """A new array on the GPU with the values of a NumPy array."""
    own = np.array(array, order="C", copy=True).view(ndarray)
    pool.take(own)
    return own


class RawModule:
    """As cupy.RawModule: compiled through NVRTC from a text that holds all it needs."""

    def __init__(self, *, code, options=()):
        assert "#include" not in code
        self.code, self.options = code, options

    def compile(self):
        if "syntax error" in self.code:
            raise CompileException('file.cu(3): error: expected a ";"\n\n1 error detected')

    def get_function(self, name):
        def launch(grid, block, args, *, shared_mem=0):
            assert len(grid) == 3
            kernels = source.KERNEL.findall(source.COMMENT.sub("", self.code))
            parameters = {k: tuple(source._parameter(p, "", k) for p in text.split(",")) for k, text in kernels}
            types = dict(re.findall(r"^#define (\w+) (.+)$", self.code.split("#line")[0], re.MULTILINE))
            known = {open_name: source.DTYPES[c_type] for open_name, c_type in types.items()}
            text = source.Source("fake.cu", self.code, parameters, known)
            given = []
            for p, value in zip(parameters[name], args, strict=True):
                if p.pointer and isinstance(value, np.uintp):
                    assert value == 0
                    given.append(None)
                elif p.pointer:
                    assert type(value) is ndarray
                    given.append(value.view(np.ndarray).view(backend.EmulatorArray))
                else:  # CuPy passes 8 bytes for a Python number, whatever the kernel takes
                    assert type(value) is text.dtype(p).type
                    given.append(value)
            assert shared_mem <= 48 << 10 or function.max_dynamic_shared_size_bytes >= shared_mem
            emulator.launch(text, name, grid, (*block, 1, 1)[:3], given, shared_mem)

        def function(*args, **kwargs):
            return launch(*args, **kwargs)

        return function


def module(capability="90", runtime=13000, count=1, capacity=1 << 40):
    """A module that passes for cupy."""
    fake = ModuleType("cupy")
    pool.__init__(capacity)

    def device_count():
        if isinstance(count, Exception):
            raise count
        return count

    fake.ndarray, fake.RawModule = ndarray, RawModule
    fake.asarray = lambda array, order: place(array)
    fake.empty = lambda shape, dtype: place(np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 255, dtype))
    fake.stack = lambda arrays: place(np.stack([array.view(np.ndarray) for array in arrays]))
    fake.get_default_memory_pool = lambda: pool
    fake.cuda = SimpleNamespace(
        Device=lambda: SimpleNamespace(id=0, compute_capability=capability),
        runtime=SimpleNamespace(
            getDeviceCount=device_count,
            runtimeGetVersion=lambda: runtime,
            memGetInfo=lambda: (pool.capacity - pool.held, pool.capacity),
            getDeviceProperties=lambda i: {"name": b"Fake GPU"},
        ),
    )
    return fake


def installer(monkeypatch):
    """What the fixture `fake_gpu` does."""
    caches = backend.cupy, cuda._module, cuda._function

    def install(**properties):
        monkeypatch.setitem(sys.modules, "cupy", module(**properties))
        for cache in caches:
            cache.cache_clear()

    yield install
    for cache in caches:
        cache.cache_clear()
    cuda.set_precision("float32")
