"""Image files that cannot be read: each says so in one clear line, and no warning of Pillow comes through."""

import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError
from minicam.data.images import image_shape, images_in, read_image, read_mask


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("read", [read_image, image_shape, read_mask])
def test_files_that_are_no_images(tmp_path, read):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(MinicamError, match=r"empty\.jpg is empty \(0 bytes\); copy or download it again"):
        read(tmp_path / "empty.jpg")
    with pytest.raises(MinicamError, match=r"text\.jpg is no image of a format .*convert it or copy it again"):
        read(tmp_path / "text.jpg")
    with pytest.raises(MinicamError, match=r"none\.jpg: there is no such image file; check the path"):
        read(tmp_path / "none.jpg")
    with pytest.raises(MinicamError, match="is a folder, where an image file was expected"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp", "a.webp"])
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_truncated_images(tmp_path, name, part):
    whole = saved(tmp_path / name, noise(50, 70)).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    for size in (None, 12):
        with pytest.raises(MinicamError, match=rf"{name} is (damaged or cut short|no image)"):
            read_image(tmp_path / name, size)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", noise(3, 3))

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # a superuser may read what chmod forbids
    with pytest.raises(MinicamError, match=r"a\.png cannot be read \(Permission denied\); check its permissions"):
        read_image(path)


@pytest.mark.parametrize(
    ("height", "words"), [(8_000, "14000 x 8000 pixels, more than"), (13_000, "far too many pixels, more than")]
)
def test_decompression_bombs(tmp_path, height, words):
    Image.new("1", (14_000, height)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    with pytest.raises(MinicamError, match=rf"a\.png holds {words} the limit of 100 million; reduce it first"):
        image_shape(tmp_path / "a.png")


def test_pixels_that_have_no_conversion(tmp_path):
    saved(tmp_path / "float.tif", np.ones((3, 5), np.float32))
    with pytest.raises(MinicamError, match=r"float\.tif holds floating-point pixels; save it as 8-bit RGB"):
        read_image(tmp_path / "float.tif")
    saved(tmp_path / "deep.tif", np.array([[-4, 70000]], np.int32))
    with pytest.raises(MinicamError, match=r"deep\.tif holds greys from -4 to 70000, beyond 16 bits; save it"):
        read_image(tmp_path / "deep.tif")


def test_no_random_damage_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(5)
    for suffix in (".jpg", ".png", ".tif", ".bmp", ".webp"):
        whole = saved(tmp_path / f"a{suffix}", noise(20, 30)).read_bytes()
        path, refused = tmp_path / f"b{suffix}", 0
        for _ in range(60):
            damaged = np.frombuffer(whole, np.uint8).copy()
            places = rng.integers(0, min(len(whole), 300), 3)
            damaged[places] = rng.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            try:
                assert read_image(path).shape[:2] == image_shape(path)
            except MinicamError:
                refused += 1
        assert refused > 0


def test_warnings_of_pillow_are_kept_in_threads_too_and_others_still_come(tmp_path):
    path = saved(tmp_path / "a.jpg", noise(21, 35), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9)
    faults = []

    def read():
        try:
            read_image(path)
        except MinicamError as error:
            faults.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    assert not faults


def test_the_identity_of_an_image_that_is_gone(tmp_path):
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "a.png")
    data = images_in(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(MinicamError, match=r"a.png cannot be read \(No such file or directory\); check the path"):
        data.identity(0)
