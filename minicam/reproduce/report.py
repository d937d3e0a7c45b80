"""The table: what the folders of rows hold, as JSON with a row's name above its figures, and as a page made of that."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minicam import MinicamError, results
from minicam.data import Dataset
from minicam.files import write_text
from minicam.reproduce import figures, plots
from minicam.reproduce.rows import ROWS
from minicam.results import figure
from minicam.run import Run, digest
from minicam.train import open_data

MAIN = ("stage1", "stage2", "both", "longer", "both-longer", "stage1-views", "stage2-views", "both-views")
PAPER = (
    "The paper (arXiv 1703.01053) reports a mean AUC of 0.821 on validation with original inputs and 0.857 with two "
    "stages; what is likely its entry in the challenge had 0.804 for melanoma, 0.855 for seborrheic keratosis and "
    "0.829 in the mean on the test images. Its input size, learning rate, batch, epochs, crop rule and starting "
    "weights are not known."
)
KEPT = (
    *("command", "date", "commit", "dirty", "machine", "device", "gpu", "precision", "choices", "rounded_features"),
    *("training_seconds", "C", "cross_validated", "cross_validated_in_blocks"),
)
TABLES = {
    "Main rows, on the 150 validation images": ("regression", "regression-block4", "regression-crops", *MAIN),
    "Pre-trained and from scratch, on the validation images": ("fine-tuned", "from-scratch"),
    "Parts of the validation images painted over": tuple(name for name in ROWS if "-without-" in name),
    "Choices, on fold 1": tuple(name for name in ROWS if name.startswith("fold-")),
    "Crop rules, on fold 1": tuple(name for name in ROWS if name.startswith("screen-")),
}


def collect(out: Path) -> dict[str, dict]:
    """All rows of which something is there, each with the seeds that are finished."""
    datasets: dict[tuple, Dataset] = {}
    found, scores = {}, {}
    for name, row in ROWS.items():
        records = {seed: out / row.base / f"seed{seed}_{name}.json" for seed in range(100)}
        records = {seed: json.loads(path.read_text()) for seed, path in records.items() if path.exists()}
        if not records:
            continue
        config = Run.open(out / row.base / f"seed{min(records)}").config
        key = config.data, config.layout, config.fold, config.limit, config.seed if config.data is None else 0
        if key not in datasets:
            datasets[key] = open_data(config)[1]
        dataset = datasets[key]
        if any(record["images"] != digest([dataset]) for record in records.values()):
            raise MinicamError(
                f"the seeds of row {name} were not scored on the same images, as happens where the seed draws them; "
                "run it with one seed, in a folder of its own (--seeds, --out)"
            )
        scores[name] = {seed: predictions(out / row.base, row.files, seed, dataset) for seed in records}
        found[name] = row_of(name, records, scores, dataset)
    if not found:
        raise MinicamError(f"{out} has no finished row; make some with python -m minicam.reproduce run")
    return found


def predictions(folder: Path, files: Sequence[str], seed: int, dataset: Dataset) -> np.ndarray:
    """The probabilities (N, K) of a row with one seed: the mean over its files."""
    return np.mean([figures.read_predictions(folder / f.format(f"seed{seed}"), dataset) for f in files], axis=0)


def row_of(name: str, records: dict[int, dict], scores: dict[str, dict[int, np.ndarray]], dataset: Dataset) -> dict:
    """A row of the JSON. Its comparison with another row is made of the seeds that both have."""
    row, own = ROWS[name], scores[name]
    last = records[max(records)]
    entry = {
        "says": row.says,
        "seeds": list(records),
        "images": len(dataset),
        "on": "validation" if last["choices"]["fold"] is None else f"fold {last['choices']['fold']} of training",
        **figures.aucs(dataset, list(own.values())),
    }
    other = scores.get(row.beside, {})
    common = [seed for seed in own if seed in other]
    if common:
        entry["difference"] = {
            "from": row.beside,
            **figures.difference(dataset, [own[s] for s in common], [other[s] for s in common]),
        }
    entry["details"] = figures.details(dataset, list(own.values()))
    entry["reliability"] = figures.reliabilities(dataset, list(own.values()))
    for part in ("cam", "region", "box"):
        if part in last:
            entry[part] = {k: mean_figures([r[part][k] for r in records.values() if k in r[part]]) for k in last[part]}
    entry |= {key: last[key] for key in KEPT if key in last}
    return entry | {"seconds": [record["seconds"] for record in records.values()]}


def mean_figures(each: Sequence[list[float] | None]) -> list[float] | None:
    """Means and intervals of several seeds, one after the other, averaged: the images are the same."""
    return None if not each or None in each else np.mean(each, axis=0).tolist()


# -- the page


def page(found: dict[str, dict], pictures: Sequence[str]) -> str:
    """The Markdown page of the JSON."""
    parts = [
        "# The paper's table on ISIC-2017",
        "What is chosen on which images stands in [the protocol](isic2017-protocol.md), what was learned, and what was "
        "tried and failed, in [the notes](isic2017-notes.md); the figures of this page, with more digits and with what "
        "made them, in [isic2017.json](isic2017.json). AUC, with 95 % intervals over images; of several seeds, means.",
        PAPER,
    ]
    for title, names in TABLES.items():
        there = {name: found[name] for name in names if name in found}
        if there:
            parts += [f"## {title}", auc_table(there)]
            if any("region" in row or "cam" in row for row in there.values()):
                parts += ["Maps and boxes, beside the masks of the lesions:", map_table(there)]
    there = {name: found[name] for name in ("regression", *MAIN, "fine-tuned", "from-scratch") if name in found}
    if there:
        parts += ["## Beside AUC, on the validation images", detail_table(there)]
    parts += [f"![{name}]({name})" for name in pictures]
    parts += ["## Where the figures come from", origins(found)]
    return "\n\n".join(parts) + "\n"


def auc_table(rows: dict[str, dict]) -> str:
    """AUCs, and the paired difference from another row."""
    tasks = tasks_of(next(iter(rows.values())))
    names = [task.replace("_", " ") for task in tasks]
    header = ("row", "what it is", *names, "mean", "95 %", "each seed", "compared with", "difference (95 %)")
    cells = []
    for name, row in rows.items():
        d = row.get("difference")
        cells.append(
            (
                name,
                row["says"],
                *(figure(row[task], 3) for task in tasks),
                f"**{row['mean']:.3f}**",
                f"{row['low']:.3f} to {row['high']:.3f}",
                " ".join(f"{value:.3f}" for value in row["each"]),
                "" if d is None else d["from"],
                "" if d is None else f"{d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})",
            )
        )
    return results.table(header, cells, left=2)


def tasks_of(row: dict) -> list[str]:
    """The tasks that a row has figures of."""
    return list(row["details"])


def map_table(rows: dict[str, dict]) -> str:
    """Maps: the one in which crops are found, or else the CAM of the predicted class."""
    header = ("row", "map", "pointing game", "IoU", "mass inside", "deletion", "box IoU", "lesion in crop")
    cells = []
    for name, row in rows.items():
        for part, says in (("region", f"`{row['choices']['region']}`"), ("cam", "CAM, predicted class")):
            maps = row.get(part)
            if maps:
                box = row.get("box", {}) if part == "region" or "region" not in row else {}
                values = [maps.get(k) for k in ("pointing", "iou", "inside", "deletion")]
                values += [box.get(k) for k in ("iou", "kept")]
                where = says if part == "region" or name.endswith("stage1") else f"{says}, in what it sees"
                cells.append((name, where, *(with_ends(value) for value in values)))
    return results.table(header, cells, left=2)


def with_ends(value: list[float] | None) -> str:
    """A figure with its interval, in a cell."""
    return "-" if value is None else f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"


def detail_table(rows: dict[str, dict]) -> str:
    """The figures beside AUC, each with its interval."""
    header = ("row", "task", "average precision", "sensitivity at 90 % specificity", "specificity at 90 % sensitivity",
              "calibration error")  # fmt: skip
    cells = [
        (name, task.replace("_", " "), *(with_ends(row["details"][task][k]) for k in figures.DETAILS))
        for name, row in rows.items()
        for task in tasks_of(row)
    ]
    return results.table(header, cells, left=2)


def origins(found: dict[str, dict]) -> str:
    """Command, commit, machine and time of every row."""
    header = ("row", "command", "commit", "date", "computed on", "whole network trained", "seconds a seed")
    cells = []
    for name, row in found.items():
        where = row["gpu"] or f"{row['machine']['cores']} cores of {row['machine']['cpu']}"
        lowest = row["choices"]["train_from"]
        trained = "yes" if lowest in (None, "block1_conv1") else f"from {lowest}"
        trained += ", cached features" if row["rounded_features"] else ""
        changed = ", changed" if row["dirty"] else ""
        seconds = " ".join(f"{s:.0f}" for s in row["seconds"])
        commit = f"{(row['commit'] or '?')[:8]}{changed}"
        cells.append((name, f"`{row['command']}`", commit, row["date"][:10], where, trained, seconds))
    return results.table(header, cells, left=6)


def write(out: Path, path: Path) -> list[Path]:
    """Write JSON, page and pictures; returns their paths."""
    found = collect(out)
    path = results.place(path)
    pictures = plots.write(out, path, found)
    results.write(path, found)
    page_path = path.with_suffix(".md")
    write_text(page_path, page(found, [picture.name for picture in pictures]))
    return [path, page_path, *pictures]
