"""Watch the kernels of an operation at work, or have them checked, on a machine without a GPU.

    python -m minicam.emulator trace gap    which thread reads and writes what
    python -m minicam.emulator check        races, missing barriers, and the like

`check` is what to run after you have edited a kernel; --folder names the folder of your own copies.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minicam import MinicamError
from minicam.cli import HelpFormatter, Parser, command

# NumPy and all that stands on it are imported where they are used: --help shall answer at once.


class Sizes(NamedTuple):
    """N images of H x W pixels and C channels; K channels or classes out."""

    N: int
    H: int
    W: int
    C: int
    K: int


TINY = Sizes(1, 2, 3, 2, 2)  # to be read
# Odd, and distinct; then multiples of four, which some kernels take in fours. Both leave the last block half empty.
CHECKED = (Sizes(2, 7, 5, 3, 11), Sizes(3, 5, 9, 8, 20))


def calls(op: str, sizes: Sizes, files: list[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What to call so that the kernels of an operation are launched: pairs of direction and function.

    files  its .cu files; an operation that has several is called with each of them
    """
    import numpy as np

    from minicam import ops
    from minicam.backend import to_device

    rng = np.random.default_rng(0)
    N, H, W, C, K = sizes

    def device(array: np.ndarray) -> Any:
        return to_device(array, "emulator")

    def f4(*shape: int) -> Any:
        return device(rng.standard_normal(shape).astype(np.float32))

    def integers(most: int, *shape: int, dtype: type = np.int64) -> Any:
        return device(rng.integers(0, most, shape).astype(dtype))

    module = getattr(ops, op)
    x = f4(N, H, W, C)
    if op == "conv":
        w, b, dy = f4(3, 3, C, K), f4(K), f4(N, H, W, K)
        for file in files:
            yield "forward", lambda file=file: module.forward(x, w, b, True, kernels=file)
            yield "backward", lambda file=file: module.backward(dy, x, w, kernels=file)
    elif op == "relu":
        yield "forward", lambda: module.forward(x)
        yield "backward", lambda: module.backward(x, f4(N, H, W, C))
    elif op == "maxpool":
        pooled = N, H // 2, W // 2, C
        yield "forward", lambda: module.forward(x)
        yield "backward", lambda: module.backward(f4(*pooled), integers(4, *pooled, dtype=np.uint8), x.shape)
    elif op == "gap":
        yield "forward", lambda: module.forward(x)
        yield "backward", lambda: module.backward(f4(N, C), x.shape)
    elif op == "linear":
        yield "forward", lambda: module.forward(f4(N * H, C), f4(C, K), f4(K))
        yield "backward", lambda: module.backward(f4(N * H, K), f4(N * H, C), f4(C, K))
    elif op == "softmax_loss":
        yield "forward", lambda: module.forward(f4(N * H, K), integers(K, N * H))
        yield "backward", lambda: module.backward(f4(N * H, K), integers(K, N * H))
    elif op == "warp":
        image, affine, colour = integers(256, N, H, W, C, dtype=np.uint8), f4(N, 2, 3), f4(N, K, C + 1)
        double = [device(a.astype(np.float64)) for a in (affine, colour)]
        yield "forward", lambda: module.forward(image, double[0], (W, H))
        yield "forward", lambda: module.forward(image, double[0], (W, H), double[1])
    elif op == "sgd":
        for size in (N * H * W * C, 4 * N * H * W * C):  # the second is taken in fours
            yield "forward", lambda size=size: module.forward(f4(size), f4(size), f4(size), 0.1, 0.9, 0.01)
    else:
        raise MinicamError(f"no launch is known for the operation {op}; add one to minicam/emulator/__main__.py")


def files_of(op: str) -> list[str]:
    """The .cu files of an operation: conv.cu, conv_mma.cu, conv_tiled.cu."""
    from minicam import ops, source

    if op not in ops.__all__:
        raise MinicamError(f"there is no operation {op}; choose from {', '.join(ops.__all__)}")
    found = sorted(p.name for p in source.FOLDER.glob(f"{op}*.cu") if p.stem == op or p.stem.startswith(f"{op}_"))
    if not found:
        raise MinicamError(f"{source.FOLDER} has no kernels of {op}: expected {op}.cu there")
    return found


def trace(options: argparse.Namespace) -> None:
    """Print, for a tiny launch of each kernel, which thread reads and writes what."""
    from minicam import emulator
    from minicam.emulator import records

    files = files_of(options.op)
    if options.kernels is not None:
        if options.kernels not in files:
            raise MinicamError(f"{options.op} has no {options.kernels}; it has {', '.join(files)}")
        files = [options.kernels]
    for direction, call in calls(options.op, TINY, files[:1]):
        if direction == options.direction:
            with emulator.trace() as launches:
                call()
            print("\n\n".join(records.text(launch, options.threads) for launch in launches))
            return
    raise MinicamError(f"{options.op} has no {options.direction}: nothing is learned through it")


def check(options: argparse.Namespace) -> int:
    """Run every kernel in check mode, in three orders of the threads; 1 where something was found."""
    from minicam import ops, source

    if options.folder is not None:
        if not options.folder.is_dir():
            raise MinicamError(f"{options.folder} is no folder; expected one with .cu files")
        source.FOLDER = options.folder.resolve()
    findings = 0
    for op, files in {op: files_of(op) for op in options.op or ops.__all__}.items():
        launched, found = _check(op, files)
        others = {file for file, _ in launched} - set(files)  # kernels that operations share
        for file in [*files, *sorted(others)]:
            for kernel in source.read(file).kernels:
                at = file, kernel
                print(found.get(at) or f"{file}: {kernel}: {'ok' if at in launched else 'was not launched'}")
                findings += at in found or at not in launched
    return 1 if findings else 0


def _check(op: str, files: list[str]) -> tuple[set[tuple[str, str]], dict[tuple[str, str], str]]:
    """The kernels that were launched, by file and name, and the first error of each that has one."""
    from minicam import emulator

    launched: set[tuple[str, str]] = set()
    found: dict[tuple[str, str], str] = {}
    for order in emulator.ORDERS:
        for sizes in CHECKED:
            with emulator.options(check=True, order=order, launched=launched):
                for _, call in calls(op, sizes, files):
                    try:
                        call()
                    except emulator.EmulatorError as error:
                        found.setdefault((error.file, error.kernel), str(error))
    return launched, found


def parser() -> argparse.ArgumentParser:
    """The command line, one subcommand a function above."""
    top = Parser("python -m minicam.emulator", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{trace,check}")

    def add(function: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        return sub

    sub = add(trace, "print which thread reads and writes what, in a tiny launch")
    sub.add_argument("op", help="the operation: gap, conv, ...")
    sub.add_argument("--direction", choices=("forward", "backward"), default="forward", help="which way")
    sub.add_argument("--kernels", metavar="FILE", help="the .cu file, where there are several: conv_tiled.cu")
    sub.add_argument("--threads", type=int, default=8, help="how many threads to show")

    sub = add(check, "run kernels in check mode on small odd shapes, and print what is wrong with them")
    sub.add_argument("op", nargs="*", help="operations; all of them where none is named")
    sub.add_argument("--folder", type=Path, help="take the .cu files from here")
    return top


@command
def main(argv: list[str] | None = None) -> int | None:
    """Run the command line `argv`, or that of the process."""
    options = parser().parse_args(argv)
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
