"""How one picture of the built-in data is painted: skin, then a lesion on it, then what gets in the way.

Colours are float32 arrays (h, w, 3), RGB, 0..255. Lengths are in pixels of the 384 px picture. What is drawn of the
generator, and its sine, is a number of Python, not of NumPy: one of those would make arrays float64, at twice the time.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 384
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + 0.5

# How strongly a lesion takes red, green and blue out of the light: brown, and how that moves towards grey (positive)
# or orange (negative). The means of the classes lie one deviation apart: hue alone tells something, but not enough.
BROWN, TOWARDS_GREY = np.array([0.54, 0.90, 1.06]), np.array([0.7, 0.1, -0.7])
GREYNESS = {"nevus": 0.0, "melanoma": 0.16, "seborrheic_keratosis": -0.16}
GREYNESS_SPREAD, TINT_SPREAD = 0.16, 0.05
# Deviation of the outline from an ellipse, the range of its waves around the border, and the width of the border.
OUTLINES = {"nevus": (0.02, 2, 5, 8.0), "melanoma": (0.045, 3, 10, 4.0), "seborrheic_keratosis": (0.03, 2, 6, 1.5)}


def paint(label: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One picture, uint8 (384, 384, 3), and the mask of its lesion, bool (384, 384)."""
    picture = skin(rng)
    mask = lesion(picture, label, rng)
    distract(picture, mask, rng)
    picture += 2.5 * rng.standard_normal(picture.shape, np.float32)  # the camera's noise
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def skin(rng: np.random.Generator) -> np.ndarray:
    """Skin of some tone, with uneven light, reddish blotches and fine furrows."""
    light, dark = np.array([238, 200, 178]), np.array([168, 118, 92])
    tone = dark + (light - dark) * rng.uniform() + rng.normal(0, 4, 3)
    across, down = rng.normal(0, 0.04, 2).tolist()
    shade = 1 + across * (COLUMNS / SIDE - 0.5) + down * (ROWS / SIDE - 0.5)
    shade += 0.02 * smooth_noise(rng, 96) + 0.015 * smooth_noise(rng, 5)
    picture = coloured(shade, tone)
    picture += coloured(smooth_noise(rng, 48), (1, -2.5, -2))
    return picture


def lesion(picture: np.ndarray, label: str, rng: np.random.Generator) -> np.ndarray:
    """Paint a lesion into the picture, in place, and return its mask."""
    radius = rng.uniform(58, 88)
    x, y = rng.uniform(1.1 * radius, SIDE - 1.1 * radius, 2).tolist()
    left, top = (max(0, int(c - 1.8 * radius)) for c in (x, y))  # all that follows happens in this window
    window = np.s_[top : int(y + 1.8 * radius), left : int(x + 1.8 * radius)]
    across, down = COLUMNS[window] - x, ROWS[window] - y

    amplitude, slowest, fastest, width = OUTLINES[label]
    turn, slimness = rng.uniform(0, np.pi), rng.uniform(1, 1.25)
    u = math.cos(turn) * across + math.sin(turn) * down
    v = slimness * (math.cos(turn) * down - math.sin(turn) * across)
    angle, outline = np.arctan2(v, u), np.ones_like(u)
    for waves in range(slowest, fastest):
        outline += amplitude * rng.normal() * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    depth = radius - np.hypot(u, v) / outline  # about how many pixels inside the border
    cover = sigmoid(2 * depth / (width * rng.uniform(0.7, 1.4)))

    density = rng.uniform(0.6, 0.9) * (1 + 0.08 * smooth_noise(rng, 24, u.shape))
    if label == "nevus":
        density *= 0.8 + 0.4 * np.clip(depth / radius, 0, 1)
    elif label == "melanoma":
        density += rng.uniform(0.28, 0.42) * (pigment_network(rng, u, v) - 0.35)
    else:
        density += cysts_and_pits(rng, radius, u, v)
    tint = BROWN + rng.normal(GREYNESS[label], GREYNESS_SPREAD) * TOWARDS_GREY + rng.normal(0, TINT_SPREAD, 3)
    picture[window] *= np.exp(coloured(-(density * cover), tint))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[window] = depth > 0
    return mask


