"""Watch the kernels of an operation at work, or have them checked, on a machine without a GPU.

    python -m minicam.emulator trace gap    which thread reads and writes what
    python -m minicam.emulator check        races, missing barriers, wrong numbers

`check` is what to run after you have edited a kernel. It looks at each access to memory, at barriers, and at the
numbers, which must be those of NumPy; arrays are float32. --folder names the folder of your own copies.
"""

import argparse
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minicam import MinicamError
from minicam.cli import HelpFormatter, Parser, command, named_path

# NumPy and all that stands on it are imported where they are used: --help shall answer at once.

# What may lie between NumPy and the kernels, as a part of the largest number; conv_mma.cu rounds what it multiplies.
TOLERANCE, TOLERANCE_TF32 = 1e-4, 2e-3


def files_of(op: str) -> list[str]:
    """The .cu files of an operation: conv.cu, conv_mma.cu, conv_tiled.cu."""
    from minicam import ops, source

    if op not in ops.__all__:
        raise MinicamError(f"there is no operation {op}; choose from {', '.join(ops.__all__)}")
    found = sorted(p.name for p in source.FOLDER.glob(f"{op}*.cu") if p.stem == op or p.stem.startswith(f"{op}_"))
    if not found:
        raise MinicamError(f"{source.FOLDER} has no kernels of {op}: expected {op}.cu there")
    return found


def take_kernels_from(folder: Path | None) -> None:
    """Read .cu files there from now on; None: where they were read before."""
    from minicam import source

    if folder is not None:
        if not folder.is_dir():
            raise MinicamError(f"{folder} is no folder; expected one with .cu files")
        source.FOLDER = folder.resolve()


def call(op: str, direction: str, args: Sequence[Any], file: str | None = None) -> tuple[Any, list[Any]]:
    """What an operation returns for NumPy's arrays, and its arguments afterwards.

    file  the kernels that do it, in the emulator; None: NumPy does it
    """
    import numpy as np

    from minicam import ops
    from minicam.backend import to_device

    device = "cpu" if file is None else "emulator"
    own = [to_device(a.copy(), device) if isinstance(a, np.ndarray) else a for a in args]
    which = {"kernels": file} if op == "conv" and file is not None else {}  # the one that has several
    return getattr(getattr(ops, op), direction)(*own, **which), own


# -- trace


def trace(options: argparse.Namespace) -> None:
    """Print, for a tiny launch of each kernel, which thread reads and writes what."""
    from minicam import emulator
    from minicam.emulator import records
    from minicam.emulator.calls import TINY, calls

    if options.threads < 1:
        raise MinicamError(f"--threads is {options.threads}; it must be at least 1")
    take_kernels_from(options.folder)
    files = files_of(options.op)
    if options.kernels is not None:
        if options.kernels not in files:
            raise MinicamError(f"{options.op} has no {options.kernels}; it has {', '.join(files)}")
        files = [options.kernels]
    for direction, args in calls(options.op, TINY):
        if direction == options.direction:
            with emulator.trace() as launches:
                call(options.op, direction, args, files[0])
            last = max(math.prod(launch.block) for launch in launches) - 1
            for number in options.thread or ():
                if not 0 <= number <= last:
                    raise MinicamError(f"--thread is {number}; those of a block have the numbers 0 to {last} here")
            print("\n\n".join(records.text(launch, options.threads, options.thread) for launch in launches))
            return
    raise MinicamError(f"{options.op} has no {options.direction}: nothing is learned through it")


# -- check


@dataclass
class Outcome:
    """What was found in the kernels of an operation, each of them named by file and kernel.

    errors    the first error of each that has one
    launched  all that were launched
    wrong     a line for each file and direction that has one: what differs from NumPy
    suspects  a direction with wrong numbers that the kernel has a part in
    stopped   files of which a call ended with an error
    """

    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    launched: set[tuple[str, str]] = field(default_factory=set)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)
    suspects: dict[tuple[str, str], str] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)


def check(options: argparse.Namespace) -> int:
    """Run every kernel in check mode, in three orders of the threads; 1 where something was found."""
    from minicam import ops

    take_kernels_from(options.folder)
    found = False
    for op, files in {op: files_of(op) for op in options.op or ops.__all__}.items():
        if sys.stderr.isatty():
            print(f"checking {op} ...", file=sys.stderr, flush=True)
        found |= _report(_check(op, files), files)
    return int(found)


