"""One row with one seed: run what it needs that is not there yet, and write down how it came about.

    OUT/BASE/seed0               a run as `minicam.train` makes it, stage 1 or both
    OUT/BASE/seed0_ROW           a second stage of its own, a regression, other predictions
    OUT/BASE/seed0_ROW.json      what is known of the row beside its predictions: seconds, maps, machine, commit
    OUT/BASE/seed0/float16       what `minicam.evaluate` and `minicam.explain` need of the run, much smaller

All of it can be stopped and called again. A base's stage 1 is trained once, and shared by the rows of that base.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicam import MinicamError, cam, results
from minicam.controls import continued, shuffled
from minicam.data import Dataset, augment
from minicam.evaluate import FILES, evaluate
from minicam.inference import loader_for, locate
from minicam.model import Network
from minicam.reproduce import records
from minicam.reproduce.maps import values_of_boxes, values_of_maps
from minicam.reproduce.place import Place
from minicam.reproduce.regression import classify
from minicam.reproduce.rows import ROWS, Row
from minicam.run import Run
from minicam.shortcuts import Painted
from minicam.train import build, first_stage, open_data, second_stage, train
from minicam.weights import checkpoint

WRITTEN = ("predictions_stage1.csv", "boxes.csv", "cams.png")  # once a stage 1 is finished
ZHOU = cam.CropRule(threshold=0.2)  # the map of the predicted class, cut as Zhou et al. do


def measure(name: str, seed: int, place: Place) -> dict:
    """Run a row, of which the parts are there, and return its record."""
    row, config = ROWS[name], place.config(ROWS[name].base, seed)
    started = time.perf_counter()
    run = continued(place.folder(row.base, seed), config)
    found = HOW[row.how](name, row, run, place if config.float16_features else replace(place, cache=None))
    record = {
        **results.about(place.command(name, seed)),
        **results.computer(place.on),
        **records.about(config, row, open_data(config)[1]),
        **records.trained(name, seed, place),
        "seconds": round(time.perf_counter() - started, 1),
        **found,
    }
    results.write(place.record(name, seed), record)
    return record


# -- what rows do: each gets its name, itself, the base's run and the place, and returns what goes into its record


def first(name: str, row: Row, run: Run, place: Place) -> dict:
    """Stage 1 on whole images."""
    network, datasets = stage1(run, place)
    look = loader_for(network, datasets[1], run.config, 1, place.workers, cache=place.cache)
    return {"cam": values_of_maps(network, look, ZHOU, deletion=True)}


def two_stages(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages, as `minicam.train` runs them; the maps are that which is cropped by, and those of the crops."""
    train(run, place.workers, place.on, place.cache)
    write_float16(run)
    return own_maps(run, place)


def region(name: str, row: Row, run: Run, place: Place) -> dict:
    """The same with another crop rule after the base's stage 1."""
    stage1(run, place)
    own = continued(place.own(name, run.config.seed), replace(run.config, **row.choices))
    if not own.checkpoint(1).exists():
        part = own.folder / "stage1.part"
        shutil.copyfile(run.checkpoint(1), part)
        part.rename(own.checkpoint(1))
    train(own, place.workers, place.on, place.cache)
    return own_maps(own, place)


def given(name: str, row: Row, run: Run, place: Place) -> dict:
    """A second stage with crops that no map has shown."""
    network, datasets = stage1(run, place)
    crops = GIVEN[row.what](run, datasets)
    own = continued(place.own(name, run.config.seed), replace(run.config, **row.choices))
    if run.config.stage2_from == "start" and row.what != "whole":
        network = build(run.config, len(datasets[0].classes), on=place.on)
    second_stage(own, network, datasets, crops, place.workers, place.cache)
    look = loader_for(network, datasets[1], own.config, 2, place.workers, crops[1], place.cache)
    boxes = {} if crops[1] is None else {"box": values_of_boxes(datasets[1], None, crops[1])}
    return {"cam": values_of_maps(network, look, ZHOU), **boxes}


