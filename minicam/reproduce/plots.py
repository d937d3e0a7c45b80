"""The pictures of the page: curves of training, reliability diagrams, and a gallery of maps."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from minicam import MinicamError, pictures
from minicam.cam import REGIONS
from minicam.data import limit
from minicam.files import write_bytes
from minicam.inference import loader_for, locate_batches
from minicam.reproduce.place import Place
from minicam.run import Run
from minicam.train import open_data

GALLERY_IMAGES = 12
SHOWN = ("predicted", "evidence", "foreground")
# Of Okabe and Ito, told apart by the colour-blind, and with markers in grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v")


def write(out: Path, path: Path, found: dict[str, dict]) -> list[Path]:
    """Write the pictures whose rows are there, beside the file of results; returns their paths."""
    wanted: dict[str, Callable[[], bytes | None]] = {
        "curves": lambda: curves(out, found),
        "reliability": lambda: reliability(found),
        "gallery": lambda: gallery(out, found),
    }
    written = []
    for name, draw in wanted.items():
        data = draw()
        if data is not None:
            written.append(path.with_name(f"{path.stem}-{name}.png"))
            write_bytes(written[-1], data)
    return written


def history(folder: Path, stage: int) -> tuple[list[float], list[float]]:
    """From the metrics of a run: the mean loss, and the mean AUC on the validation images, after each epoch."""
    losses, aucs, running = [], [], []
    path = folder / "metrics.jsonl"
    try:
        for row in map(json.loads, path.read_text().splitlines()):
            if row["stage"] == stage and "loss" in row:
                running.append(row["loss"])
            elif row["stage"] == stage:
                aucs.append(row["validation"]["mean"])
                losses.append(float(np.mean(running)))
                running = []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MinicamError(f"{path} does not hold the metrics of a run ({error!r}); put its own back") from None
    return losses, aucs


def curves(out: Path, found: dict[str, dict]) -> bytes | None:
    """Loss and AUC after every epoch: pre-trained and from scratch; the stages of the main rows."""
    panels = {
        "whole network, 112 px": {"fine-tuned": 1, "from-scratch": 1},  # rows, and which of their stages
        "block 5 and the CAM layers, 224 px": {"stage1": 1, "stage2": 2, "longer": 2, "energy": 2},
    }
    panels = {title: {name: stage for name, stage in lines.items() if name in found} for title, lines in panels.items()}
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return None
    figure, axes = pyplot().subplots(2, len(panels), figsize=(5.5 * len(panels), 6.4), squeeze=False)
    for (above, below), (title, lines) in zip(axes.T, panels.items(), strict=True):
        for (name, stage), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            for number, seed in enumerate(found[name]["seeds"]):
                losses, aucs = history(Place(out).own(name, seed), stage)
                epochs, label = np.arange(1, len(aucs) + 1), name if number == 0 else None
                above.plot(epochs, aucs, color=colour, marker=marker, ms=4, label=label)
                below.plot(epochs, losses, color=colour, marker=marker, ms=4)
        above.set(title=title, ylabel="mean AUC, validation")
        below.set(xlabel="epoch", ylabel="mean loss, training")
        above.legend(frameon=False)
    return _png(figure)


def reliability(found: dict[str, dict]) -> bytes | None:
    """Reliability diagrams of the main rows, a panel a task; the size of a point is the number of images."""
    rows = {name: found[name] for name in ("stage1", "stage2", "both") if name in found}
    if not rows:
        return None
    tasks = list(next(iter(rows.values()))["reliability"])
    figure, axes = pyplot().subplots(1, len(tasks), figsize=(4.6 * len(tasks), 4.6), squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        axis.plot([0, 1], [0, 1], color="0.7", lw=1)
        for (name, row), colour, marker in zip(rows.items(), COLOURS, MARKERS, strict=False):
            count, score, share = np.array(row["reliability"][task]).T
            axis.plot(score, share, color=colour, lw=1, alpha=0.6)
            size = 200 * np.sqrt(count / count.sum())
            axis.scatter(score, share, s=size, color=colour, marker=marker, alpha=0.7, label=name, clip_on=False)
        axis.set(title=task.replace("_", " "), xlabel="probability", ylabel="share that is", xlim=(0, 1), ylim=(0, 1))
    axes[0, 0].legend(frameon=False, markerscale=0.5)
    return _png(figure)


def gallery(out: Path, found: dict[str, dict], side: int = 150) -> bytes | None:
    """Validation images of every class: with boxes, with maps of three regions, and as stage 2 sees them."""
    if "stage2" not in found:
        return None
    run = Run.open(Place(out).own("stage2", found["stage2"]["seeds"][0]))
    trained, dataset = run.trained(1), open_data(run.config)[1]
    dataset = dataset.subset(limit(dataset.labels, GALLERY_IMAGES))
    whole, own = loader_for(trained.network, dataset, run.config, 1, 2), run.crop_rule()
    regions = [name for name in REGIONS if name in SHOWN or name == own.region]
    rules = {name: own if name == own.region else replace(own, region=name) for name in regions}
    rules = {name: rule for name, rule in rules.items() if name != "foreground" or rule.foreground is not None}
    heats: dict[str, list[np.ndarray]] = {name: [] for name in rules}
    boxes, crops, says = [], [], []
    for name, rule in rules.items():
        for _, _, maps, located in locate_batches(trained.network, whole, rule):
            heats[name] += list(maps)
            if name == own.region:
                boxes += list(located.boxes)
                crops += list(located.crops)
                likeliest = zip(located.classes, located.probabilities, strict=True)
                says += [f"{trained.classes[k]} {p[k]:.2f}" for k, p in likeliest]
    rows = []
    for i, (box, crop) in enumerate(zip(boxes, crops, strict=True)):
        boxed, _, close = pictures.cam_pictures(dataset, i, heats[own.region][i], box, crop, side, side)
        image = dataset.image(i, side)
        tiles = [boxed, *(pictures.overlay(image, heats[name][i]) for name in rules), close]
        rows.append([pictures.fit_into(tile, side) for tile in tiles])
    captions = [f"{dataset.ids[i]}: {text}, is {dataset.classes[dataset.labels[i]]}" for i, text in enumerate(says)]
    legend = f"white: box of {own.region}   blue: crop   green: lesion   |   maps: {', '.join(rules)}   |   crop"
    data = io.BytesIO()
    pictures.sheet(rows, captions, legend).save(data, "PNG")
    return data.getvalue()


def pyplot() -> object:
    """matplotlib's, drawing into memory. MinicamError where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise MinicamError("the curves need matplotlib; pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _png(figure: object) -> bytes:
    data = io.BytesIO()
    figure.tight_layout()
    figure.savefig(data, format="png", dpi=110)
    pyplot().close(figure)
    return data.getvalue()
