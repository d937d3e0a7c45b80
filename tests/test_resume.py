"""A run that was stopped and resumed is the run that was never stopped, byte for byte."""

import json
import os
import signal
import time

import pytest
import tiny

from minicam import fit
from minicam.data.loader import Loader
from minicam.run import Run
from minicam.train import main
from minicam.weights import checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "run"
    assert tiny.train(folder) == 0
    return folder


def says_how_to_resume(error, folder):
    return error.splitlines()[0] == f"stopped; continue with: python -m minicam.train --resume {folder}"


@pytest.mark.parametrize(
    ("stage", "step"), [(1, 0), (1, 4), (2, 0), (2, 1), (2, 5)], ids=lambda number: str(number)
)
def test_stopped_by_ctrl_c_and_resumed(stage, step, stop_after, uninterrupted, tmp_path, capsys):
    """In the middle of an epoch, before and after the last step of one, in either stage."""
    run = tmp_path / "run"
    stop_after(stage, step)
    assert tiny.train(run) == 130
    assert says_how_to_resume(capsys.readouterr().err, run)
    _, state = checkpoint.load(run / f"stage{stage}.h5")
    assert 3 * state["progress"]["epoch"] + state["progress"]["batch"] == step + 1
    assert main(["--resume", str(run), "--workers", "3"]) == 0
    assert capsys.readouterr().err == ""
    tiny.assert_same_run(uninterrupted, run)


def test_the_way_to_go_on_names_the_device(stop_after, tmp_path, capsys):
    """Another one would end with other bits."""
    run = tmp_path / "run"
    stop_after(1, 0)
    assert main([*tiny.options(), "--out", str(run), "--device", "emulator", "--precision", "float32"]) == 130
    line = capsys.readouterr().err.splitlines()[0]
    assert line.endswith(f"--resume {run} --device emulator --precision float32")


def test_recomputing_ends_with_the_same_and_the_way_to_go_on_names_it(stop_after, uninterrupted, tmp_path, capsys):
    run = tmp_path / "run"
    stop_after(1, 1)
    assert main([*tiny.options(), "--out", str(run), "--recompute", "--exact"]) == 130
    assert capsys.readouterr().err.splitlines()[0].endswith(f"--resume {run} --exact --recompute")
    assert main(["--resume", str(run), "--recompute"]) == 0
    tiny.assert_same_run(uninterrupted, run)


@pytest.mark.parametrize("stage", [1, 2])
def test_stopped_while_the_last_epoch_is_validated(stage, stop_after, uninterrupted, tmp_path, capsys):
    """The stage is finished then, and saved; but the user asked, and the other stage is not begun."""
    run = tmp_path / "run"
    stop_after(stage, 5, epoch=2)
    assert tiny.train(run) == 130
    assert says_how_to_resume(capsys.readouterr().err, run)
    assert (run / "stage2.h5").exists() == (stage == 2)
    assert not (run / "summary.json").exists()
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(uninterrupted, run)


def test_stopped_between_the_stages(monkeypatch, uninterrupted, tmp_path, capsys):
    """While the boxes are sought nothing is new that is worth saving, but the way to go on is said all the same."""

    def stop(*_):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    monkeypatch.setattr(Run, "write_boxes", stop)
    assert tiny.train(run) == 130
    assert says_how_to_resume(capsys.readouterr().err, run)
    monkeypatch.undo()
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(uninterrupted, run)


def test_stopped_again_and_again(stop_after, uninterrupted, tmp_path):
    run = tmp_path / "run"
    stop_after(1, 1)
    assert tiny.train(run) == 130
    for stage, step in ((1, 2), (2, 3), (2, 4)):
        stop_after(stage, step)
        assert main(["--resume", str(run)]) == 130
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(uninterrupted, run)


def test_a_finished_run_resumed_is_left_as_it_is(uninterrupted, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    assert main(["--resume", str(uninterrupted)]) == 0
    assert "mean" in capsys.readouterr().out
    for path in uninterrupted.iterdir():
        if path.name != "summary.json":  # in which only the seconds may change
            assert path.read_bytes() == before[path.name], path.name
    figures = [json.loads(text) for text in (before["summary.json"], (uninterrupted / "summary.json").read_bytes())]
    assert figures[0] | {"seconds": 0} == figures[1] | {"seconds": 0}


def test_rows_written_after_the_last_checkpoint_are_written_anew(uninterrupted, tmp_path):
    """As a run leaves them that was killed: rows of steps that no checkpoint holds, the last one cut short."""
    run = tmp_path / "run"
    assert tiny.train(run, epochs=2) == 0
    (run / "stage2.h5").unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:11]) + '{"stage": 2, "st')
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(uninterrupted, run)


def test_a_second_ctrl_c_stops_at_once():
    with fit.stop_between_steps() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_mean_afterwards_what_they_meant_before():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with fit.stop_between_steps() as stop:
        assert [signal.getsignal(number) for number in numbers] != before
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert [signal.getsignal(number) for number in numbers] == before


def test_outside_the_main_thread_there_is_no_question_to_ask():
    from concurrent.futures import ThreadPoolExecutor

    def ask():
        with fit.stop_between_steps() as stop:
            return stop()

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result() is False
    assert signal.getsignal(signal.SIGINT) is before


def test_the_state_is_saved_now_and_then_within_an_epoch(monkeypatch, tmp_path):
    """A run that is killed loses minutes, not an epoch: here with the clock set so that each step is late."""
    monkeypatch.setattr(fit, "SAVE_EVERY", 0)
    shuffled = Loader.shuffled
    seen = []

    def watched(self, epoch, start=0):
        for batch in shuffled(self, epoch, start):
            _, state = checkpoint.load(tmp_path / "run" / "stage1.h5")
            seen.append(3 * state["progress"]["epoch"] + state["progress"]["batch"])
            yield batch

    monkeypatch.setattr(Loader, "shuffled", watched)
    assert tiny.train(tmp_path / "run") == 0
    assert seen[:6] == [0, 1, 2, 3, 4, 5]


# -- as processes of their own, with all that a shell does


def wait_for_row(folder, stage, process):
    """Wait until a row of that stage is in metrics.jsonl."""
    path, deadline = folder / "metrics.jsonl", time.monotonic() + 60
    while not (path.exists() and f'"stage": {stage}' in path.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


LONGER = {"epochs": 12, "batch": 4}  # so that the signal comes before the end, on a busy machine, too


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("longer") / "run"
    assert tiny.train(folder, **LONGER) == 0
    return folder


SIGNALS = {"SIGINT": (signal.SIGINT, 1, 130), "SIGKILL": (signal.SIGKILL, 2, -signal.SIGKILL)}


@pytest.mark.parametrize(("number", "stage", "code"), SIGNALS.values(), ids=SIGNALS)
def test_a_process_that_is_signalled_and_resumed(number, stage, code, longer, tmp_path):
    run = tmp_path / "run"
    process = tiny.start(*tiny.options(**LONGER), "--out", run)
    wait_for_row(run, stage, process)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    if number == signal.SIGINT:
        assert says_how_to_resume(error, run)
        assert not (run / "summary.json").exists()
    else:
        assert error == ""
    assert {path.suffix for path in run.iterdir()} <= {".json", ".jsonl", ".h5", ".csv", ".png", ".tmp", ".part"}
    assert main(["--resume", str(run)]) == 0
    tiny.assert_same_run(longer, run)
