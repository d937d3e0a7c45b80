"""Augmentation: one description an image, drawn from a seed, and applied to the pixels once by `ops/warp`.

A description is two small matrices: where each output pixel lies in the image (affine, 2x3), and what becomes of its
colour (3x4). Every augmentation is a factor in one of them, so any number of them costs one pass over the pixels.
The paper used rotation and flipping; the others are its future work.
"""

import math

import numpy as np

from minicam import MinicamError

LUMA = np.array([0.299, 0.587, 0.114])  # the weight of R, G and B in grey: ITU-R BT.601


def flip(rng: np.random.Generator) -> np.ndarray:
    """Mirror left-right and top-bottom, each with probability 1/2."""
    return np.diag([*rng.choice([-1.0, 1.0], 2), 1.0])


def turn(rng: np.random.Generator) -> np.ndarray:
    """Rotate by 0, 90, 180 or 270 degrees."""
    return _quarters(rng.integers(4))


def rotate(rng: np.random.Generator) -> np.ndarray:
    """Rotate by any angle. Into the corners comes what lies around the box; beyond the image, its edge repeated."""
    return _rotation(rng.uniform(0, 2 * math.pi))


def crop(rng: np.random.Generator) -> np.ndarray:
    """Keep a window of 7/8 of the side (as 224 of 256 pixels) at a random place."""
    window = np.diag([7 / 8, 7 / 8, 1.0])
    window[:2, 2] = rng.uniform(-1 / 16, 1 / 16, 2)
    return window


def scale(rng: np.random.Generator) -> np.ndarray:
    """Zoom in or out by up to a factor 1.25 about the centre; zoomed out, the rim shows what `rotate`'s corners do."""
    factor = 1.25 ** rng.uniform(-1, 1)
    return np.diag([factor, factor, 1.0])


def colour(rng: np.random.Generator) -> np.ndarray:
    """Change brightness by up to 10 % of the range, contrast and saturation by up to 20 %. A 4x4 matrix on (RGB, 1)."""
    brightness = rng.uniform(-25.5, 25.5)
    contrast, saturation = rng.uniform(0.8, 1.2, 2)
    matrix = np.eye(4)
    matrix[:3, :3] = contrast * (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA))
    matrix[:3, 3] = brightness + 127.5 * (1 - contrast)  # contrast turns about mid-grey
    return matrix


GEOMETRY = {"flip": flip, "turn": turn, "rotate": rotate, "crop": crop, "scale": scale}
NAMES = (*GEOMETRY, "colour")
FIXED = ("flip", "turn")  # these make a few variants of an image, and no more


def parse(text: str) -> tuple[str, ...]:
    """The names in a list such as "flip,turn"; "none" or nothing is no augmentation. MinicamError for others."""
    names = tuple(name.strip() for name in text.split(",") if name.strip() not in ("", "none"))
    for name in names:
        if name not in NAMES:
            raise MinicamError(f"augmentation {name!r} is not known; choose from {', '.join(NAMES)}, or none")
    return names


def sample(names: tuple[str, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a description: a 3x3 map of the unit square centred on 0 (out to in), and a 4x4 colour matrix."""
    geometry, colours = np.eye(3), np.eye(4)
    for name in NAMES:  # in this order, whatever the order of the names: the same set draws the same numbers
        if name in names and name in GEOMETRY:
            geometry = geometry @ GEOMETRY[name](rng)
        elif name in names:
            colours = colour(rng)
    return geometry, colours


def variants(names: tuple[str, ...]) -> list[np.ndarray]:
    """All that `sample` can draw: 1, 4 or 8 geometries, in whole numbers, the identity first.

    MinicamError where there is no end of them.
    """
    endless = [name for name in names if name not in FIXED]
    if endless:
        raise MinicamError(
            f"--cache-features keeps each variant of an image, and --augment {endless[0]} makes them without end; "
            f"choose from {', '.join(FIXED)}, or none"
        )
    flips = [np.diag([x, y, 1.0]) for y in (1, -1) for x in (1, -1)] if "flip" in names else [np.eye(3)]
    turns = [_quarters(count) for count in range(4)] if "turn" in names else [np.eye(3)]
    found = {tuple((flip @ turn).flat): flip @ turn for flip in flips for turn in turns}
    return list(found.values())


def affine(
    geometry: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """The affine map (2, 3) for `ops/warp`: from pixels of an output of `size` (P, Q) to pixels of the input.

    With the identity as `geometry` the box x0, y0, x1, y1 (in pixels of the input) is stretched over the output.
    """
    (P, Q), (x0, y0, x1, y1) = size, box
    to_unit = np.array([[1 / Q, 0, -0.5], [0, 1 / P, -0.5], [0, 0, 1]])
    to_box = np.array([[x1 - x0, 0, (x0 + x1) / 2], [0, y1 - y0, (y0 + y1) / 2], [0, 0, 1]])
    return (to_box @ geometry @ to_unit)[:2]


def _rotation(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _quarters(count: int) -> np.ndarray:
    """Quarter turns in whole numbers: math.cos(math.pi / 2) is not quite 0, and a map with it not along the axes."""
    return _rotation(count * math.pi / 2).round()


# In all of these an image can be looked at, and what is said of it be averaged. The first leaves it as it is.
VIEWS = variants(FIXED)
