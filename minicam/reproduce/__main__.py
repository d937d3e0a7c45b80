"""The paper's table on ISIC-2017, a command a row, and the page made of them.

    python -m minicam.reproduce list                                which rows there are, and how long they take
    python -m minicam.reproduce run stage1 stage2 both --data ISIC --cache-features DIR
    python -m minicam.reproduce report                              results/isic2017.json, .md and pictures

What a row needs is run first, what is there is not run again, and what was stopped goes on. The options of
minicam.train override the recipe (`--limit 100` for a quick look), but not what defines a row.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from minicam import MinicamError, device, results
from minicam.choices import add_choices, given_choices
from minicam.cli import HelpFormatter, Parser, command, named_path
from minicam.config import Config
from minicam.controls import seeds_of
from minicam.files import locked
from minicam.fit import Interrupted
from minicam.reproduce.measure import measure
from minicam.reproduce.place import Place
from minicam.reproduce.records import finished
from minicam.reproduce.rows import ROWS, own_seeds, parts
from minicam.train import check

OUT = Path("runs/isic2017")
RESULTS = Path("results/isic2017.json")


def show(options: dict) -> None:
    """Print the rows."""
    header = ("row", "what it is", "base", "seeds", "minutes a seed")
    lines = [
        (name, row.says, row.base, ",".join(map(str, own_seeds(name))), str(row.minutes))
        for name, row in ROWS.items()
    ]
    print(results.table(header, lines, left=4))
    print("\nminutes on a core of an AMD EPYC (Zen 3), after the rows that it needs; on a GPU not measured yet")


def run(options: dict) -> None:
    """Run rows, one after the other, seed by seed. Other processes may run rows of other folders at the same time."""
    on = device.prepare(**options)
    given, cache = given_choices(options), options["cache_features"]
    if "fold" in given:
        raise MinicamError("--fold is what the rows named fold- and screen- have; leave it out")
    given.pop("float16_features", None)  # each base says by itself whether its features can be kept
    place = Place(options["out"], given, options["workers"], on, cache)
    pairs = [(name, seed) for name in options["rows"] for seed in options["seeds"] or own_seeds(name)]
    pairs = list(dict.fromkeys(pair for wanted in pairs for pair in (*parts(*wanted), wanted)))
    checked: list[Config] = []
    for name, seed in pairs:
        base = place.config(ROWS[name].base, seed)
        for config in (base, replace(base, **ROWS[name].choices)):
            if config not in checked:
                check(config, on, cache if config.float16_features else None)
                checked.append(config)
    try:
        for name, seed in pairs:
            with locked(place.folder(ROWS[name].base, seed).with_suffix(".lock")):
                there = finished(name, seed, place) is not None
                says = "is there already" if there else f"{measure(name, seed, place)['seconds']:.0f} s"
            print(f"{name}, seed {seed}: {says}", flush=True)
    except (Interrupted, KeyboardInterrupt):
        print("stopped; continue with the same command", file=sys.stderr)
        raise KeyboardInterrupt from None


def report(options: dict) -> None:
    """Write what the rows say, as JSON, as a page, and in pictures."""
    from minicam.reproduce.report import write

    for path in write(options["out"], options["results"]):
        print(f"written: {path}")


def row_name(text: str) -> str:
    """A name in ROWS; argparse.ArgumentTypeError for others."""
    if text not in ROWS:
        raise argparse.ArgumentTypeError(f"there is no row {text!r}; python -m minicam.reproduce list shows all")
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser("python -m minicam.reproduce", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{list,run,report}")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        return sub

    add("list", show, "show the rows of the table")
    sub = add("run", run, "run rows of the table")
    sub.add_argument("rows", nargs="+", type=row_name, metavar="ROW", help="a row's name")
    add_choices(sub)
    runs = sub.add_argument_group("the runs")
    runs.add_argument("--seeds", type=seeds_of, metavar="LIST", help="such as 0-4 or 0,2,5 (those of the row)")
    runs.add_argument("--out", type=named_path, metavar="DIR", default=OUT, help="folder of all rows")
    device.add_options(runs, "read and augment images")
    sub = add("report", report, "write the table, its page and its pictures")
    sub.add_argument("--out", type=named_path, metavar="DIR", default=OUT, help="folder of all rows")
    text = "what was measured; a page (.md) and pictures go beside it"
    sub.add_argument("--results", type=named_path, metavar="FILE.json", default=RESULTS, help=text)
    return top


@command
def main(argv: list[str] | None = None) -> None:
    """The command."""
    options = vars(parser().parse_args(argv))
    if options.get("results", RESULTS).suffix != ".json":
        raise MinicamError(f"--results is {options['results']}; give a name that ends in .json: a page goes beside it")
    options["function"](options | {"resume": None})


if __name__ == "__main__":
    sys.exit(main())
