"""Is it the crop that makes stage 2 better? Runs of several seeds, each beside two controls that would show if not.

    python -m minicam.controls                       the built-in job, seeds 0-4
    python -m minicam.controls --seeds 0,2 --lr 0.1  other seeds, other choices

Both controls are second stages, with the options, the steps and the random numbers of the real one:

    longer      stage 1 goes on with whole images: is it only longer training?
    shuffled    each image is cropped at the box of another: would any crop do?

The figures are mean AUCs on the validation images; boxes are compared with the lesions' masks. The exit code is 0
where all that is demanded holds on every seed, and 1 where it does not. Seeds that the folder --out has already are
not run again.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minicam import MinicamError, cuda, device, results
from minicam.choices import add_choices, given_choices
from minicam.cli import HelpFormatter, Parser, command, named_path
from minicam.config import Config, make
from minicam.data import Dataset
from minicam.files import write_text
from minicam.fit import Interrupted
from minicam.metrics import figure, mean_auc
from minicam.provenance import machine
from minicam.run import Run, new_folder
from minicam.train import build, check, open_data, second_stage, task_numbers, train

RESULTS = Path("results/builtin.json")
SEEDS = "0-4"
CONTROLS = ("longer", "shuffled")
STREAM = 3  # of random numbers, which shuffles the boxes: beside 1 and 2, those of the stages

DEMANDS: dict[str, Callable[[dict], bool]] = {
    "stage 1 is at least 0.65": lambda row: row["stage1"] >= 0.65,
    "stage 2 is higher by at least 0.05": lambda row: row["stage2"] - row["stage1"] >= 0.05,
    "stage 2 is higher than stage 1 trained longer": lambda row: row["stage2"] > row["longer"],
    "stage 2 is higher than with shuffled boxes": lambda row: row["stage2"] > row["shuffled"],
    "box IoU is at least 0.4": lambda row: row["box_iou"] >= 0.4,
}


def shuffled(dataset: Dataset, crops: np.ndarray, seed: int) -> np.ndarray:
    """The crops (N, 4) of N images, dealt out so that none keeps its own (where there are two or more).

    Images of other sizes get the same place as fractions of their sides.
    """
    order = np.random.default_rng([seed, STREAM]).permutation(len(crops))
    dealt, sides = np.empty_like(crops), np.array([dataset.shape(i)[::-1] * 2 for i in range(len(crops))])
    from_, to = order, np.roll(order, 1)  # one cycle through all images
    dealt[to] = np.round(crops[from_] * (sides[to] / sides[from_]))
    return dealt


def beside(run: Run, name: str) -> Path:
    """The folder of a run's control."""
    return run.folder.with_name(f"{run.folder.name}_{name}")


def control(run: Run, name: str, workers: int = 2, on: str = "cpu", cache: Path | None = None) -> float | None:
    """Mean AUC of a control, "longer" or "shuffled", of a finished run; its own folder stands beside the run's."""
    config = run.config
    datasets = training, validation = open_data(config)
    if name == "longer":
        network, crops = run.trained(1, on).network, (None, None)
    else:
        as_it_started = config.stage2_from == "start"
        network = build(config, len(training.classes), on=on) if as_it_started else run.trained(1, on).network
        crops = tuple(shuffled(dataset, run.read_crops(dataset), config.seed) for dataset in datasets)
    own = continued(beside(run, name), config)
    probabilities, _ = second_stage(own, network, datasets, crops, workers, cache)
    return mean_auc(validation.labels, probabilities, task_numbers(validation))["mean"]


def continued(folder: Path, config: Config) -> Run:
    """The run in `folder`, new or begun before. MinicamError where that one was configured otherwise."""
    if not (folder / "config.json").exists():
        return Run.create(folder, config)
    run = Run.open(folder)
    other = other_choice(asdict(run.config), asdict(config))
    if other:
        raise MinicamError(f"{folder} has a run with {other}; choose another folder with --out")
    return run


