"""One row with one seed: run what it needs that is not there yet, and write down how it came about.

    OUT/BASE/seed0               a run as `minicam.train` makes it, stage 1 or both
    OUT/BASE/seed0_ROW           a second stage of its own, or a regression
    OUT/BASE/seed0_ROW.json      what is known of the row beside its predictions: seconds, maps, machine, commit
    OUT/BASE/seed0/float16       what `minicam.evaluate` and `minicam.explain` need of the run, much smaller

All of it can be stopped and called again. A base's stage 1 is trained once, and shared by the rows of that base.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicam import MinicamError, cam, results
from minicam.config import Config
from minicam.controls import continued, shuffled
from minicam.data import Dataset, augment
from minicam.evaluate import evaluate
from minicam.inference import Located, loader_for, locate
from minicam.model import Network
from minicam.reproduce.maps import values_of_boxes, values_of_maps
from minicam.reproduce.place import WHERE, Place
from minicam.reproduce.regression import classify
from minicam.reproduce.rows import ROWS, Row, next_seed
from minicam.run import Run, digest
from minicam.shortcuts import Painted
from minicam.train import build, first_stage, open_data, second_stage, train
from minicam.weights import checkpoint

ZHOU = cam.CropRule(threshold=0.2)  # the map of the predicted class, cut as Zhou et al. do


def measure(name: str, seed: int, place: Place) -> dict:
    """The record of a row, from its file, or made now. MinicamError where the file is of other choices."""
    row, path = ROWS[name], place.record(name, seed)
    config = place.config(row.base, seed)
    about = {"choices": choices_of(config, row), "rounded_features": config.float16_features}
    record = results.read(path)
    if record is not None:
        was, now = ({**r["choices"], "rounded_features": r["rounded_features"]} for r in (record, about))
        other = [f"{key} {was.get(key)}, not {now[key]}" for key in now if was.get(key) != now[key]]
        if other:
            raise MinicamError(f"{path} was made with {other[0]}; choose another folder with --out")
        if all(file.exists() for file in place.files(name, seed)):
            return record
    started = time.perf_counter()
    run = continued(place.folder(row.base, seed), config)
    found = HOW[row.how](name, row, run, place if config.float16_features else replace(place, cache=None))
    record = {
        **results.about(place.command(name, seed)),
        **results.computer(place.on),
        "trained": run.trained_by() + Run(beside(run, name), config).trained_by(),
        **about,
        "weights": weights_of(config),
        "images": digest([open_data(config)[1]]),
        "seconds": round(time.perf_counter() - started, 1),
        **found,
    }
    results.write(path, record)
    return record


def choices_of(config: Config, row: Row) -> dict:
    """All that changes a row's numbers, but for its seed and where files are."""
    chosen = json.loads(replace(config, **row.choices).text())
    return {name: value for name, value in chosen.items() if name not in (*WHERE, "seed")}


def weights_of(config: Config) -> dict | None:
    """The name and the SHA-256 of the file that training started from; None where it started from nothing."""
    if config.weights is None:
        return None
    data = Path(config.weights).read_bytes()
    return {"name": Path(config.weights).name, "sha256": hashlib.sha256(data).hexdigest()}


# -- what rows do: each gets its name, itself, the base's run and the place, and returns what goes into its record


def first(name: str, row: Row, run: Run, place: Place) -> dict:
    """Stage 1 on whole images."""
    network, datasets, _, seconds = stage1(run, place)
    look = loader_for(network, datasets[1], run.config, 1, place.workers, cache=place.cache)
    return {"training_seconds": seconds, "cam": values_of_maps(network, look, ZHOU, deletion=True)}


