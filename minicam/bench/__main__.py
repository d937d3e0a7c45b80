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
from pathlib import Path

from minicam import MinicamError
from minicam.cli import HelpFormatter, Parser, command

# The modules that do the work are imported where they are used, for --help to answer at once.

PRECISIONS = ("tf32", "float32")
SMALLEST = 16  # pixels of a side: VGG16 halves it four times
LARGEST = 65500  # of a JPEG's, in libjpeg


def kernels(options: argparse.Namespace) -> int:
    """Compile every CUDA kernel, and print what it takes of a GPU; exit with 1 where one spills registers to memory."""
    from minicam import nvrtc
    from minicam.bench import kernels
    from minicam.results import about, write

    rows = kernels.measure(options.arch.split(","))
    print(f"{kernels.report(rows)}\n\n{kernels.verdict(rows)}")
    if options.json:
        found = {"compiler": nvrtc.version(), "rows": rows}
        write(options.json, about(said("kernels", arch=options.arch)) | found)
    return int(bool(kernels.spilling(rows)))


def cpu(options: argparse.Namespace) -> int:
    """Time each layer and the whole training step of VGG16-GAP on the CPU, once their results are known to be right."""
    from minicam import backend
    from minicam.bench import cpu, cpu_report
    from minicam.bench.twin import version
    from minicam.provenance import machine
    from minicam.results import about, place, slug, write

    at_least(options, batch=1, size=SMALLEST, repeats=1)
    backend.set_threads(options.threads)
    asked = {name: getattr(options, name) for name in ("network", "batch", "size", "repeats", "quick")}
    bench, where = cpu.Bench(**asked, threads=backend.threads(), torch=version()), machine()
    out = place(options.json or Path("results") / f"cpu-{slug(where['cpu'])}{'-quick' if options.quick else ''}.json")
    results = cpu.measure(bench)
    print(cpu_report.report(results))
    command = said("cpu", **asked, threads=options.threads)
    write(out, about(command) | {"machine": where, "torch": bench.torch, "threads": bench.threads} | results)
    print(f"written to {out}")
    return 0


def profile(options: argparse.Namespace) -> int:
    """Find out where the time of a training step on the CPU goes: into which layers, and into what they do."""
    from minicam import backend
    from minicam.bench import profile
    from minicam.provenance import machine
    from minicam.results import about, place, slug, write

    at_least(options, batch=1, size=SMALLEST, repeats=1)
    backend.set_threads(options.threads)
    asked, where = {name: getattr(options, name) for name in ("network", "batch", "size", "repeats")}, machine()
    out = place(options.json or Path("results") / f"profile-{slug(where['cpu'])}.json")
    found = profile.measure(**asked, threads=backend.threads())
    print(profile.report(found))
    command = said("profile", **asked, threads=options.threads)
    write(out, about(command) | {"machine": where, "threads": backend.threads()} | found)
    print(f"written to {out}")
    return 0


def data(options: argparse.Namespace) -> int:
    """Time how fast JPEGs of a camera's size are decoded and augmented, beside Pillow's plain open and resize."""
    import tempfile

    from minicam import backend
    from minicam.bench import data
    from minicam.provenance import machine
    from minicam.results import about, place, slug, write

    at_least(options, images=1, width=1, height=1, size=1, repeats=1)
    for name in ("width", "height"):
        if getattr(options, name) > LARGEST:
            raise MinicamError(f"--{name} is {getattr(options, name)}; a JPEG has at most {LARGEST} pixels on a side")
    if options.need is not None and not options.need > 0:
        raise MinicamError(f"--need is {options.need:g}; it must be more than 0")
    backend.set_threads(options.threads)
    asked = {name: getattr(options, name) for name in ("images", "width", "height", "size", "repeats")}
    bench, where = data.Bench(**asked, workers=backend.threads()), machine()
    out = place(options.json or Path("results") / f"data-{slug(where['cpu'])}.json")
    with tempfile.TemporaryDirectory() as folder:
        results = data.measure(Path(folder), bench)
    print(data.report(results, bench, options.need))
    command = said("data", **asked, threads=options.threads)
    write(out, about(command) | {"machine": where, "threads": bench.workers} | results)
    print(f"written to {out}")
    return 0


def gpu(options: argparse.Namespace) -> int:
    """Time each layer and the whole training step of VGG16-GAP on the GPU, once their results are known to be right."""
    from minicam.bench import gpu
    from minicam.bench.figures import report
    from minicam.device import choose, choose_precision
    from minicam.results import about, slug, write

    at_least(options, batch=1, size=SMALLEST, repeats=1)
    choose("cuda")
    best = choose_precision("cuda", options.precision)
    precisions = [options.precision] if options.precision else list(dict.fromkeys((best, "float32")))
    results = gpu.measure(gpu.on_gpu(options.batch, options.size, precisions, options.repeats))
    print(report(results))
    where = gpu.about()
    out = options.out or Path("results") / f"gpu-{slug(where['gpu'])}.json"
    asked = {name: getattr(options, name) for name in ("batch", "size", "precision", "repeats")}
    write(out, about(said("gpu", **asked)) | where | results)
    print(f"written to {out}")
    return 0


