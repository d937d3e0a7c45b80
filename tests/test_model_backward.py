"""model: gradients through a whole network, layers that do not learn, and dropout."""

import numpy as np
import pytest
from gradcheck import check_backward, tie_free
from networks import IMAGES, LABELS, deep_gap, fixed_batch, fixed_network, loss_and_gradients

from minicam import MinicamError
from minicam.model import small_gap
from minicam.ops import conv, softmax_loss

# --- gradients ---


@pytest.mark.parametrize(("make", "shape"), [(small_gap, IMAGES), (deep_gap, (2, 13, 11, 3))])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_every_parameter_and_all_at_once(dropout, make, shape, rng):
    """Through the whole network to the loss, dropout with its mask held fixed.

    The deep network gets smaller images: each activation more is a ReLU whose kink may lie between the two losses of
    a difference (with IMAGES one does: a step a tenth as long agrees to 1e-9).
    """
    network = make(dropout=dropout, dtype=np.float64)
    network.seed_dropout(seed=3, step=14)
    params, x = network.params(), tie_free(shape, rng)

    def forward(*arrays):
        for name, array in zip(params, arrays, strict=True):
            params[name][...] = array
        return softmax_loss.forward(network.forward(x, learning=True), LABELS)

    def backward(dy, *arrays):
        _, p = forward(*arrays)
        network.backward(dy * softmax_loss.backward(p, LABELS))
        return [network.grads()[name] for name in params]

    start = {name: rng.standard_normal(array.shape) * 0.2 for name, array in params.items()}
    check_backward(lambda *arrays: forward(*arrays)[0], backward, start, rng)

    ends = np.cumsum([array.size for array in start.values()])[:-1]

    def apart(everything):
        return [a.reshape(b.shape) for a, b in zip(np.split(everything, ends), start.values(), strict=True)]

    def together(arrays):
        return np.concatenate([array.ravel() for array in arrays])

    check_backward(
        lambda everything: forward(*apart(everything))[0],
        lambda dy, everything: [together(backward(dy, *apart(everything)))],
        {"everything": together(start.values())},
        rng,
    )


def test_backward_twice_is_an_error_and_memory_is_forgotten():
    network = fixed_network()
    x, labels = fixed_batch()
    _, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    dlogits = softmax_loss.backward(p, labels)
    assert all(layer.memory is not None for layer in network.layers)
    network.backward(dlogits)
    assert all(layer.memory is None for layer in network.layers)
    with pytest.raises(RuntimeError, match=r"CAM_fc: backward without a forward\(learning=True\) before it"):
        network.backward(dlogits)
    network.forward(x)
    assert all(layer.memory is None for layer in network.layers)


# --- freezing ---


@pytest.fixture
def conv_backwards(monkeypatch):
    """Every call of conv.backward, as (width of its output, need_dx)."""
    calls, original = [], conv.backward

    def counting(dy, x, w, y=None, need_dx=True):
        calls.append((w.shape[3], need_dx))
        return original(dy, x, w, y, need_dx)

    monkeypatch.setattr(conv, "backward", counting)
    return calls


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (small_gap, None, [(64, True), (32, True), (32, True), (16, False)]),
        (small_gap, "block1_conv1", [(64, True), (32, True), (32, True), (16, False)]),
        (small_gap, "block2_conv1", [(64, True), (32, True), (32, False)]),
        (small_gap, "block3_conv1", [(64, True), (32, False)]),
        (small_gap, "CAM_conv", [(64, False)]),
        (small_gap, "CAM_fc", []),
        (deep_gap, None, [(8, True), (9, True), (6, True), (7, True), (4, True), (5, False)]),
        (deep_gap, "block1_conv2", [(8, True), (9, True), (6, True), (7, True), (4, False)]),
        (deep_gap, "block2_conv1", [(8, True), (9, True), (6, True), (7, False)]),
        (deep_gap, "block2_conv2", [(8, True), (9, True), (6, False)]),
    ],
)
def test_training_from_a_layer_does_no_work_below_it(make, name, expected, conv_backwards):
    x, labels = fixed_batch()
    _, everything = loss_and_gradients(fixed_network(make), x, labels)
    conv_backwards.clear()

    network = fixed_network(make)
    network.train_from(name)
    _, p = softmax_loss.forward(network.forward(x, learning=True), labels)
    below = [layer.name for layer in network.layers].index(name) if name else 0
    assert [layer.memory is None for layer in network.layers] == [i < below for i in range(len(network.layers))]
    network.backward(softmax_loss.backward(p, labels))

    assert conv_backwards == expected
    assert all(not layer.grads for layer in network.layers[:below])
    assert list(network.grads()) == list(network.params(learning_only=True))
    assert list(network.grads()) == list(everything)[-len(network.grads()) :]
    for parameter, gradient in network.grads().items():
        np.testing.assert_array_equal(gradient, everything[parameter], err_msg=parameter)


