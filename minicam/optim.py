"""Plain SGD over named parameters: the loop around `ops/sgd`. It knows arrays and names, and no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.ops import sgd


@dataclass
class SGD:
    """Stochastic gradient descent; see `ops/sgd` for the formula.

    lr            the learning rate
    momentum      0 is plain SGD
    weight_decay  of kernels only: biases are not decayed
    rates         factors on lr, by layer or by parameter: {"CAM_conv": 10.0, "CAM_fc/bias": 0.0}
    velocity      by parameter name; all of the state that a checkpoint has to keep
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)
    velocity: dict[str, Any] = field(default_factory=dict)

    def step(self, params: Mapping[str, Any], grads: Mapping[str, Any], factor: float = 1.0) -> None:
        """Update the arrays of `params` in place from `grads`, at the rate lr times `factor` (the schedule's)."""
        for name, dw in grads.items():
            w = params[name]
            layer, kind = name.rsplit("/", 1)
            if name not in self.velocity:
                self.velocity[name] = np.zeros_like(w)  # on the device of w: NumPy asks the array how
            v = self.velocity[name]
            decay = self.weight_decay if kind == "kernel" else 0.0
            rate = self.lr * factor * self.rates.get(name, self.rates.get(layer, 1.0))
            sgd.forward(w, dw, v, rate, self.momentum, decay, out=(w, v))


def schedule(name: str, progress: float) -> float:
    """The factor on the learning rate at `progress` (0 at the start of a stage, 1 at its end).

    "constant"; "cosine" (half a cosine wave from 1 to 0: Loshchilov and Hutter, "SGDR", 2017, equation 5 without
    restarts); "step" (a tenth in the last third). Raises MinicamError for any other name.
    """
    if name == "constant":
        return 1.0
    if name == "cosine":
        return 0.5 * (1 + float(np.cos(np.pi * progress)))
    if name == "step":
        return 0.1 if progress >= 2 / 3 else 1.0
    raise MinicamError(f"there is no schedule {name!r}; choose one of {', '.join(SCHEDULES)}")


SCHEDULES = ("constant", "cosine", "step")
