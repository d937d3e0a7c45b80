"""What is timed: each operation as the network uses it, its figures, and how to know that its result is right."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicam.backend import to_cpu, to_device
from minicam.bench.reference import (
    Rounding,
    conv_at,
    conv_dw_at,
    conv_dx_at,
    maxpool_dx_of,
    maxpool_of,
    places,
    to_float64,
)
from minicam.bench.twin import Twin
from minicam.data import augment
from minicam.layers import GAP, Conv, Layer, Linear, MaxPool
from minicam.model import Network
from minicam.ops import conv, gap, linear, maxpool, relu, sgd, softmax_loss, warp

STORED = 256  # side of the stored images, of which `warp` makes the input of a network

Pairs = list[tuple[np.ndarray, np.ndarray]]  # some of what came out, each beside what it must be


@dataclass(frozen=True)
class Case:
    """One operation in one direction.

    name, direction   "block1_conv1", "forward"
    run               does it, and returns its result
    check             takes the result, and how factors are rounded before they are multiplied
    bytes             that must at least be read and written
    flops             multiplications and additions; 0 where it is not these that it is about
    but               its time is taken off that of `run`, which does this as well and cannot leave it out
    twins             the same in PyTorch, by memory format
    count             how often the network does just this
    """

    name: str
    direction: str
    run: Callable[[], Any]
    check: Callable[[Any, Rounding], Pairs]
    bytes: int
    flops: int = 0
    but: Callable[[], Any] | None = None
    twins: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    count: int = 1


@dataclass(frozen=True)
class Place:
    """Where cases are run: on a device, with so many images, and beside PyTorch in the formats of `twins`, if any."""

    device: str
    batch: int
    twins: Sequence[Twin]
    rng: np.random.Generator

    def normal(self, *shape: int) -> np.ndarray:
        """Random numbers. With zeros a GPU would draw less power, and be faster than it is."""
        return self.rng.standard_normal(shape, np.float32)

    def put(self, *arrays: np.ndarray) -> list[Any]:
        """The arrays on the device."""
        return [to_device(array, self.device) for array in arrays]

    def forward(self, layer: Layer, x: Any) -> dict[str, Callable[[], Any]]:
        """The layer's forward in PyTorch, by memory format."""
        return {twin.memory: twin.forward(layer, x) for twin in self.twins}

    def backward(self, layer: Layer, x: Any, dy: Any, wanted: str) -> dict[str, Callable[[], Any]]:
        """The layer's backward in PyTorch, by memory format."""
        return {twin.memory: twin.backward(layer, x, dy, wanted) for twin in self.twins}


def cases(place: Place, network: Network, size: int) -> Iterator[list[Case]]:
    """The cases of each layer of a network in turn, then of what is around the layers.

    They come in lists that share their arrays: forget one before you ask for the next.
    """
    yield from layer_cases(place, network, size)
    yield relu_cases(place, network.layers[0], size)
    yield softmax_loss_cases(place, network.layers[-1])
    yield sgd_cases(place, sum(array.size for array in network.params().values()))
    yield warp_cases(place, network.colour, size)


def layer_cases(place: Place, network: Network, size: int) -> Iterator[list[Case]]:
    """The cases of each layer of a network in turn."""
    makers = {Conv: conv_cases, MaxPool: maxpool_cases, GAP: gap_cases, Linear: linear_cases}
    for layer, shape, count in distinct(network, size):
        yield makers[type(layer)](place, layer, place.normal(place.batch, *shape), count)


