"""Image files: decode them to RGB, no larger than their use needs, and treat a folder of them as a data set.

What is read: JPEG, PNG, BMP, TIFF and WebP, of up to 100 million pixels; of a file with several pictures the
first. What comes out is always 8-bit RGB, upright:

    EXIF rotation          applied, so that height, width and boxes are those that a person sees
    greyscale, 1-bit       the same value in all three channels
    16-bit greyscale       the upper 8 bits: 0..65535 becomes 0..255. Nothing is clipped or stretched, so 12
                           bits in a 16-bit file come out dark: stretch them first
    palette, CMYK, YCbCr   converted to RGB (colour profiles are not applied)
    transparency           laid over white, as a viewer shows it

Anything else is a MinicamError: a missing, empty, truncated or foreign file, and pixels that have no such
conversion.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from minicam import MinicamError
from minicam.data import Dataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # what Pillow may try: nothing that starts another program
MAX_PIXELS = (
    100_000_000  # 300 MB as RGB. Dermoscopy has about 30 million; a "bomb" of a few kB can claim billions
)

ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(
    path: str | Path, size: int | None = None, box: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """The whole image, uint8 (h, w, 3), RGB, perhaps reduced by 2, 4 or 8 (sides rounded up).

    size and box are those of `Dataset.image`: the reduction is the largest that leaves the box (x0, y0, x1,
    y1 of the upright original; None is all of it) at least `size` pixels on both sides. JPEGs are reduced
    while they are decoded, which is several times faster than decoding them whole; other formats are averaged
    afterwards.
    """
    with _opened(path) as image:
        width, height, orientation = _header(image)
        x0, y0, x1, y1 = box or (0, 0, width, height)
        factor = reduction(min(x1 - x0, y1 - y0), size)
        drafted = image.draft(None, (width // factor, height // factor))  # None for what is no JPEG
        rgb = _rgb(image, path)
        if factor > 1 and drafted is None:
            rgb = rgb.reduce(factor)
        return np.array(_upright(rgb, image, orientation))


def image_shape(path: str | Path) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header alone."""
    with _opened(path) as image:
        width, height, orientation = _header(image)
        return (width, height) if orientation >= 5 else (height, width)


def read_mask(path: str | Path) -> np.ndarray:
    """A lesion mask, bool (H, W): true from value 128 on, or at 1 in a file that holds only 0 and 1.

    In a 16-bit file that holds more than 255 it is true from 32768 on. MinicamError where none of that is so high.
    """
    with _opened(path) as image:
        orientation, values = _header(image)[2], _wide_greys(image, path)
        grey = image.convert("L") if values is None else Image.fromarray(values.astype(np.int32))
        grey = np.asarray(_upright(grey, image, orientation))
    if 255 < (top := grey.max()) < 32768:
        raise MinicamError(f"{path} is a 16-bit mask of values up to {top}; save it with 0 and 65535, or in 8 bits")
    return grey >= (1 if top <= 1 else 128 if top <= 255 else 32768)


def reduction(side: int, size: int | None) -> int:
    """The largest of 8, 4, 2 and 1 by which `side` pixels can be reduced and still be `size`."""
    return next((r for r in (8, 4, 2) if size is not None and side >= r * size), 1)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The opened image, header read; every way in which a file can be bad becomes one clear line."""
    _ignore_warnings_of_pillow()
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise MinicamError(f"{path} is empty (0 bytes); copy or download it again")
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise MinicamError(_too_large(path, f"{width} x {height} pixels"))
                yield image
    except MinicamError:
        raise
    except FileNotFoundError as error:
        raise MinicamError(f"{path}: there is no such image file; check the path") from error
    except IsADirectoryError as error:
        raise MinicamError(f"{path} is a folder, where an image file was expected; name a file") from error
    except UnidentifiedImageError as error:
        raise MinicamError(
            f"{path} is no image of a format that is read here ({', '.join(FORMATS)}), or its first bytes are "
            "damaged; convert it or copy it again"
        ) from error
    except Image.DecompressionBombError as error:
        raise MinicamError(_too_large(path, "far too many pixels")) from error
    except Exception as error:  # on damaged data Pillow raises nearly anything, from struct.error to KeyError
        if isinstance(error, OSError) and error.errno is not None:
            raise MinicamError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
        reason = str(error) or type(error).__name__
        raise MinicamError(f"{path} is damaged or cut short ({reason}); copy or download it again") from error


def _too_large(path: str | Path, what: str) -> str:
    return f"{path} holds {what}, more than the limit of {MAX_PIXELS // 10**6} million; reduce it first"


_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def _ignore_warnings_of_pillow() -> None:
    """Keep Pillow from warning of odd but readable files, such as one with a damaged EXIF block.

    The filter stays. `warnings.catch_warnings` would take it back, but images are read in several threads,
    and its ends then cross: one thread puts back what another had set for itself.
    """
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", category=Warning, module=r"PIL\.")


def _header(image: Image.Image) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation, 1 to 8: from 5 on the sides are swapped."""
    width, height = image.size
    if image.format == "TIFF":  # whether Pillow has already swapped them in `size` depends on its version
        width, height = image.tag_v2[256], image.tag_v2[257]
    try:
        # Not image.getexif(): PNG's own decodes all pixels, to look for an EXIF block behind them.
        orientation = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # a photograph whose EXIF block is damaged is still a photograph
        orientation = 1
    return width, height, orientation if orientation in UPRIGHT else 1


