"""What the tests of features share: a small network with frozen layers, and the loader of what these compute."""

from dataclasses import dataclass

import numpy as np
import tiny

from minicam.features import FeatureLoader
from minicam.model import small_gap

COUNT, SIZE = 7, 16


@dataclass(frozen=True, eq=False)
class Pictures(tiny.Pictures):
    """Pictures that are known by what is in them."""

    def identity(self, i):
        return str(self.images[i].tobytes())


def network(train_from="CAM_conv", seed=1, **fields):
    made = small_gap(seed=seed, **fields)
    made.params()["CAM_fc/kernel"][...] = np.random.default_rng(seed).normal(size=(64, 3))
    made.train_from(train_from)
    return made


def dataset(seed=11):
    rng = np.random.default_rng(seed)
    return tiny.pictures([rng.integers(0, 256, (20 + i, 31 - i, 3), np.uint8) for i in range(COUNT)], cls=Pictures)


def loader(cache=None, net=None, data=None, batch=3, names=("flip", "turn"), **fields):
    net = net or network()
    given = data or dataset(), SIZE, batch, net.colour
    return FeatureLoader(*given, names=names, seed=(3, 1), network=net, cache=cache, **fields)
