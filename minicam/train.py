"""The paper's two stages: train on whole images, find the region that matters by its CAM, train again on the crops.

    python -m minicam.train              the built-in data, about a minute
    python -m minicam.train --data DIR   ISIC-2017, or a folder of your own images
"""

import argparse
import io
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np

from minicam import MinicamError, cam, device
from minicam.choices import add_choices, given_choices
from minicam.cli import HelpFormatter, Parser, command, named_path
from minicam.config import Config, default, make
from minicam.data import Dataset, limit
from minicam.data.catalogue import open_fold, open_split
from minicam.data.loader import Loader
from minicam.features import demand_room
from minicam.files import write_bytes
from minicam.fit import Interrupted, fit
from minicam.inference import Located, learn_foreground, loader_for, locate, mean_box_iou, probabilities_of
from minicam.layers import MaxPool
from minicam.metrics import summarise, table
from minicam.model import NETWORKS, Network
from minicam.pictures import sheet_of_cams
from minicam.run import Run, new_folder
from minicam.weights import keras

SHEET_IMAGES = 24
FOREGROUND_IMAGES = 400  # of the training images, to learn the region "foreground" from


def build(config: Config, classes: int, read_weights: bool = True, on: str = "cpu") -> Network:
    """The network as stage 1 starts with it: fresh from the seed, with the weights file in it where one is given.

    read_weights  False where a checkpoint will take their place: the file may be gone by then
    on            the device
    """
    network = NETWORKS[config.network](classes, config.seed, config.dropout)
    if config.weights is not None and read_weights:
        if not Path(config.weights).exists():
            raise MinicamError(
                f"{config.weights} is not there; fetch it with `python -m minicam.weights download`, name another "
                "file with --weights, or start from nothing with --weights none"
            )
        keras.assign(network.params(), keras.read(config.weights), config.weights, optional=("CAM_conv", "CAM_fc"))
    network.train_from(config.train_from)
    names = [layer.name for layer in network.layers if layer.params]
    for name in config.rates:
        if name not in names and name not in network.params():
            raise MinicamError(f"--rates names {name}, which is no layer; choose from {', '.join(names)}")
    region = " with --region foreground" if config.region == "foreground" else ""
    smallest = (cam.LEAST_SIDE if region else 1) * 2 ** sum(isinstance(layer, MaxPool) for layer in network.layers)
    if config.size < smallest:
        raise MinicamError(f"--size is {config.size}; {config.network}{region} needs at least {smallest}")
    if config.region in cam.FROM_POOLED and config.float16_features and network.frozen > network.last_pool() + 1:
        raise MinicamError(
            f"--region {config.region} looks at what comes out of the last pooling, and above it, from "
            f"{config.train_from} on, --cache-features keeps nothing of that; leave it out, or name a lower layer"
        )
    return network.to(on)


def open_data(config: Config) -> tuple[Dataset, Dataset]:
    """The training and the validation images of a run; with a fold, in place of the latter what it holds out."""
    if config.fold is not None:
        return open_fold(config.data, config.layout, config.fold, config.seed, config.limit)
    training, validation = (
        open_split(config.data, config.layout, split, config.seed, config.limit) for split in ("training", "validation")
    )
    return training, validation


def check(config: Config, on: str = "cpu", cache: Path | None = None, crops: int = 1) -> None:
    """Raise MinicamError for what is wrong with the images, the weights or the cache, before a folder is made.

    crops  how many times, after stage 1, the images are seen in crops of their own
    """
    datasets = open_data(config)
    network = build(config, len(datasets[0].classes), on=on)
    if cache is not None:
        training, validation = (loader_for(network, dataset, config, 1, 1, cache=cache) for dataset in datasets)
        demand_room(training, validation, config.epochs, crops)


