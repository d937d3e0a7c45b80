"""Features in place of pixels: what frozen layers make of an image is always the same, and can be kept on disk.

Where only the layers from `--train-from` on learn, most of the time goes into those below. With flips and quarter
turns, an image has at most eight variants; a `FeatureLoader` computes each when it is first asked for, and finds it
again in the next epochs, in the validations, and in other runs. VGG16-GAP from block5_conv1 on at 224 px takes 14 x 14
x 512 numbers, 200 kB, of each variant of an image.

Features are kept as float16, and rounded to it whether they are found or have just been computed: a run is the same
with a full cache, an empty one, and none. For the same reason images go through the frozen layers one by one: a matrix
product may sum in another order where it has more rows. (float16 ends at 65504; of six images of ISIC-2017, no feature
of the pre-trained VGG16 exceeded 12,000.)

What is kept bears the names of all that its bits depend on. So a change in any of it is noticed: nothing is found then,
and the features are computed again.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from minicam import MinicamError, __version__, cuda, provenance
from minicam.backend import exact, gpu_name, to_cpu, to_device
from minicam.data import augment
from minicam.data.loader import Batch, Loader
from minicam.layers import Conv, MaxPool
from minicam.model import Network
from minicam.store import Store, names_in, room_in

# What features are computed with.
CODE = ("backend.py", "cuda.py", "source.py", "model.py", "layers.py", "ops/*", "data/*.py")


@dataclass(frozen=True, kw_only=True)
class FeatureLoader(Loader):
    """Batches whose x float32 (B, h, w, C) is what enters the layer above the frozen ones of `network`.

    network  with what it has in its frozen layers when an epoch begins
    cache    the folder in which features are kept; None: they are computed each time
    Raises MinicamError where no layer is frozen, and where images have no fixed set of variants.
    """

    network: Network
    cache: Path | None = None

    def __post_init__(self) -> None:
        augment.variants(self.names)
        if self.network.frozen == 0:
            raise MinicamError(
                "--cache-features keeps what the layers below --train-from compute, and here all layers learn; "
                "name a higher layer with --train-from, or leave --cache-features out"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, C) of the features of an image."""
        side, C = self.size, 3
        for layer in self.network.layers[: self.network.frozen]:
            side //= 2 if isinstance(layer, MaxPool) else 1
            C = layer.params["kernel"].shape[-1] if isinstance(layer, Conv) else C
        return side, side, C

    def missing(self, epochs: int) -> int:
        """How many features the cache may still lack for so many epochs and a look at all images as they are."""
        kept, missing = names_in(self._folder()[0]), 0
        for i in range(len(self.dataset)):
            plain, *others = (self._name(i, variant) not in kept for variant in augment.variants(self.names))
            missing += plain + min(sum(others), epochs)
        return missing

    def _batches(self, order: np.ndarray, epoch: int | None, start: int) -> Iterator[Batch]:
        with self._store() as store:

            def read(i: int) -> tuple[bytes | None, Any, Any]:
                """The name of the features, and the features or the pixels that they are still to be made of."""
                if store is None:
                    return None, None, self._pixels(i, epoch)
                name = self._name(i, self._drawn(i, epoch)[0])
                features = store.get(name)
                return name, features, self._pixels(i, epoch) if features is None else None

            with closing(self._read_ahead(read, order, start)) as parts:
                for indices, found in parts:
                    names, features, pixels = map(list, zip(*found, strict=True))
                    missing = [place for place, kept in enumerate(features) if kept is None]
                    if missing:
                        made = self._computed(indices[missing], [pixels[p] for p in missing], keep=epoch is not None)
                        for place, computed in zip(missing, made, strict=True):
                            features[place] = computed
                        if store is not None:
                            store.put({names[place]: features[place] for place in missing})
                    x = to_device(np.stack(features).astype(np.float32), self.device)
                    labels = to_device(self.dataset.labels[indices], self.device)
                    yield Batch(x, labels, indices, self.network.frozen)

    def _computed(self, indices: np.ndarray, pixels: list, keep: bool) -> list[np.ndarray]:
        """The features of images, each float16 (h, w, C); `pixels` and `keep` as in `Loader._together`."""
        x, features = self._together(indices, pixels, keep), []
        for place, i in enumerate(indices):
            y = to_cpu(self.network.forward_frozen(x[place : place + 1]))[0]
            with np.errstate(over="ignore"):
                features.append(y.astype(np.float16))
            if not np.isfinite(features[-1]).all():
                raise MinicamError(
                    f"the features of {self.dataset.ids[i]} reach {np.abs(y).max():g}, and float16 ends at 65504; "
                    "start a new run without --cache-features"
                )
        return features

    def _name(self, i: int, geometry: np.ndarray) -> bytes:
        """What the features of a variant of image number i are kept under, in the folder of these layers."""
        box = None if self.boxes is None else [int(edge) for edge in self.boxes[i]]
        text = json.dumps([self.dataset.identity(i), box, geometry.astype(int).tolist()])
        return hashlib.sha256(text.encode()).digest()[:16]

    def _folder(self) -> tuple[Path, str]:
        """The folder in the cache for what the frozen layers compute, here and so, and a text that says all that."""
        layers = self.network.layers[: self.network.frozen]
        params = {f"{layer.name}/{key}": to_cpu(array) for layer in layers for key, array in layer.params.items()}
        about = {
            "layers": [f"{layer.name}: {type(layer).__name__}" for layer in layers],
            "params": {
                name: f"{array.dtype} {array.shape}, SHA-256 {hashlib.sha256(array.tobytes()).hexdigest()}"
                for name, array in params.items()
            },
            "size": self.size,
            "colour": self.colour.tolist(),
            "precision": cuda.precision(),
            "exact": exact(),
            **_machine(self.device),
        }
        text = json.dumps(about, indent=2) + "\n"
        return self.cache / hashlib.sha256(text.encode()).hexdigest()[:32], text

    def _store(self) -> AbstractContextManager[Store | None]:
        if self.cache is None:
            return nullcontext()
        folder, about = self._folder()
        return Store(folder, self.shape, about)


def demand_room(training: FeatureLoader, validation: FeatureLoader, epochs: int, crops: int = 1) -> None:
    """Raise MinicamError where the cache has no room for all that a run may keep, or cannot be written.

    training, validation  the loaders of stage 1
    crops                 how many times, after it, the images are seen in crops of their own
    """
    variants = min(len(augment.variants(training.names)), epochs)
    close = len(training.dataset) * variants + len(validation.dataset)
    count, each = training.missing(epochs) + validation.missing(0) + crops * close, 2 * prod(training.shape)
    free = room_in(training.cache)
    if count * each > free:
        raise MinicamError(
            f"--cache-features may need {count * each:,} bytes ({count:,} variants of images, with those of crops, of "
            f"{each:,} bytes), and {training.cache} has {free:,} free; make room, name another folder, or leave it out"
        )


@functools.cache
def _machine(device: str) -> dict:
    """What computes: code, libraries and processor, for each may round in its own way."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(path for pattern in CODE for path in root.glob(pattern) if path.is_file()):
        digest.update(path.read_bytes())
    where = {"gpu": gpu_name()} if device == "cuda" else {k: provenance.machine()[k] for k in ("cpu", "numpy", "blas")}
    return {"device": device, **where, "pillow": PIL.__version__, "minicam": __version__, "code": digest.hexdigest()}
