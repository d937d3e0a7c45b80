"""What was measured on a CPU, as two tables and some lines on the whole."""

from collections.abc import Callable, Sequence

from minicam.results import figure, percent, table

INSTALL = 'PyTorch is not installed, so there is nothing to compare with: pip install -e ".[bench]"'
LEGEND = (
    "times are medians, +- the range of the middle half; ratio is our time by PyTorch's, below 1 is faster",
    "GFLOP/s count what the direct convolution multiplies and adds: a method that needs less can pass 100 % of best",
)


def report(results: dict) -> str:
    """All of it."""
    theirs = ("PyTorch", "+-", "its format", "ratio")
    whole = ("network", "batch", "pixels", "threads", "s", "+-", "images/s", "of best", *theirs)
    parts = [table(whole, [network_cells(row) for row in results["networks"]])]
    if results["operations"]:
        header = ("layer", "direction", "batch", "times", "ms", "+-", "GFLOP/s", "of best", *theirs)
        parts.insert(0, table(header, [layer_cells(row) for row in results["operations"]], left=2))
    return "\n\n".join([*parts, "\n".join([*LEGEND, "", *lines(results)])])


def layer_cells(row: dict) -> tuple[str, ...]:
    """The row of a layer as the table shows it, in milliseconds."""
    rate = figure(row["tflops"] and row["tflops"] * 1e3, 1), percent(row["of_matrix_peak"])
    return (row["layer"], row["direction"], str(row["batch"]), str(row["count"]), *times(row, 1, 2)[:2], *rate,
            *times(row, 1, 2)[2:])  # fmt: skip


def network_cells(row: dict) -> tuple[str, ...]:
    """The row of the whole network as the table shows it, in seconds."""
    sizes = (str(row[name]) for name in ("batch", "size", "threads"))
    rate = figure(row["images_per_second"], 2), percent(row["of_matrix_peak"])
    return (row["what"], *sizes, *times(row, 1e-3, 3)[:2], *rate, *times(row, 1e-3, 3)[2:])


def times(row: dict, unit: float, digits: int) -> tuple[str, ...]:
    """Our time and its spread, PyTorch's, its memory format, and the ratio, in units of so many milliseconds."""
    names = ("milliseconds", "interquartile", "torch_milliseconds", "torch_interquartile")
    cells = (figure(row[name] if row[name] is None else row[name] * unit, digits) for name in names)
    return (*cells, row["torch_format"] or "-", figure(row["ratio"], 2))


def lines(results: dict) -> list[str]:
    """A line for the machine's best, for all convolutions, for what grows, for the memory, and for the three ratios."""
    best, main = results["peaks"]["tflops"]["float32"], results["networks"][0]
    said = [] if best is None else [f"the machine's best: {best * 1e3:.1f} GFLOP/s in NumPy's product of two matrices"]
    for row in results["convolutions"]:
        beside = "" if row["ratio"] is None else f", {row['ratio']:.2f} of PyTorch's time"
        said.append(f"convolutions of a step, batch {row['batch']}: {row['milliseconds'] / 1e3:.3f} s{beside}")
    for name in ("batch", "size", "threads"):
        said += growth(results["networks"], name)
    said += memory(results["memory"], main["batch"])
    if main["ratio"] is None:
        return [*said, INSTALL]
    names = (f"{name} {figure(results[f'{name}_ratio'], 2)}" for name in ("step", "forward", "memory"))
    return [*said, f"beside PyTorch, batch {main['batch']}: {', '.join(names)}"]


def growth(rows: Sequence[dict], name: str) -> list[str]:
    """A line for how the time of a step grows with one of its sizes, the others those of the first row."""
    others = {"batch", "size", "threads", "what"} - {name}
    mine = sorted(
        (row for row in rows if all(row[other] == rows[0][other] for other in others)), key=lambda row: row[name]
    )
    if len(mine) < 2:
        return []

    def series(key: str) -> str:
        return ", ".join(f"{row[key] / 1e3:.2f}" for row in mine)

    beside = "" if mine[0]["ratio"] is None else f"; PyTorch's {series('torch_milliseconds')}"
    at = ", ".join(str(row[name]) for row in mine)
    return [f"seconds of a step, {name} {at}: {series('milliseconds')}{beside}"]


def memory(held: dict, batch: int) -> list[str]:
    """A line for the most memory that a step takes."""
    if held["ours"]["most"] is None:
        return ["memory of a step: this system does not say"]

    def gib(get: Callable[[dict], float]) -> str:
        beside = f", PyTorch {get(held['torch']) / 2**30:.2f}" if held["torch"] else ""
        return f"{get(held['ours']) / 2**30:.2f} GiB{beside}"

    total, above = gib(lambda side: side["most"]), gib(lambda side: side["most"] - side["before"])
    return [f"memory of a step, batch {batch}: {total}; above what the process held without a network: {above}"]
