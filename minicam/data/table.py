"""Tables of labels: a CSV file read strictly, every fault reported with its line."""

import csv
from collections.abc import Sequence
from pathlib import Path

from minicam import MinicamError


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file: the line in which each stands, and its cells by the name of their column.

    The file has a header that names at least `columns`, in any order. A byte-order mark, either line ending,
    blank lines and spaces around a cell are no faults. Raises MinicamError for everything else that is not as
    it should be.
    """
    lines = _lines(path)
    if not lines:
        raise MinicamError(
            f"{path} is empty; expected a header with the columns {','.join(columns)}, then rows"
        )
    (_, header), *rows = lines
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise MinicamError(
            f"{path} has the columns {','.join(header)}; "
            f"expected {','.join(columns)}, separated by commas, each once"
        )
    if not rows:
        raise MinicamError(f"{path} has a header but no rows; expected a row for each image")
    for line, cells in rows:
        if len(cells) != len(header):
            raise MinicamError(f"{path}, line {line}: {len(cells)} cells, where the header has {len(header)}")
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in rows]


def has_columns(path: Path, columns: Sequence[str]) -> bool:
    """Whether the file is a CSV file whose header names at least `columns`."""
    try:
        lines = _lines(path)
    except MinicamError:
        return False
    return bool(lines) and set(columns) <= set(lines[0][1])


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except FileNotFoundError as error:
        raise MinicamError(f"{path} is not there; check the folder") from error
    except UnicodeDecodeError as error:
        raise MinicamError(f"{path} is not a CSV file in UTF-8; save it as one") from error
    except csv.Error as error:
        raise MinicamError(f"{path}, line {reader.line_num}: not CSV ({error}); correct it") from error
    except OSError as error:
        raise MinicamError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return [(line, cells) for line, cells in lines if any(cells)]
