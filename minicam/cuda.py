"""Launch a CUDA kernel: on the GPU through CuPy, or in the emulator. All that can go wrong silently is checked first.

A raw kernel believes what it is told. It takes a float64 array for one of float32, a view for a whole array, an 8-byte
number for a 4-byte one, and reads on where an array ends. `launch` and `sizes` are what stands between that and a
wrong result; the launchers in `minicam/ops` allocate, launch and return. The NumPy forms there call `sizes`, too: what
fits is the same on every device.

A file is compiled once a process, when its first kernel is launched, for the dtypes of the arrays it is given;
CuPy and the emulator keep what they compiled on disk. NVRTC compiles for the GPU: no CUDA toolkit is needed.
"""

import functools
import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from minicam import MinicamError, emulator, source
from minicam.backend import INSTALL, cupy, device_of, first_line, is_array
from minicam.emulator.launches import THREADS
from minicam.source import Parameter, Source

BLOCK = 256  # threads of a block, where a kernel does not ask for another number
PRECISIONS = ("float32", "tf32")
LARGEST_INT = 2**31 - 1

_precision = "float32"


def set_precision(name: str) -> None:
    """Choose how convolutions multiply float32 arrays from now on: "float32", or "tf32" on the matrix units."""
    global _precision
    if name not in PRECISIONS:
        raise MinicamError(f"precision {name!r} is not known; choose one of {', '.join(PRECISIONS)}")
    _precision = name


def precision() -> str:
    """How convolutions multiply float32 arrays."""
    return _precision


def shape_of(name: str, array: Any, axes: str = "") -> tuple[int, ...]:
    """The shape of an array, for which its shape alone may stand. MinicamError where there is none."""
    shape = getattr(array, "shape", array)
    if not isinstance(shape, tuple):
        raise MinicamError(f"{name} is {shape!r}; expected an array{axes}")
    return shape


def sizes(**arrays: tuple[Any, str]) -> list[int]:
    """The sizes that letters stand for, in the order in which they first appear.

        N, C, K = sizes(x=(x, "NC"), w=(w, "CK"), b=(b, "K"))

    An array may stand there by its shape alone; a digit is a size that must be just that.
    Raises MinicamError where an array has another number of axes, where a size is 0 (so no empty batches), where a
    letter would stand for two sizes, and where what stands for an array has no shape.
    """
    known: dict[str, tuple[int, str]] = {}
    for name, (array, letters) in arrays.items():
        shape = shape_of(name, array, f" ({', '.join(letters)})")
        found = f"{name} has the shape {shape}; expected ({', '.join(letters)})"
        if len(shape) != len(letters) or min(shape, default=1) < 0:
            raise MinicamError(found)
        if 0 in shape:
            raise MinicamError(f"{name} has the shape {shape}; every size must be at least 1")
        for letter, size in zip(letters, shape, strict=True):
            before, where = (int(letter), name) if letter.isdigit() else known.setdefault(letter, (size, name))
            if before != size:
                raise MinicamError(found + ("" if where == name else f", where {letter} is {before} as in {where}"))
    return [size for size, _ in known.values()]


def same_shape(**arrays: Any) -> int:
    """The number of elements of each of the arrays, or shapes. MinicamError where shapes differ, or there is none."""
    (first, expected), *others = [(name, shape_of(name, array)) for name, array in arrays.items()]
    for name, shape in others:
        if shape != expected:
            raise MinicamError(f"{name} has the shape {shape}, {first} has {expected}; they must be the same")
    return math.prod(expected)


def constant(file: str, name: str) -> int:
    """A number that the kernels of a file are built around: its `constexpr int name`."""
    return source.read(file).constant(name)


def in_fours(*arrays: Any) -> bool:
    """Can a kernel take all of these as float4?"""
    return all(a.dtype == np.float32 and a.size % 4 == 0 and _address(a) % 16 == 0 for a in arrays)


def compile_something() -> None:
    """Compile a kernel that does nothing, for the GPU. MinicamError where CuPy has no compiler that can."""
    _module("a kernel", 'extern "C" __global__ void nothing() {}')


