"""Read a CUDA C++ file: its text with its headers in place, the kernels in it, and the numbers they are built around.

Who compiles it gets one text that needs no include path: `#include "tile.cuh"` is replaced by that file, between
`#line` directives that keep every message's file and line true. Types that a file leaves open (`real`) are defined in
front of it, so the same file serves float and double. Open are `real`, and what the file has an `#ifndef` for.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minicam import MinicamError

FOLDER = Path(__file__).parent / "ops"  # where a bare name such as "gap.cu" is looked for

# The C type of each dtype that a kernel can be built for.
C_TYPES = {
    "float32": "float",
    "float64": "double",
    "uint8": "unsigned char",
    "int8": "signed char",
    "uint16": "unsigned short",
    "int16": "short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long",
    "uint64": "unsigned long long",
}
VECTOR = "234"  # the ends of float2, float3, float4 and their like
DTYPES = {c_type: np.dtype(name) for name, c_type in C_TYPES.items()} | {"unsigned": np.dtype("uint32")}

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"[^\n]*$', re.MULTILINE)
PRAGMA_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once[^\n]*$", re.MULTILINE)
OPEN = re.compile(r"^[ \t]*#[ \t]*ifndef[ \t]+(\w+)", re.MULTILINE)
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+(?:void\s+|__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)+(\w+)\s*\(([^)]*)\)'
)
PARAMETER = re.compile(r"(?P<type>\w[\w\s]*?)\s*(?P<pointer>\*?)\s*(?:__restrict__\s+)?(?P<name>\w+)")
CONSTANTS = re.compile(r"\bconstexpr\s+int\s+([^;]*);")
CONSTANT = re.compile(r"(\w+)\s*=\s*(\d+)\s*(?:,|$)")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: `const real* x` has the name x, the type real, and is a pointer to const."""

    name: str
    type: str
    pointer: bool
    const: bool


@dataclass(frozen=True, eq=False)  # one object a file and its types: `read` keeps them
class Source:
    """A CUDA C++ file, ready to be compiled.

    name       of the file
    text       all that the compiler needs, headers included
    kernels    the parameters of each `extern "C" __global__` function
    types      what the names that the file leaves open stand for: {"real": dtype("float32")}
    open       all names that it leaves open
    constants  the value of each `constexpr int`, where that is a number
    """

    name: str
    text: str
    kernels: Mapping[str, tuple[Parameter, ...]]
    types: Mapping[str, np.dtype]
    open: Collection[str] = ()
    constants: Mapping[str, int] = field(default_factory=dict)

    def dtype(self, parameter: Parameter) -> np.dtype:
        """The dtype of the numbers of a parameter; of a float4 that of its four."""
        if parameter.type in self.types:
            return self.types[parameter.type]
        if (c_type := parameter.type.rstrip(VECTOR)) not in DTYPES:
            raise MinicamError(f"{self.name}: {parameter.type} is open, and no array says what it is")
        return DTYPES[c_type]

    def constant(self, name: str) -> int:
        """The value of `constexpr int name = <number>` in the file."""
        if name not in self.constants:
            raise MinicamError(f"{self.name} has no line `constexpr int {name} = <number>;`")
        return self.constants[name]


def read(file: str | Path, types: tuple[tuple[str, str], ...] = ()) -> Source:
    """The source of a .cu file: a name in `FOLDER`, or a path. It is read again only after a change on disk.

    types  pairs such as ("real", "float64"): a name that the file leaves open, and the dtype it shall have
    Raises MinicamError where the file or a header of it cannot be read, or the parameters of a kernel cannot, or where
    one is of a type that is neither known nor left open.
    """
    path = FOLDER / file
    times, source = _read.get((path, types), ({}, None))
    if source is None or any(_changed(part) != time for part, time in times.items()):
        seen: dict[Path, int] = {}
        source = _parse(path.name, _spliced(path, seen), types)
        _read[path, types] = seen, source
    return source


_read: dict[tuple, tuple[dict[Path, int], Source]] = {}  # what was read, and when its files had last been changed


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise MinicamError(f"cannot read {path}: {error.strerror or error}") from None


def _parse(name: str, text: str, types: tuple[tuple[str, str], ...]) -> Source:
    for open_name, dtype in types:
        if dtype not in C_TYPES:
            raise MinicamError(f"{name}: {open_name} is {dtype}; a kernel can be built for {', '.join(C_TYPES)}")
    front = "".join(f"#define {open_name} {C_TYPES[dtype]}\n" for open_name, dtype in types)
    known = {open_name: np.dtype(dtype) for open_name, dtype in types}
    code, kernels, constants = COMMENT.sub("", text), {}, {}
    left_open = frozenset(("real", *OPEN.findall(code))) | known.keys()
    for kernel, parameters in KERNEL.findall(code):
        kernels[kernel] = tuple(_parameter(p, name, kernel) for p in parameters.split(",") if p.strip())
        for p in kernels[kernel]:
            if p.type not in left_open and p.type.rstrip(VECTOR) not in DTYPES:
                raise MinicamError(
                    f"{name}: {kernel} takes {p.name} as `{p.type}`; a type is real, one of {', '.join(DTYPES)}, or a "
                    "name for which the file has an #ifndef"
                )
    for statement in CONSTANTS.findall(code):
        for constant, value in CONSTANT.findall(statement):
            constants.setdefault(constant, int(value))
    return Source(name, front + text, kernels, known, left_open, constants)


def _parameter(text: str, file: str, kernel: str) -> Parameter:
    found = PARAMETER.fullmatch(" ".join(text.split()))
    if found is None:
        raise MinicamError(f"{file}: cannot read the parameter `{' '.join(text.split())}` of {kernel}")
    words = found["type"].split()
    c_type = " ".join(word for word in words if word != "const")
    return Parameter(found["name"], c_type, bool(found["pointer"]), "const" in words)


def _spliced(path: Path, seen: dict[Path, int]) -> str:
    """The text of a file with every header in its place, each of them once; `seen` gets the time of each file."""
    seen[path] = _changed(path)
    try:
        text = PRAGMA_ONCE.sub("", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MinicamError(f"cannot read {path}: {error}") from None

    def header(found: re.Match) -> str:
        below = path.parent / found[1]
        line = text.count("\n", 0, found.start()) + 2
        spliced = "" if below in seen else f"{_spliced(below, seen)}\n"
        return f'{spliced}#line {line} "{path.name}"'

    return f'#line 1 "{path.name}"\n{INCLUDE.sub(header, text)}'
