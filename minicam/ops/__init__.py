"""One operation, one name, two files side by side: NumPy in the `.py`, its CUDA kernels in the `.cu` of the same name.

Who knows one file knows all. Sizes have the same letters everywhere: N images, H x W pixels and C channels in,
P x Q pixels and K channels out, R x S the kernel. `d` + name is the gradient of the loss with respect to name.
"""

from minicam.ops import conv, gap, linear, maxpool, relu, sgd, softmax_loss, warp

__all__ = ["conv", "gap", "linear", "maxpool", "relu", "sgd", "softmax_loss", "warp"]