def distinct(network: Network, size: int) -> list[tuple[Layer, tuple[int, ...], int]]:
    """Layers that do different work: the first of each kind, the shape of an image in it, and how many are like it."""
    found: dict[tuple, list[Layer]] = {}
    shape: tuple[int, ...] = (size, size, 3)
    for layer in network.layers:
        channels = layer.params["kernel"].shape[-1] if layer.params else shape[-1]
        if type(layer) in (Conv, MaxPool, GAP, Linear):
            found.setdefault((type(layer), shape, channels), []).append(layer)
        half = (shape[0] // 2, shape[1] // 2) if isinstance(layer, MaxPool) else shape[:-1]
        shape = (channels,) if isinstance(layer, GAP) else (*half, channels)
    return [(layers[0], shape, len(layers)) for (_, shape, _), layers in found.items()]


# -- the layers


def conv_cases(place: Place, layer: Conv, host_x: np.ndarray, count: int) -> list[Case]:
    """Forward, with bias and ReLU; the gradient of the input, except in the first layer; those of the parameters.

    On a CPU, where they share work, all gradients are one case.
    """
    host_w, (N, H, W, C) = layer.params["kernel"], host_x.shape
    R, S, _, K = host_w.shape
    host_b, host_dy = place.normal(K), place.normal(N, H, W, K)
    x, w, b, dy = place.put(host_x, host_w, host_b, host_dy)
    layer = Conv(layer.name, w, b)
    pixels, rows = places(place.rng, (N, H, W)), places(place.rng, (R, S, C))

    def forward(y: Any, exact: Rounding) -> Pairs:
        return [(at(y, pixels), np.maximum(conv_at(host_x, host_w, pixels, exact) + host_b, 0))]

    def data(grads: tuple, exact: Rounding) -> Pairs:
        return [(at(grads[0], pixels), conv_dx_at(host_dy, host_w, pixels, exact))]

    def weights(grads: tuple, exact: Rounding) -> Pairs:
        dw = conv_dw_at(host_dy, host_x, R, S, rows, exact)
        return [(at(grads[1], rows), dw), (to_cpu(grads[2]), host_dy.sum((0, 1, 2), dtype=np.float64))]

    def everything(grads: tuple, exact: Rounding) -> Pairs:
        return [*weights(grads, exact), *(data(grads, exact) if learns else [])]

    def run(need_dx: bool) -> Callable[[], Any]:
        return lambda: conv.backward(dy, x, w, need_dx=need_dx)

    learns = C != 3  # images do not
    size, flops = nbytes(x, w, b, dy), 2 * N * H * W * R * S * C * K
    own = {"forward": (lambda: conv.forward(x, w, b, relu=True), forward, None, 1, place.forward(layer, x))}
    if place.device == "cpu":
        wanted, passes = ("all", 2) if learns else ("weights", 1)
        own["backward"] = run(learns), everything, None, passes, place.backward(layer, x, dy, wanted)
    else:
        if learns:
            own["data"] = run(True), data, run(False), 1, place.backward(layer, x, dy, "data")
        own["weights"] = run(False), weights, None, 1, place.backward(layer, x, dy, "weights")
    return [
        Case(layer.name, direction, do, check, size, passes * flops, but, twins, count)
        for direction, (do, check, but, passes, twins) in own.items()
    ]


def both(
    place: Place, layer: Layer, count: int, x: Any, dy: Any, wanted: str, runs: Sequence[tuple[Callable, Callable]]
) -> list[Case]:
    """Forward and backward, each given by what to run and how to check it."""
    twins = place.forward(layer, x), place.backward(layer, x, dy, wanted)
    size = nbytes(x, dy, *layer.params.values())
    return [
        Case(layer.name, direction, run, check, size, twins=of_one, count=count)
        for direction, (run, check), of_one in zip(("forward", "backward"), runs, twins, strict=True)
    ]


def maxpool_cases(place: Place, layer: MaxPool, host_x: np.ndarray, count: int) -> list[Case]:
    """Both directions of max-pooling; the first and the last image are checked. What is the maximum shows backward."""
    N, H, W, C = host_x.shape
    host_dy, ends = place.normal(N, H // 2, W // 2, C), [(0,), (N - 1,)]
    x, dy = place.put(host_x, host_dy)
    _, argmax = maxpool.forward(x)
    y, position = maxpool_of(at(host_x, ends))
    dx = maxpool_dx_of(at(host_dy, ends), position, H, W)
    forward = lambda: maxpool.forward(x, need_argmax=False)[0], lambda got, _: [(at(got, ends), y)]
    backward = lambda: maxpool.backward(dy, argmax, x.shape), lambda got, _: [(at(got, ends), dx)]
    return both(place, layer, count, x, dy, "data", (forward, backward))


def gap_cases(place: Place, layer: GAP, host_x: np.ndarray, count: int) -> list[Case]:
    """Both directions of global average pooling."""
    N, H, W, C = host_x.shape
    host_dy, pixels = place.normal(N, C), places(place.rng, (N, H, W))
    x, dy = place.put(host_x, host_dy)
    y = host_x.mean((1, 2), dtype=np.float64)
    dx = np.stack([host_dy[n] / (H * W) for n, _, _ in pixels])
    forward = lambda: gap.forward(x), lambda got, _: [(to_cpu(got), y)]
    backward = lambda: gap.backward(dy, x.shape), lambda got, _: [(at(got, pixels), dx)]
    return both(place, layer, count, x, dy, "data", (forward, backward))


def linear_cases(place: Place, layer: Linear, host_x: np.ndarray, count: int) -> list[Case]:
    """Both directions of the linear layer, all gradients at once."""
    shape = layer.params["kernel"].shape
    hosts = host_x, place.normal(*shape), place.normal(shape[1]), place.normal(len(host_x), shape[1])
    x, w, b, dy = place.put(*hosts)
    exact = [to_float64(array) for array in hosts]
    y, grads = linear.forward_numpy(*exact[:3]), linear.backward_numpy(exact[3], *exact[:2])
    forward = lambda: linear.forward(x, w, b), lambda got, _: [(to_cpu(got), y)]
    backward = lambda: linear.backward(dy, x, w), lambda got, _: list(zip(map(to_cpu, got), grads, strict=True))
    return both(place, Linear(layer.name, w, b), count, x, dy, "all", (forward, backward))


# -- what is around the layers


def relu_cases(place: Place, layer: Conv, size: int) -> list[Case]:
    """Backward of the first layer's ReLU: the one pass of `conv.backward` that its own cases leave out."""
    hosts = [place.normal(place.batch, size, size, layer.params["bias"].size) for _ in range(2)]
    ends = [(0,), (place.batch - 1,)]
    dy, y = place.put(*hosts)
    dx = relu.backward_numpy(*(at(host, ends) for host in hosts))
    return [Case("relu", "backward", lambda: relu.backward(dy, y), lambda got, _: [(at(got, ends), dx)], nbytes(y) * 3)]


def softmax_loss_cases(place: Place, layer: Linear) -> list[Case]:
    """Both directions of the loss."""
    host, labels = random_logits(place, layer.params["bias"].size)
    logits, on_device = place.put(host, labels)
    loss, p = softmax_loss.forward_numpy(to_float64(host), labels)
    dlogits, p_on_device = softmax_loss.backward_numpy(p, labels), place.put(p.astype(np.float32))[0]
    size = 2 * nbytes(logits)

    def forward(got: tuple, _: Rounding) -> Pairs:
        return [(to_cpu(got[0]), loss), (to_cpu(got[1]), p)]

    return [
        Case("softmax_loss", "forward", lambda: softmax_loss.forward(logits, on_device), forward, size),
        Case(
            "softmax_loss",
            "backward",
            lambda: softmax_loss.backward(p_on_device, on_device),
            lambda got, _: [(to_cpu(got), dlogits)],
            size,
        ),
    ]


def random_logits(place: Place, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, classes) and labels, int64 (N,)."""
    return place.normal(place.batch, classes), place.rng.integers(classes, size=place.batch)


def sgd_cases(place: Place, size: int) -> list[Case]:
    """An update of as many parameters as the network has, with momentum and weight decay."""
    hosts, rates = [place.normal(size) for _ in range(3)], (0.01, 0.9, 5e-4)
    w, dw, v = place.put(*hosts)
    expected = sgd.forward_numpy(*map(to_float64, hosts), *rates)

    def check(got: tuple, _: Rounding) -> Pairs:
        return list(zip(map(to_cpu, got), expected, strict=True))

    return [Case("sgd", "forward", lambda: sgd.forward(w, dw, v, *rates), check, 5 * nbytes(w))]


def warp_cases(place: Place, colour: np.ndarray, size: int) -> list[Case]:
    """A batch of stored images, each turned by an angle of its own, and made what the network takes."""
    N = place.batch
    images = place.rng.integers(256, size=(N, STORED, STORED, 3), dtype=np.uint8)
    box, turns = (0, 0, STORED, STORED), [augment.rotate(place.rng) for _ in range(N)]
    affine = np.stack([augment.affine(turn, box, (size, size)) for turn in turns])
    colours = np.ascontiguousarray(np.broadcast_to(colour, (N, *colour.shape)))
    args, ends = place.put(images, affine, colours), [0, N - 1]
    expected = warp.forward_numpy(images[ends], affine[ends], (size, size), colours[ends], np.float64)

    def run() -> Any:
        return warp.forward(args[0], args[1], (size, size), args[2])

    def check(got: Any, _: Rounding) -> Pairs:
        return [(at(got, [(n,) for n in ends]), expected)]

    return [Case("warp", "forward", run, check, images.nbytes + N * size * size * 3 * 4)]


# -- arrays


def at(array: Any, places: Sequence[tuple[int, ...]]) -> np.ndarray:
    """What stands at some indices of an array, in NumPy."""
    return np.stack([to_cpu(array[place]) for place in places])


def nbytes(*arrays: Any) -> int:
    """Bytes of all the arrays."""
    return sum(array.nbytes for array in arrays)
