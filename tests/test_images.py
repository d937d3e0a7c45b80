"""Reading image files: what is converted to what, and how far an image may be reduced."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minicam import MinicamError
from minicam.data.images import image_shape, read_image, read_mask

ORIENTATION = 0x0112
# What a person sees of pixels that are stored with each EXIF orientation: EXIF 2.3, section 4.6.4, tag 274.
SEEN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    """A picture that JPEG keeps to a grey level or two: a different ramp in each channel."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = [x / (width - 1), y / (height - 1), (x + y) / (width + height - 2)]
    return np.rint(255 * np.stack(ramps, axis=-1)).astype(np.uint8)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


# what comes out


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_rgb_comes_back_as_it_was_stored(tmp_path, suffix):
    pixels = noise(13, 7)
    read = read_image(saved(tmp_path / f"a{suffix}", pixels))
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_jpeg_and_webp_come_back_nearly_so_and_in_rgb_order(tmp_path):
    pixels = smooth(45, 31)
    for name, options in [("a.jpg", {"quality": 95, "subsampling": 0}), ("a.JPEG", {"quality": 95}), ("a.webp", {})]:
        read = read_image(saved(tmp_path / name, pixels, **options)).astype(int)
        assert np.abs(read - pixels).mean() < 3


def test_grey_fills_all_three_channels(tmp_path):
    grey = noise(5, 9)[..., 0]
    for name in ("a.png", "a.tif", "a.bmp"):
        np.testing.assert_array_equal(read_image(saved(tmp_path / name, grey)), np.stack([grey] * 3, -1))
    jpeg = read_image(saved(tmp_path / "a.jpg", smooth(9, 5)[..., 0], quality=95))
    assert jpeg.shape == (9, 5, 3)
    np.testing.assert_array_equal(jpeg[..., 0], jpeg[..., 2])


def test_one_bit_becomes_black_and_white(tmp_path):
    bits = noise(11, 6)[..., 0] > 127
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", bits))[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_keeps_its_upper_8_bits_and_clips_nothing(tmp_path, name):
    grey = np.linspace(0, 65535, 7 * 11).astype(np.uint16).reshape(7, 11)
    read = read_image(saved(tmp_path / name, grey))
    np.testing.assert_array_equal(read[..., 0], grey >> 8)
    assert (read.min(), read.max()) == (0, 255)


def test_16_bit_big_endian_and_32_bit_files_of_16_bit_values_are_read_alike(tmp_path):
    grey = np.linspace(0, 65535, 5 * 3).astype(np.uint16).reshape(5, 3)
    big = Image.frombytes("I;16B", (3, 5), grey.astype(">u2").tobytes())
    big.save(tmp_path / "big.tif")
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "wide.tif")
    for name in ("big.tif", "wide.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 2], grey >> 8)


def test_palette_with_few_colours(tmp_path):
    colours = np.array([[200, 10, 30], [5, 120, 250], [0, 0, 0]], np.uint8)
    index = noise(8, 5)[..., 0] % 3
    paletted = Image.frombytes("P", (5, 8), index.tobytes())
    paletted.putpalette(colours.ravel().tolist())
    paletted.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours[index])
    paletted.save(tmp_path / "b.png", transparency=bytes([255, 0, 255]))  # the second colour is transparent
    colours[1] = 255
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), colours[index])


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((3, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = [255, 128, 0, 255]
    red = read_image(saved(tmp_path / "a.png", rgba))[0]
    np.testing.assert_array_equal(red[[0, 2]], [[200, 0, 0], [255, 255, 255]])
    np.testing.assert_allclose(red[1], 0.5 * np.array([200, 0, 0]) + 0.5 * 255, atol=1.5)

    grey_alpha = np.array([[[40, 255], [40, 0]]], np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "b.png", grey_alpha))[0, :, 0], [40, 255])

    Image.fromarray(np.array([[7, 9]], np.uint8)).save(tmp_path / "c.png", transparency=9)  # one grey stands for none
    np.testing.assert_array_equal(read_image(tmp_path / "c.png")[0, :, 0], [7, 255])


def test_cmyk_is_inverted_as_adobe_stores_it(tmp_path):
    ink = np.zeros((16, 24, 4), np.uint8)
    ink[:, :8] = [0, 255, 255, 0]  # no cyan: red
    ink[:, 8:16] = [255, 255, 0, 0]  # no yellow: blue
    Image.frombytes("CMYK", (24, 16), ink.tobytes()).save(tmp_path / "a.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    read = read_image(tmp_path / "a.jpg")[8, [3, 12, 20]].astype(int)
    np.testing.assert_allclose(read, [[255, 0, 0], [0, 0, 255], [255, 255, 255]], atol=4)


def test_only_the_first_picture_of_several_is_read(tmp_path):
    first, second = noise(6, 5, seed=1), noise(6, 5, seed=2)
    Image.fromarray(first).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(second)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), first)


