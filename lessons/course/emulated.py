"""Kernels that are texts, run in the emulator; and what is said where that cannot be done."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minicam import MinicamError, cuda, emulator, source
from minicam.emulator.build import compiler


@contextmanager
def told() -> Iterator[None]:
    """Print in one line what minicam says of a failure, as of no compiler; the rest of the block is left out."""
    try:
        yield
    except MinicamError as error:
        print(error)


def launch(
    text: str, args: Sequence, blocks: Sequence[int] = (1,), block: int = 64, trace: bool = False, **options: Any
) -> emulator.Launch | None:
    """Run the one kernel of a text in the emulator; the record of what its threads did, where it is traced.

    It can include the headers of minicam/ops. `options` are those of `emulator.options`: check, order, seed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = _written(text, folder)
        kernels = list(source.read(path).kernels)
        if len(kernels) != 1:
            raise MinicamError(f"the text has {len(kernels)} kernels; expected one, `extern \"C\" __global__ void ...`")
        records: list[emulator.Launch] = []
        with emulator.options(trace=records if trace else None, **options):
            cuda.launch(path, kernels[0], args, blocks=blocks, block=block)
    return records[0] if trace else None


def complaint(text: str, args: Sequence, blocks: Sequence[int] = (1,), block: int = 64) -> str | None:
    """What check mode, or before it the compiler, says of the kernel of a text; None: nothing."""
    try:
        launch(text, args, blocks, block, check=True)
    except MinicamError as error:
        return str(error)
    return None


def refusal(text: Any, kernel: str, parameters: str) -> str | None:
    """Why an answer cannot be run as the kernel that is asked for, `const real* x, int size` its parameters."""
    if not isinstance(text, str):
        return "it must return the text of a kernel"
    try:
        compiler()
        with tempfile.TemporaryDirectory() as folder:
            kernels = source.read(_written(text, folder)).kernels
    except MinicamError as error:
        return f"it cannot be run: {error}"
    if list(kernels) != [kernel]:
        return f'there must be one kernel, extern "C" __global__ void {kernel}({parameters})'
    found = [(p.type.replace("real", "float"), p.pointer) for p in kernels[kernel]]
    asked = parameters.replace("real", "float").replace("const ", "").split(", ")
    wanted = [(p.split()[0].rstrip("*"), "*" in p) for p in asked]
    return None if found == wanted else f"{kernel} must take {parameters}"


def _written(text: str, folder: str) -> Path:
    """The text as a file, beside the headers that it can include."""
    for header in source.FOLDER.glob("*.cuh"):
        shutil.copy(header, folder)
    path = Path(folder) / "own.cu"
    path.write_text(text, encoding="utf-8")
    return path
