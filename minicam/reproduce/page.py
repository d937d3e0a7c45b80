"""The page made of the table: Markdown with a table for each group of rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from minicam import results
from minicam.reproduce import figures
from minicam.reproduce.maps import DELETION_IMAGES
from minicam.reproduce.place import WHOLE
from minicam.reproduce.rows import ROWS, own_seeds
from minicam.results import figure

MAIN = (
    *("stage1", "stage2", "both", "longer", "both-longer", "two-stage1", "stage1-regression"),
    *("stage1-views", "stage2-views", "both-views"),
)
PAPER = (
    "The paper (arXiv 1703.01053) reports a mean AUC of 0.821 on validation with original inputs and 0.857 with two "
    "stages; what is likely its entry in the challenge had 0.804 for melanoma, 0.855 for seborrheic keratosis and "
    "0.829 in the mean on the test images. Its input size, learning rate, batch, epochs, crop rule and starting "
    "weights are not known, nor whether it averages its stages."
)
MAPS = (
    "Maps and boxes, beside the masks of the lesions. *Lesion's share* is that of what the network sees: a map that "
    "knows nothing has that much of its mass inside. *Deletion* is the area under the curve of the predicted class's "
    f"probability while the hottest places take the image's mean colour, of {DELETION_IMAGES} images; *below "
    "middle's*, by how much that is below the area for a map that looks at no image. Maps are cut at their own "
    "threshold, CAMs at 20 % as Zhou et al. do."
)
REGRESSIONS = (
    "The regressions' mean AUC in five-fold cross-validation of the training images: in shuffled folds, by which C is "
    "chosen, and in folds of images that follow each other, where fewer of a held-out image's source are learned from."
)
TABLES = {
    "Main rows": ("regression", "regression-block4", *MAIN),
    "Other crops under the whole recipe": ("energy", "predicted", "masks"),
    "Pre-trained and from scratch": ("fine-tuned", "from-scratch"),
    "Parts of the images painted over": tuple(name for name in ROWS if "-without-" in name),
    "Choices": tuple(name for name in ROWS if name.startswith("fold-")),
    "Crop rules": tuple(name for name in ROWS if name.startswith("screen-")),
}
DETAILED = ("regression", "regression-block4", *MAIN, "fine-tuned", "from-scratch")


def page(table: dict[str, dict], pictures: Sequence[Path], path: Path) -> str:
    """The Markdown page of the JSON in the file `path`, to stand beside it."""
    parts = ["# The paper's table on ISIC-2017", sources(path), PAPER]
    for title, names in TABLES.items():
        rows = {name: table[name] for name in names if name in table}
        if rows:
            on = {f"{row['images']} images of {row['pixels']} pixels, {row['on']}" for row in rows.values()}
            parts += [f"## {title}", f"On {' and '.join(sorted(on))}.", auc_table(rows)]
            if any(row["differences"] for row in rows.values()):
                parts += ["Differences of the same images' scores, paired:", difference_table(rows, table)]
            if any("cross_validated" in row for row in rows.values()):
                parts += [REGRESSIONS, regression_table(rows)]
            if any("region" in row or "cam" in row for row in rows.values()):
                parts += [MAPS if MAPS not in parts else "Maps and boxes:", map_table(rows)]
    rows = {name: table[name] for name in DETAILED if name in table}
    if rows:
        parts += ["## Beside AUC", detail_table(rows)]
    parts += [f"![{picture.name}]({picture.name})" for picture in pictures]
    parts += ["## Where the figures come from", origins(table)]
    return "\n\n".join(parts) + "\n"


def sources(path: Path) -> str:
    """What else there is to read; links to what stands in the same folder."""

    def link(text: str, name: str) -> str:
        return f"[{text}]({name})" if path.with_name(name).exists() else f"{text} (results/{name})"

    return (
        f"What is chosen on which images stands in {link('the protocol', 'isic2017-protocol.md')}, what was learned, "
        f"and what was tried and failed, in {link('the notes', 'isic2017-notes.md')}; the figures of this page, with "
        f"more digits and with what made them, in [{path.name}]({path.name}). AUC, with 95 % intervals over images; of "
        "several seeds, means."
    )


def auc_table(rows: dict[str, dict]) -> str:
    """AUCs."""
    tasks = tasks_of(rows)
    cells = []
    for name, row in rows.items():
        each = " ".join(f"{value:.3f}" for value in row["each"])
        cells.append(
            (
                name,
                row["says"],
                *(figure(row[task], 3) for task in tasks),
                f"**{row['mean']:.3f}**",
                f"{row['low']:.3f} to {row['high']:.3f}",
                each + said_seeds(row["seeds"], own_seeds(name)),
            )
        )
    header = ("row", "what it is", *(task.replace("_", " ") for task in tasks), "mean", "95 %", "each seed")
    return results.table(header, cells, left=2)


def difference_table(rows: dict[str, dict], table: dict[str, dict]) -> str:
    """By how much rows are above those beside them; over which seeds, where either has more."""
    tasks, cells = tasks_of(rows), []
    for name, row in rows.items():
        for other, found in row["differences"].items():
            ends = [("mean", "low", "high"), *((task, f"{task}_low", f"{task}_high") for task in tasks)]
            values = ("{:+.3f} ({:+.3f} to {:+.3f})".format(*(found[key] for key in keys)) for keys in ends)
            there = sorted({*row["seeds"], *table[other]["seeds"]})
            cells.append((name, other + said_seeds(found["seeds"], there), *values))
    header = ("row", "above", "mean (95 %)", *(f"{task.replace('_', ' ')} (95 %)" for task in tasks))
    return results.table(header, cells, left=2)


def said_seeds(seeds: Sequence[int], usual: Sequence[int]) -> str:
    """Which seeds, where they are not the usual ones."""
    return "" if list(seeds) == list(usual) else f" (seed {', '.join(map(str, seeds))})"


def tasks_of(rows: dict[str, dict]) -> list[str]:
    """The tasks that rows have figures of."""
    return list(next(iter(rows.values()))["details"])


def regression_table(rows: dict[str, dict]) -> str:
    """Cross-validated AUCs of the regressions."""
    header = ("row", "shuffled folds", "folds of neighbours", "C")
    keys = ("cross_validated", "cross_validated_in_blocks")
    cells = [
        (name, *(figure(row[key], 3) for key in keys), f"{row['C']:.1g}") for name, row in rows.items() if "C" in row
    ]
    return results.table(header, cells)


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
        for task in tasks_of(rows)
    ]
    return results.table(header, cells, left=2)


def origins(table: dict[str, dict]) -> str:
    """Command, commits, machines and time of every row: of all its seeds what they have in common once."""
    header = ("row", "command", "trained", "trained at", "scored at", "date", "computed on",
              "seconds of training, each seed")  # fmt: skip

    def computer(seed: dict) -> str:
        return seed["gpu"] or f"{seed['machine']['cores']} core(s) of {seed['machine']['cpu']}"

    cells = []
    for name, row in table.items():
        seeds = row["origin"]
        lowest = row["choices"]["train_from"]
        what = "the whole network" if lowest in WHOLE else f"from {lowest}"
        what = "nothing but a regression" if "C" in row else what
        what += ", cached features" if row["choices"]["float16_features"] else ""
        seconds = " ".join(f"{seed['training_seconds']:.0f}" for seed in seeds if "training_seconds" in seed)
        both = " (both stages)" if ROWS[name].how == "two_stages" else ""
        cells.append(
            (
                name,
                f"`{row['command']}`",
                what,
                distinct(commit for seed in seeds for commit in seed["trained_at"]) or "-",
                distinct(seed["commit"] for seed in seeds),
                distinct(seed["date"][:10] for seed in seeds),
                distinct(computer(seed) for seed in seeds),
                f"{seconds}{both}" if seconds else "-",
            )
        )
    return results.table(header, cells, left=7)


def distinct(texts: Iterable[str]) -> str:
    """Each text once, in order."""
    return " ".join(dict.fromkeys(texts))
