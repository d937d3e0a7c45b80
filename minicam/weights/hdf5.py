"""HDF5 with nothing left open: read only what a file itself holds, and write a whole file or none.

HDF5 follows links and datasets into other files, takes any shape at its word, and fills with zeros what was
never written. A file of weights needs none of that, so here each is an error.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from minicam import MinicamError

MAX_NUMBERS = 2**29  # in one file: 2 GiB of float32, nearly four times the whole of VGG16
ATTRIBUTE_BYTES = 64512  # the largest attribute that Keras writes in one piece; HDF5's own limit is 64 KiB
SIGNATURE = b"\x89HDF\r\n\x1a\n"

# What h5py raises on a damaged file, depending on the byte that is wrong.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


@contextmanager
def reading(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read from.

    Raises MinicamError for whatever is wrong with the file, also where only the block comes upon it.
    """
    path = Path(path)
    _check_signature(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGE as error:
        if "truncated file" in str(error):
            size = path.stat().st_size
            raise MinicamError(f"{path} is truncated, only {size:,} bytes are there") from error
        raise MinicamError(f"{path} is damaged, HDF5 cannot read it ({_reason(error)})") from error


def _check_signature(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except FileNotFoundError as error:
        raise MinicamError(f"there is no file {path}; expected HDF5 weights (.h5)") from error
    except IsADirectoryError as error:
        raise MinicamError(f"{path} is a folder, expected an HDF5 file of weights (.h5)") from error
    except OSError as error:
        raise MinicamError(f"cannot read {path}: {_reason(error)}") from error
    if start == SIGNATURE:
        return
    found = "is empty" if not start else "is not an HDF5 file"
    if start.startswith(b"PK"):
        found = "is a zip archive, as .keras and PyTorch files are"
    elif start.lstrip().startswith(b"<"):
        found = "is a web page, so its download went wrong"
    raise MinicamError(f"{path} {found}; expected HDF5 weights (.h5), as Keras's save_weights writes them")


@contextmanager
def writing(path: str | Path) -> Iterator[h5py.File]:
    """A new HDF5 file that takes the place of `path` when the block ends well, and is gone when it does not.

    Equal contents in an equal order give equal bytes. Raises MinicamError where the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise MinicamError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # in its folder: no rename crosses discs
    try:
        with h5py.File(temporary, "w", libver="earliest") as file:
            yield file
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # or a crash may leave the new name with none of the bytes
        os.replace(temporary, path)
    except (OSError, RuntimeError, ValueError) as error:
        raise MinicamError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else f"{type(error).__name__}: {error}"


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """The group or dataset at `path` below `group`, None where there is none.

    Raises MinicamError if a link on the way is soft or external.
    """
    node = group
    for part in path.split("/"):
        if part in ("", "."):
            continue
        name = part.encode()
        # By h5py's low level, as its `in` and `get` open the file that an external link names.
        if not isinstance(node, h5py.Group) or not node.id.links.exists(name):
            return None
        if node.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise MinicamError(f"{where(node)} has a soft or external link, {part}: refused")
        node = node[part]
    return node


def subgroup(group: h5py.Group, path: str) -> h5py.Group:
    """The group at `path` below `group`. Raises MinicamError where there is none."""
    node = member(group, path)
    if not isinstance(node, h5py.Group):
        raise MinicamError(f"{where(group)} has no group {path}, which its own list of names promises")
    return node


def dataset(group: h5py.Group, path: str, kinds: str = "f") -> h5py.Dataset:
    """The dataset at `path` below `group`, fit to be read. Nothing of it has been read yet.

    kinds   NumPy's letters of the kinds allowed: "f" is float16, float32 and float64, "S" is text

    Raises MinicamError where there is none, where its numbers lie in other files or were never written, and
    where they are of another type or absurdly many.
    """
    node = member(group, path)
    if not isinstance(node, h5py.Dataset):
        raise MinicamError(f"{where(group)} has no dataset {path}, which its own list of names promises")
    if node.external or node.is_virtual:
        raise MinicamError(f"{where(node)} keeps its numbers in other files: refused")
    if node.dtype.kind not in kinds or (node.dtype.kind != "S" and node.dtype.itemsize > 8):
        expected = {"f": "float16, float32 or float64", "S": "text"}.get(kinds, "plain numbers")
        raise MinicamError(f"{where(node)} holds {node.dtype}, expected {expected}")
    check_count([node])
    filtered = node.id.get_create_plist().get_nfilters() > 0
    if node.size and node.id.get_storage_size() < (1 if filtered else node.nbytes):
        raise MinicamError(f"{where(node)} has the shape {node.shape} but its numbers were never written")
    return node


def check_count(datasets: Sequence[h5py.Dataset]) -> None:
    """Raise MinicamError if the datasets claim more numbers than any network that minicam reads."""
    count = sum(math.prod(node.shape or ()) for node in datasets)
    if count > MAX_NUMBERS:
        place = where(datasets[0]) if len(datasets) == 1 else datasets[0].file.filename
        raise MinicamError(f"{place} claims {count:,} numbers; minicam reads up to {MAX_NUMBERS:,}")


def floats(node: h5py.Dataset, dtype: type | None = None) -> np.ndarray:
    """The numbers of a dataset as a fresh array of `dtype`, or as they are for None.

    Raises MinicamError if one is not finite, after the conversion.
    """
    values = np.asarray(node[()])
    if dtype is not None:
        with np.errstate(over="ignore"):  # too large for float32 becomes an infinity, refused below
            values = values.astype(dtype, copy=False)
    if not np.isfinite(values).all():
        raise MinicamError(f"{where(node)} holds NaN or infinity as {values.dtype}: refused")
    return values


def where(node: h5py.Group | h5py.Dataset) -> str:
    """The file and the place in it, for messages."""
    return f"{node.file.filename}: {node.name}"


def read_names(group: h5py.Group, attribute: str) -> list[str] | None:
    """The names in one attribute, or in its pieces attribute0, attribute1, ...; None where there is neither."""
    pieces = [attribute] if attribute in group.attrs else []
    if not pieces:
        numbered = (f"{attribute}{i}" for i in itertools.count())
        pieces = list(itertools.takewhile(group.attrs.__contains__, numbered))
    if not pieces:
        return None
    names: list[str] = []
    for piece in pieces:
        value = group.attrs[piece]
        if isinstance(value, h5py.Empty) or np.size(value) == 0:
            continue
        for name in np.atleast_1d(value).ravel().tolist():
            if not (name and isinstance(name, str | bytes)):
                raise MinicamError(f"{where(group)} has an attribute {piece} of {name!r}, expected names")
            names.append(name.decode() if isinstance(name, bytes) else name)
    return names


def write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Store names as Keras does: bytes of one length, in several pieces where one attribute is too small."""
    if too_long := [name for name in names if len(name.encode()) > ATTRIBUTE_BYTES]:
        raise MinicamError(f"the name {too_long[0][:40]}... is over {ATTRIBUTE_BYTES:,} bytes")
    values = np.array([name.encode() for name in names], dtype=None if names else "S1")
    pieces = [values]
    while any(piece.nbytes > ATTRIBUTE_BYTES for piece in pieces):
        pieces = np.array_split(values, len(pieces) + 1)
    for i, piece in enumerate(pieces):
        group.attrs[attribute if len(pieces) == 1 else f"{attribute}{i}"] = piece