def test_the_layer_to_train_from_can_be_changed_back():
    network = fixed_network()
    network.train_from("CAM_fc")
    assert list(network.params(learning_only=True)) == ["CAM_fc/kernel", "CAM_fc/bias"]
    assert len(network.params()) == 10
    network.train_from(None)
    assert network.params(learning_only=True).keys() == network.params().keys()


@pytest.mark.parametrize("name", ["block9_conv1", "GAP", "block1_pool", ""])
def test_training_from_what_is_no_layer_with_parameters_is_refused(name):
    network = small_gap()
    with pytest.raises(MinicamError) as caught:
        network.train_from(name)
    assert str(caught.value) == (
        f"there is no layer {name!r} to train from; choose one of "
        "block1_conv1, block2_conv1, block3_conv1, CAM_conv, CAM_fc"
    )
    assert network.first_learning == 0


# --- dropout in a network ---


def test_dropout_acts_only_in_learning_and_by_seed_and_step():
    x, _ = fixed_batch()
    network, plain = fixed_network(), fixed_network()
    network.layers[-2].rate = 0.5

    def logits(seed, step):
        network.seed_dropout(seed, step)
        return network.forward(x, learning=True)

    np.testing.assert_array_equal(network.forward(x), plain.forward(x))
    np.testing.assert_array_equal(logits(1, 2), logits(1, 2))
    assert (logits(1, 2) != logits(1, 3)).any()
    assert (logits(1, 2) != logits(2, 2)).any()


# --- recomputing instead of remembering ---


@pytest.mark.parametrize(
    ("make", "train_from"),
    [(deep_gap, None), (deep_gap, "block1_conv2"), (deep_gap, "block2_conv2"), (small_gap, None),
     (small_gap, "block2_conv1"), (small_gap, "CAM_conv")],
)  # fmt: skip
def test_recomputed_gradients_are_the_same_to_the_bit(make, train_from):
    x, labels = fixed_batch()
    gradients = []
    for recompute in (False, True):
        network = fixed_network(make)
        network.train_from(train_from)
        network.recompute = recompute
        loss, grads = loss_and_gradients(network, x, labels)
        gradients.append({"loss": loss, **grads})
        assert network.entered == {}
        assert all(layer.memory is None for layer in network.layers[network.first_learning :])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradients[1][name], gradient, err_msg=name)


def test_recomputing_remembers_only_what_enters_each_block(rng):
    network = deep_gap(dtype=np.float32)
    network.recompute = True
    network.forward(rng.standard_normal((2, 40, 40, 3)).astype(np.float32), learning=True)
    assert {i: x.shape[1:] for i, x in network.entered.items()} == {0: (40, 40, 3)}
    pool = [layer.name for layer in network.layers].index("block1_pool")
    assert all(layer.memory is None for layer in network.layers[: pool + 1])
    assert all(layer.memory is not None for layer in network.layers[pool + 1 :])
    network.forget()
    assert network.entered == {}
