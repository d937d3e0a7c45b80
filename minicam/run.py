"""The folder of a run: its configuration, what was logged, checkpoints, boxes, predictions, figures, pictures.

    config.json                   every choice
    metrics.jsonl                 a row a step, a row an epoch
    trained.jsonl                 a row each time that training began or went on: when, where, with which code
    stage1.h5, stage2.h5          checkpoints: the last good state of each stage, and of its optimiser
    foreground.npy                the weights of the region "foreground", where that is the rule (see `cam`)
    boxes.csv                     for every image its box and its crop, in pixels of the original
    predictions_stage{1,2}.csv    validation probabilities in the challenge's format
    summary.json                  the figures of the table that is printed last
    cams.png                      validation images, maps and boxes, for a person to look at
"""

import csv
import hashlib
import io
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from shlex import quote

import numpy as np

from minicam import MinicamError
from minicam.cam import CropRule
from minicam.config import Config
from minicam.data import Dataset
from minicam.files import as_csv, write_bytes, write_text
from minicam.model import NETWORKS, Network
from minicam.weights import checkpoint, keras

BOX_COLUMNS = ("image_id", "split", "class", "x0", "y0", "x1", "y1", "crop_x0", "crop_y0", "crop_x1", "crop_y1")


def new_folder(parent: Path = Path("runs")) -> Path:
    """A name for a new run, by date and time, that is not taken."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1000):
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        if not folder.exists():
            return folder
    raise MinicamError(f"{parent} has a thousand runs of this second; choose a folder with --out")


@dataclass
class Progress:
    """How far a stage has come: with the parameters and the velocities, all that a resumed run needs to know."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches finished in the epoch after them
    finished: bool = False
    seconds: float = 0.0  # spent in this stage


# What the state in the checkpoint of a stage holds; `data` is the digest of the images.
STATE = {"progress": dict, "velocity": dict, "stage": int, "classes": list, "tasks": list, "data": str}


def digest(datasets: Sequence[Dataset]) -> str:
    """A short name for these images: the same ids in the same order with the same labels have the same one."""
    text = json.dumps([[dataset.ids, dataset.labels.tolist()] for dataset in datasets])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def demand_images(config: Config, state: dict, datasets: Sequence[Dataset]) -> None:
    """Raise MinicamError where the training and the validation images are not those that a checkpoint was trained on.

    state  the checkpoint's
    """
    now = [list(datasets[0].classes), list(datasets[0].tasks), digest(datasets)]
    if now != [state[name] for name in ("classes", "tasks", "data")]:
        images = "built-in images" if config.data is None else f"images in {config.data}"
        raise MinicamError(
            f"the {images} are not those the run was trained on (their names, labels or classes differ); "
            "put those back, or start a new run"
        )


