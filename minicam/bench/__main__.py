"""What minicam costs, in time and memory, and kernels by the compiler's account.

    python -m minicam.bench cpu       VGG16-GAP and its layers, beside PyTorch
    python -m minicam.bench profile   where the time of a step goes
    python -m minicam.bench gpu       VGG16-GAP and its layers on a GPU
    python -m minicam.bench data      reading photographs, beside Pillow
    python -m minicam.bench kernels   registers and spills; needs no GPU
"""

import argparse
import itertools
import shlex
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from minicam import MinicamError
from minicam.cli import HelpFormatter, Parser, command, named_path

# The modules that do the work are imported where they are used, for --help to answer at once.

PRECISIONS = ("tf32", "float32")
SMALLEST = 16  # pixels of a side: VGG16 halves it four times
LARGEST = 65500  # of a JPEG's, in libjpeg

Measure = Callable[[], dict]
Report = Callable[[dict], str]


def kernels(options: argparse.Namespace) -> int:
    """Compile every CUDA kernel, and print what it takes of a GPU; exit with 1 where one spills registers to memory."""
    from minicam import nvrtc
    from minicam.bench import kernels
    from minicam.results import about, place, write

    out = options.json and place(options.json)
    rows = kernels.measure(options.arch.split(","))
    print(f"{kernels.report(rows)}\n\n{kernels.verdict(rows)}")
    if out:
        found = {"compiler": nvrtc.version(), "rows": rows}
        write(out, about(said("kernels", arch=options.arch)) | found)
    return int(bool(kernels.spilling(rows)))


def cpu(options: argparse.Namespace) -> int:
    """Time each layer and the whole training step of VGG16-GAP on the CPU, once their results are known to be right."""
    from minicam import backend
    from minicam.bench import cpu, cpu_report
    from minicam.bench.twin import version
    from minicam.provenance import machine

    asked = checked(options, network=None, batch=1, size=SMALLEST, repeats=1, quick=None)
    backend.set_threads(options.threads)
    bench = cpu.Bench(**asked, threads=backend.threads(), torch=version())
    where = {"machine": machine(), "torch": bench.torch, "threads": bench.threads}
    return recorded(options, asked, where, partial(cpu.measure, bench), cpu_report.report)


def profile(options: argparse.Namespace) -> int:
    """Find out where the time of a training step on the CPU goes, as a mean: into which layers, into what they do."""
    from minicam import backend
    from minicam.bench import profile
    from minicam.provenance import machine

    asked = checked(options, network=None, batch=1, size=SMALLEST, repeats=1)
    backend.set_threads(options.threads)
    where = {"machine": machine(), "threads": backend.threads()}
    return recorded(options, asked, where, partial(profile.measure, **asked, threads=where["threads"]), profile.report)


def data(options: argparse.Namespace) -> int:
    """Time how fast JPEGs of a camera's size are decoded and augmented, beside Pillow's plain open and resize."""
    from minicam import backend
    from minicam.bench import data
    from minicam.data.images import MAX_PIXELS
    from minicam.provenance import machine

    asked = checked(options, images=1, width=1, height=1, size=1, repeats=1)
    for name in ("width", "height"):
        if asked[name] > LARGEST:
            raise MinicamError(f"--{name} is {asked[name]}; a JPEG has at most {LARGEST} pixels on a side")
    if (pixels := options.width * options.height) > MAX_PIXELS:
        raise MinicamError(f"--width times --height is {pixels}; {MAX_PIXELS} pixels is the most that is read")
    if options.need is not None and not options.need > 0:
        raise MinicamError(f"--need is {options.need:g}; it must be more than 0")
    backend.set_threads(options.threads)
    bench, where = data.Bench(**asked, workers=backend.threads()), {"machine": machine(), "threads": backend.threads()}

    def measure() -> dict:
        with tempfile.TemporaryDirectory() as folder:
            return data.measure(Path(folder), bench)

    return recorded(options, asked, where, measure, lambda results: data.report(results, bench, options.need))


def gpu(options: argparse.Namespace) -> int:
    """Time each layer and the whole training step of VGG16-GAP on the GPU, once their results are known to be right."""
    from minicam.bench import gpu
    from minicam.bench.figures import report
    from minicam.device import choose, choose_precision

    asked = checked(options, batch=1, size=SMALLEST, precision=None, repeats=1)
    choose("cuda")
    best, where = choose_precision("cuda", options.precision), gpu.about()
    precisions = [options.precision] if options.precision else list(dict.fromkeys((best, "float32")))

    def measure() -> dict:
        return gpu.measure(gpu.on_gpu(options.batch, options.size, precisions, options.repeats))

    return recorded(options, asked, where, measure, report)


