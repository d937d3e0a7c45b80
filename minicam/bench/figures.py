"""From seconds to the figures of a row, and from rows to the tables that are printed."""

from collections.abc import Sequence

import numpy as np

from minicam.bench.clock import spread
from minicam.results import figure, percent, table


def rounded(value: float | None) -> float | None:
    """Four digits: more than a time on a GPU is good for."""
    return None if value is None else float(f"{value:.4g}")


def timed(ours: np.ndarray, theirs: np.ndarray | None) -> dict:
    """Milliseconds from seconds, median and interquartile range: ours, and PyTorch's where it was measured.

    The range of one measurement is None, as `spread` has it.
    `ratio` is our time by PyTorch's: below 1 is faster.
    """
    middle, width = map(rounded, spread(ours))
    their_middle, their_width = (None, None) if theirs is None else map(rounded, spread(theirs))
    return {
        "milliseconds": middle,
        "interquartile": width,
        "torch_milliseconds": their_middle,
        "torch_interquartile": their_width,
        "ratio": None if their_middle is None else rounded(middle / their_middle),
    }


def images(times: dict, batch: int) -> dict:
    """Images a second, ours and PyTorch's, from the `timed` of a whole batch."""
    theirs = times["torch_milliseconds"]
    return {
        "images_per_second": rounded(batch / times["milliseconds"] * 1e3),
        "torch_images_per_second": rounded(theirs and batch / theirs * 1e3),
    }


def rates(best: dict, precision: str, milliseconds: float, flops: float, size: float) -> dict:
    """What is done in a second, and which share of the machine's best that is. None for what does not apply.

    best         "tflops" by precision, and "gbytes_per_second": None where it is not known
    flops, size  multiplications and additions, and bytes, in this time
    """
    tflops = flops / milliseconds / 1e9 if flops and milliseconds > 0 else None
    gbytes = size / milliseconds / 1e6 if size and milliseconds > 0 else None
    product, copy = best["tflops"].get(precision), best["gbytes_per_second"]
    return {
        "tflops": rounded(tflops),
        "of_matrix_peak": rounded(tflops / product) if tflops and product else None,
        "gbytes_per_second": rounded(gbytes),
        "of_copy_peak": rounded(gbytes / copy) if gbytes and copy else None,
    }


def sums(rows: Sequence[dict], best: dict) -> list[dict]:
    """All convolutions of a step together, in each precision: equal layers count as often as they are there."""
    found = []
    for precision in best["tflops"]:
        mine = [row for row in rows if row["precision"] == precision and row["flops"]]
        milliseconds = sum(row["count"] * row["milliseconds"] for row in mine)
        flops = sum(row["count"] * row["flops"] for row in mine)
        theirs = [row["count"] * row["torch_milliseconds"] for row in mine if row["torch_milliseconds"] is not None]
        ratio = rounded(milliseconds / sum(theirs)) if theirs else None
        total = {"precision": precision, "milliseconds": rounded(milliseconds), "ratio": ratio}
        found.append(total | rates(best, precision, milliseconds, flops, 0))
    return found


def report(results: dict) -> str:
    """What was measured, as a table of the operations and some lines on the whole."""
    header = ("layer", "direction", "precision", "times", "ms", "+-", "TFLOP/s", "of best", "GB/s", "of copy",
              "PyTorch ms", "ratio")  # fmt: skip
    rows = sorted(results["operations"], key=lambda row: row["precision"], reverse=True)  # tf32 first
    legend = "ms is a median and +- the range of the middle half; ratio is our time by PyTorch's, below 1 is faster"
    return "\n".join([table(header, [cells(row) for row in rows], left=3), legend, "", *lines(results)])


def cells(row: dict) -> tuple[str, ...]:
    """The row of an operation as the table shows it."""
    return (
        row["layer"],
        row["direction"],
        row["precision"],
        str(row["count"]),
        figure(row["milliseconds"], 3),
        figure(row["interquartile"], 3),
        figure(row["tflops"], 1),
        percent(row["of_matrix_peak"]),
        figure(row["gbytes_per_second"], 0),
        percent(row["of_copy_peak"]),
        figure(row["torch_milliseconds"], 3),
        figure(row["ratio"], 2),
    )


def lines(results: dict) -> list[str]:
    """A line for each of the GPU's best, for all convolutions together, and for the training step."""
    best = results["peaks"]
    said = [f"the GPU's best: {best['gbytes_per_second']:.0f} GB/s in a copy"]
    said += [f"the GPU's best, {p}: {figure(value, 1)} TFLOP/s in a product" for p, value in best["tflops"].items()]
    for row in results["convolutions"]:
        said.append(f"convolutions of a step, {row['precision']}: {row['milliseconds']:.1f} ms, {shares(row)}")
    for row in results["steps"]:
        said.append(f"training step, {row['precision']}: {row['images_per_second']:.1f} images/s, {shares(row)}")
    return said


def shares(row: dict) -> str:
    """TFLOP/s, and how these and the time compare."""
    text = f"{figure(row['tflops'], 1)} TFLOP/s, {percent(row['of_matrix_peak'])} of the best"
    return text if row["ratio"] is None else f"{text}, {row['ratio']:.2f} of PyTorch's time"
