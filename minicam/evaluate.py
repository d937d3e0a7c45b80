"""How good is a saved run on a labelled set? Both of its stages as in training, and the same table.

    python -m minicam.evaluate RUN --split test             its own images
    python -m minicam.evaluate RUN --data DIR --split test  other images

With --views 8 the probabilities are averaged over all flips and turns of an image. With --without box the lesion is
painted over, and stage 2 gets the same crops as before: how much of the score needs no more of a lesion than its size
and its place? With --split training --fold, of a run that was trained with --fold, the images are those that it held
out.

The images must be of the run's classes. Those of a folder of one's own are the classes of its training images, so it
needs some of each, whatever the split that is evaluated; in which order they stand does not matter.

A new folder takes what a run writes of its own validation images: predictions_stage1.csv and predictions_stage2.csv
(the challenge's format), boxes.csv, and summary.json, where the seconds are those of the evaluation alone, and which
says under "of" what images these are.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicam import MinicamError, device, results
from minicam.choices import lone_layout
from minicam.cli import HelpFormatter, Parser, command, named_path
from minicam.data import Dataset
from minicam.data.augment import VIEWS
from minicam.data.catalogue import LAYOUTS, open_fold, open_split
from minicam.files import whole_folder, write_text
from minicam.inference import loader_for, locate, mean_box_iou, probabilities_of
from minicam.metrics import summarise, table
from minicam.run import Run, boxes_csv, checked_state, demand_images, predictions_csv
from minicam.shortcuts import PARTS, Painted
from minicam.train import open_data

SPLITS = ("training", "validation", "test")
FILES = ("predictions_stage1.csv", "predictions_stage2.csv", "boxes.csv", "summary.json")


def in_terms_of(dataset: Dataset, classes: Sequence[str], tasks: Sequence[str]) -> Dataset:
    """The data set with the classes in the order of a network's outputs. MinicamError where they are others."""
    if sorted(dataset.classes) != sorted(classes):
        raise MinicamError(
            f"the images are of the classes {', '.join(dataset.classes)}; the run was trained on {', '.join(classes)}; "
            "evaluate it on images of its own classes, each by its name there"
        )
    number = np.array([classes.index(name) for name in dataset.classes])
    return replace(dataset, labels=number[dataset.labels], classes=tuple(classes), tasks=tuple(tasks))


def evaluate(
    run: Run,
    dataset: Dataset,
    out: Path,
    workers: int = 2,
    on: str = "cpu",
    views: int = 1,
    cache: Path | None = None,
    of: dict | None = None,
) -> dict:
    """Write into `out` what the run says of the images, computed on the device `on`; return the summary's figures.

    views  over how many of `augment.VIEWS` probabilities are averaged; boxes are found in the first of them
    cache  the folder to keep features in; None: nowhere
    of     what the summary is to say of these images, beside views and what is painted over
    """
    config, first, second = run.config, run.trained(1, on), run.trained(2, on)
    dataset = in_terms_of(dataset, first.classes, first.tasks)
    kept = None if isinstance(dataset, Painted) else cache  # features know of the image, but not how it was painted
    of = (of or {}) | ({"views": views} if views > 1 else {})
    of |= {"without": dataset.part, "painted": dataset.painted()} if isinstance(dataset, Painted) else {}
    with whole_folder(out, FILES) as folder:
        started = time.perf_counter()
        whole = loader_for(first.network, dataset, config, 1, workers, cache=kept)
        located = locate(first.network, whole, run.crop_rule(), "stage 1")
        averaged = probabilities_of(first.network, whole, "stage 1, turned", views, [located.probabilities])
        located = replace(located, probabilities=averaged)
        if isinstance(dataset, Painted):  # the crops of the image as it is, or they would land elsewhere
            as_it_is = loader_for(first.network, dataset.of, config, 1, workers, cache=cache)
            unpainted = locate(first.network, as_it_is, run.crop_rule(), "stage 1, unpainted")
            located = replace(located, boxes=unpainted.boxes, crops=unpainted.crops)
        close = loader_for(second.network, dataset, config, 2, workers, located.crops, kept)
        probabilities = probabilities_of(second.network, close, "stage 2", views)
        scored = dataset.labels, located.probabilities, probabilities, dataset.classes, dataset.tasks
        box_iou = mean_box_iou(dataset, located.boxes)
        summary = {"of": of, **summarise(*scored, box_iou, time.perf_counter() - started)}
        texts = (
            predictions_csv(dataset, located.probabilities),
            predictions_csv(dataset, probabilities),
            boxes_csv([dataset], [located]),
            json.dumps(summary, indent=2) + "\n",
        )
        for name, text in zip(FILES, texts, strict=True):
            write_text(folder / name, text)
    return summary


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser("python -m minicam.evaluate", description=__doc__, formatter_class=HelpFormatter)
    p.add_argument("run", type=named_path, metavar="RUN", help="folder of a finished run")
    p.add_argument("--data", type=named_path, metavar="DIR", help="folder with the images (those of the run)")
    p.add_argument("--layout", choices=LAYOUTS, help="of that folder (auto)")
    p.add_argument("--split", choices=SPLITS, required=True, help="which of the images")
    text = "of the training images those that the run held out, as it was trained with --fold"
    p.add_argument("--fold", action="store_true", help=text)
    p.add_argument("--limit", type=int, metavar="N", help="take this many images, stratified by class (all)")
    text = "score images in which this part is painted over (see shortcuts.py)"
    p.add_argument("--without", choices=PARTS, help=text)
    text = f"average over so many flips and turns of each image, 1 to {len(VIEWS)} (1)"
    p.add_argument("--views", type=int, metavar="N", default=1, choices=range(1, len(VIEWS) + 1), help=text)
    out = "a new folder, or that of an evaluation, which is replaced (evaluation_... in the folder of the run)"
    p.add_argument("--out", type=named_path, metavar="DIR", help=out)
    device.add_options(p, "read images")
    return p


