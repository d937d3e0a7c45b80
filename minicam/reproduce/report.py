"""The table: what the folders of rows hold, as JSON with a row's name above its figures, and as a page made of that."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minicam import MinicamError, results
from minicam.data import Dataset
from minicam.files import write_text
from minicam.reproduce import figures, plots
from minicam.reproduce.maps import DELETION_IMAGES
from minicam.reproduce.place import WHOLE, Place
from minicam.reproduce.rows import ROWS
from minicam.results import figure
from minicam.run import Run, digest
from minicam.train import open_data

MAIN = (
    *("stage1", "stage2", "both", "longer", "both-longer", "two-stage1"),
    *("stage1-views", "stage2-views", "both-views"),
)
PAPER = (
    "The paper (arXiv 1703.01053) reports a mean AUC of 0.821 on validation with original inputs and 0.857 with two "
    "stages; what is likely its entry in the challenge had 0.804 for melanoma, 0.855 for seborrheic keratosis and "
    "0.829 in the mean on the test images. Its input size, learning rate, batch, epochs, crop rule and starting "
    "weights are not known."
)
KEPT = (
    *("command", "date", "commit", "dirty", "machine", "device", "gpu", "precision"),
    *("choices", "rounded_features", "weights", "C", "cross_validated", "cross_validated_in_blocks"),
)
MAPS = (
    "Maps and boxes, beside the masks of the lesions. *Lesion's share* is that of what the network sees: a map that "
    "knows nothing has that much of its mass inside. *Deletion* is the area under the curve of the predicted class's "
    f"probability while the hottest places turn grey, of {DELETION_IMAGES} images; *below middle's*, by how much that "
    "is below the area for a map that looks at no image. Maps are cut at their own threshold, CAMs at 20 % as Zhou et "
    "al. do."
)
TABLES = {
    "Main rows": ("regression", "regression-block4", "regression-crops", *MAIN),
    "Other crops under the whole recipe": ("masks", "middle"),
    "Pre-trained and from scratch": ("fine-tuned", "from-scratch"),
    "Parts of the images painted over": tuple(name for name in ROWS if "-without-" in name),
    "Choices": tuple(name for name in ROWS if name.startswith("fold-")),
    "Crop rules": tuple(name for name in ROWS if name.startswith("screen-")),
}


def collect(out: Path) -> dict[str, dict]:
    """All rows of which something is there, each with the seeds that are finished. MinicamError where they disagree."""
    found, scores, datasets = {}, {}, {}
    place = Place(out)
    for name, row in ROWS.items():
        paths = {int(p.stem.split("_")[0].removeprefix("seed")): p for p in (out / row.base).glob(f"seed*_{name}.json")}
        records = {seed: results.read(paths[seed]) for seed in sorted(paths)}
        if not records:
            continue
        demand_alike(name, records)
        dataset = open_data(Run.open(place.folder(row.base, min(records))).config)[1]
        if any(record["images"] != digest([dataset]) for record in records.values()):
            raise MinicamError(
                f"the seeds of row {name} were not scored on the same images, as happens where the seed draws them; "
                "run it with one seed, in a folder of its own (--seeds, --out)"
            )
        datasets[name] = dataset
        scores[name] = {
            seed: np.mean([figures.read_predictions(p, dataset) for p in place.files(name, seed)], axis=0)
            for seed in records
        }
        found[name] = row_of(name, records, scores, dataset)
    if not found:
        raise MinicamError(f"{out} has no finished row; make some with python -m minicam.reproduce run")
    for name, entry in found.items():
        entry["differences"] = differences(name, scores, datasets)
    return found


def demand_alike(name: str, records: dict[int, dict]) -> None:
    """Raise MinicamError where a row's seeds were run with other choices."""
    first, *others = records.values()
    for other in others:
        for key in ("choices", "rounded_features", "weights"):
            if other[key] != first[key]:
                raise MinicamError(
                    f"the seeds of row {name} have other {key}: {first[key]} and {other[key]}; run them anew, with the "
                    "same options, in another folder (--out)"
                )


def row_of(name: str, records: dict[int, dict], scores: dict[str, dict[int, np.ndarray]], dataset: Dataset) -> dict:
    """A row of the JSON, without its comparisons."""
    own, last, fold = list(scores[name].values()), records[max(records)], records[max(records)]["choices"]["fold"]
    entry = {
        "says": ROWS[name].says,
        "seeds": list(records),
        "images": len(dataset),
        "on": "the validation images" if fold is None else f"fold {fold} of the training images",
        **figures.aucs(dataset, own),
        "details": figures.details(dataset, own),
        "calibrated_error": figures.calibrated_error(dataset, own),
        "reliability": figures.reliabilities(dataset, own),
    }
    for part in ("cam", "region", "box"):
        if part in last:
            each = [record[part] for record in records.values()]
            entry[part] = {k: figures.mean_of([values[k] for values in each]) for k in last[part]}
    entry |= {key: last[key] for key in KEPT if key in last}
    trained = [line for record in records.values() for line in record["trained"]]
    entry["trained_at"] = sorted({line["commit"] or "unknown" for line in trained})
    for key in ("seconds", "training_seconds"):
        entry |= {key: [r[key] for r in records.values()]} if key in last else {}
    return entry


def differences(name: str, scores: dict[str, dict[int, np.ndarray]], datasets: dict[str, Dataset]) -> dict[str, dict]:
    """By how much a row is above those beside it, over the seeds that both have. MinicamError for other images."""
    found = {}
    for other in ROWS[name].beside:
        common = [seed for seed in scores[name] if seed in scores.get(other, {})]
        if common:
            if digest([datasets[name]]) != digest([datasets[other]]):
                raise MinicamError(f"{name} and {other} were scored on other images; run both with the same options")
            sides = ([scores[row][seed] for seed in common] for row in (name, other))
            found[other] = {"seeds": common, **figures.difference(datasets[name], *sides)}
    return found


