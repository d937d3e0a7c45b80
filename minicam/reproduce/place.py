"""Where rows are run: the folder of all of them, and what the command line chose."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from minicam.choices import as_argument
from minicam.config import Config, make
from minicam.data import augment
from minicam.reproduce.rows import BASES, ROWS, own_seeds, parts

WHERE = ("data", "weights", "layout")  # choices that say where, and not what
WHOLE = (None, "block1_conv1")  # choices of train_from with which the whole network learns


@dataclass(frozen=True)
class Place:
    """Where rows are run, and with what.

    out        the folder of all rows
    given      choices of the command line, such as the data and the weights: they override the recipe's, and are
               overridden by what defines a base or a row
    cache      the folder to keep features in; None: nowhere
    """

    out: Path
    given: dict = field(default_factory=dict)
    workers: int = 2
    on: str = "cpu"
    cache: Path | None = None

    def config(self, base: str, seed: int) -> Config:
        """The configuration of a base's run. Features are rounded, so that they can be kept, where that can be."""
        config = make(**self.given | BASES[base].choices, seed=seed)
        frozen = config.train_from not in WHOLE
        fixed = all(name in augment.FIXED for name in config.augment)
        return replace(config, float16_features=self.cache is not None and frozen and fixed)

    def folder(self, base: str, seed: int) -> Path:
        """The folder of a base's run."""
        return self.out / base / f"seed{seed}"

    def own(self, name: str, seed: int) -> Path:
        """The folder of a row's predictions: that of the base's run, or one beside it."""
        return self.files(name, seed)[0].parent

    def record(self, name: str, seed: int) -> Path:
        """The file that says that a row is done."""
        return self.out / ROWS[name].base / f"seed{seed}_{name}.json"

    def files(self, name: str, seed: int) -> list[Path]:
        """The predictions of a row; where there are several, they are averaged."""
        row = ROWS[name]
        own = [self.out / row.base / file.format(here=f"seed{seed}") for file in row.files]
        return own + [file for part in parts(name, seed) for file in self.files(*part)]

    def command(self, name: str, seed: int) -> str:
        """The command line that makes a row on any machine: without the places of this one."""
        base = ROWS[name].base
        words = ["run", name, *(["--data", "ISIC"] if "data" in self.given else [])]
        words += ["--cache-features", "DIR"] if self.config(base, seed).float16_features else []
        words += [] if seed in own_seeds(name) else ["--seeds", str(seed)]
        for choice, value in self.given.items():
            flag = choice.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif choice not in WHERE:
                words += [f"--{flag}", as_argument(value)]
        return shlex.join(["python", "-m", "minicam.reproduce", *words])
