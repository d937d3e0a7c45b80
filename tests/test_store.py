"""Arrays on disk: what was put is got; what is damaged, cut short or half written is missing; folders are shared."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minicam import MinicamError, store
from minicam.store import RECORD, Store, names_in, room_in

SHAPE = (2, 3, 5)
BYTES = 2 * 2 * 3 * 5


def name(i):
    return f"array number {i:3}".encode()


def array(i):
    return np.random.default_rng(i).normal(size=SHAPE).astype(np.float16)


def opened(folder):
    return Store(folder, SHAPE, "numbers")


@pytest.fixture
def folder(tmp_path):
    """A folder with arrays 0 to 4."""
    with opened(tmp_path / "a" / "b") as kept:
        kept.put({name(i): array(i) for i in range(4)})
        kept.put({name(4): array(4)})
    return tmp_path / "a" / "b"


def found(folder, count=5):
    """Which of the first arrays are found; each must be as it was put."""
    with opened(folder) as kept:
        got = {i: kept.get(name(i)) for i in range(count)}
    for i, one in got.items():
        assert one is None or one.tobytes() == array(i).tobytes()
    return [i for i, one in got.items() if one is not None]


def put(folder, *numbers):
    with opened(folder) as kept:
        kept.put({name(i): array(i) for i in numbers})


def test_what_was_put_is_got(folder):
    with opened(folder) as kept:
        one = kept.get(name(3))
        assert (one.shape, one.dtype) == (SHAPE, np.float16)
        assert kept.get(b"another one here") is None
    assert found(folder, 6) == [0, 1, 2, 3, 4]
    assert names_in(folder) == {name(i) for i in range(5)}
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        "about.json": len("numbers"),
        "arrays": 5 * BYTES,
        "index": 5 * RECORD.size,
    }


def test_one_that_was_just_put_is_got(tmp_path):
    with opened(tmp_path) as kept:
        kept.put({name(0): array(0)})
        np.testing.assert_array_equal(kept.get(name(0)), array(0))


def test_the_names_in_a_folder_that_is_not_there(tmp_path):
    assert names_in(tmp_path / "none") == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [2 * BYTES, 3 * BYTES - 1])
def test_a_damaged_array_is_missing_and_written_anew_in_its_place(place, folder):
    data = bytearray((folder / "arrays").read_bytes())
    data[place] ^= 1
    (folder / "arrays").write_bytes(data)
    assert found(folder) == [0, 1, 3, 4]
    put(folder, 2)
    assert found(folder) == [0, 1, 2, 3, 4]
    assert (folder / "arrays").stat().st_size == 5 * BYTES


@pytest.mark.parametrize("place", [RECORD.size, 2 * RECORD.size - 1], ids=["name", "CRC-32"])
def test_a_damaged_record_is_missing(place, folder):
    data = bytearray((folder / "index").read_bytes())
    data[place] ^= 1
    (folder / "index").write_bytes(data)
    assert found(folder) == [0, 2, 3, 4]
    put(folder, 1)
    assert found(folder) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("size", "left"), [(0, 0), (1, 0), (3 * BYTES - 1, 2), (3 * BYTES, 3), (5 * BYTES - 1, 4)])
def test_arrays_that_were_cut_short(size, left, folder):
    os.truncate(folder / "arrays", size)
    assert found(folder) == list(range(left))
    put(folder, 4, 3, 2, 1, 0)
    assert found(folder) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("size", [0, 1, 3 * RECORD.size - 1, 3 * RECORD.size, 3 * RECORD.size + 7])
def test_an_index_that_was_cut_short(size, folder):
    """So it is where a process was killed while it wrote a record."""
    os.truncate(folder / "index", size)
    left = list(range(size // RECORD.size))
    assert found(folder) == left
    put(folder, 7)
    assert found(folder, 8) == [*left, 7]
    put(folder, *range(5))
    assert found(folder, 8) == [0, 1, 2, 3, 4, 7]


def test_an_index_that_ends_in_zeros(folder):
    """As some file systems leave it where the power went."""
    os.truncate(folder / "index", 7 * RECORD.size)
    assert found(folder) == [0, 1, 2, 3, 4]
    put(folder, 5)
    assert found(folder, 6) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("writes", range(5))
def test_killed_at_any_write(writes, tmp_path, monkeypatch):
    """Each array takes two writes; the one that kills does a half of its work."""
    pwrite, done = os.pwrite, []

    def killing(file, data, place):
        if len(done) == writes:
            pwrite(file, data[: len(data) // 2], place)
            raise KeyboardInterrupt
        done.append(place)
        return pwrite(file, data, place)

    monkeypatch.setattr(os, "pwrite", killing)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, 0, 1, 2)
    monkeypatch.undo()
    assert found(tmp_path) == list(range(writes // 2))
    put(tmp_path, 3, 2, 1, 0)
    assert found(tmp_path) == [0, 1, 2, 3]


def test_writes_that_take_less_than_they_were_given(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, place: pwrite(file, data[:7], place))
    put(tmp_path, 0, 1)
    monkeypatch.undo()
    assert found(tmp_path) == [0, 1]


def test_two_that_write_at_the_same_time_know_of_each_other(tmp_path):
    with opened(tmp_path) as one, opened(tmp_path) as other:
        one.put({name(0): array(0), name(1): array(1)})
        assert other.get(name(1)) is None  # it has not looked since
        other.put({name(1): array(1), name(2): array(2)})
        one.put({name(3): array(3)})
        np.testing.assert_array_equal(one.get(name(2)), array(2))
    assert found(tmp_path) == [0, 1, 2, 3]
    assert (tmp_path / "arrays").stat().st_size == 4 * BYTES


def test_who_writes_waits_for_who_writes(folder):
    with opened(folder) as one, ThreadPoolExecutor(1) as pool:
        with store._locked(one._index):
            waiting = pool.submit(put, folder, 5)
            time.sleep(0.1)
            assert not waiting.done()
            assert names_in(folder) == {name(i) for i in range(5)}
        waiting.result(timeout=60)
    assert found(folder, 6) == [0, 1, 2, 3, 4, 5]


def test_processes_that_write_at_the_same_time(tmp_path):
    text = (
        "import sys, test_store; from pathlib import Path\n"
        "for i in range(int(sys.argv[2]), int(sys.argv[2]) + 120): test_store.put(Path(sys.argv[1]), i)"
    )
    path = os.pathsep.join(map(str, (Path(store.__file__).parents[1], Path(__file__).parent)))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / "kept"), str(first)],
            env=os.environ | {"PYTHONPATH": path},
        )
        for first in (0, 60)
    ]
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    assert found(tmp_path / "kept", 200) == list(range(180))
    assert (tmp_path / "kept" / "arrays").stat().st_size == 180 * BYTES


def test_a_full_disk_is_told_in_one_line_and_harms_nothing(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(MinicamError, match=r"cannot keep features in .*b: No space left on device; make room or name"):
        put(folder, 5)
    monkeypatch.undo()
    assert found(folder, 6) == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for place, named in ((tmp_path / "file", "it"), (tmp_path / "file" / "kept", ".*/file")):
        with pytest.raises(MinicamError, match=r"cannot keep features in .*; make room or name another folder"):
            opened(place)
        with pytest.raises(MinicamError, match=f"cannot keep features in .*: {named} is a file; make room or name"):
            room_in(place)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(MinicamError, match=r"cannot keep features in .*/new: .* cannot be written to; make room"):
        room_in(tmp_path / "new")


def test_the_room_in_a_folder_that_is_not_there(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or SimpleNamespace(free=7))
    assert room_in(tmp_path / "a" / "b") == room_in(tmp_path) == 7
    assert asked == [tmp_path, tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "fcntl", None)
    for use in (opened, room_in):
        with pytest.raises(MinicamError, match="--cache-features needs the file locks of Linux or macOS; leave it out"):
            use(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