def at_least(options: argparse.Namespace, **least: int) -> None:
    """MinicamError where an option is less than it can be."""
    for name, value in least.items():
        if getattr(options, name) < value:
            raise MinicamError(f"--{name} is {getattr(options, name)}; it must be at least {value}")


def said(name: str, **options: object) -> str:
    """The command line that does this again. An option is its name alone where it is True."""
    given = [[f"--{key}", *([] if value is True else [str(value)])] for key, value in options.items()
             if value not in (None, False)]  # fmt: skip
    return shlex.join(["python", "-m", "minicam.bench", name, *itertools.chain(*given)])


def parser() -> argparse.ArgumentParser:
    """The command line, one subcommand a function above."""
    top = Parser("python -m minicam.bench", description=__doc__, formatter_class=HelpFormatter)
    commands = top.add_subparsers(required=True, metavar="{cpu,profile,gpu,data,kernels}")

    def add(function: object) -> argparse.ArgumentParser:
        text = function.__doc__
        sub = commands.add_parser(function.__name__, help=text, description=text, formatter_class=HelpFormatter)
        sub.set_defaults(function=function)
        return sub

    sub = add(cpu)
    text = "about a minute: the whole network and its memory only, and as often as the time allows"
    sub.add_argument("--quick", action="store_true", help=text)
    sub.add_argument("--batch", type=int, default=8, metavar="N", help="images; one alone is measured, too")
    sub.add_argument("--size", type=int, default=224, metavar="PIXELS", help="of a side of an image")
    sub.add_argument("--network", choices=("vgg16_gap", "small_gap"), default="vgg16_gap", help="which one")
    sub.add_argument("--threads", type=int, metavar="N", help="ours and PyTorch's (as many as there are cores)")
    sub.add_argument("--repeats", type=int, default=5, metavar="N", help="times that each thing is timed")
    text = "what was measured (results/cpu-<name of the processor>.json; after --quick cpu-<...>-quick.json)"
    sub.add_argument("--json", type=Path, metavar="FILE", help=text)
    sub = add(profile)
    sub.add_argument("--batch", type=int, default=8, metavar="N", help="images")
    sub.add_argument("--size", type=int, default=224, metavar="PIXELS", help="of a side of an image")
    sub.add_argument("--network", choices=("vgg16_gap", "small_gap"), default="vgg16_gap", help="which one")
    sub.add_argument("--threads", type=int, metavar="N", help="to compute on (as many as there are cores)")
    sub.add_argument("--repeats", type=int, default=5, metavar="N", help="steps, of which the means are shown")
    text = "what was measured (results/profile-<name of the processor>.json)"
    sub.add_argument("--json", type=Path, metavar="FILE", help=text)
    sub = add(gpu)
    sub.add_argument("--batch", type=int, default=64, metavar="N", help="images")
    sub.add_argument("--size", type=int, default=224, metavar="PIXELS", help="of a side of an image")
    sub.add_argument("--precision", choices=PRECISIONS, help="only this one; else both, where the GPU has tf32")
    sub.add_argument("--repeats", type=int, default=20, metavar="N", help="times that each thing is timed")
    sub.add_argument("--out", type=Path, metavar="FILE", help="what was measured (results/gpu-<its name>.json)")
    sub = add(data)
    sub.add_argument("--images", type=int, default=8, metavar="N", help="files that are written, for some 3 MB each")
    sub.add_argument("--width", type=int, default=6000, metavar="PIXELS", help="of an image")
    sub.add_argument("--height", type=int, default=4000, metavar="PIXELS", help="of an image")
    sub.add_argument("--size", type=int, default=224, metavar="PIXELS", help="of a side of the network's input")
    sub.add_argument("--threads", type=int, metavar="N", help="ours and Pillow's (as many as there are cores)")
    sub.add_argument("--repeats", type=int, default=5, metavar="N", help="times that each is timed")
    text = "images a second that a training step takes (`bench cpu` tells): say how much more it is"
    sub.add_argument("--need", type=float, metavar="RATE", help=text)
    text = "what was measured (results/data-<name of the processor>.json)"
    sub.add_argument("--json", type=Path, metavar="FILE", help=text)
    sub = add(kernels)
    sub.add_argument("--arch", default="sm_80,sm_90", metavar="LIST", help="architectures to compile for")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    return top


@command
def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main())
