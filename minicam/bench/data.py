"""How fast photographs of a camera's size become what the network takes: our loader, beside Pillow used plainly.

Both read the same JPEGs with as many threads, in turn. Ours decodes them no larger than need be, augments, and
samples; Pillow opens them, converts them to RGB and resizes them bilinearly, and does not augment. The files have been
read before: what a disk takes is not in it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from minicam import MinicamError
from minicam.bench.clock import in_turn, wall
from minicam.bench.figures import rounded, timed
from minicam.data.images import images_in
from minicam.data.loader import Loader
from minicam.data.paint import paint
from minicam.data.synthetic import CLASSES
from minicam.model import small_gap
from minicam.results import figure, progress, table

NAMES = ("flip", "turn", "colour")  # the augmentation
NOISE = 2.5  # deviation of a pixel, 0..255: it makes files of a bit for each pixel, as cameras do
QUALITY = 92
ROUND = 16  # images that are read at least before the clock is looked at
TOLERANCE = 4  # 0..255, of the mean difference to Pillow's picture: the two reduce the noise differently


@dataclass(frozen=True)
class Bench:
    """What to measure: `images` JPEGs of width x height pixels, made squares of `size` by so many threads."""

    images: int
    width: int
    height: int
    size: int
    workers: int
    repeats: int


def photographs(folder: Path, bench: Bench) -> int:
    """Write JPEGs into a folder: the built-in pictures, enlarged, under a camera's noise. Returns their bytes."""
    rng = np.random.default_rng(0)
    noise = (NOISE * rng.standard_normal((512, 512, 3), np.float32)).round().astype(np.int16)
    for i in range(bench.images):
        progress(f"writing photograph {i + 1} of {bench.images}")
        picture, _ = paint(CLASSES[i % len(CLASSES)], rng)
        pixels = np.array(Image.fromarray(picture).resize((bench.width, bench.height), Image.Resampling.BICUBIC))
        for rows in range(0, bench.height, 512):
            band = pixels[rows : rows + 512]
            tiled = np.tile(np.roll(noise, rng.integers(512), 1), (1, -(-bench.width // 512), 1))
            band[...] = np.clip(band + tiled[: len(band), : bench.width], 0, 255)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=QUALITY, subsampling="4:2:0")
    return sum(path.stat().st_size for path in folder.iterdir())


def ours(folder: Path, bench: Bench, names: Sequence[str] = NAMES, colour: np.ndarray | None = None) -> Loader:
    """The loader over these files, each as often as makes ROUND of them. It applies a network's colour matrix."""
    dataset = images_in(folder)
    dataset = dataset.subset(np.tile(np.arange(len(dataset)), -(-ROUND // len(dataset))))
    colour = small_gap().colour if colour is None else colour
    return Loader(dataset, bench.size, 8, colour, None, tuple(names), (0,), bench.workers)


def pillow(paths: Sequence[Path], bench: Bench) -> Iterator[np.ndarray]:
    """The same of Pillow: float32 (size, size, 3), RGB, not augmented."""

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            square = image.convert("RGB").resize((bench.size, bench.size), Image.Resampling.BILINEAR)
        return np.asarray(square, np.float32)

    with ThreadPoolExecutor(bench.workers) as pool:
        yield from pool.map(read, paths)


def measure(folder: Path, bench: Bench) -> dict:
    """Images a second of both, and ours by Pillow's, from files that are written into this folder.

    Raises MinicamError where what the loader makes is not what Pillow does.
    """
    size = photographs(folder, bench)
    loader, plain = ours(folder, bench), ours(folder, bench, (), np.eye(3, 4))
    paths = loader.dataset.paths
    off = check(plain, pillow(paths[: bench.images], bench))
    progress("reading them")
    runs = [lambda: list(loader.shuffled(0)), lambda: list(pillow(paths, bench))]
    times = timed(*in_turn(wall, runs, bench.repeats, warm_up=1))
    rates = [rounded(len(paths) / times[name] * 1e3) for name in ("milliseconds", "torch_milliseconds")]
    return {
        "rate_ratio": rounded(1 / times["ratio"]),
        "images_per_second": rates[0],
        "pillow_images_per_second": rates[1],
        "images_a_round": len(paths),
        "milliseconds": times["milliseconds"],
        "interquartile": times["interquartile"],
        "pillow_milliseconds": times["torch_milliseconds"],
        "pillow_interquartile": times["torch_interquartile"],
        "bytes_an_image": size // bench.images,
        "off": rounded(off),
    }


def check(loader: Loader, expected: Iterator[np.ndarray]) -> float:
    """The mean difference to Pillow's pictures, 0..255, of the worst of images that are not augmented.

    Raises MinicamError where it is large.
    """
    found = (x for batch in loader.in_order() for x in batch.x)
    pairs = zip(found, expected, strict=False)  # ours reads first, and keeps Pillow from warning of large images
    off = max(float(np.abs(x - other).mean()) for x, other in pairs)
    if not off <= TOLERANCE:
        raise MinicamError(
            f"the loader's pictures are wrong: {off:.2g} of 255 off Pillow's in the mean, {TOLERANCE} is allowed; a "
            "wrong result is not timed: find the mistake with `make test`"
        )
    return off


def report(results: dict, bench: Bench, need: float | None) -> str:
    """What was measured, and how much more it is than the training step takes, where `need` (images/s) says that."""
    rows = []
    for name, prefix in (("minicam", ""), ("Pillow", "pillow_")):
        time, width = results[f"{prefix}milliseconds"], results[f"{prefix}interquartile"]
        rows.append((name, figure(results[f"{prefix}images_per_second"], 1), figure(time, 0), figure(width, 0)))
    megabytes = results["bytes_an_image"] / 1e6
    said = [
        table(("reads", "images/s", "ms a round", "+-"), rows),
        f"a round is {results['images_a_round']} JPEGs of {bench.width} x {bench.height}, {megabytes:.1f} MB each, "
        f"made {bench.size} x {bench.size} by {bench.workers} threads; ours augments them, too",
        f"{results['rate_ratio']:.2f} times Pillow's rate",
    ]
    if need is not None:
        said.append(f"{results['images_per_second'] / need:.1f} times what a training step takes at {need:g} images/s")
    return "\n".join(said)
