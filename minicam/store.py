"""Arrays on disk, each under a name: what took long to compute is read the next time.

    about.json   what they are, for a person to read
    arrays       float16 arrays of one shape, one after the other
    index        for each of them, in their order, 20 bytes: its name, and the CRC-32 of name and array

An array is written before its record in the index. So a process can be killed at any time, and what it had finished is
found; an array that does not agree with its CRC-32 counts as missing, and is written anew. Processes may share a
folder: they lock the index while they write, and all would write the same under a name.

The files are read, not mapped into memory: of a mapped file that was cut short, a look beyond its end kills the process
where reading returns less.
"""

import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import TracebackType
from zlib import crc32

import numpy as np

from minicam import MinicamError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RECORD = struct.Struct("<16sI")

Places = dict[bytes, tuple[int, int]]  # of each name the number of its array, and the CRC-32


class Store:
    """The arrays in a folder, of `shape`. Threads may read at the same time."""

    def __init__(self, folder: Path, shape: Sequence[int], about: str) -> None:
        """Open the folder, or make it. MinicamError where that cannot be."""
        self.folder, self.shape = folder, tuple(shape)
        self.bytes = 2 * prod(shape)
        with _failures_told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "about.json").exists():
                (folder / "about.json").write_text(about)
            names = ("index", "arrays")
            self._index, self._arrays = (os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666) for name in names)
            self._count, self._places = 0, {}
            self._look()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._index)
        os.close(self._arrays)

    def get(self, name: bytes) -> np.ndarray | None:
        """The array under a name of 16 bytes; None where there is none, or a damaged one."""
        if name not in self._places:
            return None
        number, crc = self._places[name]
        try:
            data = os.pread(self._arrays, self.bytes, number * self.bytes)
        except OSError:
            return None
        if crc32(data, crc32(name)) != crc:
            return None
        return np.frombuffer(data, "<f2").reshape(self.shape)

    def put(self, arrays: Mapping[bytes, np.ndarray]) -> None:
        """Write float16 arrays under their names. MinicamError where that cannot be: the disk may be full."""
        with _failures_told(self.folder), _locked(self._index):
            self._look()
            for name, array in arrays.items():
                data = array.astype("<f2").tobytes()
                record = name, crc32(data, crc32(name))
                number, _ = self._places.get(name, (self._count, None))
                _write(self._arrays, data, number * self.bytes)
                _write(self._index, RECORD.pack(*record), number * RECORD.size)
                self._places[name] = number, record[1]
                self._count = max(self._count, number + 1)

    def _look(self) -> None:
        """Read what other processes may have added to the index. (An array that they have written anew is missing here,
        as before.)"""
        size, start = os.fstat(self._index).st_size, self._count * RECORD.size
        if size < start:  # it was cut short
            self._count, self._places, start = 0, {}, 0
        count, places = _read_index(os.pread(self._index, size - start, start), self._count)
        self._count += count
        self._places |= places


def names_in(folder: Path) -> set[bytes]:
    """The names in the index of a folder, which need not be there."""
    try:
        return set(_read_index((folder / "index").read_bytes())[1])
    except OSError:
        return set()


def room_in(folder: Path) -> int:
    """The free bytes where a folder is, or would be. MinicamError where nothing can be written there."""
    with _failures_told(folder):
        place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not place.is_dir():
            raise OSError(f"{'it' if place == folder else place} is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(f"{'it' if place == folder else place} cannot be written to")
        return shutil.disk_usage(place).free


def _read_index(data: bytes, first: int = 0) -> tuple[int, Places]:
    """How many records there are, and what they say, from number `first` on; a part of a record at the end is none."""
    count = len(data) // RECORD.size
    records = RECORD.iter_unpack(data[: count * RECORD.size])
    return count, {name: (number, crc) for number, (name, crc) in enumerate(records, first)}


def _write(file: int, data: bytes, place: int) -> None:
    while data:
        done = os.pwrite(file, data, place)
        data, place = data[done:], place + done


@contextmanager
def _locked(file: int) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def _failures_told(folder: Path) -> Iterator[None]:
    if fcntl is None:
        raise MinicamError("--cache-features needs the file locks of Linux or macOS; leave it out")
    try:
        yield
    except OSError as error:
        raise MinicamError(
            f"cannot keep features in {folder}: {error.strerror or error}; make room or name another folder with "
            "--cache-features, or leave it out: a run that is resumed without it ends with the same results"
        ) from None