def _upright(pixels: Image.Image, image: Image.Image, orientation: int) -> Image.Image:
    """The pixels of `image` as a person sees them. Pillow itself turns TIFFs when it decodes them."""
    if orientation == 1 or image.format == "TIFF":
        return pixels
    return pixels.transpose(UPRIGHT[orientation])


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    image = _eight_bits(image, path)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, path: str | Path) -> Image.Image:
    """The image itself, or a 16-bit greyscale one reduced to the upper 8 bits."""
    values = _wide_greys(image, path)
    return image if values is None else Image.fromarray((values >> 8).astype(np.uint8))


def _wide_greys(image: Image.Image, path: str | Path) -> np.ndarray | None:
    """The values of a 16-bit greyscale image, (h, w), 0..65535 in integers of some size; None of an image of 8 bits."""
    if image.mode in ("F", "LAB"):
        kind = {"F": "floating-point", "LAB": "Lab"}[image.mode]
        raise MinicamError(f"{path} holds {kind} pixels; save it as 8-bit RGB or as 8- or 16-bit greyscale")
    if not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:  # mode "I" is 32 bits wide, though what it holds is mostly 16
        raise MinicamError(
            f"{path} holds greys from {low} to {high}, beyond 16 bits; save it as 8- or 16-bit greyscale"
        )
    return values


@dataclass(frozen=True, eq=False)
class FileDataset(Dataset):
    """Images in files, decoded each time that they are asked for.

    paths   N image files
    masks   N lesion masks, None where there is none
    """

    paths: tuple[Path, ...]
    masks: tuple[Path | None, ...]

    def shape(self, i: int) -> tuple[int, int]:
        return image_shape(self.paths[i])

    def image(
        self, i: int, size: int | None = None, box: tuple[int, int, int, int] | None = None
    ) -> np.ndarray:
        return read_image(self.paths[i], size, box)

    def identity(self, i: int) -> str:
        """Where the file is, its size, and when it was last changed."""
        try:
            found = os.stat(self.paths[i])
        except OSError as error:
            raise MinicamError(f"{self.paths[i]} cannot be read ({error.strerror}); check the path") from None
        return f"{os.path.abspath(self.paths[i])}, {found.st_size} bytes, changed at {found.st_mtime_ns} ns"

    def mask(self, i: int) -> np.ndarray | None:
        """Raises MinicamError where the mask's sides are not in the proportion of the image's, to a pixel."""
        if self.masks[i] is None:
            return None
        mask, (H, W) = read_mask(self.masks[i]), self.shape(i)
        h, w = mask.shape
        if h > H or w > W or min(abs(h - H * w / W), abs(w - W * h / H)) > 1:
            raise MinicamError(
                f"{self.masks[i]} is {w} x {h} pixels and its image {W} x {H}; a mask has its "
                "image's size, or is evenly reduced from it"
            )
        return mask

    def subset(self, indices: np.ndarray) -> Self:
        indices = np.arange(len(self))[indices]
        paths, masks = (tuple(files[i] for i in indices) for files in (self.paths, self.masks))
        return self._pick(indices, paths=paths, masks=masks)


def is_image(path: Path) -> bool:
    """Whether the name is one of an image. Hidden files, and the superpixel maps that ISIC ships, are not."""
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and not path.stem.endswith("_superpixels")


def ids_of(names: Sequence[str]) -> tuple[str, ...]:
    """Ids for files of different names: the name without its suffix, or with it where it must be.

    MinicamError where a name is not UTF-8, for ids stand in files of text.
    """
    for name in names:
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise MinicamError(f"the file name {name!a} is not valid UTF-8; rename the file")
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    count = Counter(stems) + Counter(names)
    return tuple(stem if count[stem] == 1 else name for stem, name in zip(stems, names, strict=True))


def as_folder(path: str | Path) -> Path:
    """`path`, if it is a folder that can be listed; else a MinicamError."""
    folder = Path(path)
    if not os.path.isdir(folder):
        links = "is a link that leads nowhere" if os.path.lexists(folder) else "is not there"
        found = "is a file, where a folder was expected" if os.path.exists(folder) else links
        raise MinicamError(f"the data folder {folder} {found}; check the path")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise MinicamError(f"the data folder {folder} cannot be listed; check its permissions")
    return folder


def images_in(path: str | Path) -> FileDataset:
    """One image, or all images of a folder (not of the folders in it), sorted by name, without labels.

    The ids are the names without suffix, or with it where two files differ in nothing else.
    """
    path = Path(path)
    if os.path.isfile(path):
        files = [path]
    elif os.path.isdir(path):
        files = sorted(file for file in as_folder(path).iterdir() if is_image(file) and file.is_file())
    else:
        raise MinicamError(f"{path}: there is no such image or folder; check the path")
    if not files:
        raise MinicamError(
            f"{path} holds no images (files ending in {', '.join(SUFFIXES)}); name another folder"
        )
    return FileDataset(
        split="unlabelled",
        ids=ids_of([file.name for file in files]),
        labels=np.full(len(files), -1, np.int64),
        classes=(),
        tasks=(),
        paths=tuple(files),
        masks=(None,) * len(files),
    )