def other_choice(was: dict, wanted: dict) -> str | None:
    """The first of the wanted choices that was another one, as its option and both values; None where all are alike."""
    for name, value in wanted.items():
        if was.get(name) != value:
            flag = "cache-features" if name == "float16_features" else name.replace("_", "-")
            return f"--{flag} {was.get(name)}, not {value}"
    return None


def measure(folder: Path, config: Config, workers: int = 2, on: str = "cpu", cache: Path | None = None) -> dict:
    """The row of one seed, from `row.json` in the run's folder, or made by a run and its two controls.

    cache  the folder to keep features in; None: nowhere
    Its "code" are the versions of the code that trained the run and its controls, each once.
    MinicamError where row.json holds something else.
    """
    run = continued(folder, config)
    row = results.read(folder / "row.json")
    if row is not None and not (isinstance(row, dict) and isinstance(row.get("code"), list)):
        raise MinicamError(f"{folder / 'row.json'} is not the row of a seed; delete it to measure again")
    if row is None:
        summary = results.read(folder / "summary.json") or train(run, workers, on, cache)
        row = {"seed": config.seed, "stage1": summary["stage1"]["mean"], "stage2": summary["stage2"]["mean"]}
        row |= {"difference": summary["difference"]}
        row |= {name: control(run, name, workers, on, cache) for name in CONTROLS}
        runs = run, *(Run.open(beside(run, name)) for name in CONTROLS)
        lines = [line for each in runs for line in each.trained_by()]
        code = [{name: line[name] for name in ("commit", "dirty")} for line in lines]
        row |= {"box_iou": summary["box_iou"], "seconds": summary["seconds"]}
        row |= {"code": [version for i, version in enumerate(code) if version not in code[:i]]}
        run.write("row.json", json.dumps(row, indent=2) + "\n")
    return row


# -- the table and what it says


def failures(rows: list[dict]) -> dict[str, list[int]]:
    """The seeds on which each demand fails, by demand. A figure that is undefined fails it."""

    def fails(demand: Callable[[dict], bool], row: dict) -> bool:
        try:
            return not demand(row)
        except TypeError:  # a comparison with None
            return True

    return {text: [row["seed"] for row in rows if fails(demand, row)] for text, demand in DEMANDS.items()}


def table(rows: list[dict]) -> str:
    """A row a seed, as Markdown that is aligned for the terminal, too."""

    def difference(d: dict) -> str:
        return figure(d["mean"], "+") + ("" if d["low"] is None else f" ({d['low']:+.3f} to {d['high']:+.3f})")

    header, cells = ("seed", "stage 1", "stage 2", "difference (95 %)", "longer", "shuffled", "box IoU", "seconds"), []
    for row in rows:
        first, second, *others = (figure(row[name]) for name in ("stage1", "stage2", *CONTROLS, "box_iou"))
        cells.append((str(row["seed"]), first, second, difference(row["difference"]), *others, f"{row['seconds']:.0f}"))
    return results.table(header, cells, left=0)


def verdict(rows: list[dict]) -> str:
    """A line for each demand: whether it holds on every seed."""
    return "\n".join(
        f"- fails on {', '.join(map(str, seeds))}: {text}" if seeds else f"- holds: {text}"
        for text, seeds in failures(rows).items()
    )


def page(found: dict) -> str:
    """The Markdown page of a file of results."""
    where, rows = found["machine"], found["rows"]

    def name(code: dict) -> str:
        if code["commit"] is None:
            return "a version that git does not know"
        return f"commit {code['commit'][:12]}{', with changes that were not committed' if code['dirty'] else ''}"

    data = "the built-in data" if found["config"]["data"] is None else "images from elsewhere"
    computed = "" if found.get("device", "cpu") == "cpu" else f", on the device {found.get('gpu', 'emulator')}"
    fold = found["config"].get("fold")
    scored = "validation images" if fold is None else f"images of fold {fold}, held out of the training images"
    versions = dict.fromkeys(name(code) for row in found["rows"] for code in row["code"])
    paragraphs = (
        f"# Both stages and two controls, on {data}",
        f"Mean AUC on the {scored}. *Longer*: stage 1 goes on with whole images for the steps of stage 2. "
        "*Shuffled*: stage 2 with each image cropped where the box of another one lies. The difference is stage 2's "
        "from stage 1, with the 95 % interval of a paired bootstrap; the seconds are those of the two stages.",
        table(rows),
        "What is demanded of every seed:",
        verdict(rows),
        f"Made on {found['date'][:10]} by `{found['command']}`, from "
        f"{' and '.join(versions)}; {where['cores']} cores of {where['cpu']}, "
        f"Python {where['python']}, NumPy {where['numpy']}, {where['blas']}{computed}.",
    )
    return "\n\n".join(paragraphs) + "\n"


