"""Files and folders written whole or not at all: whatever stops a program, nobody finds half of one."""

import csv
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from minicam import MinicamError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


PART = ".minicam-part-"  # begins the name of a folder that is still being written


def as_csv(header: Sequence, rows: Sequence[Sequence]) -> str:
    """Rows as CSV text with a header and plain line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file of text, as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all: under a temporary name first."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise MinicamError(f"cannot write {path}: {error.strerror or error}") from None
    finally:  # Ctrl-C included
        with suppress(OSError):
            temporary.unlink()  # it is there only where something failed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the file's lock, which is said, and hold it. (Windows has none.)"""
    if fcntl is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise MinicamError(f"cannot write {path}: {error.strerror or error}") from None
    with file:
        if not _taken(file):
            print(f"waiting for another process to let go of {path}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back


def _taken(file: object) -> bool:
    """Take the lock of an open file or folder, if no other process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. MinicamError where another process does. (Windows has none, nor have some disks.)"""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            if not _taken(handle):
                raise MinicamError(
                    f"another process is writing into {folder}; wait for it, or choose another folder with --out"
                )
        yield
    finally:
        os.close(handle)


@contextmanager
def whole_folder(out: Path, replaceable: Collection[str] = ()) -> Iterator[Path]:
    """A folder to write into, whose contents move to `out` when all is done, and vanish where anything fails.

    replaceable  names that `out` may hold already, to be replaced; MinicamError where it holds anything else but what
                 a process that was killed has left of such a folder, which is removed
    MinicamError, too, where another process is writing into it.
    """
    try:
        new = not out.exists()
        found = set() if new else {entry.name for entry in out.iterdir()}
        left = {name for name in found if name.startswith(PART)}
        others = sorted(found - left - set(replaceable))
        if others:
            raise MinicamError(f"{out} is not empty, it holds {others[0]}; choose a new folder with --out")
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            for name in left:
                shutil.rmtree(out / name, ignore_errors=True)
            part = Path(tempfile.mkdtemp(prefix=PART, dir=out))  # within: another place may be another disk
            try:
                yield part
                for entry in part.iterdir():
                    os.replace(entry, out / entry.name)
            finally:
                shutil.rmtree(part, ignore_errors=True)
                if new and not any(out.iterdir()):
                    out.rmdir()
    except OSError as error:
        raise MinicamError(f"cannot write to {out}: {error.strerror or error}") from None