# -- the page


def page(found: dict[str, dict], pictures: Sequence[str], json_name: str) -> str:
    """The Markdown page of the JSON."""
    parts = [
        "# The paper's table on ISIC-2017",
        "What is chosen on which images stands in [the protocol](isic2017-protocol.md), what was learned, and what was "
        "tried and failed, in [the notes](isic2017-notes.md); the figures of this page, with more digits and with what "
        f"made them, in [{json_name}]({json_name}). AUC, with 95 % intervals over images; of several seeds, means.",
        PAPER,
    ]
    for title, names in TABLES.items():
        there = {name: found[name] for name in names if name in found}
        if there:
            on = {f"{row['images']} images, {row['on']}" for row in there.values()}
            parts += [f"## {title}", f"On {' and '.join(sorted(on))}.", auc_table(there)]
            if any("region" in row or "cam" in row for row in there.values()):
                parts += [MAPS if MAPS not in parts else "Maps and boxes:", map_table(there)]
    there = {name: found[name] for name in ("regression", *MAIN, "fine-tuned", "from-scratch") if name in found}
    if there:
        parts += ["## Beside AUC", detail_table(there)]
    parts += [f"![{name}]({name})" for name in pictures]
    parts += ["## Where the figures come from", origins(found)]
    return "\n\n".join(parts) + "\n"


def auc_table(rows: dict[str, dict]) -> str:
    """AUCs, and the paired differences from other rows."""
    tasks = tasks_of(next(iter(rows.values())))
    names = [task.replace("_", " ") for task in tasks]
    cells = []
    for name, row in rows.items():
        differences = [
            f"{d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f}) from {other}"
            for other, d in row["differences"].items()
        ]
        cells.append(
            (
                name,
                row["says"],
                *(figure(row[task], 3) for task in tasks),
                f"**{row['mean']:.3f}**",
                f"{row['low']:.3f} to {row['high']:.3f}",
                " ".join(f"{value:.3f}" for value in row["each"]),
                "; ".join(differences),
            )
        )
    header = ("row", "what it is", *names, "mean", "95 %", "each seed", "difference (95 %)")
    return results.table(header, cells, left=2)


def tasks_of(row: dict) -> list[str]:
    """The tasks that a row has figures of."""
    return list(row["details"])


def map_table(rows: dict[str, dict]) -> str:
    """Maps: the one in which crops are found, and the CAM of the predicted class in what the row's network sees."""
    header = ("row", "map", "pointing game", "IoU", "mass inside", "lesion's share", "deletion", "below middle's",
              "box IoU", "lesion in crop")  # fmt: skip
    cells = []
    for name, row in rows.items():
        for part, says in (("region", f"`{row['choices']['region']}`"), ("cam", "CAM of the predicted class")):
            maps = row.get(part)
            if maps:
                box = row.get("box", {}) if part == "region" or "region" not in row else {}
                keys = ("pointing", "iou", "inside", "lesion", "deletion", "deletion_gain")
                values = [*(maps.get(k) for k in keys), *(box.get(k) for k in ("iou", "kept"))]
                cells.append((name, says, *(with_ends(value) for value in values)))
    return results.table(header, cells, left=2)


def with_ends(value: list[float] | None) -> str:
    """A figure with its interval, in a cell."""
    return "-" if value is None else f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"


def detail_table(rows: dict[str, dict]) -> str:
    """The figures beside AUC, each with its interval."""
    header = ("row", "task", "average precision", "sensitivity at 90 % specificity", "specificity at 90 % sensitivity",
              "calibration error", "of calibrated scores")  # fmt: skip

    def calibrated(row: dict, task: str) -> str:
        mean, high = row["calibrated_error"][task]
        return f"{mean:.2f} (up to {high:.2f})"

    cells = [
        (
            name,
            task.replace("_", " "),
            *(with_ends(row["details"][task][k]) for k in figures.DETAILS),
            calibrated(row, task),
        )
        for name, row in rows.items()
        for task in tasks_of(row)
    ]
    return results.table(header, cells, left=2)


def origins(found: dict[str, dict]) -> str:
    """Command, commits, machine and time of every row."""
    header = ("row", "command", "trained at", "scored at", "date", "computed on", "trained",
              "seconds of training, each seed")  # fmt: skip
    cells = []
    for name, row in found.items():
        where = row["gpu"] or f"{row['machine']['cores']} core(s) of {row['machine']['cpu']}"
        lowest = row["choices"]["train_from"]
        trained = "the whole network" if lowest in WHOLE else f"from {lowest}"
        trained = "nothing but a regression" if "C" in row else trained
        trained += ", cached features" if row["rounded_features"] else ""
        commit = f"{(row['commit'] or 'unknown')[:8]}{', changed' if row['dirty'] else ''}"
        before = " ".join(text[:8] for text in row["trained_at"])
        seconds = " ".join(f"{s:.0f}" for s in row.get("training_seconds", row["seconds"]))
        seconds += " (both stages)" if ROWS[name].how == "both" else ""
        cells.append((name, f"`{row['command']}`", before, commit, row["date"][:10], where, trained, seconds))
    return results.table(header, cells, left=7)


def write(out: Path, path: Path) -> list[Path]:
    """Write JSON, page and pictures; returns their paths."""
    found = collect(out)
    path = results.place(path)
    pictures = plots.write(out, path, found)
    results.write(path, found)
    page_path = path.with_suffix(".md")
    write_text(page_path, page(found, [picture.name for picture in pictures], path.name))
    return [path, page_path, *pictures]