def launch(
    file: str,
    kernel: str,
    args: Sequence[Any],
    threads: int | None = None,
    blocks: Sequence[int] = (),
    block: int = BLOCK,
    shared: int = 0,
) -> None:
    """Run a kernel of a .cu file.

    args     what it takes: arrays, numbers, and None for a pointer to nothing
    threads  how many must run at least: as many blocks as that takes; or else, and not both,
    blocks   blocks in each direction (x, y, z)
    block    threads of a block, 1 to 1024
    shared   bytes of dynamic shared memory of a block

    Raises MinicamError where an argument is not what the kernel takes: arrays of another dtype, on another device, not
    C-contiguous, empty or with more than 2**31 - 1 elements; integers beyond int32; for a float4 an array whose size is
    no multiple of four, or that does not start at a multiple of 16 bytes.
    """
    text = source.read(file)
    parameters = text.kernels.get(kernel)
    if parameters is None:
        raise MinicamError(f"{file} has no kernel {kernel}; it has {', '.join(text.kernels)}")
    where = f"{file}: {kernel}"
    if len(args) != len(parameters):
        raise MinicamError(f"{where} takes {len(parameters)} arguments, got {len(args)}")
    if (threads is None) == (not blocks):
        raise MinicamError(f"{where}: threads is {threads} and blocks {blocks}; give one of the two")
    if not 1 <= block <= THREADS:
        raise MinicamError(f"{where}: a block of {block} threads; it has 1 to {THREADS}")
    text = source.read(file, _types(where, text.open, parameters, args))
    device = _device(where, parameters, args)
    checked = [_checked(where, text, p, value) for p, value in zip(parameters, args, strict=True)]
    grid = tuple(blocks) if threads is None else (-(-threads // block),)
    grid += (1,) * (3 - len(grid))
    if not 0 < max(grid) <= LARGEST_INT or min(grid) < 1 or max(grid[1:]) > 65535:
        raise MinicamError(f"{where}: a grid of {grid} blocks; each is at least 1, x under 2**31, y and z under 65536")
    if device == "emulator":
        emulator.launch(text, kernel, grid, (block, 1, 1), checked, shared)
    else:
        function = _function(text, kernel, shared)
        function(grid, (block,), tuple(np.uintp(0) if v is None else v for v in checked), shared_mem=shared)


def _types(
    where: str, open_names: Collection[str], parameters: Sequence[Parameter], args: Sequence[Any]
) -> tuple[tuple[str, str], ...]:
    """What the types that the file leaves open are in this launch: the dtypes of the first arrays of each."""
    types: dict[str, str] = {}
    for p, value in zip(parameters, args, strict=True):
        if p.pointer and p.type in open_names and is_array(value):
            types.setdefault(p.type, value.dtype.name)
            if p.type == "real" and types["real"] not in ("float32", "float64"):
                raise MinicamError(f"{where}: {p.name} is {value.dtype}; the kernel takes float32 or float64")
    return tuple(types.items())


def _device(where: str, parameters: Sequence[Parameter], args: Sequence[Any]) -> str:
    """The device of all arrays among the arguments."""
    places: dict[str, str] = {}
    for p, value in zip(parameters, args, strict=True):
        if p.pointer and value is not None:
            if not is_array(value):
                raise MinicamError(f"{where}: {p.name} is a {type(value).__name__}; the kernel takes an array")
            place = device_of(value)
            places.setdefault(place if place != "cuda" else f"cuda:{value.device.id}", p.name)
    if len(places) == 1 and "cuda" in next(iter(places)) and places.keys() != {f"cuda:{cupy().cuda.Device().id}"}:
        raise MinicamError(f"{where}: the arrays are on {next(iter(places))}, which is not the current GPU of CuPy")
    if len(places) != 1 or "cpu" in places:
        found = ", ".join(f"{name} on {place}" for place, name in places.items()) or "no array at all"
        raise MinicamError(f"{where} takes arrays that are all on one GPU, or all in the emulator; found {found}")
    return next(iter(places)).partition(":")[0]


def _checked(where: str, text: Source, p: Parameter, value: Any) -> Any:
    """The argument in the exact form that the kernel takes."""
    dtype = text.dtype(p)
    if not p.pointer:
        return _number(where, p, value, dtype)
    if value is None:
        return None
    if value.dtype != dtype:
        raise MinicamError(f"{where}: {p.name} is {value.dtype}; here `{p.type}* {p.name}` takes {dtype}")
    if not value.flags.c_contiguous:
        raise MinicamError(f"{where}: {p.name} is not C-contiguous; a kernel cannot follow strides: copy it first")
    if not 0 < value.size <= LARGEST_INT:
        raise MinicamError(f"{where}: {p.name} has the shape {value.shape}; a kernel takes 1 to 2**31 - 1 elements")
    if p.type == "float4" and (value.size % 4 or _address(value) % 16):
        raise MinicamError(
            f"{where}: {p.name} is read in fours, and has {value.size} elements from address {_address(value):#x} on; "
            "both must be multiples, of 4 and of 16"
        )
    return value


def _address(array: Any) -> int:
    return array.data.ptr if device_of(array) == "cuda" else array.ctypes.data


def _number(where: str, p: Parameter, value: Any, dtype: np.dtype) -> np.generic:
    """A Python number as the C type of the parameter, which CuPy would take for a double or a long."""
    if not isinstance(value, numbers.Real | np.bool_):
        raise MinicamError(f"{where}: {p.name} is {value!r}; the kernel takes a number")
    if dtype.kind == "f":
        if math.isfinite(value) and abs(value) > float(np.finfo(dtype).max):
            raise MinicamError(f"{where}: {p.name} is {value}, more than a {dtype} can hold")
        return dtype.type(value)
    if not math.isfinite(value):
        raise MinicamError(f"{where}: {p.name} is {value}; the kernel takes a whole number")
    number = int(value)
    limits = np.iinfo(dtype)
    if number != value or not limits.min <= number <= limits.max:
        allowed = f"a whole number from {limits.min} to {limits.max}"
        raise MinicamError(f"{where}: {p.name} is {value}; the kernel takes {allowed}")
    return dtype.type(number)


@functools.cache
def _function(text: Source, kernel: str, shared: int) -> Any:
    """A compiled kernel on the GPU."""
    module = _module(text.name, text.text)
    function = module.get_function(kernel)
    if shared > 48 << 10:  # what every GPU gives without being asked
        function.max_dynamic_shared_size_bytes = shared
    return function


@functools.cache
def _module(name: str, text: str) -> Any:
    module = cupy().RawModule(code=text, options=("-std=c++17",))
    try:
        module.compile()
    except Exception as error:  # compiler errors, a missing NVRTC, an architecture that it does not know
        lines = [line for line in str(error).splitlines() if "error" in line] or [first_line(error)]
        raise MinicamError(f"cannot compile {name} for this GPU with NVRTC: {lines[0].strip()}; {INSTALL}") from None
    return module
