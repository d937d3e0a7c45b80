"""Bad input to `python -m minicam.explain`: exit code 2, one line that says what is wrong, and nothing left behind."""

import shutil

import numpy as np
import pytest
from PIL import Image

from minicam import explain, pictures


def command(*arguments):
    return explain.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images."""
    folder = tmp_path_factory.mktemp("images")
    for i, name in enumerate(("built-in", "grey", "large")):
        Image.fromarray(np.full((61, 89 + i, 3), 40 * i, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_nothing_is_written_where_nothing_can_be_read(small_run, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    assert command(small_run, folder / "a.png", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == f"minicam: {folder / 'a.png'} is empty (0 bytes); copy or download it again\n"
    (folder / "b.png").write_bytes(b"")
    assert command(small_run, folder, "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[2] == "minicam: none of the 2 images can be read, as said above; nothing was written"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.fixture
def refused(capsys, tmp_path):
    """Calls the command, which must refuse; gives its one line, and sees that it left nothing behind."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert command(*arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


def test_options_that_cannot_be_are_refused(small_run, images, refused, tmp_path):
    options = [small_run, images, "--out", tmp_path / "out"]
    line = refused(*options, "--class", "wart")
    assert line == "minicam: the run has no class 'wart'; choose one of nevus, melanoma, seborrheic_keratosis\n"
    assert "the following arguments are required: --out; --help shows all options" in refused(small_run, images)
    assert "--batch is 0; it must be at least 1" in refused(*options, "--batch", 0)
    assert "--workers is -1; it must be at least 1" in refused(*options, "--workers", -1)
    tf32 = "--device", "cpu", "--precision", "tf32"
    assert "--precision tf32 needs the matrix units of a GPU" in refused(*options, *tf32)


def test_a_folder_without_images_is_refused(small_run, refused, tmp_path):
    (tmp_path / "images").mkdir()
    assert "images holds no images" in refused(small_run, tmp_path / "images", "--out", tmp_path / "out")
    assert "there is no such image or folder" in refused(small_run, tmp_path / "none", "--out", tmp_path / "out")


def test_a_run_that_is_not_finished_is_refused(small_run, images, refused, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("stage2.h5"))
    line = refused(run, images, "--out", tmp_path / "out")
    assert line == f"minicam: stage 2 of {run} is not finished; finish it with python -m minicam.train --resume {run}\n"


def test_a_folder_that_is_not_empty_is_refused(small_run, images, refused, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "boxes.csv").write_text("mine")
    line = refused(small_run, images, "--out", out)
    assert line == f"minicam: {out} is not empty, it holds boxes.csv; choose a new folder with --out\n"
    assert (out / "boxes.csv").read_text() == "mine"


@pytest.mark.parametrize("there", [False, True])
def test_what_fails_in_the_middle_leaves_nothing(small_run, images, refused, tmp_path, monkeypatch, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def full(dataset, i, *rest):
        if dataset.ids[i] == "large":
            assert list(out.rglob("built-in.npy"))  # some files are there already
            raise OSError(28, "No space left on device")
        return pictures.cam_pictures(dataset, i, *rest)

    monkeypatch.setattr(explain, "cam_pictures", full)
    line = refused(small_run, images, "--out", out, "--batch", 2)
    assert line == f"minicam: cannot write to {out}: No space left on device\n"
