"""Weights as Keras stores them: three layouts in, the oldest of them out.

legacy     root attribute `layer_names`; one group a layer, whose attribute `weight_names` lists its datasets,
           kernel first: `/block1_conv1/block1_conv1_W_1:0` (Keras 1), `/block1_conv1/block1_conv1/kernel:0`
           (later). These names are followed, never guessed. A whole model has all under `/model_weights`.
Keras 3    `/layers/conv2d[_i]/vars/{0,1}`, kernel and bias, numbered by class in the order of the model. The
           layer's own name is the attribute `name` of `vars` since Keras 3.6; before, only the order tells. A model
           that is a layer of another has its own below it: `/layers/functional/layers/conv2d/vars/{0,1}`
minicam    a checkpoint: the legacy layout, and more of it under `/minicam/layers` (see checkpoint.py)

Kernels are (R, S, C, K) and (C, K) in all of them, as in minicam, so nothing is ever transposed.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from minicam import MinicamError, backend
from minicam.weights import hdf5

VGG16_CONVOLUTIONS = tuple(
    f"block{block}_conv{i}" for block, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1)
)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every layer's `kernel` and `bias` in a file of any layout, float32, in the order of the file.

    float16 and float64 are converted to float32. Raises MinicamError if the file is missing, damaged or not
    HDF5, has no known layout, reaches into other files, or holds layers, shapes, types or numbers that no
    network here has.
    """
    with hdf5.reading(path) as file:
        _, tensors = find(file)
        return {name: hdf5.floats(node, np.float32) for name, node in tensors.items()}


def find(file: h5py.File) -> tuple[str, dict[str, h5py.Dataset]]:
    """The layout in words, and the dataset of each parameter by its full name, checked but not read."""
    if hdf5.read_names(file, "layer_names") is not None:
        tensors, layout = legacy(file), "Keras legacy layout"
        if hdf5.member(file, "minicam/layers") is not None:
            tensors |= legacy(hdf5.subgroup(file, "minicam/layers"))
            layout = "minicam checkpoint"
    elif hdf5.member(file, "model_weights") is not None:
        tensors, layout = legacy(hdf5.subgroup(file, "model_weights")), "Keras legacy layout of a whole model"
    elif hdf5.member(file, "layers") is not None:
        tensors, layout = _keras3(hdf5.subgroup(file, "layers")), "Keras 3 layout"
    else:
        held = ", ".join(list(file)[:5]) or "nothing"
        raise MinicamError(
            f"{file.filename} has no layout of weights that minicam knows (Keras legacy, Keras 3, minicam "
            f"checkpoint); at its root it holds {held}"
        )
    if not tensors:
        raise MinicamError(f"{file.filename} is in the {layout}, but no layer in it has weights")
    hdf5.check_count(list(tensors.values()))
    return layout, tensors


