"""Our layers in PyTorch, on the very same arrays: who asks whether minicam is fast asks beside this.

It is used as its makers advise: on a GPU with channels-last tensors, cuDNN in benchmark mode, which tries its
algorithms and keeps the fastest, and TF32 where our own kernels use it; on a CPU in the memory format that is faster.
"""

from collections.abc import Callable, Sequence
from importlib import metadata
from types import ModuleType
from typing import Any

from minicam.layers import GAP, Conv, Layer, Linear, MaxPool
from minicam.model import Network
from minicam.optim import SGD

FORMATS = ("channels_last", "contiguous")  # where the channels of a pixel are: side by side, or each in a plane


def pytorch(device: str) -> ModuleType | None:
    """PyTorch; None where it is not installed, or cannot use the GPU that is to be measured."""
    try:
        import torch
    except ImportError:
        return None
    return None if device == "cuda" and not torch.cuda.is_available() else torch


def version() -> str | None:
    """Which PyTorch is installed, without the seconds of importing it; None where none is."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


class Twin:
    """Makes functions that do in PyTorch what a layer of ours does, with tensors of one of FORMATS.

    Arrays are shared with it where the format is channels_last, as ours is, and else copied before anything is timed.
    """

    def __init__(self, torch: ModuleType, memory: str = "channels_last") -> None:
        self.torch, self.memory = torch, memory
        self.format = torch.channels_last if memory == "channels_last" else torch.contiguous_format
        torch.backends.cudnn.benchmark = True

    def set_precision(self, precision: str) -> None:
        """Multiply float32 tensors in "tf32" or in "float32" from now on."""
        self.torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")

    def tensor(self, array: Any) -> Any:
        """Features (N, H, W, C) as PyTorch sees them, (N, C, H, W) in its format; other arrays as they are."""
        tensor = self.torch.from_dlpack(array)
        return tensor.permute(0, 3, 1, 2).contiguous(memory_format=self.format) if tensor.ndim == 4 else tensor

    def weights(self, layer: Layer) -> list[Any]:
        """The parameters of a layer, its own copy, as leaves of the graph: kernels (R, S, C, K) as (K, C, R, S)."""
        leaves = []
        for array in layer.params.values():
            leaf = self.torch.from_dlpack(array).clone()
            if leaf.ndim == 4:
                leaf = leaf.permute(3, 2, 0, 1).contiguous(memory_format=self.format)
            leaves.append(leaf.requires_grad_())
        return leaves

    def apply(self, layer: Layer, x: Any, weights: Sequence[Any], fused_relu: bool = True) -> Any:
        """y of a layer. Dropout does nothing, as ours at rate 0."""
        functional = self.torch.nn.functional
        if isinstance(layer, Conv):
            y = functional.conv2d(x, *weights, padding="same")
            return functional.relu(y, inplace=True) if fused_relu and layer.fused_relu else y
        if isinstance(layer, MaxPool):
            return functional.max_pool2d(x, 2)
        if isinstance(layer, GAP):
            return x.mean((2, 3))
        return x @ weights[0] + weights[1] if isinstance(layer, Linear) else x

    def forward(self, layer: Layer, x: Any) -> Callable[[], Any]:
        """A function that runs a layer on an array, and keeps nothing for a backward pass."""
        x, weights = self.tensor(x), self.weights(layer)

        def run() -> Any:
            with self.torch.inference_mode():
                return self.apply(layer, x, weights)

        return run

    def through(self, network: Network, x: Any, weights: Sequence[Sequence[Any]]) -> Any:
        """Logits of a whole network, from the weights of each of its layers."""
        for layer, own in zip(network.layers, weights, strict=True):
            x = self.apply(layer, x, own)
        return x

    def network(self, network: Network, x: Any) -> Callable[[], Any]:
        """A function that returns the logits of a whole network, and keeps nothing for a backward pass."""
        x, weights = self.tensor(x), [self.weights(layer) for layer in network.layers]

        def run() -> Any:
            with self.torch.inference_mode():
                return self.through(network, x, weights)

        return run

    def backward(self, layer: Layer, x: Any, dy: Any, wanted: str) -> Callable[[], Any]:
        """A function that computes gradients of a layer, without its ReLU: dx where `wanted` is "data", those of its
        "weights", or "all". The forward pass is done here, once."""
        x, weights, dy = self.tensor(x).detach().requires_grad_(), self.weights(layer), self.tensor(dy)
        y = self.apply(layer, x, weights, fused_relu=False)
        inputs = {"data": [x], "weights": weights, "all": [x, *weights]}[wanted]
        return lambda: self.torch.autograd.grad(y, inputs, dy, retain_graph=True)

    def step(self, network: Network, x: Any, labels: Any, optimiser: SGD) -> Callable[[], Any]:
        """A function that does a training step of the whole network, with an SGD like ours, and returns the loss."""
        torch, x, labels = self.torch, self.tensor(x), self.tensor(labels)
        weights = [self.weights(layer) for layer in network.layers]
        leaves = [leaf for layer in weights for leaf in layer]
        sgd = torch.optim.SGD(leaves, lr=optimiser.lr, momentum=optimiser.momentum)

        def run() -> Any:
            loss = torch.nn.functional.cross_entropy(self.through(network, x, weights), labels)
            sgd.zero_grad(set_to_none=True)
            loss.backward()
            sgd.step()
            return loss.detach()

        return run
