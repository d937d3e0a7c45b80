"""Where rows are run: the folder of all of them, and what the command line chose before the recipes."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from minicam.config import Config, make
from minicam.data import augment
from minicam.reproduce.rows import BASES, ROWS


@dataclass(frozen=True)
class Place:
    """Where rows are run, and with what.

    out     the folder of all rows
    given   choices of the command line, before those of the bases: the data, the weights, ...
    cache   the folder to keep features in; None: nowhere
    """

    out: Path
    given: dict = field(default_factory=dict)
    workers: int = 2
    on: str = "cpu"
    cache: Path | None = None

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
