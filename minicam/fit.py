"""One stage of training: the loop. Batch, forward, loss, backward, update; after each epoch validate and save."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

import numpy as np
from tqdm import tqdm

from minicam import MinicamError
from minicam.backend import to_cpu, to_device
from minicam.data import Dataset
from minicam.data.loader import Loader
from minicam.inference import enough_memory, probabilities_of
from minicam.metrics import mean_auc
from minicam.model import Network
from minicam.ops import softmax_loss
from minicam.optim import SGD, schedule
from minicam.results import computer, moment
from minicam.run import Progress, Run, checked_state, demand_images, digest
from minicam.weights import checkpoint, keras

SAVE_EVERY = 300  # seconds; beside the end of each epoch


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, and has saved its state."""


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that is asked between steps, where the state is whole.

    A second Ctrl-C stops at once. Outside the main thread signals cannot be caught, and the answer is always no.
    """
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(number, ask) for number in numbers]
    except ValueError:
        before = []
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(numbers, before, strict=False):
            signal.signal(number, handler)


def fit(
    run: Run, stage: int, network: Network, training: Loader, validation: Loader, tasks: list[int]
) -> Progress:
    """Train `network` in place for one stage of `run`, from its checkpoint where there is one.

    tasks  the classes whose AUC is reported after each epoch
    Raises Interrupted where a signal asked to stop, MinicamError where the loss is not finite or a batch is too large
    for the GPU; in all cases the checkpoint holds the last good state.
    """
    with enough_memory(network, training, learning=True):
        return _fit(run, stage, network, training, validation, tasks)


def _fit(run: Run, stage: int, network: Network, training: Loader, validation: Loader, tasks: list[int]) -> Progress:
    config = run.config
    optimiser = SGD(config.lr, config.momentum, config.weight_decay, config.rates)
    network.train_from(config.train_from)
    datasets = training.dataset, validation.dataset
    progress = restore(run, stage, network, optimiser, datasets)
    if progress.finished:
        return progress
    run.sign(
        {"stage": stage, "epoch": progress.epoch, "batch": progress.batch, **moment(), **computer(network.device)}
    )
    steps = config.epochs * len(training)
    warmup = min(config.warmup, steps // 10)
    run.remove_temporaries(stage)
    run.forget_after(stage, progress.epoch * len(training) + progress.batch, progress.epoch)
    started = time.perf_counter() - progress.seconds

    def save() -> float:
        now = time.perf_counter()
        progress.seconds = now - started
        state = {
            "progress": asdict(progress),
            "velocity": {name: to_cpu(array) for name, array in optimiser.velocity.items()},
            "stage": stage,
            "classes": list(training.dataset.classes),
            "tasks": list(training.dataset.tasks),
            "data": digest(datasets),
        }
        params = {name: to_cpu(array) for name, array in network.params().items()}
        checkpoint.save(run.checkpoint(stage), params, state)
        return now

    def diverged(what: str, step: int) -> MinicamError:
        return MinicamError(
            f"{what} at step {step} of stage {stage}, so training stopped; {run.checkpoint(stage)} holds the "
            f"last good state; try a lower --lr than {config.lr}"
        )

    saved = save()

    # A diverging loss is told in one line of our own, so NumPy need not warn of it.
    with stop_between_steps() as stop, np.errstate(over="ignore", invalid="ignore"):
        while progress.epoch < config.epochs:
            title = f"stage {stage}, epoch {progress.epoch + 1}/{config.epochs}"
            done = progress.batch * config.batch
            with tqdm(total=len(training.dataset), initial=done, desc=title, unit="image", disable=None) as bar:
                for batch in training.shuffled(progress.epoch, progress.batch):
                    step = progress.epoch * len(training) + progress.batch
                    rate = min(1, (step + 1) / (warmup + 1)) * schedule(config.schedule, step / steps)
                    network.seed_dropout(config.seed, (stage - 1) * steps + step)
                    logits = network.forward(batch.x, learning=True, start=batch.start)
                    loss, p = softmax_loss.forward(logits, batch.labels)
                    loss = float(loss)  # from a GPU, which is waited for here: once a step
                    if not math.isfinite(loss):
                        raise diverged(f"the loss is {loss}", step)
                    network.backward(softmax_loss.backward(p, batch.labels))
                    optimiser.step(network.params(), network.grads(), rate)
                    network.forget()  # or the gradients would lie about while the next step needs most memory
                    progress.batch += 1
                    run.log(stage=stage, step=step, loss=loss, lr=config.lr * rate)
                    bar.update(len(batch.labels))
                    bar.set_postfix(loss=f"{loss:.3f}")
                    if stop() or time.perf_counter() - saved > SAVE_EVERY:
                        saved = save()
                    if stop():
                        raise Interrupted
            progress.epoch, progress.batch = progress.epoch + 1, 0
            last = progress.epoch * len(training) - 1
            probabilities = probabilities_of(network, validation, "validation")
            if not np.isfinite(probabilities).all():
                raise diverged("a probability of the validation is not finite", last)
            aucs = mean_auc(validation.dataset.labels, probabilities, tasks)
            figures = {validation.dataset.classes[task]: aucs[task] for task in tasks} | {"mean": aucs["mean"]}
            run.log(stage=stage, epoch=progress.epoch, step=last, validation=figures)
            progress.finished = progress.epoch == config.epochs
            saved = save()
            if stop():
                raise Interrupted
    return progress


def restore(
    run: Run, stage: int, network: Network, optimiser: SGD, datasets: tuple[Dataset, Dataset]
) -> Progress:
    """Put a stage's checkpoint into the network and the optimiser; without one, leave both as they are.

    datasets  the training and the validation images; MinicamError where the checkpoint was trained on others
    """
    path = run.checkpoint(stage)
    if not path.exists():
        return Progress()
    params, state = checked_state(path)
    demand_images(run.config, state, datasets)
    keras.assign(network.params(), params, path)
    optimiser.velocity = {name: to_device(np.array(a), network.device) for name, a in state["velocity"].items()}
    return Progress(**state["progress"])
