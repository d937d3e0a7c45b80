"""Our layers and networks once more in PyTorch, channels-last like ours. `torch` is handed in: it may be missing."""

from types import SimpleNamespace

from minicam.layers import GAP, Conv, Dropout, Linear, MaxPool
from minicam.ops import softmax_loss


def nchw(torch, x):
    return x.permute(0, 3, 1, 2)


def nhwc(torch, x):
    return x.permute(0, 2, 3, 1)


def torch_conv(torch, x, w, b, fused=False):
    y = torch.nn.functional.conv2d(nchw(torch, x), w.permute(3, 2, 0, 1), b, padding="same")
    return nhwc(torch, y.relu() if fused else y)


def mirror(torch, network):
    """The parameters of `network` as tensors of the same names, layout and dtype."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in network.params().items()}


def mirror_layer(torch, layer, params, x, fused_relu=True):
    """What `layer` does, in PyTorch, on x (N, H, W, C). Dropout uses the mask that our forward pass drew."""
    if isinstance(layer, Conv):
        fused = fused_relu and layer.fused_relu
        return torch_conv(torch, x, params[f"{layer.name}/kernel"], params[f"{layer.name}/bias"], fused)
    if isinstance(layer, MaxPool):
        x = x.relu() if layer.relu else x  # once more, for its gradient: ours takes it here
        return nhwc(torch, torch.nn.functional.max_pool2d(nchw(torch, x), 2))
    if isinstance(layer, GAP):
        return x.mean((1, 2))
    if isinstance(layer, Dropout):
        return x if layer.memory is None else x * torch.tensor(layer.memory[0])
    assert isinstance(layer, Linear)
    return x @ params[f"{layer.name}/kernel"] + params[f"{layer.name}/bias"]


def both(torch, network, x, labels):
    """Loss and gradients of a learning step: ours and PyTorch's."""
    ours, theirs = SimpleNamespace(), SimpleNamespace()
    ours.logits = network.forward(x, learning=True)
    params, y = mirror(torch, network), torch.tensor(x)
    for layer in network.layers:
        y = mirror_layer(torch, layer, params, y)
    theirs.logits = y.detach().numpy()
    loss = torch.nn.functional.cross_entropy(y, torch.as_tensor(labels))
    loss.backward()
    theirs.loss, theirs.grads = loss.item(), {name: tensor.grad.numpy() for name, tensor in params.items()}
    ours.loss, p = softmax_loss.forward(ours.logits, labels)
    network.backward(softmax_loss.backward(p, labels))
    ours.grads = network.grads()
    return ours, theirs