def images_of(run: Run, options: argparse.Namespace) -> Dataset:
    """The images that are asked for. MinicamError where the run's own are no longer those that it was trained on: of
    others, it might have learned from some of what is now held out."""
    config = run.config
    own = options.data is None
    data, layout = (config.data, config.layout) if own else (str(options.data), options.layout or "auto")
    if own and options.split != "test" and run.checkpoint(1).exists():
        demand_images(config, checked_state(run.checkpoint(1))[1], open_data(config))
    if not options.fold:
        return open_split(data, layout, options.split, config.seed, options.limit)
    if config.fold is None or options.split != "training" or not own:
        raise MinicamError(
            "--fold goes with --split training and the run's own images, and a run that was trained with --fold; "
            "leave it out"
        )
    return open_fold(data, layout, config.fold, config.seed, options.limit)[1]


def free_for(of: dict, out: Path) -> Path:
    """The folder. MinicamError where it holds what was said of images from elsewhere: folders may be called alike."""
    try:
        there = results.read(out / "summary.json")["of"]["data"]
    except (TypeError, KeyError):
        return out
    if there != of["data"]:
        raise MinicamError(f"{out} holds an evaluation of {there}; choose another folder with --out")
    return out


@command
def main(argv: list[str] | None = None) -> None:
    """The command."""
    options = parser().parse_args(argv)
    on = device.prepare(**vars(options))
    lone_layout(options.layout, options.data)
    run = Run.open(options.run)
    dataset = images_of(run, options)
    data = run.config.data if options.data is None else os.path.abspath(options.data)
    fold = run.config.fold if options.fold else None
    of = {"data": data, "split": options.split, "fold": fold, "limit": options.limit}
    parts = ["evaluation", *([] if options.data is None else [Path(data).name]), options.split]
    parts += [f"{name}_{of[name]}" for name in ("fold", "limit") if of[name] is not None]
    parts += [f"views_{options.views}"] if options.views > 1 else []
    if options.without is not None:
        dataset = Painted.over(dataset, options.without)
        parts += [f"without_{options.without}"]
    out = options.out or free_for(of, run.folder / "_".join(parts))
    summary = evaluate(run, dataset, out, options.workers, on, options.views, of=of)
    print(f"written to {out}")
    if summary["of"].get("painted", len(dataset)) < len(dataset):
        print(f"only {summary['of']['painted']} images have a mask, and were painted over")
    print(table(summary))


if __name__ == "__main__":
    sys.exit(main())
