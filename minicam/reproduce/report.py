"""The table: what the folders of rows hold, as JSON with a row's name above its figures, as a page, and in pictures."""

from pathlib import Path

import numpy as np

from minicam import MinicamError, results
from minicam.data import Dataset
from minicam.files import write_text
from minicam.reproduce import figures, page, plots, records
from minicam.reproduce.place import Place
from minicam.reproduce.rows import ROWS, seed_beside
from minicam.run import Run, digest
from minicam.train import open_data

# What stands once a row; what differs from seed to seed stands in its "origin".
KEPT = ("command", "choices", "weights", "C", "cross_validated", "cross_validated_in_blocks")

Records = dict[str, dict[int, dict]]  # by row and seed


def write(out: Path, path: Path) -> list[Path]:
    """Write JSON, page and pictures of the rows in `out`; returns their paths."""
    found = read(out)
    path = results.place(path)
    plots.pyplot()  # before all the work: whether it is there
    table = collect(out, found)
    pictures = plots.write(out, path, table)
    results.write(path, table)
    page_path = path.with_suffix(".md")
    write_text(page_path, page.page(table, pictures, path))
    return [path, page_path, *pictures]


def read(out: Path) -> Records:
    """The records of all rows that are done. MinicamError where there are none, and where a row's seeds disagree."""
    found: Records = {}
    for name, row in ROWS.items():
        paths = {int(p.stem.split("_")[0].removeprefix("seed")): p for p in (out / row.base).glob(f"seed*_{name}.json")}
        if paths:
            found[name] = {seed: records.read(paths[seed]) for seed in sorted(paths)}
            demand_alike(name, found[name])
    if not found:
        raise MinicamError(f"{out} has no finished row; make some with python -m minicam.reproduce run")
    return found


def demand_alike(name: str, of_seeds: dict[int, dict]) -> None:
    """Raise MinicamError where a row's seeds were run with other choices or weights, or scored on other images."""
    first, *others = of_seeds.values()
    for other in others:
        if other["images"] != first["images"]:
            raise MinicamError(
                f"the seeds of row {name} were not scored on the same images, as happens where the seed draws them; "
                "run it with one seed, in a folder of its own (--seeds, --out)"
            )
        for key in ("choices", "weights"):
            if other[key] != first[key]:
                raise MinicamError(
                    f"the seeds of row {name} have other {key}: {first[key]} and {other[key]}; run them anew, with the "
                    "same options, in another folder (--out)"
                )


def collect(out: Path, found: Records) -> dict[str, dict]:
    """The rows of the JSON. MinicamError where predictions or images are gone or changed."""
    place, table, aucs, images = Place(out), {}, {}, {}
    for name, of_seeds in found.items():
        run = Run.open(place.folder(ROWS[name].base, min(of_seeds)))
        dataset, images[name] = open_data(run.config)[1], of_seeds[min(of_seeds)]["images"]
        if digest([dataset]) != images[name]:
            raise MinicamError(
                f"the images of row {name} have changed since it was scored; put them back, or run it anew in another "
                "folder (--out)"
            )
        scores = {
            seed: np.mean([figures.read_predictions(p, dataset) for p in place.files(name, seed)], axis=0)
            for seed in of_seeds
        }
        aucs[name] = {seed: figures.drawn_aucs(dataset, p) for seed, p in scores.items()}
        table[name] = row_of(name, of_seeds, dataset, list(scores.values()), list(aucs[name].values()))
    for name, entry in table.items():
        entry["differences"] = differences(name, aucs, images)
    return table


def row_of(name: str, of_seeds: dict[int, dict], dataset: Dataset, scores: list[np.ndarray], aucs: list[dict]) -> dict:
    """A row of the JSON, without its comparisons."""
    last = of_seeds[max(of_seeds)]
    fold = last["choices"]["fold"]
    entry = {
        "says": ROWS[name].says,
        "seeds": list(of_seeds),
        "images": len(dataset),
        "pixels": pixels_of(dataset),
        "on": "the validation images" if fold is None else f"fold {fold} of the training images",
        **figures.aucs(aucs),
        "details": figures.details(dataset, scores),
        "calibrated_error": figures.calibrated_error(dataset, scores),
        "reliability": figures.reliabilities(dataset, scores),
    }
    for part in ("cam", "region", "box"):
        if part in last:
            each = [record[part] for record in of_seeds.values()]
            entry[part] = {k: figures.mean_of([values[k] for values in each]) for k in last[part]}
    entry |= {key: last[key] for key in KEPT if key in last}
    entry["origin"] = [{"seed": seed, **origin(record)} for seed, record in of_seeds.items()]
    return entry


def pixels_of(dataset: Dataset) -> str:
    """The size of the images; of several sizes the smallest and the largest."""
    sizes = sorted({dataset.shape(i)[::-1] for i in range(len(dataset))}, key=lambda size: size[0] * size[1])
    return " to ".join(f"{W} x {H}" for W, H in (sizes[:1] if len(sizes) == 1 else (sizes[0], sizes[-1])))


def origin(record: dict) -> dict:
    """When, where and with which code a seed was trained and scored; seconds of training, where it was trained."""
    kept = {key: record[key] for key in ("date", "machine", "device", "gpu", "precision")}
    kept |= {"commit": records.commits([record])[0], "trained_at": records.commits(record["trained"])}
    return kept | ({"training_seconds": record["training_seconds"]} if "training_seconds" in record else {})


def differences(name: str, aucs: dict[str, dict[int, dict]], images: dict[str, str]) -> dict[str, dict]:
    """By how much a row is above those beside it, over the seeds that both have. MinicamError for other images."""
    found = {}
    for other in ROWS[name].beside:
        base, of = ROWS[name].base, ROWS[other].base
        pairs = {seed: seed_beside(base, seed, of) for seed in aucs[name]}
        pairs = {seed: twin for seed, twin in pairs.items() if twin in aucs.get(other, {})}
        if pairs:
            if images[name] != images[other]:
                raise MinicamError(f"{name} and {other} were scored on other images; run both with the same options")
            mine, theirs = [aucs[name][seed] for seed in pairs], [aucs[other][twin] for twin in pairs.values()]
            found[other] = {"seeds": list(pairs), **figures.difference(mine, theirs)}
    return found