def _check(op: str, files: Sequence[str]) -> Outcome:
    """Call an operation in both directions and several sizes, with each of its files in each order of the threads."""
    from minicam import emulator
    from minicam.emulator.calls import CHECKED, calls

    outcome = Outcome()
    for direction, args in (pair for sizes in CHECKED for pair in calls(op, sizes)):
        expected, _ = call(op, direction, args)
        for file in files if op == "conv" else files[:1]:
            for order in emulator.ORDERS:
                launched: set[tuple[str, str]] = set()
                try:
                    with emulator.options(check=True, order=order, launched=launched):
                        said = _wrong(op, direction, args, file, expected)
                except emulator.EmulatorError as error:
                    outcome.errors.setdefault((error.file, error.kernel), str(error))
                    outcome.stopped.add(file)
                else:
                    if said is not None:
                        outcome.wrong.setdefault((file, direction), f"{file}: {op}.{direction}: {said}")
                        outcome.suspects |= dict.fromkeys(launched, f"{op}.{direction}")
                outcome.launched |= launched
    return outcome


def _wrong(op: str, direction: str, args: Sequence[Any], file: str, expected: Any) -> str | None:
    """Call an operation in the emulator; in words, what is wrong with its results or what it did to its arguments."""
    from minicam import ops
    from minicam.emulator.calls import changed, difference

    found, after = call(op, direction, args, file)
    number = changed(args, after)
    if number is not None:
        name = list(inspect.signature(getattr(getattr(ops, op), direction)).parameters)[number]
        return f"the kernels change its argument {name}"
    return difference(expected, found, TOLERANCE_TF32 if file == "conv_mma.cu" else TOLERANCE)


def _report(outcome: Outcome, files: Sequence[str]) -> bool:
    """Print a line for each kernel, and one for each direction with wrong numbers. Was anything found?"""
    from minicam import source

    found = bool(outcome.errors or outcome.wrong)
    reached = outcome.launched | outcome.errors.keys()
    others = {file for file, _ in outcome.launched} - set(files)  # kernels that operations share
    for file in [*files, *sorted(others)]:
        for (its_file, _), said in outcome.wrong.items():
            if its_file == file:
                print(said)
        for at in sorted(((file, kernel) for kernel in source.read(file).kernels), key=lambda at: at not in reached):
            if at in outcome.errors:
                print(outcome.errors[at])
                continue
            said = "ok"
            if at in outcome.suspects:
                said = f"has a part in {outcome.suspects[at]}, of which something wrong is said above"
            elif at not in reached and file in outcome.stopped:
                said = "not reached, because of the error above"
            elif at not in reached:
                said = "was not launched"
                found = True
            print(f"{file}: {at[1]}: {said}")
    sys.stdout.flush()
    return found


# -- the command line


def parser() -> argparse.ArgumentParser:
    """The command line, one subcommand a function above."""
    top = Parser("python -m minicam.emulator", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{trace,check}")

    def add(function: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        return sub

    def add_folder(sub: argparse.ArgumentParser) -> None:
        where = "take the .cu files from here: a copy of the folder minicam/ops, headers included"
        sub.add_argument("--folder", type=named_path, help=where)

    sub = add(trace, "print which thread reads and writes what, in a tiny launch")
    sub.add_argument("op", help="the operation: gap, conv, ...")
    sub.add_argument("--direction", choices=("forward", "backward"), default="forward", help="which way")
    sub.add_argument("--kernels", metavar="FILE", help="the .cu file, where there are several: conv_tiled.cu")
    sub.add_argument("--threads", type=int, default=8, help="how many threads to show")
    numbers = "show only the threads that have these numbers in their block"
    sub.add_argument("--thread", type=int, nargs="+", metavar="NUMBER", help=numbers)
    add_folder(sub)

    sub = add(check, "run kernels in check mode on small shapes, compare with NumPy, and print what is wrong")
    sub.add_argument("op", nargs="*", help="operations; all of them where none is named")
    add_folder(sub)
    return top


@command
def main(argv: list[str] | None = None) -> int | None:
    """Run the command line `argv`, or that of the process."""
    options = parser().parse_args(argv)
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