# rotation


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_exif_rotation_is_applied_to_shape_and_pixels(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / f"a{suffix}", smooth(33, 57), exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    seen = SEEN[orientation](smooth(33, 57))
    assert image_shape(path) == seen.shape[:2]
    assert np.abs(read_image(path).astype(int) - seen).max() <= (12 if suffix == ".jpg" else 0)


def test_a_mask_is_turned_like_its_image(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = noise(9, 4)[..., 0] > 127
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.png", stored, exif=exif)), SEEN[6](stored))


def test_the_box_of_a_rotated_image_is_in_the_rotated_frame(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    path = saved(tmp_path / "a.jpg", smooth(160, 320), exif=exif, quality=95)
    assert image_shape(path) == (320, 160)
    assert read_image(path, 40, (0, 160, 160, 320)).shape == (80, 40, 3)  # a quarter: 160 pixels become 40
    assert read_image(path, 41, (0, 160, 160, 320)).shape == (160, 80, 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_damaged_exif_block_is_no_reason_to_refuse_or_to_warn(tmp_path, exif, name):
    path = saved(tmp_path / name, smooth(21, 35), exif=exif)
    assert image_shape(path) == (21, 35)
    assert read_image(path).shape == (21, 35, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_the_shape_is_read_without_decoding_the_pixels(tmp_path, monkeypatch, suffix):
    path = saved(tmp_path / f"a{suffix}", noise(43, 65))
    with Image.open(path) as image:
        kind = type(image)
    monkeypatch.setattr(kind, "load", lambda self: pytest.fail("the pixels were decoded"))
    assert image_shape(path) == (43, 65)


# reduction


def pixels_left(read, shape, box):
    """How many pixels the box keeps on each side in a reduced image."""
    (h, w), (H, W), (x0, y0, x1, y1) = read.shape[:2], shape, box
    return (x1 - x0) * w / W, (y1 - y0) * h / H


@pytest.fixture(scope="module")
def two_formats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {"a.jpg": {"exif": exif}, "a.png": {"exif": exif}, "b.jpg": {"progressive": True}}
    return [saved(folder / name, smooth(203, 331), **options[name]) for name in options]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_box_always_keeps_the_pixels_that_are_asked_for(two_formats, data):
    path = data.draw(st.sampled_from(two_formats))
    H, W = image_shape(path)
    x0, y0 = data.draw(st.integers(0, W - 2)), data.draw(st.integers(0, H - 2))
    box = (x0, y0, data.draw(st.integers(x0 + 1, W)), data.draw(st.integers(y0 + 1, H)))
    size = data.draw(st.integers(1, 300))
    read = read_image(path, size, box)
    side = min(box[2] - box[0], box[3] - box[1])
    assert min(pixels_left(read, (H, W), box)) >= min(size, side) - 1e-9
    factor = next(r for r in (1, 2, 4, 8) if read.shape[:2] == (-(-H // r), -(-W // r)))
    assert factor == 8 or side < 2 * factor * size  # and not twice as many, where it could be less


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_reduced_image_is_the_average_of_the_whole(tmp_path, name):
    path = saved(tmp_path / name, smooth(256, 192), **({"quality": 95} if name == "a.jpg" else {}))
    whole = read_image(path).astype(float)
    for factor in (2, 4, 8):
        read = read_image(path, size=192 // factor)
        assert read.shape == (256 // factor, 192 // factor, 3)
        means = whole.reshape(256 // factor, factor, 192 // factor, factor, 3).mean((1, 3))
        assert np.abs(read - means).mean() < 1.5


def test_without_a_size_nothing_is_reduced(tmp_path):
    path = saved(tmp_path / "a.jpg", smooth(64, 80))
    assert read_image(path).shape == (64, 80, 3)
    assert read_image(path, None, (0, 0, 8, 8)).shape == (64, 80, 3)


def test_a_picture_of_30_megapixels_is_read_quickly_small_and_without_a_warning(tmp_path):
    path = saved(tmp_path / "a.jpg", np.full((4501, 6703, 3), 90, np.uint8))
    assert image_shape(path) == (4501, 6703)
    assert read_image(path, 224).shape == (563, 838, 3)


# masks


def test_a_mask_is_true_from_128_on(tmp_path):
    grey = np.array([[0, 1, 127], [128, 200, 255]], np.uint8)
    np.testing.assert_array_equal(
        read_mask(saved(tmp_path / "a.png", grey)), [[False, False, False], [True, True, True]]
    )


def test_a_mask_of_zeros_and_ones_and_an_empty_one(tmp_path):
    ones = np.array([[0, 1, 1]], np.uint8)
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "a.png", ones)), [[False, True, True]])
    assert not read_mask(saved(tmp_path / "b.png", 0 * ones)).any()


@pytest.mark.parametrize("top", [256, 4095, 32767])
def test_a_mask_of_16_bits_that_is_nowhere_high_is_told(tmp_path, top):
    path = saved(tmp_path / "a.png", np.array([[0, top]], np.uint16))
    with pytest.raises(MinicamError, match=rf"a.png is a 16-bit mask of values up to {top}; save it with 0 and 65535"):
        read_mask(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 255), (127, 128), (0, 65535), (1, 32768), (32767, 32768), (255, 65535)]
)
def test_a_mask_of_16_bits_is_told_by_the_values_that_it_holds(tmp_path, name, low, high):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    mask = noise(9, 4)[..., 0] > 127
    path = saved(tmp_path / name, np.where(mask, high, low).astype(np.uint16), exif=exif)
    np.testing.assert_array_equal(read_mask(path), SEEN[6](mask))
    assert not read_mask(saved(tmp_path / f"empty{name}", np.zeros((9, 4), np.uint16))).any()
