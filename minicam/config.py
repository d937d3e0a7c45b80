"""The configuration of a run: every choice that changes its numbers, in one place, checked, and saved beside them.

The paper's own input size, learning rate, batch, epochs, crop rule and starting weights of stage 2 are not known to us.
These are ours.
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self, get_origin

from minicam import MinicamError
from minicam.cam import REGIONS, CropRule
from minicam.data import augment
from minicam.data.catalogue import FOLDS
from minicam.model import NETWORKS
from minicam.optim import SCHEDULES

# What a field must be, by its type; of text where it is not here.
KINDS = {
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number",
    float: "a number",
    dict: "names with a number each",
    tuple: "a list of names",
}

# The built-in classes are equally frequent, so a bias of the last layer could only hide evidence from the map.
RATES = {"CAM_fc": 2.0, "CAM_fc/bias": 0.0}


@dataclass(frozen=True)
class Config:
    """The defaults are those of the built-in job; `FOR_VGG16_GAP` says what differs for the large network."""

    data: str | None = None  # folder; None: the built-in set
    layout: str = "auto"  # of that folder: isic or folder
    network: str = "small_gap"
    weights: str | None = None  # file to start from; None: start from nothing
    size: int = 64  # side of the network's input, pixels
    limit: int | None = None  # images of each split; None: all
    fold: int | None = None  # of five of the training images, held out in place of the validation images
    epochs: int = 16  # of each stage
    batch: int = 16
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup: int = 20  # steps in which the learning rate rises to its value; at most a tenth of the stage
    rates: dict[str, float] = field(default_factory=lambda: dict(RATES))  # factors on lr by layer or parameter
    dropout: float = 0.0
    train_from: str | None = None  # lowest layer that learns; None: all
    float16_features: bool = False  # what enters it is rounded to float16, as --cache-features keeps it
    augment: tuple[str, ...] = ("flip", "turn")
    region: str = "predicted"  # the map in which the box is found
    threshold: float = 0.4  # of that map's maximum
    padding: float = 0.2  # of the box, on each side
    minimum: float = 0.35  # least side of a crop, of the image's
    square: bool = False
    stage2_from: str = "stage1"  # or "start": the weights that stage 1 started from
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise MinicamError for a value that cannot be."""
        self._demand_types()
        for name in ("size", "epochs", "batch"):
            self._demand(name, getattr(self, name) >= 1, "at least 1")
        self._demand("limit", self.limit is None or self.limit >= 1, "at least 1")
        self._demand("fold", self.fold is None or 0 <= self.fold < FOLDS, f"from 0 to {FOLDS - 1}")
        self._demand("lr", 0 < self.lr < float("inf"), "a positive number")
        self._demand("seed", self.seed >= 0, "0 or more")
        self._demand("warmup", self.warmup >= 0, "0 or more")
        self._demand("weight_decay", 0 <= self.weight_decay < float("inf"), "0 or more")
        for name in ("momentum", "dropout", "threshold"):
            self._demand(name, 0 <= getattr(self, name) < 1, "at least 0 and less than 1")
        self._demand("padding", 0 <= self.padding < float("inf"), "0 or more")
        self._demand("minimum", 0 <= self.minimum <= 1, "from 0 to 1")
        self._demand("network", self.network in NETWORKS, f"one of {', '.join(NETWORKS)}")
        self._demand("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}")
        self._demand("region", self.region in REGIONS, f"one of {', '.join(REGIONS)}")
        self._demand("stage2_from", self.stage2_from in ("stage1", "start"), "stage1 or start")
        self._demand("rates", all(0 <= f < float("inf") for f in self.rates.values()), "factors of 0 or more")
        augment.parse(",".join(self.augment))

    def _demand_types(self) -> None:
        """What a person has changed in config.json may be of any type."""
        for f in fields(self):
            kind = f.type if get_origin(f.type) not in (dict, tuple) else get_origin(f.type)
            value, allowed = getattr(self, f.name), int | float if kind is float else kind
            holds = isinstance(value, allowed) and isinstance(value, bool) == (kind is bool)  # True is an int, too
            if holds and kind is tuple:
                holds = all(isinstance(name, str) for name in value)
            if holds and kind is dict:
                holds = all(isinstance(factor, int | float) for factor in value.values())
            self._demand(f.name, holds, KINDS.get(kind, "text"))

    def _demand(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise MinicamError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be {wanted}")

    @property
    def crop_rule(self) -> CropRule:
        """How images become crops; `Run.crop_rule` adds what the run has learned of it."""
        return CropRule(self.threshold, self.padding, self.minimum, self.square, self.region)

    def text(self) -> str:
        """It as JSON, as it stands in config.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of what `text` gave. MinicamError where that is not a configuration of this version."""
        try:
            values = json.loads(path.read_text())
            values["augment"] = tuple(values["augment"])
            return cls(**values)
        except MinicamError as error:
            raise MinicamError(f"{path}: {error}") from None
        except FileNotFoundError:
            raise MinicamError(f"{path.parent} is not the folder of a run: it has no {path.name}") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise MinicamError(f"{path} is not a configuration of this version of minicam: {error}") from None


FOR_VGG16_GAP = {
    "network": "vgg16_gap",
    "weights": "weights/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "size": 224,
    "epochs": 8,
    "lr": 4e-4,
    "dropout": 0.5,
    "rates": {"CAM_conv": 5.0, "CAM_fc": 5.0},  # new layers learn faster than fine-tuned ones
    "train_from": "block5_conv1",
    "augment": ("turn",),
    "region": "foreground",
    "threshold": 0.3,
    "padding": 0.15,
    "minimum": 0.3,
    "square": True,
}


# Of the regions that are not the network's own. CAMs of one class are cut as Zhou et al. do, sums a little higher, and
# of the middle half of each side is left.
THRESHOLDS = {"predicted": 0.2, "centred": 0.2, "evidence": 0.3, "energy": 0.3, "middle": 0.7, "foreground": 0.3}


def default(name: str, own_data: bool) -> object:
    """The default of a field of Config, for the built-in data or for images of one's own."""
    if own_data and name in FOR_VGG16_GAP:
        return FOR_VGG16_GAP[name]
    return getattr(Config(), name)


def make(**given: object) -> Config:
    """A Config from the fields that are given (not None); the others get the defaults that suit the network.

    Images of one's own are for VGG16-GAP, the built-in ones for its small sibling, unless `network` says otherwise.

    Paths become absolute, so that the run can be continued from another folder.
    """
    given = {name: value for name, value in given.items() if value is not None}
    large = given.get("network", "vgg16_gap" if "data" in given else "small_gap") == "vgg16_gap"
    own = FOR_VGG16_GAP if large else {}
    if given.get("region") in THRESHOLDS and given["region"] != own.get("region", Config.region):
        own = own | {"threshold": THRESHOLDS[given["region"]]}
    values = {**own, **given}
    if values.get("weights") == "none":
        values["weights"] = None
        values["train_from"] = given.get("train_from")  # layers of random numbers are not worth keeping
    paths = {name: os.path.abspath(values[name]) for name in ("data", "weights") if values.get(name) is not None}
    for name in paths:
        if not values[name]:
            raise MinicamError(f"--{name} is empty, as where a variable of the shell is not set; name a place")
    return Config(**values | paths)


FIELDS = tuple(f.name for f in fields(Config))
