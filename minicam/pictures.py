"""Pictures for people: a CAM laid over its image, boxes drawn on it, and sheets of many of them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from minicam import cam
from minicam.data import Dataset
from minicam.data.loader import Loader
from minicam.inference import locate_batches
from minicam.model import Network

# From dark to bright in even steps of lightness, so that it survives greyscale printing and colour blindness.
COLOURS = np.array([(20, 11, 52), (88, 16, 110), (158, 39, 95), (217, 79, 55), (247, 145, 20), (248, 225, 90)], float)
CAM_BOX, CROP, LESION = (255, 255, 255), (0, 230, 255), (120, 255, 80)


def colours_of(heat: np.ndarray) -> np.ndarray:
    """heat (H, W), 0..1, as colours, float (H, W, 3), 0..255."""
    position = np.clip(heat, 0, 1) * (len(COLOURS) - 1)
    return np.stack([np.interp(position, np.arange(len(COLOURS)), channel) for channel in COLOURS.T], -1)


def overlay(image: np.ndarray, heat: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The image uint8 (H, W, 3) with its CAM, heat (h, w) in 0..1, over it: the hotter, the more opaque."""
    heat = cam.upsample(heat[None].astype(np.float32), image.shape[:2])[0]
    opacity = strength * np.sqrt(heat)[..., None]
    return (image * (1 - opacity) + colours_of(heat) * opacity).round().astype(np.uint8)


def with_boxes(
    image: np.ndarray, boxes: Sequence[tuple[Sequence[float] | None, tuple[int, int, int]]], shape: tuple[int, int]
) -> np.ndarray:
    """The image (h, w, 3) with boxes, given in pixels of the original of `shape` (H, W), each in its colour."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(2, min(picture.size) // 160)
    across, down = image.shape[1] / shape[1], image.shape[0] / shape[0]
    for box, colour in boxes:
        if box is not None:
            x0, y0, x1, y1 = (
                round(edge * scale) for edge, scale in zip(box, (across, down, across, down), strict=True)
            )
            pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=width)
    return np.asarray(picture)


def fit_into(image: np.ndarray, side: int) -> np.ndarray:
    """The image made to fit a square of `side` pixels, on grey, its proportions kept."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    if max(picture.size) < side:  # thumbnail only makes smaller
        factor = side / max(picture.size)
        picture = picture.resize([max(1, round(edge * factor)) for edge in picture.size], Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (side, side), (60, 60, 60))
    tile.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(tile)


def cam_pictures(
    dataset: Dataset,
    i: int,
    heat: np.ndarray,
    box: Sequence[int],
    crop: Sequence[int],
    side: int,
    crop_side: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three pictures of one image: with its boxes (and the lesion's, where known), with its CAM, and its crop.

    side       of the first two: a large original is reduced as long as both its sides stay this long
    crop_side  the same of the crop; None: as in the original, pixel for pixel
    """
    image, shape, mask = dataset.image(i, side), dataset.shape(i), dataset.mask(i)
    lesion = None if mask is None else cam.mask_box(mask, shape)
    x0, y0, x1, y1 = (int(edge) for edge in crop)
    close = dataset.image(i, crop_side, (x0, y0, x1, y1))
    across, down = close.shape[1] / shape[1], close.shape[0] / shape[0]
    left, top = int(x0 * across), int(y0 * down)
    close = close[top : max(round(y1 * down), top + 1), left : max(round(x1 * across), left + 1)]
    boxed = with_boxes(image, [(crop, CROP), (lesion, LESION), (box, CAM_BOX)], shape)
    return boxed, overlay(image, heat), close


def sheet_of_cams(network: Network, loader: Loader, rule: cam.CropRule, side: int = 160) -> Image.Image:
    """A contact sheet of all images of the loader, each with its CAM, its boxes and its crop as tiles of `side`."""
    rows, captions, dataset = [], [], loader.dataset
    for indices, _, heats, found in locate_batches(network, loader, rule, "contact sheet"):
        for i, heat, p, k, box, crop in zip(
            indices, heats, found.probabilities, found.classes, found.boxes, found.crops, strict=True
        ):
            pictures = cam_pictures(dataset, i, heat, box, crop, side, side)
            rows.append([fit_into(picture, side) for picture in pictures])
            truth = "" if dataset.labels[i] < 0 else f", is {dataset.classes[dataset.labels[i]]}"
            captions.append(f"{dataset.ids[i]}: {dataset.classes[k]} {p[k]:.2f}{truth}")
    return sheet(rows, captions, "white: box of the region    blue: crop    green: lesion, where its mask is known")


def sheet(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], legend: str, columns: int = 2) -> Image.Image:
    """Rows of square tiles (side, side, 3), each with a caption above it, `columns` rows side by side.

    captions  one a row    legend  a line at the top of the sheet
    """
    side, gap, line = rows[0][0].shape[0], 6, 16
    width, height = len(rows[0]) * (side + gap) + 2 * gap, side + line + gap
    down = -(-len(rows) // columns)
    picture = Image.new("RGB", (columns * width, down * height + line + 2 * gap), (250, 250, 250))
    pen = ImageDraw.Draw(picture)
    pen.text((gap, gap), legend, fill=(0, 0, 0))
    for number, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        x, y = number % columns * width + gap, number // columns * height + line + 2 * gap
        pen.text((x, y), caption, fill=(0, 0, 0))
        for place, tile in enumerate(row):
            picture.paste(Image.fromarray(tile), (x + place * (side + gap), y + line))
    return picture
