"""What the tests of training share: images held in memory, and runs small enough to be made again and again."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicam.data import Dataset
from minicam.train import main
from minicam.weights import checkpoint

# Every choice that a run depends on is written out, so that tests stand apart from the defaults. 3 steps an epoch, the
# last of 2 images; 6 steps a stage.
OPTIONS = {
    "size": 16,
    "limit": 12,
    "epochs": 2,
    "batch": 5,
    "lr": 0.02,
    "momentum": 0.9,
    "weight-decay": 0.001,
    "schedule": "cosine",
    "warmup": 0,
    "rates": "",  # those of all layers alike
    "dropout": 0.3,
    "augment": "flip,turn,rotate,crop,scale,colour",
    "padding": 0.1,
    "minimum": 0.2,
    "threshold": 0.2,
    "seed": 3,
}
STEPS = 6


def options(**changes):
    """The command line of a tiny run; underscores in names become dashes, and None takes an option away."""
    chosen = OPTIONS | {name.replace("_", "-"): value for name, value in changes.items()}
    return [text for name, value in chosen.items() if value is not None for text in (f"--{name}", str(value))]


def train(folder, **changes):
    """Run it here, in a new folder; returns the exit code."""
    return main([*options(**changes), "--out", str(folder)])


def start(*arguments, **settings):
    """Start `python -m minicam.train` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "minicam.train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        **settings,
    )


def parameters(folder, stage):
    """The bytes of each parameter of a checkpoint, and of each velocity."""
    params, state = checkpoint.load(folder / f"stage{stage}.h5")
    return {name: array.tobytes() for name, array in params.items()} | {
        f"velocity of {name}": array.tobytes() for name, array in state["velocity"].items()
    }


def refused(main, capsys, *arguments):
    """The one line that a command prints which refuses its arguments."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    _, line = capsys.readouterr()
    assert line.count("\n") == 1
    return line.removeprefix("minicam: ").rstrip("\n")


RESULTS = ("metrics.jsonl", "boxes.csv", "predictions_stage1.csv", "predictions_stage2.csv", "cams.png", "config.json")


def assert_same_run(one, other):
    """Two runs have the same parameters and velocities, byte for byte, and the same results."""
    for stage in (1, 2):
        mine, theirs = parameters(one, stage), parameters(other, stage)
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name] != theirs[name]] == []
    for name in RESULTS:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@dataclass(frozen=True, eq=False)
class Pictures(Dataset):
    """Images held in memory, never reduced."""

    images: tuple[np.ndarray, ...] = ()

    def shape(self, i):
        return self.images[i].shape[:2]

    def image(self, i, size=None, box=None):
        return self.images[i]

    def mask(self, i):
        return None

    def subset(self, indices):
        return self._pick(indices, images=tuple(self.images[i] for i in indices))


def pictures(images, labels=None, cls=Pictures, **fields):
    """A data set of three classes out of images (H, W, 3)."""
    images = tuple(images)
    labels = np.arange(len(images)) % 3 if labels is None else np.asarray(labels)
    ids = tuple(f"picture_{i}" for i in range(len(images)))
    return cls("training", ids, labels, ("a", "b", "c"), ("b", "c"), images=images, **fields)


def coordinates(height, width, offset=0):
    """An image in which red says the column, green the row, and blue is `offset`."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, offset)], -1).astype(np.uint8)
