"""Where rows are run: the folder of all of them, and what the command line chose before the recipes."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from minicam.config import Config, make
from minicam.data import augment
from minicam.reproduce.rows import BASES, ROWS

# Options that say where, and not what.
WHERE = ("out", "data", "weights", "cache-features", "threads", "workers", "seeds")


@dataclass(frozen=True)
class Place:
    """Where rows are run, and with what.

    out        the folder of all rows
    given      choices of the command line, before those of the bases: the data, the weights, ...
    cache      the folder to keep features in; None: nowhere
    arguments  the command line, for the records
    """

    out: Path
    given: dict = field(default_factory=dict)
    workers: int = 2
    on: str = "cpu"
    cache: Path | None = None
    arguments: Sequence[str] = ()

    def config(self, base: str, seed: int) -> Config:
        """The configuration of a base's run. Features are rounded, so that they can be kept, where that can be."""
        choices = BASES[base].choices
        none = {"weights": "none"} if choices.get("weights") == "none" else {}  # given weights are where they are
        config = make(**choices | self.given | none, seed=seed)
        frozen = config.train_from not in (None, "block1_conv1")
        fixed = all(name in augment.FIXED for name in config.augment)
        return replace(config, float16_features=self.cache is not None and frozen and fixed)

    def folder(self, base: str, seed: int) -> Path:
        """The folder of a base's run."""
        return self.out / base / f"seed{seed}"

    def record(self, name: str, seed: int) -> Path:
        """The file that says that a row is done."""
        return self.out / ROWS[name].base / f"seed{seed}_{name}.json"

    def command(self, name: str) -> str:
        """The command line that makes a row on any machine: without the places of this one."""
        places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for option in WHERE:
            places.add_argument(f"--{option}")
        known, rest = places.parse_known_args(list(self.arguments))
        data = ["--data", "ISIC"] if known.data else []
        what = [text for text in rest if text not in ROWS]
        return shlex.join(["python", "-m", "minicam.reproduce", "run", name, *data, *what])
