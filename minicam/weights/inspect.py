"""What a file of weights holds, in words: layout, tensors, and what minicam would do with it."""

from pathlib import Path
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.weights import checkpoint, hdf5, keras

# VGG16's convolutions (Simonyan and Zisserman 2014, table 1, column D) have 3x3 kernels and these channels.
_OUTPUTS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_KERNELS = {
    layer: (3, 3, inputs, outputs)
    for layer, inputs, outputs in zip(keras.VGG16_CONVOLUTIONS, (3, *_OUTPUTS[:-1]), _OUTPUTS, strict=True)
}
_OWN = {"CAM_conv": (3, 3, 512, 1024), "CAM_fc": (1024, None)}  # VGG16-GAP's own; None: as many as there are classes
_COLUMNS = "{:<24} {:<20} {:<8} {:>12} {:>12}"


def describe(path: str | Path) -> str:
    """A text of one line a tensor and a few around them.

    Raises MinicamError for a file that has no layout of weights; numbers that are not finite are shown.
    """
    with hdf5.reading(path) as file:
        layout, tensors = keras.find(file)
        lines = [_COLUMNS.format("tensor", "shape", "dtype", "mean", "deviation")]
        finite = True
        for name, node in tensors.items():
            values = np.asarray(node[()], np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                mean, deviation = values.mean(), values.std()
            finite &= bool(np.isfinite(values).all())
            row = name, str(node.shape), str(node.dtype), f"{mean:.6g}", f"{deviation:.6g}"
            lines.append(_COLUMNS.format(*row))
        shapes = {name: node.shape for name, node in tensors.items()}
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    lines.insert(0, f"{path}: {layout}, {len(shapes) // 2} layers, {count:,} parameters")
    if layout == "minicam checkpoint":
        lines += ["state of the training run:", *_describe_state(path)] if finite else []
    lines.append(_use(shapes) if finite else "refused by minicam: it holds NaN or infinity")
    return "\n".join(lines)


def _use(shapes: dict[str, tuple[int, ...]]) -> str:
    """Whether these are VGG16's convolutions, and what becomes of the two layers above them, as `keras.assign` does."""
    for layer, expected in _KERNELS.items():
        found = shapes.get(f"{layer}/kernel", "no such layer")
        if found != expected:
            return f"not VGG16: {layer}'s kernel is expected to be {expected}, found {found}"
    found = {layer: shapes.get(f"{layer}/kernel") for layer in _OWN}
    taken = [layer for layer, shape in found.items() if shape is not None and _fits(shape, _OWN[layer])]
    anew = [
        layer if found[layer] is None else f"{layer}, whose kernel {found[layer]} does not fit,"
        for layer in _OWN
        if layer not in taken
    ]
    if not anew:
        return "VGG16-GAP: all of its layers are here"
    start = "start" if len(anew) > 1 else "starts"
    return f"VGG16: minicam takes {' and '.join(['its 13 convolutions', *taken])}; {' and '.join(anew)} {start} anew"


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(e in (None, size) for size, e in zip(shape, expected, strict=True))


def _describe_state(path: str | Path) -> list[str]:
    try:
        _, state = checkpoint.load(path)
    except MinicamError as error:
        return [f"  {error}"]
    return [f"  {name}: {_summary(value)}" for name, value in state.items()] or ["  empty"]


def _summary(value: Any) -> str:
    arrays = _arrays(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if arrays:
        return f"{len(arrays)} arrays, {sum(array.size for array in arrays):,} numbers"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [array for part in parts for array in _arrays(part)]