def legacy(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The datasets that `layer_names` and `weight_names` lead to below `group`, by full parameter name."""
    tensors: dict[str, h5py.Dataset] = {}
    for layer in hdf5.read_names(group, "layer_names") or ():
        below = hdf5.subgroup(group, layer)
        weights = [hdf5.dataset(below, name) for name in hdf5.read_names(below, "weight_names") or ()]
        if weights:
            _add(tensors, layer, weights)
    return tensors


def _keras3(layers: h5py.Group) -> dict[str, h5py.Dataset]:
    weights: dict[str, list[h5py.Dataset]] = {}
    names: dict[str, str] = {}
    for key, variables in _variables(layers):
        weights[key] = [hdf5.dataset(variables, str(i)) for i in sorted(variables)]
        if own := hdf5.read_names(variables, "name"):
            names[key] = own[0]
    if len(names) < len(weights):
        names = _names_by_order(list(weights), layers)
    tensors: dict[str, h5py.Dataset] = {}
    for key, nodes in weights.items():
        _add(tensors, names[key], nodes)
    return tensors


def _variables(layers: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """The group `vars` of each layer that has any, by the layer's path; of a model among them those of its layers."""
    for key in sorted(layers, key=_by_number):
        variables, inner = (hdf5.member(layers, f"{key}/{name}") for name in ("vars", "layers"))
        if isinstance(variables, h5py.Group) and len(variables):
            yield key, variables
        if isinstance(inner, h5py.Group):
            yield from ((f"{key}/{path}", found) for path, found in _variables(inner))


def _by_number(key: str) -> tuple[str, int]:
    """Sorts conv2d, conv2d_1, conv2d_2, ..., conv2d_10, which HDF5 lists alphabetically."""
    prefix, number = re.fullmatch(r"(.*?)(?:_(\d+))?", key, re.DOTALL).groups()
    return prefix, int(number or 0)


def _names_by_order(keys: list[str], layers: h5py.Group) -> dict[str, str]:
    """The names of VGG16, or of VGG16-GAP, given to the layers of a file that tells only their order."""
    if nested := [key for key in keys if "/" in key]:
        raise MinicamError(
            f"{layers.file.filename} does not name its layers (Keras 3.0 to 3.5), and some are those of a model in the "
            f"model, {nested[0]}; save that model alone, or with a newer Keras"
        )
    names = {key: key for key in keys}
    convolutions = [key for key in keys if _by_number(key)[0] == "conv2d"]
    if len(convolutions) not in (13, 14):
        raise MinicamError(
            f"{layers.file.filename} does not name its layers (Keras 3.0 to 3.5) and holds "
            f"{len(convolutions)} convolutions; VGG16 has 13 and VGG16-GAP 14; save it with a newer Keras"
        )
    names |= zip(convolutions, (*VGG16_CONVOLUTIONS, "CAM_conv"), strict=False)
    if len(convolutions) == 14 and "dense" in names and "dense_1" not in names:
        names["dense"] = "CAM_fc"
    return names


def _add(tensors: dict[str, h5py.Dataset], layer: str, weights: list[h5py.Dataset]) -> None:
    place = f"layer {layer} in {weights[0].file.filename}"
    if f"{layer}/kernel" in tensors:
        raise MinicamError(f"{place} is there twice")
    if len(weights) != 2:
        raise MinicamError(f"{place} holds {len(weights)} tensors; expected two, a kernel and a bias")
    kernel, bias = weights
    _check_shapes(kernel, bias, place)
    tensors[f"{layer}/kernel"], tensors[f"{layer}/bias"] = kernel, bias


def _check_shapes(kernel: h5py.Dataset | np.ndarray, bias: h5py.Dataset | np.ndarray, place: str) -> None:
    if kernel.ndim not in (2, 4) or 0 in kernel.shape or bias.shape != kernel.shape[-1:]:
        raise MinicamError(
            f"{place} holds tensors of shapes {kernel.shape} and {bias.shape}; expected a kernel "
            "(R, S, C, K) or (C, K) and then a bias (K,)"
        )


def write(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write parameters in the Keras legacy layout, whole or not at all. dtypes are kept.

    Raises MinicamError for names other than `layer/kernel` and `layer/bias` in pairs, for numbers that are
    not finite floats, for a file name that Keras takes for its newer layout, and where it cannot be written.
    """
    if str(path).endswith(".weights.h5"):
        raise MinicamError(f"{path}: Keras takes .weights.h5 for its newer layout; choose a name in .h5")
    check(tensors)
    with hdf5.writing(path) as file:
        write_layers(file, tensors)


def write_layers(group: h5py.Group, tensors: Mapping[str, np.ndarray]) -> None:
    """Put checked parameters below `group`, which becomes the root of a legacy layout."""
    layers = list(dict.fromkeys(layer_of(name) for name in tensors))
    hdf5.write_names(group, "layer_names", layers)
    # Keras 2 flips the kernels of a file from Theano and transposes those of a version 1; ours need neither.
    group.attrs["backend"] = np.bytes_("tensorflow")
    group.attrs["keras_version"] = np.bytes_("2.15.0")
    for layer in layers:
        below = group.create_group(layer)
        hdf5.write_names(below, "weight_names", [f"{layer}/kernel:0", f"{layer}/bias:0"])
        for part in ("kernel", "bias"):
            below.create_dataset(f"{layer}/{part}:0", data=tensors[f"{layer}/{part}"], track_times=False)


def check(tensors: Mapping[str, np.ndarray]) -> None:
    """Raise MinicamError unless these are pairs of kernel and bias, float, finite and of fitting shapes."""
    for name, values in tensors.items():
        layer, _, part = name.rpartition("/")
        pair = {f"{layer}/kernel", f"{layer}/bias"}
        if not layer or part not in ("kernel", "bias") or not pair <= tensors.keys():
            raise MinicamError(f"cannot save parameter {name}: expected both layer/kernel and layer/bias")
        if values.dtype.kind != "f" or values.dtype.itemsize > 8:
            raise MinicamError(f"cannot save parameter {name}: {values.dtype}, expected float32 or float64")
        if not np.isfinite(values).all():
            raise MinicamError(f"cannot save parameter {name}: it holds NaN or infinity")
        if part == "kernel":
            _check_shapes(values, tensors[f"{layer}/bias"], f"cannot save layer {layer}: it")


def assign(
    params: Mapping[str, np.ndarray],
    tensors: Mapping[str, np.ndarray],
    source: str | Path,
    optional: Collection[str] = (),
) -> list[str]:
    """Copy tensors into the arrays of `params`, in place, and return the layers that were left as they are.

    params    full name -> float32 or float64 array, whose layers must all be in `tensors` with their shapes
    tensors   full name -> array, as `read` gives them; layers that `params` does not have are ignored
    source    what to call the tensors in messages: their file
    optional  layers that may be missing, or have other shapes (a CAM_fc of other classes), and then stay as
              they are

    Raises MinicamError, with nothing changed, if a layer that is not optional is missing or has other shapes.
    """
    left = []
    for layer in dict.fromkeys(layer_of(name) for name in params):
        shapes = {name: values.shape for name, values in params.items() if layer_of(name) == layer}
        missing = [name for name in shapes if name not in tensors]
        other = [name for name in shapes if name not in missing and tensors[name].shape != shapes[name]]
        if layer in optional and (missing or other):
            left.append(layer)
        elif missing:
            held = list(dict.fromkeys(layer_of(name) for name in tensors))
            some = ", ".join(held[:5]) + (f", ... ({len(held)} layers)" if len(held) > 5 else "")
            what = f"no layer {layer}" if layer not in held else f"no {missing[0]}"
            raise MinicamError(f"{source} has {what}; it holds {some or 'nothing'}: is it another network?")
        elif other:
            name = other[0]
            raise MinicamError(
                f"{source} has {name} of shape {tensors[name].shape}, expected {shapes[name]}: is it "
                "another network?"
            )
    for name, values in params.items():
        if layer_of(name) not in left:
            backend.assign(values, tensors[name])
    return left


def layer_of(name: str) -> str:
    """The layer of a full parameter name: "block1_conv1" for "block1_conv1/kernel"."""
    return name.rpartition("/")[0]
