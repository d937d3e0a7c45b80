"""Layers: an operation, its parameters, and what its forward pass must remember for its backward pass.

A layer holds `params` and, after `backward`, their gradients in `grads` under the same keys. `forward(x, learning)`
remembers something only where `learning` says that a backward pass will follow; `backward(dy)` gives dx, or None
where `need_dx` is False, and forgets. The mathematics is in `minicam.ops`, a file an operation; that of
Dropout is short enough to stand here.
"""

from typing import Any

import numpy as np

from minicam import MinicamError
from minicam.backend import device_of, to_device
from minicam.ops import conv, gap, linear, maxpool, relu


class Layer:
    """What every layer has. `memory` is what the last forward pass left for the backward pass."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.params: dict[str, Any] = {}
        self.grads: dict[str, Any] = {}
        self.memory: Any = None

    def forward(self, x: Any, learning: bool = False) -> Any:
        """y from x; remembers what `backward` needs where `learning`."""
        raise NotImplementedError

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        """dx from dy, and `grads` filled."""
        raise NotImplementedError

    def recall(self) -> Any:
        """What forward remembered; it is forgotten here, so that each part of the memory is freed once it is used."""
        memory, self.memory = self.memory, None
        if memory is None:
            raise RuntimeError(f"{self.name}: backward without a forward(learning=True) before it")
        return memory


class Conv(Layer):
    """3x3 convolution, stride 1, same size, with the ReLU after it fused in unless `fused_relu` is False.

    pooled  a MaxPool with `relu` comes next, and takes the ReLU's gradient: the output need not be remembered here
    """

    def __init__(
        self, name: str, kernel: np.ndarray, bias: np.ndarray, fused_relu: bool = True, pooled: bool = False
    ) -> None:
        super().__init__(name)
        self.params = {"kernel": kernel, "bias": bias}  # (R, S, C, K), (K,)
        self.fused_relu, self.pooled = fused_relu, pooled

    def forward(self, x: Any, learning: bool = False) -> Any:
        y = conv.forward(x, self.params["kernel"], self.params["bias"], relu=self.fused_relu)
        self.memory = (x, y if self.fused_relu and not self.pooled else None) if learning else None
        return y  # (N, H, W, K)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        x, y = self.recall()
        dx, self.grads["kernel"], self.grads["bias"] = conv.backward(dy, x, self.params["kernel"], y, need_dx)
        return dx


class ReLU(Layer):
    """A ReLU of its own, for networks that do not fuse it."""

    def forward(self, x: Any, learning: bool = False) -> Any:
        y = relu.forward(x)
        self.memory = (y,) if learning else None
        return y

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        (y,) = self.recall()
        return relu.backward(dy, y) if need_dx else None


class MaxPool(Layer):
    """2x2, stride 2.

    relu  its input is the output of a ReLU, whose gradient is taken here, where there are fewest pixels: see `Conv`
    """

    def __init__(self, name: str, relu: bool = False) -> None:
        super().__init__(name)
        self.relu = relu

    def forward(self, x: Any, learning: bool = False) -> Any:
        y, argmax = maxpool.forward(x, need_argmax=learning)
        self.memory = (argmax, x.shape, y if self.relu else None) if learning else None
        return y  # (N, H // 2, W // 2, C)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        memory = self.recall()
        return maxpool.backward(dy, *memory) if need_dx else None


class GAP(Layer):
    """Global average pooling."""

    def forward(self, x: Any, learning: bool = False) -> Any:
        self.memory = (x.shape,) if learning else None
        return gap.forward(x)  # (N, C)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        (x_shape,) = self.recall()
        return gap.backward(dy, x_shape) if need_dx else None


class Dropout(Layer):
    """Set each input to 0 with probability `rate` and scale the others by 1 / (1 - rate); does nothing but in training.

    The mask comes from NumPy's generator seeded by (seed, step), which the training loop sets: the same on every
    device, and the same in a run that was interrupted and resumed.

    Source: Srivastava et al., "Dropout" (2014); scaling while training instead of testing is their section 10.
    """

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        if not 0 <= rate < 1:
            raise MinicamError(f"{name}: the rate is {rate}; it must be at least 0 and less than 1")
        self.rate, self.seed, self.step = rate, 0, 0

    def forward(self, x: Any, learning: bool = False) -> Any:
        if not learning:
            self.memory = None
            return x
        keep = np.random.default_rng([self.seed, self.step]).random(x.shape) >= self.rate
        mask = to_device(keep.astype(x.dtype) / x.dtype.type(1 - self.rate), device_of(x))
        self.memory = (mask,)
        return x * mask

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        (mask,) = self.recall()
        return dy * mask if need_dx else None


class Linear(Layer):
    """Fully connected."""

    def __init__(self, name: str, kernel: np.ndarray, bias: np.ndarray) -> None:
        super().__init__(name)
        self.params = {"kernel": kernel, "bias": bias}  # (C, K), (K,)

    def forward(self, x: Any, learning: bool = False) -> Any:
        self.memory = (x,) if learning else None
        return linear.forward(x, self.params["kernel"], self.params["bias"])  # (N, K)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        (x,) = self.recall()
        dx, self.grads["kernel"], self.grads["bias"] = linear.backward(dy, x, self.params["kernel"])
        return dx if need_dx else None
