"""bench data: the photographs it writes, what it measures and prints, and that a wrong picture is not timed."""

import json

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError, backend
from minicam.bench import data
from minicam.bench.__main__ import main
from minicam.provenance import machine
from minicam.results import slug

SMALL = ("data", "--images", "3", "--width", "600", "--height", "400", "--size", "40", "--repeats", "2")


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    yield
    backend.set_threads(None)


def bench(**changes):
    return data.Bench(**{"images": 3, "width": 600, "height": 400, "size": 40, "workers": 2, "repeats": 1} | changes)


def test_the_photographs_are_as_large_as_a_cameras(tmp_path):
    """A bit for each pixel, as dermoscopy has it at a good quality: 3 MB at 6000 x 4000."""
    size = data.photographs(tmp_path, bench(images=2, width=1500, height=1000))
    assert 0.6 < 8 * size / (2 * 1500 * 1000) < 1.8
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["0.jpg", "1.jpg"]
    with Image.open(files[0]) as image:
        assert (image.size, image.mode) == ((1500, 1000), "RGB")
        assert image.layer[0][1:3] == (2, 2)  # 4:2:0
    assert files[0].read_bytes() != files[1].read_bytes()


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--threads", "2", "--need", "2"]) == 0
    path = tmp_path / f"results/data-{slug(machine()['cpu'])}.json"
    written = json.loads(path.read_text())
    assert list(written) == [
        *("command", "date", "commit", "dirty", "machine", "threads", "rate_ratio"),
        *("images_per_second", "pillow_images_per_second", "images_a_round", "milliseconds", "interquartile"),
        *("pillow_milliseconds", "pillow_interquartile", "bytes_an_image", "off"),
    ]
    assert written["command"] == f"python -m minicam.bench {' '.join(SMALL)} --threads 2"
    assert written["images_a_round"] == 18  # the least that is 16 or more, of 3 each time
    rate = written["images_per_second"]
    assert rate == pytest.approx(18 / written["milliseconds"] * 1e3, rel=1e-3)
    assert written["rate_ratio"] == pytest.approx(rate / written["pillow_images_per_second"], rel=1e-3)
    out = capsys.readouterr().out
    assert f"| minicam | {rate:8.1f} |" in out
    assert f"{written['rate_ratio']:.2f} times Pillow's rate\n" in out
    assert f"{rate / 2:.1f} times what a training step takes at 2 images/s\n" in out


def test_both_make_the_same_picture(tmp_path):
    given = bench()
    data.photographs(tmp_path, given)
    plain = data.ours(tmp_path, given, (), np.eye(3, 4))
    theirs = list(data.pillow(plain.dataset.paths[:3], given))
    assert {(x.shape, x.dtype) for x in theirs} == {((40, 40, 3), np.dtype(np.float32))}
    assert 0 < data.check(plain, theirs) < data.TOLERANCE
    with pytest.raises(MinicamError, match=r"^the loader's pictures are wrong: \d+ of 255 off Pillow's "):
        data.check(plain, [x[::-1] for x in theirs])


def test_bad_options_are_one_line(capsys):
    for option, value in (("images", 0), ("width", 0), ("size", -1), ("repeats", 0), ("threads", 0)):
        assert main(["data", f"--{option}", str(value)]) == 2
        assert capsys.readouterr().err == f"minicam: --{option} is {value}; it must be at least 1\n"
    assert main(["data", "--need", "0"]) == 2
    assert capsys.readouterr().err == "minicam: --need is 0; it must be more than 0\n"


def test_too_large_a_photograph_is_refused_before_it_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "measure", lambda *_: pytest.fail("it is measured"))
    where = ["--json", str(tmp_path / "x.json")]
    assert main(["data", "--width", "10001", "--height", "10000", *where]) == 2
    error = "minicam: --width times --height is 100010000; 100000000 pixels is the most that is read\n"
    assert capsys.readouterr().err == error
    monkeypatch.setattr(data, "measure", lambda *_: {})
    monkeypatch.setattr(data, "report", lambda *_: "measured")
    assert main(["data", "--width", "10000", "--height", "10000", *where]) == 0


def test_pillow_does_not_warn_of_large_photographs(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600 * 400 - 1)
    found = data.measure(tmp_path, bench())
    assert list(recwarn) == []
    assert (found["interquartile"], found["pillow_interquartile"]) == (None, None)  # of a single round
    header, _, *rows = (line.split("|")[-2].strip() for line in data.report(found, bench(), None).splitlines()[:4])
    assert [header, *rows] == ["+-", "-", "-"]


def test_nothing_is_measured_where_the_file_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "measure", lambda *_: pytest.fail("it is measured"))
    assert main([*SMALL, "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"minicam: cannot write {tmp_path}: it is a folder\n"


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["data", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(f"--{name}" in out for name in ("images", "width", "height", "size", "threads", "repeats", "need"))
