"""What is known of a row beside its predictions: its choices, its images, and what made it, in a file for each seed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minicam import MinicamError, results
from minicam.config import Config
from minicam.controls import other_choice
from minicam.data import Dataset
from minicam.reproduce.place import WHERE, Place
from minicam.reproduce.rows import ROWS, Row, parts
from minicam.run import Run, checked_state, digest
from minicam.train import open_data

MADE = ("command", "date", "commit", "dirty", "machine", "device", "gpu", "precision")  # with what, where
ABOUT = ("choices", "weights", "images")  # what a row's numbers depend on, but for its seed and the code
STAGES = {"first": (1,), "two_stages": (1, 2), "region": (2,), "given": (2,)}  # that a row trains, by its `how`


def finished(name: str, seed: int, place: Place) -> dict | None:
    """The record of a row that is done; None where it is not. MinicamError where it is of other choices or images."""
    path, config = place.record(name, seed), place.config(ROWS[name].base, seed)
    record = read(path)
    if record is None:
        return None
    now = about(config, ROWS[name], open_data(config)[1])
    other = other_choice(record["choices"], now["choices"])
    other = other or next((f"other {key}" for key in ("weights", "images") if record[key] != now[key]), None)
    if other:
        raise MinicamError(f"{path} was made with {other}; choose another folder with --out")
    return record if all(file.exists() for file in place.files(name, seed)) else None


def read(path: Path) -> dict | None:
    """A record; None where there is no such file. MinicamError where it is something else."""
    record = results.read(path)
    if record is None:
        return None
    lacking = [key for key in (*MADE, *ABOUT, "trained") if not isinstance(record, dict) or key not in record]
    if lacking or not isinstance(record["choices"], dict):
        what = ", ".join(lacking) or "choices"
        raise MinicamError(f"{path} is not the record of a row: it lacks {what}; delete it to measure again")
    return record


def about(config: Config, row: Row, validation: Dataset) -> dict:
    """What a row's numbers depend on; of the weights the file's name and SHA-256, of the images a digest."""
    chosen = json.loads(replace(config, **row.choices).text())
    weights = None
    if config.weights is not None:
        data = Path(config.weights).read_bytes()
        weights = {"name": Path(config.weights).name, "sha256": hashlib.sha256(data).hexdigest()}
    return {
        "choices": {name: value for name, value in chosen.items() if name not in (*WHERE, "seed")},
        "weights": weights,
        "images": digest([validation]),
    }


def trained(name: str, seed: int, place: Place) -> dict:
    """Which code trained the networks that a row asks, and how many seconds it took to train its own.

    trained           the lines of trained.jsonl of all its stages
    training_seconds  of the stages that no other row trains; missing where there are none
    """
    row, lines = ROWS[name], []
    for part in parts(name, seed):
        lines += trained(*part, place)["trained"]
    if row.how in ("average", "regression"):
        return {"trained": lines}
    base = place.folder(row.base, seed)
    second = place.own(name, seed) if row.how in ("region", "given") else base
    stages = [(base, 1)] + ([(second, 2)] if any("stage2" in file for file in row.files) else [])
    seconds = []
    for folder, stage in stages:
        run = Run.open(folder)
        lines += [line for line in run.trained_by() if line["stage"] == stage]
        if stage in STAGES.get(row.how, ()):
            seconds.append(checked_state(run.checkpoint(stage))[1]["progress"]["seconds"])
    return {"trained": lines} | ({"training_seconds": round(sum(seconds), 1)} if seconds else {})


def commits(lines: Sequence[dict]) -> list[str]:
    """The commits of lines that have one, shortened, in their order; with the word "changed" where the code was."""
    names = [f"{(line['commit'] or 'unknown')[:8]}{', changed' if line['dirty'] else ''}" for line in lines]
    return list(dict.fromkeys(names))
