"""A side of bench cpu: the process that runs the network does what it is asked, and one that has died is told."""

import sys

import numpy as np
import pytest

from minicam import MinicamError
from minicam.bench import side
from minicam.model import small_gap


def test_a_side_does_what_it_is_asked():
    with side.Side("ours", "small_gap") as ours:
        before = ours.ask("memory")
        given = {"batch": 2, "size": 16, "threads": 1}
        first, second = (ours.ask("step", **given) for _ in range(2))
        logits = ours.result("forward", **given)
        after = ours.ask("memory")
    network = side.step.start(small_gap, "cpu")
    x, labels = side.step.batch(side.Place("cpu", 2, (), np.random.default_rng(0)), 16, network)
    np.testing.assert_allclose(logits, network.forward(x).ravel(), rtol=1e-5)
    loss = side.step.training_step(network, x, labels, side.step.optimiser())()
    assert first["result"] == pytest.approx([float(loss)], rel=1e-5)
    assert second["result"][0] < first["result"][0]  # it has learned
    assert first["seconds"] > 0
    assert before["before"] <= before["most"] <= after["most"]
    assert ours.process.returncode == 0


def test_a_side_that_dies_is_one_clear_line():
    with side.Side("ours", "small_gap") as ours:
        ours.ask("memory")
        ours.process.kill()
        ours.process.wait()  # and its end of the pipe is closed
        with pytest.raises(MinicamError, match="the process that ran minicam has ended with the code -9; where "):
            ours.ask("step", batch=2, size=16, threads=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux says of a process")
def test_the_memory_of_a_side_is_its_own():
    """Linux starts `ru_maxrss` of a new process from that of the one which made it: here a gigabyte."""
    held = np.ones(1 << 27)
    with side.Side("ours", "small_gap") as ours:
        assert ours.ask("memory")["most"] < held.nbytes / 2
