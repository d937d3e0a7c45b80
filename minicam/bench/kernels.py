"""What the compiler says of each CUDA kernel: registers, static shared memory, spills, and the time to compile."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from minicam import MinicamError, nvrtc, source
from minicam.device import TF32_CAPABILITY
from minicam.results import figure, progress, table
from minicam.source import Source


def builds() -> Iterator[tuple[Source, str]]:
    """Every .cu file of minicam/ops with the dtype of its numbers: float32, and float64 where kernels take `real`."""
    files = sorted(source.FOLDER.glob("*.cu"))
    if not files:
        raise MinicamError(f"{source.FOLDER} has no .cu file; install minicam again")
    for path in files:
        text = source.read(path.name)
        yield text, "float32"
        if any(p.type == "real" for parameters in text.kernels.values() for p in parameters):
            yield source.read(path.name, (("real", "float64"),)), "float64"


def measure(archs: Sequence[str]) -> list[dict]:
    """A row for each kernel, dtype and architecture; none for those that the architecture is too old for.

    `milliseconds` are what its whole file took to compile; `dynamic` are bytes of shared memory that a launch asks for
    besides `shared`, which the compiler sees.
    """
    rows = []
    for text, dtype in builds():
        progress(f"{text.name}, {dtype}")
        dynamic = text.constant("SHARED_BYTES") if "extern __shared__" in text.text else 0
        for arch in archs:
            if too_old(arch, text):
                continue
            compiled = nvrtc.compile(text, arch)
            called = compiled.usage.keys() - text.kernels.keys()  # functions that were not inlined
            for kernel in (*text.kernels, *sorted(called)):
                about = {"file": text.name, "dtype": dtype, "arch": arch, "kernel": kernel, "dynamic": dynamic}
                usage = asdict(compiled.usage[kernel])
                rows.append(about | usage | {"milliseconds": round(compiled.seconds * 1e3, 1)})
    return rows


def spilling(rows: Sequence[dict]) -> list[dict]:
    """The rows of the kernels that spill."""
    return [row for row in rows if row["spill_stores"] or row["spill_loads"]]


def report(rows: Sequence[dict]) -> str:
    """The rows as a table: registers of a thread; bytes of shared memory of a block, of stack, and spilled."""
    header = ("file", "dtype", "arch", "kernel", "registers", "shared", "stack", "spilled", "compile ms")
    cells, before = [], None
    for row in rows:
        build = row["file"], row["dtype"], row["arch"]
        shared = row["shared"] + row["dynamic"]
        numbers = (row["registers"], shared, row["stack"], row["spill_stores"] + row["spill_loads"])
        # A file is compiled as a whole: its name and its time stand in the first of its lines.
        names, time = (build, figure(row["milliseconds"], 0)) if build != before else (("", "", ""), "")
        cells.append((*names, row["kernel"], *map(str, numbers), time))
        before = build
    return table(header, cells, left=4)


def too_old(arch: str, text: Source) -> bool:
    """Does a file use the instructions of mma.cuh, and the architecture not have them?"""
    number = re.search(r"\d+", arch)
    return '"mma.cuh"' in text.text and number is not None and int(number[0]) < TF32_CAPABILITY


def verdict(rows: Sequence[dict]) -> str:
    """A last line: which kernels spill."""
    kernels = {(row["file"], row["kernel"]) for row in rows}
    names = dict.fromkeys(f"{row['kernel']} ({row['dtype']}, {row['arch']})" for row in spilling(rows))
    found = f"spilling: {', '.join(names)}" if names else "none spills"
    return f"{len(kernels)} kernels in {len({file for file, _ in kernels})} files, {nvrtc.version()}: {found}"
