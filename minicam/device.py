"""What --device, --precision and their like mean here: chosen and checked once, before a command does anything else."""

import argparse

from minicam import MinicamError, cuda
from minicam.backend import capability, cupy, gpu_memory, gpu_name, keep_memory, set_exact, set_threads
from minicam.emulator.build import compiler

DEVICES = ("auto", "cpu", "cuda", "emulator")
TF32_CAPABILITY = 80  # the first GPUs with TF32 units, and with the asynchronous copies that feed them: Ampere
CUDA13_CAPABILITY = 75  # the oldest that CUDA 13 compiles for: Turing


def add_options(parser: argparse._ActionsContainer, purpose: str) -> None:
    """Give a command the options that say what to compute on; --workers are threads for this purpose."""
    parser.add_argument("--workers", type=int, default=2, metavar="N", help=f"threads that {purpose}")
    text = "where to compute; auto: on the NVIDIA GPU, if there is one and CuPy; emulator: CUDA kernels without a GPU"
    parser.add_argument("--device", choices=DEVICES, default="auto", help=text)
    text = "of convolutions on a GPU (tf32 where it has the units for it)"
    parser.add_argument("--precision", choices=cuda.PRECISIONS, help=text)
    text = "that the CPU computes on (as many as it has cores); they change the time, and no bit of the result"
    parser.add_argument("--threads", type=int, metavar="N", help=text)
    text = "convolve on the CPU by the direct sum only: slower, and its errors are 10 to 50 times smaller"
    parser.add_argument("--exact", action="store_true", help=text)


def prepare(
    workers: int, device: str, precision: str | None, threads: int | None = None, exact: bool = False, **_: object
) -> str:
    """Check what was given to the options of `add_options`, set what is to be set, and return the device.

    It takes all options of a command, by name, and looks at its own. Raises MinicamError where this machine cannot do
    what was asked for, rather than do something else without a word.
    """
    if workers < 1:
        raise MinicamError(f"--workers is {workers}; it must be at least 1")
    set_threads(threads)
    set_exact(exact)
    device = choose(device)
    cuda.set_precision(choose_precision(device, precision))
    keep_memory()
    return device


def choose(name: str) -> str:
    """The device that `--device name` means: "cpu", "cuda" or "emulator". MinicamError where it cannot be used."""
    if name not in DEVICES:
        raise MinicamError(f"device {name!r} is not known; choose one of {', '.join(DEVICES)}")
    if name == "auto":
        try:
            cupy()
        except MinicamError:
            return "cpu"
    if name in ("auto", "cuda"):
        runtime = cupy().cuda.runtime.runtimeGetVersion()
        if runtime >= 13000 and capability() < CUDA13_CAPABILITY:
            raise MinicamError(
                f"this GPU has the compute capability {capability() / 10:.1f}, and CUDA {runtime // 1000} needs "
                f"{CUDA13_CAPABILITY / 10:.1f}; install the extra cuda12 instead of cuda13, or use --device cpu"
            )
        cuda.compile_something()
        return "cuda"
    if name == "emulator":
        compiler()
    return name


def choose_precision(device: str, asked: str | None) -> str:
    """The precision of convolutions: what was asked for; or TF32 on a GPU that has it, and else float32."""
    able = device == "emulator" or (device == "cuda" and capability() >= TF32_CAPABILITY)
    if asked == "tf32" and not able:
        what = f"a GPU of compute capability {capability() / 10:.1f}" if device == "cuda" else "the CPU"
        raise MinicamError(
            f"--precision tf32 needs the matrix units of a GPU of compute capability {TF32_CAPABILITY / 10:.1f} or "
            f"more (Ampere), or the emulator; this is {what}: leave the option out"
        )
    return asked or ("tf32" if device == "cuda" and able else "float32")


def report() -> str:
    """A line on the GPU for the end of a run: which one, how precisely, and the most memory that was taken."""
    held, total, _ = gpu_memory()
    return f"{gpu_name()}, {cuda.precision()}, at most {held / 2**30:.2f} of {total / 2**30:.0f} GiB taken"
