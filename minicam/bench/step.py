"""A whole training step: forward, loss, backward, update. First whether it is right, then how long it takes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.backend import exact, set_exact, to_cpu, to_device
from minicam.bench.cases import Place, distinct
from minicam.model import Network
from minicam.ops import softmax_loss
from minicam.optim import SGD

# Of a gradient of the whole network: the length of the difference by that of the gradient. Rounding flips the sign of
# single ReLUs and the maximum of single windows, and each flip changes all below it. Of VGG16's lowest gradients, noise
# of 1e-6 on each layer's output moved one by 0.003, factors rounded to TF32 by 0.08 at 224 pixels and 0.16 at 16.
TOLERANCE = {"float32": 0.02, "tf32": 0.3}
CHECKED = 2  # images: enough to have a batch, and few enough for a CPU


def optimiser() -> SGD:
    """The update that is timed. Its rate is so small that the network stays what it is, however often it is done."""
    return SGD(lr=1e-6, momentum=0.9)


def batch(place: Place, size: int, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, size, size, 3) and labels, int64 (N,), drawn at random."""
    classes = network.layers[-1].params["bias"].size
    return place.normal(place.batch, size, size, 3), place.rng.integers(classes, size=place.batch)


def start(make: Callable[[], Network], device: str) -> Network:
    """A network on a device, its last layer not zero: from zeros no gradient would reach the layers below."""
    network = make()
    kernel = network.layers[-1].params["kernel"]
    kernel[...] = np.random.default_rng(0).normal(0, 0.1, kernel.shape)
    return network.to(device)


def runs(place: Place, make: Callable[[], Network], x: np.ndarray, labels: np.ndarray) -> list[Callable[[], Any]]:
    """The step, ours and, where it is there, PyTorch's: functions that do it on the device and return the loss."""
    network, update = start(make, place.device), optimiser()
    on_device = place.put(x, labels)
    ours = training_step(network, *on_device, update)
    return [ours, *(twin.step(network, *on_device, update) for twin in place.twins)]


def training_step(network: Network, x: Any, labels: Any, optimiser: SGD) -> Callable[[], Any]:
    """A function that does a step on arrays of the network's device, and returns the loss."""

    def run() -> Any:
        network.forget()
        loss, p = softmax_loss.forward(network.forward(x, learning=True), labels)
        network.backward(softmax_loss.backward(p, labels))
        optimiser.step(network.params(), network.grads())
        return loss

    return run


def check(make: Callable[[], Network], x: np.ndarray, labels: np.ndarray, device: str, precision: str) -> float:
    """Compare the gradients of one step on a device with NumPy's, and NumPy's with those that it sums directly in
    float64; returns the largest relative difference. No more than CHECKED images are used.

    make  gives a new network, the same each time
    Raises MinicamError where a gradient is off by more than `TOLERANCE`.
    """
    x, labels = x[:CHECKED], labels[:CHECKED]
    asked = exact()
    set_exact(True)
    try:
        expected = gradients(make, x, labels, "cpu", np.float64 if device == "cpu" else np.float32)
    finally:
        set_exact(asked)
    found = gradients(make, x, labels, device, np.float32)
    off = {name: distance(found[name], grad) for name, grad in expected.items()}
    worst = max(off, key=lambda name: off[name] if off[name] == off[name] else np.inf)
    if not off[worst] <= TOLERANCE[precision]:
        raise MinicamError(
            f"the training step ({precision}) is wrong: the gradient of {worst} is off by {off[worst]:.2g} of its "
            f"length, {TOLERANCE[precision]:g} is allowed; a wrong result is not timed"
        )
    return off[worst]


def gradients(
    make: Callable[[], Network], x: np.ndarray, labels: np.ndarray, device: str, dtype: type
) -> dict[str, np.ndarray]:
    """The gradients of one step, by name, computed on a device in float32 or in float64."""
    network = start(make, "cpu")
    for layer in network.layers:
        layer.params = {key: array.astype(dtype) for key, array in layer.params.items()}
    network.to(device)
    training_step(network, to_device(x.astype(dtype), device), to_device(labels, device), optimiser())()
    return {name: to_cpu(grad) for name, grad in network.grads().items()}


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    """The length of the difference by that of what is expected."""
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def flops(network: Network, batch: int, size: int, backward: bool = True) -> int:
    """Multiplications and additions of a step in convolutions and the linear layer: forward, and with `backward` once
    for each of the two gradients; but images need none."""
    total = 0
    for layer, shape, count in distinct(network, size):
        if layer.params:
            passes = 1 if not backward else 2 if shape[-1] == 3 else 3
            total += count * passes * 2 * batch * math.prod(shape[:-1]) * layer.params["kernel"].size
    return total
