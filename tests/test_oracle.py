"""The same mathematics in PyTorch, an implementation that shares nothing with ours: each op, forward and backward."""

import numpy as np
import pytest
from gradcheck import relative_error, tie_free
from in_torch import nchw, nhwc, torch_conv
from networks import LABELS

from minicam.ops import conv, gap, linear, maxpool, relu, softmax_loss, warp

pytestmark = pytest.mark.oracle

# name: sizes of the arguments, ours forward, ours backward, PyTorch's forward
IMAGE = (2, 7, 5, 3)
OPS = {
    "conv": (
        {"x": IMAGE, "w": (3, 3, 3, 4), "b": (4,)},
        conv.forward,
        lambda dy, x, w, b: conv.backward(dy, x, w),
        torch_conv,
    ),
    "conv 5x3 and relu": (
        {"x": (3, 6, 9, 2), "w": (5, 3, 2, 7), "b": (7,)},
        lambda x, w, b: conv.forward(x, w, b, relu=True),
        lambda dy, x, w, b: conv.backward(dy, x, w, conv.forward(x, w, b, relu=True)),
        lambda torch, x, w, b: torch_conv(torch, x, w, b, fused=True),
    ),
    "conv 1x1": (
        {"x": IMAGE, "w": (1, 1, 3, 2), "b": (2,)},
        conv.forward,
        lambda dy, x, w, b: conv.backward(dy, x, w),
        torch_conv,
    ),
    "relu": (
        {"x": IMAGE},
        relu.forward,
        lambda dy, x: [relu.backward(dy, relu.forward(x))],
        lambda torch, x: x.relu(),
    ),
    "maxpool": (
        {"x": IMAGE},
        lambda x: maxpool.forward(x)[0],
        lambda dy, x: [maxpool.backward(dy, maxpool.forward(x)[1], x.shape)],
        lambda torch, x: nhwc(torch, torch.nn.functional.max_pool2d(nchw(torch, x), 2)),
    ),
    "gap": (
        {"x": IMAGE},
        gap.forward,
        lambda dy, x: [gap.backward(dy, x.shape)],
        lambda torch, x: x.mean((1, 2)),
    ),
    "linear": (
        {"x": (3, 7), "w": (7, 5), "b": (5,)},
        linear.forward,
        lambda dy, x, w, b: linear.backward(dy, x, w),
        lambda torch, x, w, b: torch.nn.functional.linear(x, w.T, b),
    ),
    "softmax_loss": (
        {"logits": (2, 3)},
        lambda logits: softmax_loss.forward(logits, LABELS)[0],
        lambda dy, logits: [dy * softmax_loss.backward(softmax_loss.forward(logits, LABELS)[1], LABELS)],
        lambda torch, logits: torch.nn.functional.cross_entropy(logits, torch.as_tensor(LABELS)),
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_each_op_equals_pytorch_forward_and_backward(name, torch, rng):
    sizes, forward, backward, theirs = OPS[name]
    arguments = {argument: tie_free(size, rng) for argument, size in sizes.items()}
    tensors = {argument: torch.tensor(a, requires_grad=True) for argument, a in arguments.items()}
    y, torch_y = forward(*arguments.values()), theirs(torch, **tensors)
    assert relative_error(y, torch_y.detach().numpy()) < 1e-12
    dy = rng.standard_normal(np.shape(y))
    torch_y.backward(torch.tensor(dy))
    for argument, gradient in zip(arguments, backward(dy, *arguments.values()), strict=True):
        assert relative_error(gradient, tensors[argument].grad.numpy()) < 1e-12, argument


def test_maxpool_gives_ties_to_the_pixel_that_pytorch_chooses(torch, rng):
    x = rng.integers(-1, 2, (2, 8, 6, 5)).astype(np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.max_pool2d(nchw(torch, tensor), 2)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    mine = maxpool.backward(dy.transpose(0, 2, 3, 1), maxpool.forward(x)[1], x.shape)
    np.testing.assert_array_equal(mine, tensor.grad.numpy())


def test_resizing_equals_pytorchs_bilinear_interpolation(torch, rng):
    x = rng.uniform(0, 255, IMAGE)
    theirs = torch.nn.functional.interpolate(
        nchw(torch, torch.tensor(x)), (11, 4), mode="bilinear", align_corners=False, antialias=False
    )
    assert relative_error(warp.resize(x, (11, 4), np.float64), nhwc(torch, theirs).numpy()) < 1e-12