def checked(options: argparse.Namespace, **least: int | None) -> dict:
    """The options of these names. MinicamError where one is less than it can be; None is for what is no number."""
    for name, value in least.items():
        if value is not None and getattr(options, name) < value:
            raise MinicamError(f"--{name} is {getattr(options, name)}; it must be at least {value}")
    return {name: getattr(options, name) for name in least}


def recorded(options: argparse.Namespace, asked: dict, where: dict, measure: Measure, report: Report) -> int:
    """Measure, print the report, and write the results: to --json, or in results/ to a file named after the processor.

    asked  the options, besides --threads, of the command that is written down
    where  on what it is measured
    That the file can be written is made sure of first.
    """
    from minicam.results import about, place, slug, write

    what, processor = options.function.__name__, where.get("gpu") or where["machine"]["cpu"]
    usual = f"{what}-{slug(processor)}{'-quick' if asked.get('quick') else ''}.json"
    out = place(options.json or Path("results") / usual)
    results = measure()
    print(report(results))
    command = said(what, **asked, threads=getattr(options, "threads", None))
    write(out, about(command) | where | results)
    print(f"written to {out}")
    return 0


def said(name: str, **options: object) -> str:
    """The command line that does this again. An option is its name alone where it is True."""
    given = [[f"--{key}", *([] if value is True else [str(value)])] for key, value in options.items()
             if value not in (None, False)]  # fmt: skip
    return shlex.join(["python", "-m", "minicam.bench", name, *itertools.chain(*given)])


SHARED = {  # options of several subcommands
    "network": {"choices": ("vgg16_gap", "small_gap"), "help": "which one"},
    "batch": {"type": int, "metavar": "N", "help": "images"},
    "size": {"type": int, "metavar": "PIXELS", "help": "of a side of the network's input"},
    "threads": {"type": int, "metavar": "N", "help": "of each side that computes (as many as there are cores)"},
    "repeats": {"type": int, "metavar": "N", "help": "times that each thing is timed"},
}


def parser() -> argparse.ArgumentParser:
    """The command line, one subcommand a function above."""
    top = Parser("python -m minicam.bench", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{cpu,profile,gpu,data,kernels}")

    def add(function: object, json: str, **defaults: object) -> argparse.ArgumentParser:
        """A subcommand with some of the SHARED options."""
        text = function.__doc__
        sub = commands.add_parser(function.__name__, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        for name, default in defaults.items():
            sub.add_argument(f"--{name}", default=default, **SHARED[name])
        sub.add_argument("--json", type=named_path, metavar="FILE", help=json)
        return sub

    on_cpu = {"network": "vgg16_gap", "batch": 8, "size": 224, "threads": None, "repeats": 5}
    text = "what was measured (results/cpu-<name of the processor>.json; after --quick cpu-<...>-quick.json)"
    sub = add(cpu, text, **on_cpu)
    text = "about a minute: only the whole network with this batch, and its memory, and as often as the time allows; "
    sub.add_argument("--quick", action="store_true", help=text + "else layer by layer and one image alone, too")
    add(profile, "what was measured (results/profile-<name of the processor>.json)", **on_cpu)
    sub = add(gpu, "what was measured (results/gpu-<its name>.json)", batch=64, size=224, repeats=20)
    sub.add_argument("--precision", choices=PRECISIONS, help="only this one; else both, where the GPU has tf32")
    text = "what was measured (results/data-<name of the processor>.json)"
    sub = add(data, text, size=224, threads=None, repeats=5)
    sub.add_argument("--images", type=int, default=8, metavar="N", help="files that are written, for some 3 MB each")
    sub.add_argument("--width", type=int, default=6000, metavar="PIXELS", help="of an image")
    sub.add_argument("--height", type=int, default=4000, metavar="PIXELS", help="of an image")
    text = "images a second that a training step takes (`bench cpu` tells): say how much more it is"
    sub.add_argument("--need", type=float, metavar="RATE", help=text)
    sub = add(kernels, "write the figures to a file, too")
    sub.add_argument("--arch", default="sm_80,sm_90", metavar="LIST", help="architectures to compile for")
    return top


@command
def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
