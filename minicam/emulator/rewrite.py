"""The few words of CUDA C++ that a header cannot explain to a C++ compiler: `__shared__` declarations.

    __shared__ float tile[16][33];

declares one array for the whole block, though every thread runs through the line. It becomes a static object that
knows the array's name and form, and a reference into the memory of the block that runs now:

    static emulator_array tile__shared = emulator_declare<float[16][33]>("tile", 0, false);
    float (&tile)[16][33] = *(float (*)[16][33])emulator_shared(tile__shared);

All of it stays on the line of the declaration, so that messages name the right one. (`#define __shared__ static` would
be simpler, but would make one array of those in all instances of a template, and leave no room between arrays.)
"""

import re

from minicam import MinicamError
from minicam.source import Parameter, Source

ALIGNMENT = re.compile(r"(?:__align__|alignas)\s*\(((?:[^()]|\([^()]*\))*)\)")
# Comments and strings match first, and stay as they are.
SHARED = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
    r"|(?P<before>(?:\b(?:extern|static|volatile)\s+|(?:__align__|alignas)\s*\((?:[^()]|\([^()]*\))*\)\s*)*)"
    r"\b__shared__\b(?P<declaration>[^;]*);",
    re.DOTALL,
)
DECLARATOR = re.compile(r"\s*(?P<type>.*?[\s>])??(?P<name>\w+)\s*(?P<lengths>(?:\[.*\])?)\s*", re.DOTALL)


def to_cpp(source: Source) -> str:
    """The text of a .cu file as C++ for emulator.h, with one function for each kernel that Python can call."""
    text = SHARED.sub(lambda found: _declaration(found, source.name), source.text)
    calls = "".join(_call(kernel, parameters) for kernel, parameters in source.kernels.items())
    return f'#include "emulator.h"\n{text}\n#line 1 "calls of {source.name}"\n{calls}'


def _call(kernel: str, parameters: tuple[Parameter, ...]) -> str:
    """A function that takes its arguments as a GPU's driver does: a pointer to each of them."""
    values = ", ".join(f"*({_type(p)}*)arguments[{i}]" for i, p in enumerate(parameters))
    return (
        '\nextern "C" __attribute__((visibility("default"), no_sanitize("thread")))\n'
        f"void emulator_call_{kernel}(void** arguments) {{ {kernel}({values}); }}\n"
    )


def _type(parameter: Parameter) -> str:
    return f"{'const ' * parameter.const}{parameter.type}{'*' * parameter.pointer}"


def _declaration(found: re.Match, file: str) -> str:
    if found["declaration"] is None:
        return found[0]
    words = f"{found['before']} {found['declaration']}"
    alignment = ALIGNMENT.search(words)
    words = ALIGNMENT.sub(" ", words)
    dynamic, volatile = (re.search(rf"\b{word}\b", words) is not None for word in ("extern", "volatile"))
    words = re.sub(r"\b(extern|static|volatile)\b", " ", words)
    c_type, result = "", ""
    for declarator in _split(words):
        parts = DECLARATOR.fullmatch(declarator)
        c_type = c_type or (" ".join((parts["type"] or "").split()) if parts else "")
        if not c_type:
            raise MinicamError(
                f"{file}: cannot read `{' '.join(found[0].split())}`; expected `__shared__ type name[length]...;`"
            )
        full_type = f"volatile {c_type}" if volatile else c_type
        result += _one(full_type, parts["name"], parts["lengths"], alignment[1] if alignment else "0", dynamic)
    return result + "\n" * found[0].count("\n")


def _one(c_type: str, name: str, lengths: str, alignment: str, dynamic: bool) -> str:
    whole = c_type if dynamic else f"{c_type}{lengths}"
    array = (
        f"static emulator_array {name}__shared = "
        f'emulator_declare<{whole}>("{name}", {alignment}, {str(dynamic).lower()}); '
    )
    memory = f"emulator_shared({name}__shared)"
    if dynamic:
        return f"{array}{c_type}* {name} = ({c_type}*){memory}; "
    return f"{array}{c_type} (&{name}){lengths} = *({c_type} (*){lengths}){memory}; "


def _split(declaration: str) -> list[str]:
    """At the commas that are not inside brackets."""
    parts, depth = [""], 0
    for character in declaration:
        depth += (character in "<[(") - (character in ">])")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