def both(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages, as `minicam.train` runs them; the maps are that which is cropped by, and those of the crops."""
    summary = train(run, place.workers, place.on, place.cache)
    write_float16(run)
    return {"training_seconds": summary["seconds"], **own_maps(run, place)}


def region(name: str, row: Row, run: Run, place: Place) -> dict:
    """The same with another crop rule after the base's stage 1."""
    stage1(run, place)
    own = continued(beside(run, name), replace(run.config, **row.choices))
    if not own.checkpoint(1).exists():
        part = own.folder / "stage1.part"
        shutil.copyfile(run.checkpoint(1), part)
        part.rename(own.checkpoint(1))
    train(own, place.workers, place.on, place.cache)
    return own_maps(own, place)


def given(name: str, row: Row, run: Run, place: Place) -> dict:
    """A second stage with crops that no map has shown."""
    crops = GIVEN[row.what](run, place)
    network, datasets, _, _ = stage1(run, place)
    own = continued(beside(run, name), replace(run.config, **row.choices))
    if run.config.stage2_from == "start" and row.what != "whole":
        network = build(run.config, len(datasets[0].classes), on=place.on)
    _, seconds = second_stage(own, network, datasets, crops, place.workers, place.cache)
    look = loader_for(network, datasets[1], own.config, 2, place.workers, crops[1], place.cache)
    boxes = {} if crops[1] is None else {"box": values_of_boxes(datasets[1], None, crops[1])}
    return {"training_seconds": seconds, "cam": values_of_maps(network, look, ZHOU), **boxes}


def views(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages scored over all flips and turns."""
    return evaluated(run, place, open_data(run.config)[1], "views", len(augment.VIEWS))


def without(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages scored with a part of the images painted over."""
    return evaluated(run, place, Painted.over(open_data(run.config)[1], row.what), f"without-{row.what}")


def average(name: str, row: Row, run: Run, place: Place) -> dict:
    """The rows named in `row.what`, whose predictions are averaged; one with a ' is that of the next seed."""
    for part in row.what.split(","):
        seed = next_seed(row.base, run.config.seed) if part.endswith("'") else run.config.seed
        measure(part.rstrip("'"), seed, place)
    return {}


def regression(name: str, row: Row, run: Run, place: Place) -> dict:
    """No network trained: logistic regression on frozen features, named in `row.what`."""
    datasets = open_data(run.config)
    probabilities, found = classify(run.config, datasets, row.what.split(","), place)
    folder = beside(run, row.what)
    folder.mkdir(exist_ok=True)
    Run(folder, run.config).write_predictions("predictions.csv", datasets[1], probabilities)
    return found


HOW: dict[str, Callable[[str, Row, Run, Place], dict]] = {
    how.__name__: how for how in (first, both, region, given, views, without, average, regression)
}


# -- what these share


def stage1(run: Run, place: Place) -> tuple[Network, tuple[Dataset, Dataset], Located, float]:
    """The finished stage 1 of a run, trained where it is not: network, images, what it finds, seconds."""
    datasets = open_data(run.config)
    network = build(run.config, len(datasets[0].classes), not run.checkpoint(1).exists(), place.on)
    located, _, seconds = first_stage(run, network, datasets, place.workers, place.cache)
    return network, datasets, located, seconds


def beside(run: Run, name: str) -> Path:
    """The folder of a second stage of its own."""
    return run.folder.with_name(f"{run.folder.name}_{name}")


def write_float16(run: Run) -> None:
    """Both stages of a finished run as a run of its own, to be evaluated: rounded, and without the velocities."""
    folder = run.folder / "float16"
    if not (folder / "config.json").exists():
        Run.create(folder, run.config)
    for stage in (1, 2):
        params, state = checkpoint.load(run.checkpoint(stage))
        rounded = {name: array.astype(np.float16) for name, array in params.items()}
        checkpoint.save(folder / f"stage{stage}.h5", rounded, state | {"velocity": {}})
    if run.crop_rule().foreground is not None:
        Run(folder, run.config).write_foreground(run.crop_rule().foreground)


def own_maps(run: Run, place: Place) -> dict:
    """Of a run with both stages: the map that crops are found in, these boxes, and the CAMs of the crops."""
    dataset, config, rule = open_data(run.config)[1], run.config, run.crop_rule()
    first, second = (run.trained(stage, place.on).network for stage in (1, 2))
    whole = loader_for(first, dataset, config, 1, place.workers, cache=place.cache)
    located = locate(first, whole, rule)
    close = loader_for(second, dataset, config, 2, place.workers, located.crops, place.cache)
    return {
        "region": values_of_maps(first, whole, rule, deletion=True),
        "box": values_of_boxes(dataset, located.boxes, located.crops),
        "cam": values_of_maps(second, close, ZHOU),
    }


def evaluated(run: Run, place: Place, dataset: Dataset, name: str, views: int = 1) -> dict:
    """What `minicam.evaluate` makes of a run, of which both stages are finished first, in a folder beside its own."""
    if not (run.folder / "summary.json").exists():
        train(run, place.workers, place.on, place.cache)
    out = beside(run, name)
    if not (out / "summary.json").exists():  # the row of the other stage has it made, too
        shutil.rmtree(out, ignore_errors=True)  # of a process that was killed
        evaluate(run, dataset, out, place.workers, place.on, views, place.cache)
    return {}


Crops = tuple[np.ndarray | None, np.ndarray | None]  # (N, 4) of the training and the validation images; None: whole


def whole(run: Run, place: Place) -> Crops:
    """No crops."""
    return None, None


def masks(run: Run, place: Place) -> Crops:
    """Crops around the lesions' masks, as the rule of the run makes them of boxes. MinicamError without masks."""
    rule, found = run.config.crop_rule, []
    for dataset in open_data(run.config):
        crops = []
        for i in range(len(dataset)):
            mask = dataset.mask(i)
            box = None if mask is None else cam.mask_box(mask, dataset.shape(i))
            if box is None:
                raise MinicamError(f"{dataset.ids[i]} has no mask to crop by; put the masks where README.md says")
            crops.append(cam.adjust_box(box, dataset.shape(i), rule.padding, rule.minimum, rule.square))
        found.append(np.array(crops))
    return tuple(found)


def dealt(run: Run, place: Place) -> Crops:
    """The run's own crops, each given to another image."""
    _, datasets, _, _ = stage1(run, place)
    return tuple(shuffled(dataset, run.read_crops(dataset), run.config.seed) for dataset in datasets)


GIVEN: dict[str, Callable[[Run, Place], Crops]] = {"whole": whole, "masks": masks, "shuffled": dealt}
