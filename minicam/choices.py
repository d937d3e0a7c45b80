"""The choices of a run as options of a command line: a field of `Config` each, with its default in the help."""

import argparse

from minicam import MinicamError, cam
from minicam.cli import named_path
from minicam.config import FIELDS, default
from minicam.data import augment
from minicam.data.catalogue import LAYOUTS
from minicam.model import NETWORKS
from minicam.optim import SCHEDULES


def add_choices(p: argparse.ArgumentParser) -> None:
    """The options that are fields of Config, the seed excepted. One that is not given is None: `--resume` can tell."""

    def add(group: argparse._ArgumentGroup, name: str, text: str, **options: object) -> None:
        built_in, own = (default(name, own_data) for own_data in (False, True))
        shown = _shown(name, built_in)
        if own != built_in:
            shown += f"; with --data: {_shown(name, own)}"
        group.add_argument(f"--{name.replace('_', '-')}", help=f"{text} ({shown})".replace("%", "%%"), **options)

    data = p.add_argument_group("images and weights")
    add(data, "data", "folder with the images: ISIC-2017 as published, or your own", metavar="DIR")
    add(data, "layout", "of that folder", choices=LAYOUTS)
    add(data, "limit", "take this many images of each split, stratified by class", type=int, metavar="N")
    text = "hold out this fold, 0 to 4, of the training images, and validate on it, not on the validation images"
    add(data, "fold", text, type=int, metavar="N")
    add(data, "size", "side in pixels of what the network sees", type=int, metavar="PX")
    names = f"any of {', '.join(augment.NAMES)}, with commas between; or none"
    add(data, "augment", names, type=augment.parse, metavar="NAME,...")
    add(data, "network", "which one; its own defaults come with it", choices=NETWORKS)
    add(data, "weights", "HDF5 file to start from, or none", metavar="FILE")
    training = p.add_argument_group("training, each stage")
    add(training, "epochs", "times through the images", type=int, metavar="N")
    add(training, "batch", "images a step", type=int, metavar="N")
    add(training, "lr", "learning rate", type=float, metavar="X")
    add(training, "momentum", "0 is plain SGD", type=float, metavar="X")
    add(training, "weight_decay", "of kernels, not of biases", type=float, metavar="X")
    add(training, "schedule", "of the learning rate", choices=SCHEDULES)
    add(training, "warmup", "steps in which the learning rate rises, at most a tenth of all", type=int, metavar="N")
    add(training, "rates", "factors on the learning rate of single layers; or none", type=_rates, metavar="LAYER=X,...")
    add(training, "dropout", "probability of dropping a feature before CAM_fc", type=float, metavar="X")
    add(training, "train_from", "lowest layer that learns; those below stay as they are", metavar="LAYER")
    text = "keep what those compute for each flip and turn of an image (float16), in this folder, to compute it once"
    training.add_argument("--cache-features", type=named_path, metavar="DIR", help=text)
    add(training, "stage2_from", "weights that stage 2 starts from", choices=("stage1", "start"))
    crops = p.add_argument_group("from CAM to crop")
    text = f"the map in which the box is found: {', '.join(cam.REGIONS)}"
    add(crops, "region", text, choices=cam.REGIONS, metavar="NAME")
    add(crops, "threshold", "fraction of the map's maximum; another --region has its own", type=float, metavar="X")
    add(crops, "padding", "on each side, as a fraction of the box", type=float, metavar="X")
    add(crops, "minimum", "least side of a crop, as a fraction of the image's", type=float, metavar="X")
    add(crops, "square", "grow the shorter side to the longer one", action=argparse.BooleanOptionalAction)


def _shown(name: str, value: object) -> str:
    """A default as --help shows it."""
    if value is None:
        return {"data": "the built-in set", "weights": "none", "fold": "none"}.get(name, "all")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return as_argument(value)


def as_argument(value: object) -> str:
    """A choice that is neither None nor a switch, as its option takes it."""
    if isinstance(value, dict):
        value = tuple(f"{layer}={factor:g}" for layer, factor in value.items())
    return (",".join(value) or "none") if isinstance(value, tuple) else str(value)


def _rates(text: str) -> dict[str, float]:
    if text == "none":
        return {}
    try:
        return {layer: float(factor) for layer, factor in (part.split("=") for part in text.split(",") if part)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as CAM_conv=10,CAM_fc=10") from None


def given_choices(options: dict) -> dict:
    """The fields of Config that a command line has given. MinicamError where its options do not go together."""
    given = {name: options[name] for name in FIELDS if options.get(name) is not None}
    if options["cache_features"] is not None and options.get("resume") is None:
        given["float16_features"] = True
    if options.get("resume") is None:
        lone_layout(given.get("layout"), given.get("data"))
    return given


def lone_layout(layout: str | None, data: str | None) -> None:
    """Raise MinicamError where a layout is given of no folder."""
    if layout is not None and data is None:
        raise MinicamError("--layout says how the folder of --data is laid out; give --data DIR, or leave out --layout")
