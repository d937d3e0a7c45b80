"""The whole network in a process of its own, ours or PyTorch's: neither's memory and threads count for the other's.

    python -m minicam.bench.side ours|torch small_gap|vgg16_gap

It reads a line of JSON for each thing to do, and answers with one (`Side.ask` says which). `Side` starts it and asks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

import minicam
from minicam import MinicamError
from minicam.backend import keep_memory, set_threads
from minicam.bench import step
from minicam.bench.cases import Place
from minicam.bench.clock import wall
from minicam.bench.twin import FORMATS, Twin, pytorch
from minicam.model import NETWORKS, Network

Key = tuple[str, int, int, str | None]  # what, batch, size, memory format


class Side:
    """A process that runs the network, as the process that compares sees it. It ends with the `with` block."""

    def __init__(self, who: str, network: str) -> None:
        self.who = who
        self.results: dict[str, list[float]] = {}  # of what was first asked for
        path = os.pathsep.join(filter(None, (str(Path(minicam.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "minicam.bench.side", who, network]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, **pipes)

    def ask(self, what: str, **wanted: Any) -> dict:
        """Have it do something, and return its answer. MinicamError where it has died, as for lack of memory.

        "step" or "forward"   once, with batch, size, threads and PyTorch's memory format: `seconds`, and `result`, the
                              loss or the logits as a list
        "memory"              bytes: `before` the network was built, and the `most` so far; None where nobody tells
        """
        line = json.dumps({"what": what, **wanted})
        with suppress(BrokenPipeError):  # what follows says so
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise MinicamError(
                f"the process that ran {'minicam' if self.who == 'ours' else 'PyTorch'} has ended with the code "
                f"{self.process.wait()}; where that is -9, memory was too short: give a smaller --batch"
            )
        answer = json.loads(answer)
        self.results.setdefault(line, answer.get("result"))
        return answer

    def result(self, what: str, **wanted: Any) -> np.ndarray:
        """What came out when it first did this; it does it now where it has not yet."""
        line = json.dumps({"what": what, **wanted})
        if line not in self.results:
            self.ask(what, **wanted)
        return np.array(self.results[line])

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it may have died, and what it was last asked still be on the way
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(who: str, network: str) -> None:
    """Do what comes in, until nothing more does. What was last prepared is kept for the next time."""
    torch = pytorch("cpu") if who == "torch" else None
    twins = {memory: Twin(torch, memory) for memory in FORMATS if torch}
    if torch:  # its first update imports what other programs have no use for
        torch.optim.SGD([torch.zeros(1, requires_grad=True)]).step()
    keep_memory()  # both: what it saves has nothing to do with who computes
    before = resident()
    key: Key | None = None
    run: Callable[[], Any] | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        if wanted["what"] == "memory":
            answer = {"before": before, "most": most()}
        else:
            use_threads(wanted["threads"])
            given = wanted["what"], wanted["batch"], wanted["size"], wanted.get("memory")
            if given != key:
                run = None  # first of all: its memory is free for the next
                key, run = given, prepare(given, network, twins)
            results: list[Any] = []
            seconds = wall(lambda run=run, results=results: results.append(run()))
            answer = {"seconds": seconds, "result": np.ravel(results.pop()).tolist()}
        print(json.dumps(answer), flush=True)


def prepare(key: Key, name: str, twins: dict[str, Twin]) -> Callable[[], Any]:
    """A function that does it: ours where the key names no memory format. The batch is the same on both sides."""
    what, batch, size, memory = key
    network = step.start(lambda: make(name), "cpu")
    x, labels = step.batch(Place("cpu", batch, (), np.random.default_rng(0)), size, network)
    update = step.optimiser()
    if memory is None:
        return step.training_step(network, x, labels, update) if what == "step" else lambda: network.forward(x)
    twin = twins[memory]
    run = twin.step(network, x, labels, update) if what == "step" else twin.network(network, x)
    for layer in network.layers:  # PyTorch has its own
        layer.params = {}
    return run


def make(name: str) -> Network:
    """A network of `model.NETWORKS` without dropout: the two would not drop the same."""
    return NETWORKS[name](dropout=0.0)


def use_threads(count: int) -> None:
    """Compute on so many threads from now on: ours, BLAS outside of `backend.each`, and PyTorch if it is there."""
    set_threads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def resident() -> int | None:
    """Bytes of memory that this process holds now; where the system does not say, the most that it ever held."""
    return _status("VmRSS") or most()


def most() -> int | None:
    """The most bytes of memory that this process ever held; None where the system does not say.

    Linux tells it twice. `ru_maxrss` there starts from the memory of the process that started this one.
    """
    held = _status("VmHWM")
    if held is None and sys.platform != "win32":
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return held


def _status(key: str) -> int | None:
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # of which the one who asks tells
        serve(*sys.argv[1:])
