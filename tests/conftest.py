"""Fixtures that the whole suite shares, and what becomes of tests that cannot run."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicam import MinicamError, device, emulator
from minicam.backend import cupy, is_array, to_cpu, to_device
from minicam.device import choose

# Compiled kernels: where pytest keeps what it wants to find again.
os.environ.setdefault("MINICAM_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "minicam"))


@pytest.fixture(autouse=True)
def commands_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is not told its --device would take the GPU where there is one, and end with other bits."""
    monkeypatch.setattr(device, "choose", lambda name: choose("cpu" if name == "auto" else name))


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every test, whatever ran before it."""
    return np.random.default_rng(20170303)


class Backend:
    """Calls an op on one kind of array: `backend(conv.forward, x, w, b)` takes and returns NumPy arrays.

    On the way it checks that the op leaves its arguments as they were, and hands it memory filled with NaN (in
    integers, the largest number) wherever it asks for an empty array, so that an element it forgets to write shows.

    In the emulator it is check mode, with the threads in another order each time: a race, a missing barrier or an
    access outside an array is an error of the test, whatever the numbers.
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, op: Callable, *args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        placed = [to_device(a, self.device) if is_array(a) else a for a in given]
        before = [a.copy() if is_array(a) else a for a in given]
        with pytest.MonkeyPatch.context() as patch, emulator.options(check=True, order="random"):
            patch.setattr(np, "empty", _poisoned)
            patch.setattr(np, "empty_like", lambda a: _poisoned(a.shape, a.dtype))
            if self.device == "cuda":
                patch.setattr(cupy(), "empty", lambda shape, dtype: to_device(_poisoned(shape, dtype), "cuda"))
            result = op(*placed[: len(args)], **dict(zip(kwargs, placed[len(args) :], strict=True)))
        for was, now in zip(before, placed, strict=True):
            if is_array(was):
                np.testing.assert_array_equal(to_cpu(now), was, err_msg="an op wrote into its argument")
        results = tuple(to_cpu(r) if is_array(r) else r for r in (result if isinstance(result, tuple) else (result,)))
        return results if isinstance(result, tuple) else results[0]


def _poisoned(shape: Any, dtype: Any = float) -> np.ndarray:
    return np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max, dtype)


def gpu_devices() -> list:
    """What to run the kernels on: the emulator; and the GPU, where there is one (`test_gpu.py` says where not)."""
    try:
        return ["emulator", pytest.param(choose("cuda"), marks=pytest.mark.gpu)]
    except MinicamError:
        return ["emulator"]


@pytest.fixture(scope="session", params=["cpu", *gpu_devices()])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend in turn."""
    return Backend(request.param)


@pytest.fixture(scope="session", params=gpu_devices())
def gpu(request: pytest.FixtureRequest) -> Backend:
    """Every backend that runs the CUDA kernels."""
    return Backend(request.param)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to have CuPy with a GPU of such properties for the rest of the test (`fake_cupy.module`)."""
    from fake_cupy import installer

    yield from installer(monkeypatch)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of the real data, named by MINICAM_REAL in the environment: it holds isic2017/ and weights/."""
    if "MINICAM_REAL" not in os.environ:
        pytest.skip("MINICAM_REAL is not set: no real images and weights to test with")
    folder = Path(os.environ["MINICAM_REAL"])
    for name in ("isic2017", "weights"):
        if not (folder / name).is_dir():
            pytest.fail(f"MINICAM_REAL is {folder}, which has no folder {name}")
    return folder


@pytest.fixture(scope="session")
def torch() -> Any:
    """PyTorch, for the tests marked oracle."""
    return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on the built-in data, as small as one can be. Shared: change a copy of it only.

    It has learned next to nothing. The threshold is high so that its boxes are more than the whole image each time.
    """
    from minicam.train import main

    folder = tmp_path_factory.mktemp("small") / "run"
    options = "--limit 24 --epochs 1 --size 32 --batch 8 --warmup 0 --lr 0.1 --threshold 0.8 --out"
    assert main([*options.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def finished_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of rows of `minicam.reproduce` that have been run. Shared: change a copy of it only."""
    from tiny_rows import OPTIONS, RUN

    from minicam.reproduce.__main__ import main

    out = tmp_path_factory.mktemp("reproduce") / "rows"
    assert main(["run", *RUN, *OPTIONS, "--seeds", "0", "--out", str(out)]) == 0
    return out


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """stop_after(stage, step): from now on Ctrl-C is pressed right after that step has been logged."""
    from minicam.run import Run

    log = Run.log

    def arrange(stage: int, step: int, epoch: int | None = None) -> None:
        def log_and_stop(self: Run, **row: Any) -> None:
            log(self, **row)
            if (row["stage"], row["step"], row.get("epoch")) == (stage, step, epoch):
                monkeypatch.setattr(Run, "log", log)
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Run, "log", log_and_stop)

    return arrange


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of all images whose features are computed from now on."""
    from minicam.features import FeatureLoader

    numbers, compute = [], FeatureLoader._computed

    def watched(self: FeatureLoader, indices: np.ndarray, pixels: list, keep: bool) -> list[np.ndarray]:
        numbers.extend(map(int, indices))
        return compute(self, indices, pixels, keep)

    monkeypatch.setattr(FeatureLoader, "_computed", watched)
    return numbers


MUST_RUN = {"oracle", "real"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    """With MINICAM_REQUIRE_ALL=1 a test marked oracle or real that skips has failed, unless it needs a GPU."""
    report = yield
    marks = {mark.name for mark in item.iter_markers()}
    marks = set() if "gpu" in marks else MUST_RUN & marks
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and marks and os.environ.get("MINICAM_REQUIRE_ALL") == "1":
        _fail(report, f"marked {', '.join(sorted(marks))}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """The same for a file that skips as a whole, before its marks are known."""
    report = yield
    if report.skipped and os.environ.get("MINICAM_REQUIRE_ALL") == "1":
        _fail(report, "a whole file")
    return report


def _fail(report: Any, what: str) -> None:
    *_, reason = report.longrepr
    report.outcome = "failed"
    report.longrepr = f"MINICAM_REQUIRE_ALL=1, but this skipped ({what}): {reason}"
