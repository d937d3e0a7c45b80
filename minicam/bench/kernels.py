"""What the compiler says of each CUDA kernel: registers, static shared memory, spills, and the time to compile."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from minicam import MinicamError, nvrtc, source
from minicam.bench.results import figure, table
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
    """A row for each kernel, dtype and architecture. `milliseconds` are those of its whole file."""
    rows = []
    for text, dtype in builds():
        for arch in archs:
            compiled = nvrtc.compile(text, arch)
            called = compiled.usage.keys() - text.kernels.keys()  # functions that were not inlined
            for kernel in (*text.kernels, *sorted(called)):
                about = {"file": text.name, "dtype": dtype, "arch": arch, "kernel": kernel}
                usage = asdict(compiled.usage[kernel])
                rows.append(about | usage | {"milliseconds": round(compiled.seconds * 1e3, 1)})
    return rows


def spilling(rows: Sequence[dict]) -> list[dict]:
    """The rows of the kernels that spill."""
    return [row for row in rows if row["spill_stores"] or row["spill_loads"]]


def report(rows: Sequence[dict]) -> str:
    """The rows as a table."""
    header = ("file", "dtype", "arch", "kernel", "registers", "shared bytes", "stack bytes", "spilled bytes", "ms")
    cells, before = [], None
    for row in rows:
        build = row["file"], row["dtype"], row["arch"]
        numbers = (row["registers"], row["shared"], row["stack"], row["spill_stores"] + row["spill_loads"])
        # A file is compiled as a whole: its name and its time stand in the first of its lines.
        names, time = (build, figure(row["milliseconds"], 0)) if build != before else (("", "", ""), "")
        cells.append((*names, row["kernel"], *map(str, numbers), time))
        before = build
    return table(header, cells, left=4)


def verdict(rows: Sequence[dict]) -> str:
    """A last line: which kernels spill."""
    kernels = {(row["file"], row["kernel"]) for row in rows}
    names = dict.fromkeys(f"{row['kernel']} ({row['dtype']}, {row['arch']})" for row in spilling(rows))
    found = f"spilling: {', '.join(names)}" if names else "none spills"
    return f"{len(kernels)} kernels in {len({file for file, _ in kernels})} files, {nvrtc.version()}: {found}"