def checked_state(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Parameters and state of a stage's checkpoint. MinicamError where it holds no state of a training run."""
    params, state = checkpoint.load(path)
    found = state if isinstance(state, dict) else {}
    wrong = [name for name, kind in STATE.items() if not isinstance(found.get(name), kind)]
    if not wrong and found["progress"].keys() != {field.name for field in fields(Progress)}:
        wrong = ["progress"]
    if wrong:
        raise MinicamError(
            f"{path} is not the checkpoint of a training run of this version: its state lacks {', '.join(wrong)}; "
            "put the run's own file back, or start a new run"
        )
    return params, state


@dataclass(frozen=True)
class Trained:
    """The network of a finished stage; the names of its outputs, `classes`; and those that are scored, `tasks`."""

    network: Network
    classes: tuple[str, ...]
    tasks: tuple[str, ...]


class Run:
    """A run's folder on disk."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config

    @classmethod
    def create(cls, folder: Path, config: Config) -> "Run":
        """Make the folder. MinicamError where it already has something in it, and where it cannot be written."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise MinicamError(f"{folder} exists already; choose a new folder with --out, or continue it with --resume")
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.json", config.text())
        except OSError as error:
            raise MinicamError(f"cannot write the run to {folder}: {error.strerror or error}") from None
        finally:
            for place in made:
                with suppress(OSError):
                    place.rmdir()  # which does it only where the configuration did not get there
        return cls(folder, config)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """An existing run. MinicamError where the folder is none."""
        if not folder.is_dir():
            raise MinicamError(f"{folder} is not a folder; give the folder of a run, as minicam.train printed it")
        return cls(folder, Config.load(folder / "config.json"))

    def checkpoint(self, stage: int) -> Path:
        """The path of a stage's checkpoint."""
        return self.folder / f"stage{stage}.h5"

    def trained(self, stage: int, on: str = "cpu") -> Trained:
        """The network of a stage as its training left it, on a device. MinicamError where that has not ended."""
        path = self.checkpoint(stage)
        params, state = checked_state(path) if path.exists() else (None, None)
        if state is None or not state["progress"]["finished"]:
            raise MinicamError(
                f"stage {stage} of {self.folder} is not finished; finish it with "
                f"python -m minicam.train --resume {quote(str(self.folder))}"
            )
        network = NETWORKS[self.config.network](len(state["classes"]), self.config.seed, self.config.dropout)
        keras.assign(network.params(), params, path)
        network.train_from(self.config.train_from)
        return Trained(network.to(on), tuple(state["classes"]), tuple(state["tasks"]))

    def remove_temporaries(self, stage: int) -> None:
        """Remove what a process that was killed while saving has left of a stage's checkpoint."""
        for path in self.folder.glob(f"{self.checkpoint(stage).name}.*.tmp"):
            path.unlink(missing_ok=True)

    # -- metrics.jsonl

    def log(self, **row: object) -> None:
        """Add a row."""
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise MinicamError(f"cannot write {path}: {error.strerror or error}") from None

    def sign(self, origin: dict) -> None:
        """Add a line to trained.jsonl: what trains from here on, with which code, where."""
        path = self.folder / "trained.jsonl"
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in (*self.trained_by(), origin)))

    def trained_by(self) -> list[dict]:
        """The lines of trained.jsonl: the stage, the commit, whether the code was changed, and more."""
        path = self.folder / "trained.jsonl"
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            if not all(isinstance(line, dict) and {"stage", "commit", "dirty"} <= line.keys() for line in lines):
                raise ValueError("a line lacks stage, commit or dirty")
        except ValueError as error:
            raise MinicamError(f"{path} cannot be read ({error}); put the run's own file back, or delete it") from None
        return lines

    def forget_after(self, stage: int, step: int, epoch: int) -> None:
        """Keep the rows of the first `step` steps and `epoch` epochs of `stage`: a resumed run writes the rest."""
        path = self.folder / "metrics.jsonl"
        kept = []
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
                done = row["epoch"] <= epoch if "epoch" in row else row["step"] < step
                if row["stage"] < stage or (row["stage"] == stage and done):
                    kept.append(line + "\n")
            except (ValueError, TypeError, KeyError):  # such as the last line of a run that was killed while writing it
                continue
        self.write("metrics.jsonl", "".join(kept))

    # -- boxes, predictions, figures

    def crop_rule(self) -> CropRule:
        """How images become crops: as configured, with the weights that stage 1 left for it. MinicamError without."""
        rule, path = self.config.crop_rule, self.folder / "foreground.npy"
        if rule.region != "foreground":
            return rule
        again = f"make it anew with python -m minicam.train --resume {quote(str(self.folder))}"
        if not path.exists():
            raise MinicamError(f"{path}, by which stage 1 finds what to crop, is missing; {again}")
        try:
            weights = np.load(path, allow_pickle=False)
            if not (isinstance(weights, np.ndarray) and weights.ndim == 1 and weights.dtype == np.float32):
                raise ValueError("it is no row of float32")
            if not np.isfinite(weights).all():
                raise ValueError("not all of it is finite")
        except (OSError, ValueError, EOFError) as error:
            raise MinicamError(
                f"{path}, by which stage 1 finds what to crop, cannot be read ({error}); delete it, and {again}"
            ) from None
        return replace(rule, foreground=weights)

    def write_foreground(self, weights: np.ndarray) -> None:
        """Write foreground.npy."""
        data = io.BytesIO()
        np.save(data, weights)
        write_bytes(self.folder / "foreground.npy", data.getvalue())

    def write_boxes(self, datasets: Sequence[Dataset], found: Sequence) -> None:
        """Write boxes.csv: for each data set what `inference.locate` found."""
        self.write("boxes.csv", boxes_csv(datasets, found))

    def read_crops(self, dataset: Dataset) -> np.ndarray | None:
        """The crops (N, 4) of a data set's images from boxes.csv; None where there is no such file.

        MinicamError where it cannot be read, and where it lacks an image or has a crop that does not lie in it.
        """
        path = self.folder / "boxes.csv"
        if not path.exists():
            return None
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = {(row["split"], row["image_id"]): row for row in csv.DictReader(file)}
            table = [[int(rows[dataset.split, name][key]) for key in BOX_COLUMNS[7:]] for name in dataset.ids]
            for i, (x0, y0, x1, y1) in enumerate(table):
                height, width = dataset.shape(i)
                if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                    raise ValueError(f"the crop of {dataset.ids[i]} does not lie in the image")
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise MinicamError(
                f"{path} does not fit the {dataset.split} images ({error}); delete it to find the boxes again"
            ) from None
        return np.array(table)

    def write_predictions(self, name: str, dataset: Dataset, probabilities: np.ndarray) -> None:
        """Write probabilities (N, K) in the challenge's format: `image_id` and a column a task."""
        self.write(name, predictions_csv(dataset, probabilities))

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder whole, or not at all."""
        write_text(self.folder / name, text)


def boxes_csv(datasets: Sequence[Dataset], found: Sequence) -> str:
    """For each image of each data set what `inference.locate` found: the class, the box of the region, the crop."""
    rows = [
        (name, dataset.split, dataset.classes[k], *box, *crop)
        for dataset, located in zip(datasets, found, strict=True)
        for name, k, box, crop in zip(dataset.ids, located.classes, located.boxes, located.crops, strict=True)
    ]
    return as_csv(BOX_COLUMNS, rows)


def predictions_csv(dataset: Dataset, probabilities: np.ndarray) -> str:
    """The challenge's format: `image_id`, then the probability of each task's class, always with a decimal point."""
    columns = [dataset.classes.index(task) for task in dataset.tasks]
    rows = [(name, *(f"{p[k]:.6f}" for k in columns)) for name, p in zip(dataset.ids, probabilities, strict=True)]
    return as_csv(("image_id", *dataset.tasks), rows)
