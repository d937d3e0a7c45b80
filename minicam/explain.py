"""What does a run see in images that nobody has labelled? Its probabilities, and the places that they come from.

    python -m minicam.explain RUN IMAGE --out DIR
    python -m minicam.explain RUN FOLDER --out DIR

In DIR, where the id of an image is its name (with suffix, if two names differ in nothing else):

    probabilities.csv    image_id, stage1_<class>..., stage2_<class>...,
                         predicted: the most probable class of stage 2
    boxes.csv            image_id, split ("unlabelled"), class, box, crop
    maps/<id>.npy        float32 (h, w, K): the raw CAMs of stage 1, a class each
    bias.npy             float32 (K,): mean of a map + its bias = its logit
    overlays/<id>.png    the image with the map over it that its box is found in
    boxes/<id>.png       the image with that box (white) and the crop (blue)
    crops/<id>.png       what stage 2 saw, cut out of the original

Boxes are found as in training: with the small network in the CAM of the most probable class of stage 1; with
VGG16 in the map of `foreground`, which is no evidence for a class. With --class they are found in the CAM of that
class, at 20 % of its maximum where the run's region is no CAM of one class; crops, and so what stage 2 says, are then
others, too. Boxes are half-open, in pixels of the original, upright. Crops have all the pixels of the original;
overlays and boxes show a large one reduced by 2, 4 or 8, as long as its shorter side keeps 512 pixels. K classes stand
in the order of the columns of probabilities.csv.

An image that cannot be read is named and left out; the others are explained, and the exit code is 2.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from minicam import MinicamError, device
from minicam.backend import to_cpu
from minicam.cli import HelpFormatter, Parser, command, named_path
from minicam.config import THRESHOLDS
from minicam.data import Dataset
from minicam.data.images import images_in
from minicam.files import as_csv, whole_folder, write_text
from minicam.inference import Located, loader_for, locate_batches, probabilities_of
from minicam.pictures import cam_pictures
from minicam.run import Run, Trained, boxes_csv

SIDE = 512  # of overlays and boxes
PICTURES = ("boxes", "overlays", "crops")  # the order of `cam_pictures`


def faults_of(dataset: Dataset, size: int, workers: int) -> list[str | None]:
    """Why each image cannot be read; None where it can.

    Every file is decoded for it, as reduced as the network takes it, for headers tell nothing of what is cut short.
    """

    def fault(i: int) -> str | None:
        try:
            dataset.image(i, size)
        except MinicamError as error:
            return " ".join(str(error).split())
        return None

    with ThreadPoolExecutor(workers) as pool:
        numbers = range(len(dataset))
        bar = tqdm(pool.map(fault, numbers), "checking", len(numbers), unit="image", leave=False, disable=None)
        return list(bar)


def probabilities_csv(
    ids: Sequence[str], classes: Sequence[str], first: np.ndarray, second: np.ndarray
) -> str:
    """A row an image: probabilities (N, K) of stage 1, those of stage 2, and the class that stage 2 finds likeliest."""
    rows = [
        (name, *(f"{p:.6f}" for p in (*one, *two)), classes[two.argmax()])
        for name, one, two in zip(ids, first, second, strict=True)
    ]
    columns = [f"stage{stage}_{name}" for stage in (1, 2) for name in classes]
    return as_csv(("image_id", *columns, "predicted"), rows)


def explain(run: Run, dataset: Dataset, out: Path, asked: str | None = None, workers: int = 2, on: str = "cpu") -> int:
    """Write into the new folder `out` what the run says of the images.

    asked  the class whose CAM gives the boxes; None: the most probable one of each image
    on     the device to compute on
    Returns how many images could be read; a line for each of the others goes to stderr. Raises MinicamError where
    the run has no such class or is not finished, where `out` is not empty, and where no image can be read.
    """
    stages = run.trained(1, on), run.trained(2, on)
    classes = stages[0].classes
    if asked is not None and asked not in classes:
        raise MinicamError(f"the run has no class {asked!r}; choose one of {', '.join(classes)}")
    with whole_folder(out) as folder:
        faults = faults_of(dataset, run.config.size, workers)
        if len(faults) == 1 and faults[0] is not None:
            raise MinicamError(faults[0])
        for fault in faults:
            if fault is not None:
                print(f"minicam: left out: {fault}", file=sys.stderr)
        readable = np.flatnonzero([fault is None for fault in faults])
        if len(readable) == 0:
            raise MinicamError(f"none of the {len(faults)} images can be read, as said above; nothing was written")
        dataset = replace(dataset.subset(readable), classes=classes, tasks=stages[0].tasks)
        write(folder, run, stages, dataset, None if asked is None else classes.index(asked), workers)
    return len(readable)


def write(
    folder: Path, run: Run, stages: tuple[Trained, Trained], dataset: Dataset, asked: int | None, workers: int
) -> None:
    """Write the files, batch by batch: of a batch only its rows of the two tables are kept."""
    config, (first, second) = run.config, (stage.network for stage in stages)
    rule = run.crop_rule()
    if asked is not None and rule.region not in ("predicted", "centred"):
        rule = replace(rule, threshold=THRESHOLDS["predicted"])
    for name in ("maps", *PICTURES):
        (folder / name).mkdir()

    def draw(i: int, maps: np.ndarray, heat: np.ndarray, box: np.ndarray, crop: np.ndarray) -> None:
        np.save(folder / "maps" / f"{dataset.ids[i]}.npy", maps)
        for name, picture in zip(PICTURES, cam_pictures(dataset, i, heat, box, crop, SIDE, None), strict=True):
            # The fastest compression: five times as fast as the default, and a quarter larger.
            Image.fromarray(picture).save(folder / name / f"{dataset.ids[i]}.png", compress_level=1)

    located, probabilities = [], []
    whole = loader_for(first, dataset, config, 1, workers)
    with ThreadPoolExecutor(workers) as pool:
        for indices, maps, heats, found in locate_batches(first, whole, rule, "images", asked):
            close = loader_for(second, dataset.subset(indices), config, 2, workers, found.crops)
            probabilities.append(probabilities_of(second, close))
            located.append(found)
            list(pool.map(draw, indices, maps, heats, found.boxes, found.crops))  # a list, so that errors surface

    found = Located.joined(located)
    table = probabilities_csv(dataset.ids, dataset.classes, found.probabilities, np.concatenate(probabilities))
    write_text(folder / "probabilities.csv", table)
    write_text(folder / "boxes.csv", boxes_csv([dataset], [found]))
    np.save(folder / "bias.npy", to_cpu(first.params()["CAM_fc/bias"]))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser("python -m minicam.explain", description=__doc__, formatter_class=HelpFormatter)
    p.add_argument("run", type=named_path, metavar="RUN", help="folder of a finished run")
    p.add_argument("images", type=named_path, metavar="IMAGE_OR_FOLDER", help="an image, or a folder of images")
    p.add_argument("--out", type=named_path, metavar="DIR", required=True, help="a new folder for what is found")
    p.add_argument("--class", dest="asked", metavar="NAME", help="take the CAM of this class (the map of the run)")
    p.add_argument("--batch", type=int, metavar="N", help="images at a time (as many as in training)")
    device.add_options(p, "read and write images")
    return p


@command
def main(argv: list[str] | None = None) -> None:
    """The command."""
    options = parser().parse_args(argv)
    on = device.prepare(**vars(options))
    run = Run.open(options.run)
    if options.batch is not None:
        run = Run(run.folder, replace(run.config, batch=options.batch))
    dataset = images_in(options.images)
    count = explain(run, dataset, options.out, options.asked, options.workers, on)
    print(f"{count} of {len(dataset)} images explained in {options.out}")
    if count < len(dataset):
        raise MinicamError(f"{len(dataset) - count} of {len(dataset)} images could not be read, as said above")


if __name__ == "__main__":
    sys.exit(main())
