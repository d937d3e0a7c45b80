"""VGG16-GAP, and its small sibling for the built-in data: a network is a list of named layers, and nothing more.

Forward runs through the list; backward runs through it in reverse. Because the network ends in global average pooling
and one linear layer, its last feature maps times the weights of that layer are the class activation map (CAM).

Source: Zhou et al., "Learning Deep Features for Discriminative Localization" (2016); VGG16 is configuration D of
Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015).
"""

from itertools import pairwise
from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.backend import to_device
from minicam.layers import GAP, Conv, Dropout, Layer, Linear, MaxPool

MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, as the VGG16 weights in Keras's file want it


class Network:
    """A chain of layers that ends in GAP, Dropout, Linear.

    layers   the list
    colour   (3, 4): the colour matrix (see `ops.warp`) that turns RGB in 0..255 into what the first layer expects
    device   where its parameters are, and where its input must be: "cpu", "cuda" or "emulator"

    Where `recompute` is set, a pass that learns remembers of each block below the last only what entered it, and
    backward computes the block once more: the same gradients in less memory, and some quarter more time.
    """

    def __init__(self, layers: list[Layer], colour: np.ndarray) -> None:
        self.layers, self.colour = layers, colour
        for below, above in pairwise(layers):
            if isinstance(above, MaxPool):  # where there are fewest pixels, a ReLU's gradient costs least
                above.relu = isinstance(below, Conv) and below.fused_relu
                if above.relu:
                    below.pooled = True
        self.device = "cpu"
        self.first_learning = 0  # index of the lowest layer that learns
        self.features: Any = None  # (N, h, w, K): what GAP averaged in the last forward pass
        self.pooled: Any = None  # (N, h, w, C): what entered the layer above the highest MaxPool; None: it began higher
        self.recompute = False
        self.entered: dict[int, Any] = {}  # what entered blocks that are to be recomputed, by their first layer

    def forward(self, x: Any, learning: bool = False, start: int = 0) -> Any:
        """Logits (N, classes) of x (N, H, W, 3), or of what enters layer number `start`, where that is not 0.

        With `learning`, a `backward` may follow.
        """
        self.entered, self.pooled = {}, None
        pool = self.last_pool()
        again = pool if learning and self.recompute else -1  # the layers up to here are recomputed
        for i, layer in enumerate(self.layers[start:], start):
            learns = learning and i >= self.first_learning
            if i == pool + 1:
                self.pooled = x
            if isinstance(layer, GAP):
                self.features = x
            if learns and i <= again and (i == self.first_learning or isinstance(self.layers[i - 1], MaxPool)):
                self.entered[i] = x
            x = layer.forward(x, learns and i > again)
        return x

    def forward_frozen(self, x: Any) -> Any:
        """What comes out of the `frozen` layers (N, h, w, C) for x (N, H, W, 3): `forward` can start there."""
        for layer in self.layers[: self.frozen]:
            x = layer.forward(x)
        return x

    @property
    def frozen(self) -> int:
        """How many layers, from the bottom up, stay as they are, up to GAP at most: a CAM needs what enters that."""
        gap = next(i for i, layer in enumerate(self.layers) if isinstance(layer, GAP))
        return min(self.first_learning, gap)

    def backward(self, dy: Any) -> None:
        """Fill the `grads` of every layer that learns, from dy = d loss / d logits (N, classes)."""
        for i in reversed(range(self.first_learning, len(self.layers))):
            if self.entered and isinstance(self.layers[i], MaxPool):
                first, x = self.entered.popitem()
                for layer in self.layers[first : i + 1]:
                    x = layer.forward(x, learning=True)
            dy = self.layers[i].backward(dy, need_dx=i > self.first_learning)

    def last_pool(self) -> int:
        """The number of the highest MaxPool, -1 if there is none."""
        return max((i for i, layer in enumerate(self.layers) if isinstance(layer, MaxPool)), default=-1)

    def to(self, device: str) -> "Network":
        """Move the parameters to a device; returns the network itself."""
        for layer in self.layers:
            layer.params = {key: to_device(array, device) for key, array in layer.params.items()}
        self.device = device
        return self

    def forget(self) -> None:
        """Drop all that the last passes have left: what was remembered for backward, gradients, features."""
        self.features, self.pooled, self.entered = None, None, {}
        for layer in self.layers:
            layer.memory, layer.grads = None, {}

    def train_from(self, name: str | None) -> None:
        """Let only the layer `name` and those above it learn; None: all. Below it no backward work is done."""
        names = [layer.name for layer in self.layers if layer.params]
        if name is None:
            name = names[0]
        if name not in names:
            raise MinicamError(f"there is no layer {name!r} to train from; choose one of {', '.join(names)}")
        self.first_learning = [layer.name for layer in self.layers].index(name)

    def params(self, learning_only: bool = False) -> dict[str, Any]:
        """Parameters by full name, `layer/kernel` and `layer/bias`, from the bottom up: the arrays themselves."""
        layers = self.layers[self.first_learning if learning_only else 0 :]
        return {f"{layer.name}/{key}": array for layer in layers for key, array in layer.params.items()}

    def grads(self) -> dict[str, Any]:
        """Gradients of the parameters that learn, under the same names, after a `backward`."""
        layers = self.layers[self.first_learning :]
        return {f"{layer.name}/{key}": array for layer in layers for key, array in layer.grads.items()}

    def seed_dropout(self, seed: int, step: int) -> None:
        """Choose the masks that dropout draws in the next forward pass."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.seed, layer.step = seed, step


def vgg16_gap(classes: int = 3, seed: int = 0, dropout: float = 0.5, dtype: type = np.float32) -> Network:
    """VGG16 without pool5 and its top, then CAM_conv (1024 maps), GAP, dropout, CAM_fc; 19.4 M parameters at 3 classes.

    The 13 convolutions bear the names of Keras's weight file and start from He initialisation, to be overwritten by
    `weights.assign`. CAM_conv starts Gaussian with deviation 0.01 (as in Zhou et al., whose own has two groups; this
    one is dense), CAM_fc at zero, so that the first loss is exactly ln(classes).
    """
    widths = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]
    return _network(widths, 1024, 0.01, classes, seed, dropout, dtype, scale=1.0)


def small_gap(classes: int = 3, seed: int = 0, dropout: float = 0.0, dtype: type = np.float32) -> Network:
    """The same kinds of layers in small, for the built-in data: three convolutions with pools between, then CAM_conv.

    Its maps have a quarter of the image's side, finer than VGG16's sixteenth; one of their pixels sees 26 of the
    image's. It starts from nothing, so CAM_conv is He-initialised like the rest, and its input is scaled to -2..2.
    """
    return _network([[16], [32], [32]], 64, None, classes, seed, dropout, dtype, scale=1 / 64)


NETWORKS = {"vgg16_gap": vgg16_gap, "small_gap": small_gap}


def _network(
    widths: list[list[int]],
    cam_width: int,
    cam_deviation: float | None,
    classes: int,
    seed: int,
    dropout: float,
    dtype: type,
    scale: float,
) -> Network:
    """Blocks of convolutions with a pool between any two, then the CAM head. `cam_deviation` None means He."""
    rng = np.random.default_rng(seed)

    def conv(name: str, C: int, K: int, deviation: float | None = None) -> Conv:
        deviation = deviation or np.sqrt(2 / (9 * C))  # He et al., "Delving Deep into Rectifiers" (2015), equation 10
        return Conv(name, rng.normal(0, deviation, (3, 3, C, K)).astype(dtype), np.zeros(K, dtype))

    layers: list[Layer] = []
    C = 3
    for block, block_widths in enumerate(widths, start=1):
        if block > 1:
            layers.append(MaxPool(f"block{block - 1}_pool"))
        for number, K in enumerate(block_widths, start=1):
            layers.append(conv(f"block{block}_conv{number}", C, K))
            C = K
    layers += [
        conv("CAM_conv", C, cam_width, cam_deviation),
        GAP("GAP"),
        Dropout("dropout", dropout),
        Linear("CAM_fc", np.zeros((cam_width, classes), dtype), np.zeros(classes, dtype)),
    ]
    bgr = np.eye(3)[::-1]  # swaps red and blue
    return Network(layers, np.hstack([bgr, -np.array(MEAN_BGR)[:, None]]) * scale)
