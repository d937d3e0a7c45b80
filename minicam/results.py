"""What is measured, as a table for the terminal, and as a file of results that says where its figures come from."""

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from minicam import MinicamError, cuda
from minicam.backend import gpu_name
from minicam.files import write_text
from minicam.provenance import machine, version


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Cells as Markdown that is aligned for the terminal, too: the first `left` columns are text, the rest figures."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        aligned = (f"{cell:{'<' if i < left else '>'}{widths[i]}}" for i, cell in enumerate(cells))
        return f"| {' | '.join(aligned)} |"

    return "\n".join(line(cells) for cells in (header, rule, *rows))


def figure(value: float | None, digits: int) -> str:
    """A figure in a cell, with so many digits behind the point; a dash for what was not measured."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in a cell."""
    return "-" if value is None else f"{value:.0%}"


def slug(name: str) -> str:
    """A name as a part of a file's: small letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def progress(text: str) -> None:
    """Say on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr, flush=True)


def about(command: str) -> dict:
    """What stands first in a file of results: the command, the date, and the version of the code."""
    return {"command": command, **moment()}


def moment() -> dict:
    """The date, and the version of the code."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), **version()}


def computer(device: str) -> dict:
    """What computes: the machine, the device, the GPU's name, the precision of convolutions there."""
    gpu = gpu_name() if device == "cuda" else None
    return {"machine": machine(), "device": device, "gpu": gpu, "precision": cuda.precision()}


def read(path: Path) -> dict | None:
    """What `write` wrote; None where there is no such file. MinicamError where it cannot be read."""
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise MinicamError(f"{path} cannot be read ({error}); delete it to measure again") from None


def place(path: Path) -> Path:
    """The path, once it is known that a file can be written there, in a new folder if need be: to be asked before the
    measuring begins. MinicamError where not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
            raise OSError(None, "it is a folder" if path.is_dir() else "its folder cannot be written to")
    except OSError as error:
        raise MinicamError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def write(path: Path, results: dict) -> None:
    """Write results as JSON, in a new folder where there is none."""
    write_text(place(path), json.dumps(results, indent=2) + "\n")