def pigment_network(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A honeycomb of thin lines, bent at random, 0..1, at the places u, v (h, w): three waves 60 degrees apart."""
    period, turn = rng.uniform(8.5, 11), rng.uniform(0, np.pi)
    u, v = u + 0.35 * period * smooth_noise(rng, 16, u.shape), v + 0.35 * period * smooth_noise(rng, 16, v.shape)
    total = np.zeros_like(u)
    for direction in (turn, turn + math.pi / 3, turn + 2 * math.pi / 3):
        total += np.cos(2 * math.pi / period * (math.cos(direction) * u + math.sin(direction) * v))
    return np.clip(1 - (total + 1.5) / 2.2, 0, 1)  # the sum of the three lies between -1.5 and 3


def cysts_and_pits(rng: np.random.Generator, radius: float, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Change of density (h, w) by small bright dots (negative) and fewer dark ones (positive) within the radius."""
    change = np.zeros_like(u)
    for _ in range(rng.integers(22, 34)):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.85 * radius * math.sqrt(rng.uniform())
        size, strength = rng.uniform(2, 3.6), rng.choice([-0.6, -0.6, 0.45])
        across, down = u - distance * math.cos(angle), v - distance * math.sin(angle)
        near = (abs(across) < 8) & (abs(down) < 8)
        change[near] += strength * sigmoid(2 * (size - np.hypot(across[near], down[near])))
    return change


def distract(picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Paint over the picture, in place, what the network should learn to ignore. None of it depends on the class."""
    for _ in range(rng.choice([0, 0, 0, 2, 6])):
        gel_bubble(picture, rng)
    hairs(picture, rng.choice([0, 0, 3, 6, 10]), rng)
    if rng.random() < 0.25:
        sticker(picture, mask, rng)
    if rng.random() < 0.25:
        ruler(picture, rng)
    if rng.random() < 0.15:  # the dark corners of a dermoscope's round field of view
        away = np.hypot(COLUMNS - SIDE / 2, ROWS - SIDE / 2)
        picture *= (1 - 0.92 * sigmoid((away - rng.uniform(0.5, 0.62) * SIDE) / 4))[..., None]


def hairs(picture: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Thin dark arcs."""
    layer = Image.new("L", (SIDE, SIDE))
    for _ in range(count):
        heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.03) * np.arange(rng.integers(16, 60))
        x, y = rng.uniform(0, SIDE, 2)[:, None] + 6 * np.cumsum([np.cos(heading), np.sin(heading)], 1)
        shade, width = int(rng.uniform(120, 230)), int(rng.integers(1, 4))
        ImageDraw.Draw(layer).line(list(zip(x, y, strict=True)), fill=shade, width=width)
    if count:
        blend(picture, np.asarray(layer.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / 255, (45, 32, 28))


def ruler(picture: np.ndarray, rng: np.random.Generator) -> None:
    """The ticks of a ruler along one edge."""
    layer, gap = Image.new("L", (SIDE, SIDE)), rng.uniform(10, 16)
    for tick in range(int(SIDE / gap) + 1):
        length = 22 if tick % 5 == 0 else 12
        ImageDraw.Draw(layer).line((tick * gap, 0, tick * gap, length), fill=220, width=2)
    blend(picture, np.rot90(np.asarray(layer, np.float32) / 255, rng.integers(4)), (30, 30, 30))


def sticker(picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """A coloured paper disc that reaches in from one edge, and never covers the lesion."""
    colour = ((235, 190, 40), (60, 120, 205), (70, 170, 90), (220, 90, 60))[rng.integers(4)]
    along, radius = rng.uniform(0, SIDE), rng.uniform(40, 75)
    x, y = ((along, -10), (along, SIDE + 10), (-10, along), (SIDE + 10, along))[rng.integers(4)]
    cover = sigmoid(radius - np.hypot(COLUMNS - x, ROWS - y))
    if not (mask & (cover > 0.01)).any():
        blend(picture, cover, colour)


def gel_bubble(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A bright ring with a highlight at its upper left."""
    x, y, radius = *rng.uniform(0, SIDE, 2), rng.uniform(4, 14)
    window = np.s_[max(0, int(y - 20)) : int(y + 20), max(0, int(x - 20)) : int(x + 20)]
    across, down = COLUMNS[window] - x, ROWS[window] - y
    ring = np.exp(-(((np.hypot(across, down) - radius) / 1.3) ** 2))
    highlight = np.exp(-((np.hypot(across + radius / 2, down + radius / 2) / 2) ** 2))
    picture[window] += (45 * ring + 90 * highlight)[..., None]


def blend(picture: np.ndarray, cover: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Paint `colour` over the picture, in place, where and as far as `cover` (h, w), 0..1, says."""
    covered = cover > 0.002
    picture[covered] += cover[covered][:, None] * (np.array(colour, np.float32) - picture[covered])


def coloured(light: np.ndarray, colour: Sequence[float]) -> np.ndarray:
    """light (h, w) times the colour, a plane after the other: three numbers at a time would be six times slower."""
    picture = np.empty((*light.shape, 3), np.float32)
    for plane, strength in enumerate(colour):
        np.multiply(light, np.float32(strength), out=picture[..., plane])
    return picture


def smooth_noise(rng: np.random.Generator, cell: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Noise (h, w) with deviation about 1 and features of about `cell` pixels."""
    (h, w), border = shape, cell  # the border is left out: the interpolation is one-sided there
    coarse = rng.standard_normal((h // cell + 4, w // cell + 4), np.float32)
    down, across = coarse.shape[0] / (h + 2 * border), coarse.shape[1] / (w + 2 * border)
    box = (border * across, border * down, (border + w) * across, (border + h) * down)
    return 1.4 * np.asarray(Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC, box))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)