# -- the command


def seeds_of(text: str) -> list[int]:
    """Seeds from text such as 0-4 or 0,2,5; argparse.ArgumentTypeError where it is none."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        ranges = [range(end[0], end[-1] + 1) for end in ends]
        seeds = [seed for numbers in ranges for seed in numbers]
        if not all(ranges) or len(set(seeds)) < len(seeds) or max(map(len, ends)) > 2:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds such as 0-4 or 0,2,5") from None
    return seeds


def without_places(arguments: list[str]) -> list[str]:
    """A command line without the options that say where things go, for the same figures come of it anywhere."""
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument("--out")
    places.add_argument("--results")
    return places.parse_known_args(arguments)[1]


def parser() -> argparse.ArgumentParser:
    """The command line: that of training, but for the run's own options."""
    p = Parser("python -m minicam.controls", description=__doc__, formatter_class=HelpFormatter)
    add_choices(p)
    runs = p.add_argument_group("the runs")
    runs.add_argument("--seeds", type=seeds_of, metavar="LIST", default=SEEDS, help="such as 0-4 or 0,2,5")
    runs.add_argument("--out", type=named_path, metavar="DIR", help="folder of the runs (a new one under runs/)")
    text = f"what was measured; a page (.md) goes beside it ({RESULTS}; with other options results.json in --out)"
    runs.add_argument("--results", type=named_path, metavar="FILE.json", help=text)
    device.add_options(runs, "read and augment images")
    return p


@command
def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = vars(parser().parse_args(argv))
    on = device.prepare(**options)
    given, seeds = given_choices(options), options["seeds"]
    out = options["out"] or new_folder()
    as_it_is = not given and on == "cpu" and not options["exact"] and seeds == seeds_of(SEEDS)
    path = options["results"] or (RESULTS if as_it_is else out / "results.json")
    if path.suffix != ".json":
        raise MinicamError(f"--results is {path}; give a name that ends in .json, for a page (.md) goes beside it")
    configs = [make(**given, seed=seed) for seed in seeds]
    check(configs[0], on, options["cache_features"], crops=2)  # bad input is told before a folder is made
    results.place(path)
    arguments = without_places(sys.argv[1:] if argv is None else argv)
    found = {
        **results.about(shlex.join(["python", "-m", "minicam.controls", *arguments])),
        "machine": machine(),
        "device": on,
        "precision": cuda.precision(),
        "config": {name: value for name, value in asdict(configs[0]).items() if name != "seed"},
    }
    print(f"runs: {out}", flush=True)
    try:
        rows = []
        for config in configs:
            row = measure(out / f"seed{config.seed}", config, options["workers"], on, options["cache_features"])
            first, second = figure(row["stage1"]), figure(row["stage2"])
            print(f"seed {config.seed}: stage 1 {first}, stage 2 {second}", flush=True)
            rows.append(row)
    except (Interrupted, KeyboardInterrupt):
        print(f"stopped; continue with the same command and --out {shlex.quote(str(out))}", file=sys.stderr)
        raise KeyboardInterrupt from None
    found["rows"] = rows
    if on == "cuda":
        found["gpu"] = device.report()
    failed = any(failures(rows).values())
    print(f"\n{table(rows)}\n\n{verdict(rows)}\n")
    results.write(path, found)
    write_text(path.with_suffix(".md"), page(found))
    print(f"written to {path} and {path.with_suffix('.md')}")
    print("not all of it holds" if failed else f"all of it holds on seeds {', '.join(map(str, seeds))}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