def train(
    run: Run, workers: int = 2, on: str = "cpu", cache: Path | None = None, recompute: bool = False
) -> dict:
    """Run both stages in the run's folder, from wherever its checkpoints are, and return the summary's figures.

    on         the device to compute on
    cache      the folder to keep features in; None: nowhere
    recompute  what backward needs, instead of remembering it
    Raises Interrupted where a signal asked to stop, and MinicamError for bad input.
    """
    config = run.config
    datasets = open_data(config)
    starts = not run.checkpoint(1).exists() or (config.stage2_from == "start" and not run.checkpoint(2).exists())
    network = build(config, len(datasets[0].classes), starts, on)
    network.recompute = recompute
    located, crops, first = first_stage(run, network, datasets, workers, cache)
    box_iou = mean_box_iou(datasets[1], located.boxes)  # now: a mask that cannot be read is best told before stage 2
    if config.stage2_from == "start":
        network = build(config, len(datasets[0].classes), starts, on)
        network.recompute = recompute
    probabilities, second = second_stage(run, network, datasets, (crops, located.crops), workers, cache)
    seen = datasets[1]
    summary = summarise(
        seen.labels, located.probabilities, probabilities, seen.classes, seen.tasks, box_iou, first + second
    )
    run.write("summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def first_stage(
    run: Run, network: Network, datasets: tuple[Dataset, Dataset], workers: int = 2, cache: Path | None = None
) -> tuple[Located, np.ndarray, float]:
    """Train `network` in place as stage 1 of `run`, and write what it says of the validation images, and all boxes.

    datasets  the training and the validation images
    Returns what was located in the validation images, the crops (N, 4) of the training images, and the seconds.
    """
    config, (training, validation) = run.config, datasets

    def whole(dataset: Dataset) -> Loader:
        return loader_for(network, dataset, config, 1, workers, cache=cache)

    progress = fit(run, 1, network, whole(training), whole(validation), task_numbers(training))
    started = time.perf_counter()
    if config.region == "foreground" and not (run.folder / "foreground.npy").exists():
        some = training.subset(limit(training.labels, FOREGROUND_IMAGES))
        run.write_foreground(learn_foreground(network, whole(some), "foreground"))
    rule = run.crop_rule()
    located = locate(network, whole(validation), rule, "stage 1, validation")
    run.write_predictions("predictions_stage1.csv", validation, located.probabilities)
    crops = run.read_crops(training)
    if crops is None:
        found = locate(network, whole(training), rule, "stage 1, training")
        run.write_boxes((training, validation), (found, located))
        crops = found.crops
    shown = np.arange(len(validation)) if len(validation) <= SHEET_IMAGES else limit(validation.labels, SHEET_IMAGES)
    picture = io.BytesIO()
    sheet_of_cams(network, whole(validation.subset(shown)), rule).save(picture, "PNG")
    write_bytes(run.folder / "cams.png", picture.getvalue())
    return located, crops, progress.seconds + time.perf_counter() - started


def second_stage(
    run: Run,
    network: Network,
    datasets: tuple[Dataset, Dataset],
    crops: tuple[np.ndarray | None, np.ndarray | None],
    workers: int = 2,
    cache: Path | None = None,
) -> tuple[np.ndarray, float]:
    """Train `network` in place as stage 2 of `run`, and write what it says of the validation images.

    datasets  the training and the validation images
    crops     (N, 4) for each of the two, in pixels of the original; None: whole images
    Returns the probabilities (N, K) of the validation images, and the seconds that it all took.
    """
    training, validation = (
        loader_for(network, dataset, run.config, 2, workers, boxes, cache)
        for dataset, boxes in zip(datasets, crops, strict=True)
    )
    progress = fit(run, 2, network, training, validation, task_numbers(datasets[0]))
    started = time.perf_counter()
    probabilities = probabilities_of(network, validation, "stage 2, validation")
    run.write_predictions("predictions_stage2.csv", datasets[1], probabilities)
    return probabilities, progress.seconds + time.perf_counter() - started


def task_numbers(dataset: Dataset) -> list[int]:
    """The classes that are scored, as numbers."""
    return [dataset.classes.index(task) for task in dataset.tasks]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser("python -m minicam.train", description=__doc__, formatter_class=HelpFormatter)
    add_choices(p)
    runs = p.add_argument_group("the run")
    seed = default("seed", False)
    runs.add_argument("--seed", type=int, metavar="N", help=f"of everything that is drawn at random ({seed})")
    runs.add_argument("--out", type=named_path, metavar="DIR", help="folder of the run (a new one under runs/)")
    text = "continue this run, with the configuration that it has"
    runs.add_argument("--resume", type=named_path, metavar="RUN", help=text)
    device.add_options(runs, "read and augment images")
    text = "compute what backward needs again instead of remembering it: the same result, less memory, a quarter slower"
    runs.add_argument("--recompute", action="store_true", help=text)
    return p


@command
def main(argv: list[str] | None = None) -> None:
    """The command."""
    options = vars(parser().parse_args(argv))
    on = device.prepare(**options)
    given = given_choices(options)
    if options["resume"] is not None:
        clash = [*given, *(["out"] if options["out"] is not None else [])]
        if clash:
            flag = clash[0].replace("_", "-")
            raise MinicamError(f"--resume continues a run as it was configured; leave out --{flag}, or start a new run")
        run = Run.open(options["resume"])
        if options["cache_features"] is not None and not run.config.float16_features:
            raise MinicamError("--cache-features rounds, and would change what this run computes; leave it out")
    else:
        config = make(**given)
        check(config, on, options["cache_features"])
        run = Run.create(options["out"] or new_folder(), config)
    print(f"run: {run.folder}", flush=True)
    try:
        print(table(train(run, options["workers"], on, options["cache_features"], options["recompute"])))
        if on == "cuda":
            print(device.report())
    except (Interrupted, KeyboardInterrupt):
        names = ("device", "precision", "cache_features", "exact", "recompute")
        given = {name.replace("_", "-"): options[name] for name in names if options[name] not in (None, "auto", False)}
        same = [part for name, value in given.items() for part in (f"--{name}", value) if part is not True]
        again = ["python", "-m", "minicam.train", "--resume", run.folder, *same]
        print(f"stopped; continue with: {shlex.join(map(str, again))}", file=sys.stderr)
        raise KeyboardInterrupt from None


if __name__ == "__main__":
    sys.exit(main())
