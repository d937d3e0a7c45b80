"""A training run on disk: one HDF5 file from which it goes on as if it had never stopped.

Keras can read it too, as the part that its own VGG16 has lies where Keras expects it:

    /block1_conv1 ... /block5_conv3   layers named block*, in the Keras legacy layout
    /minicam                          attribute `format`; Keras never looks here, as `layer_names` lacks it
    /minicam/layers                   the other layers (CAM_conv, CAM_fc), the same layout once more
    /minicam/state/...                the arrays of the state, such as SGD's velocities
    /minicam/json                     the rest of the state; {"$array": "a/b"} stands for /minicam/state/a/b
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from minicam import MinicamError
from minicam.weights import hdf5, keras

FORMAT = 1


def save(path: str | Path, params: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; equal contents give equal bytes.

    params   full name -> float array, each layer with kernel and bias
    state    a nested dict with names as keys, whose leaves are arrays of numbers, str, int (of any size),
             float, bool, None, and lists of these

    Raises MinicamError, leaving an older file at `path` as it was, if a parameter is not finite or the state
    holds anything else, and where the file cannot be written.
    """
    keras.check(params)
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_pack(state, "", arrays))
    groups = {name[:i] for name in arrays for i, letter in enumerate(name) if letter == "/"}
    if clash := groups & arrays.keys():
        raise MinicamError(f"cannot save the state: {min(clash)} would be an array and hold arrays")
    blocks = {name: values for name, values in params.items() if name.startswith("block")}
    others = {name: values for name, values in params.items() if name not in blocks}
    with hdf5.writing(path) as file:
        keras.write_layers(file, blocks)
        own = file.create_group("minicam")
        own.attrs["format"] = FORMAT
        keras.write_layers(own.create_group("layers"), others)
        # A dataset, as an attribute ends at 64 KiB.
        own.create_dataset("json", data=np.bytes_(text), track_times=False)
        for name, values in arrays.items():
            own.create_dataset(f"state/{name}", data=values, track_times=False)


def load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint: parameters (`block*` layers first) and state, as `save` was given them, bit for bit.

    Raises MinicamError for a file that is no checkpoint, is damaged, or was written by a newer minicam.
    """
    with hdf5.reading(path) as file:
        own = hdf5.member(file, "minicam")
        version = own.attrs.get("format") if isinstance(own, h5py.Group) else None
        if not isinstance(version, np.integer) or version < 1:
            raise MinicamError(f"{path} is not a minicam checkpoint; weights alone are given by --weights")
        if version > FORMAT:
            raise MinicamError(
                f"{path} was written by a newer minicam: its format is {version}, this one "
                f"reads {FORMAT}; update minicam"
            )
        tensors = keras.legacy(file) | keras.legacy(hdf5.subgroup(own, "layers"))
        text = hdf5.dataset(own, "json", kinds="S")[()]
        state = _unpack(json.loads(text), own)
        return {name: hdf5.floats(node) for name, node in tensors.items()}, state


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can hold of `value`; its arrays go into `arrays` by their place in it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        if name in arrays or not all(part.strip(".") for part in name.split("/")):
            raise MinicamError(f"cannot save the state: {name!r} names two arrays, or has a nameless part")
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, list):
        return [_pack(item, _below(name, str(i)), arrays) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str) or key.startswith("$")]:
            raise MinicamError(f"cannot save the state: {odd[0]!r} in {name or 'it'} is not a name")
        return {key: _pack(item, _below(name, key), arrays) for key, item in value.items()}
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    raise MinicamError(
        f"cannot save the state: {name} is {kind}; expected an array of numbers, str, int, "
        "float, bool, None, a list or a dict of these"
    )


def _below(name: str, key: str) -> str:
    return f"{name}/{key}" if name else key


def _unpack(value: Any, own: h5py.Group) -> Any:
    """Undo `_pack`: the arrays come from below `own`, the group /minicam."""
    if isinstance(value, list):
        return [_unpack(item, own) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"$array"}:
            return np.asarray(hdf5.dataset(own, f"state/{value['$array']}", kinds="biuf")[()])
        return {key: _unpack(item, own) for key, item in value.items()}
    return value