def views(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages scored over all flips and turns."""
    return evaluated(run, place.own(name, run.config.seed), place, open_data(run.config)[1], len(augment.VIEWS))


def without(name: str, row: Row, run: Run, place: Place) -> dict:
    """Both stages scored with a part of the images painted over."""
    painted = Painted.over(open_data(run.config)[1], row.what)
    return evaluated(run, place.own(name, run.config.seed), place, painted)


def average(name: str, row: Row, run: Run, place: Place) -> dict:
    """Nothing of its own."""
    return {}


def regression(name: str, row: Row, run: Run, place: Place) -> dict:
    """No network trained: logistic regression on frozen features, named in `row.what`."""
    datasets = open_data(run.config)
    probabilities, found = classify(run.config, datasets, row.what, place)
    folder = place.own(name, run.config.seed)
    folder.mkdir(exist_ok=True)
    Run(folder, run.config).write_predictions("predictions.csv", datasets[1], probabilities)
    return found


HOW: dict[str, Callable[[str, Row, Run, Place], dict]] = {
    how.__name__: how for how in (first, two_stages, region, given, views, without, average, regression)
}


# -- what these share


def stage1(run: Run, place: Place) -> tuple[Network, tuple[Dataset, Dataset]]:
    """The network of a run's finished stage 1, which is trained where it is not, and the images."""
    datasets = open_data(run.config)
    if all((run.folder / name).exists() for name in WRITTEN):
        return run.trained(1, place.on).network, datasets
    network = build(run.config, len(datasets[0].classes), not run.checkpoint(1).exists(), place.on)
    first_stage(run, network, datasets, place.workers, place.cache)
    return network, datasets


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
    look = loader_for(first, dataset, config, 1, place.workers, cache=place.cache)
    located = locate(first, look, rule)
    close = loader_for(second, dataset, config, 2, place.workers, located.crops, place.cache)
    return {
        "region": values_of_maps(first, look, rule, deletion=True),
        "box": values_of_boxes(dataset, located.boxes, located.crops),
        "cam": values_of_maps(second, close, ZHOU),
    }


def evaluated(run: Run, out: Path, place: Place, dataset: Dataset, views: int = 1) -> dict:
    """What `minicam.evaluate` makes of a run, of which both stages are finished first, in the folder `out`."""
    if not (run.folder / "summary.json").exists():
        train(run, place.workers, place.on, place.cache)
    if not all((out / name).exists() for name in FILES):  # else the row of the other stage has had them made
        config = run.config
        of = {"data": config.data, "split": dataset.split, "fold": config.fold, "limit": config.limit}
        evaluate(run, dataset, out, place.workers, place.on, views, place.cache, of)
    return {}


Crops = tuple[np.ndarray | None, np.ndarray | None]  # (N, 4) of the training and the validation images; None: whole


def whole(run: Run, datasets: tuple[Dataset, Dataset]) -> Crops:
    """No crops."""
    return None, None


def masks(run: Run, datasets: tuple[Dataset, Dataset]) -> Crops:
    """Crops around the lesions' masks, as the rule of the run makes them of boxes. MinicamError without masks."""
    rule, found = run.config.crop_rule, []
    for dataset in datasets:
        crops = []
        for i in range(len(dataset)):
            mask = dataset.mask(i)
            box = None if mask is None else cam.mask_box(mask, dataset.shape(i))
            if box is None:
                raise MinicamError(f"{dataset.ids[i]} has no mask to crop by; put the masks where README.md says")
            crops.append(cam.adjust_box(box, dataset.shape(i), rule.padding, rule.minimum, rule.square))
        found.append(np.array(crops))
    return tuple(found)


def dealt(run: Run, datasets: tuple[Dataset, Dataset]) -> Crops:
    """The run's own crops, each given to another image."""
    return tuple(shuffled(dataset, run.read_crops(dataset), run.config.seed) for dataset in datasets)


GIVEN: dict[str, Callable[[Run, tuple[Dataset, Dataset]], Crops]] = {"whole": whole, "masks": masks, "shuffled": dealt}
