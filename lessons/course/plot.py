"""The look of all figures: colours that survive colour blindness and grey print, pictures in rows, numbers in grids."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Okabe and Ito (2008), "Color universal design": ordered so that neighbours also differ in lightness.
DARK, ORANGE, BLUE, GREEN, RED, SKY, YELLOW = (
    "#222222", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#f0e442",
)  # fmt: skip
LINES = (BLUE, ORANGE, GREEN, DARK, RED, SKY)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))  # a second sign, beside the colour
HEAT, SIGNED, GREY = "cividis", "PuOr_r", "gray"  # colour maps: from little to much; numbers about 0; pictures
WIDTH = 8.0  # inches of a figure: what a notebook shows without shrinking it


def style() -> None:
    """Set all this as the default of matplotlib. The first cell of every lesson calls it."""
    plt.rcParams.update({
        "figure.figsize": (WIDTH, 3.2), "figure.dpi": 96, "figure.constrained_layout.use": True,
        "savefig.bbox": "tight", "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 11,
        "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "lines.linewidth": 1.8, "image.cmap": HEAT, "image.interpolation": "nearest",
        "axes.prop_cycle": plt.cycler(color=LINES, linestyle=DASHES),
    })  # fmt: skip


def pictures(
    images: Sequence[np.ndarray], titles: Sequence[str] = (), heading: str = "", columns: int | None = None, **how: Any
) -> np.ndarray:
    """Pictures side by side, (H, W) in `cmap` (grey unless given) or (H, W, 3); returns their axes, in order.

    how  goes to `imshow`. One `vmin` and `vmax` hold for all (H, W) pictures unless given, so that they can be compared
    """
    flat = [image for image in images if np.ndim(image) == 2]
    if flat:
        how = {"cmap": GREY, "vmin": min(map(np.min, flat)), "vmax": max(map(np.max, flat))} | how
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    side = min(WIDTH / columns, 3.0)
    height, width = np.shape(images[0])[:2]
    size = (side * columns, (side * height / width + 0.35) * rows + 0.4 * bool(heading))
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=size)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, [*titles, *[""] * len(images)], strict=False):
        axis.imshow(image, **how if np.ndim(image) == 2 else {})
        axis.set_title(title, fontsize=9, loc="center")
    if heading:
        figure.suptitle(heading, fontsize=11)
    return axes.ravel()[: len(images)]


def numbers(
    array: np.ndarray, title: str = "", axis: Axes | None = None, form: str = "g", cmap: str = SIGNED, **how: Any
) -> Axes:
    """A matrix (H, W) as a grid of its numbers on their colours; a vector is one row. Returns the axes.

    how  goes to `imshow`; colours are centred on 0 unless `vmin` and `vmax` are given
    """
    array = np.atleast_2d(array)
    if axis is None:
        _, axis = plt.subplots(figsize=(0.55 * array.shape[1] + 0.4, 0.5 * array.shape[0] + 0.5))
    top = float(np.nanmax(np.abs(array))) or 1.0
    image = axis.imshow(array, cmap=cmap, **{"vmin": -1.4 * top, "vmax": 1.4 * top} | how)
    for (row, column), value in np.ndenumerate(array):
        red, green, blue, _ = image.cmap(image.norm(value))
        colour = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else DARK
        axis.text(column, row, format(value, form), ha="center", va="center", color=colour, fontsize=9)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9, loc="center")
    axis.spines[:].set_visible(False)
    return axis
