"""`python -m minicam.controls`: what is demanded of the runs, the page, and the options."""

import json

import pytest
import tiny

from minicam import controls
from minicam.controls import main, seeds_of

FIGURES = ("stage1", "stage2", "longer", "shuffled", "box_iou")
GOOD = {
    "stage1": 0.7,
    "stage2": 0.8,
    "longer": 0.75,
    "shuffled": 0.6,
    "box_iou": 0.5,
    "difference": {"mean": 0.1, "low": 0.02, "high": 0.18},
    "seconds": 61.6,
    "code": [{"commit": "0123456789abcdef", "dirty": False}],
}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, []),
        ({"stage1": 0.65, "stage2": 0.7001, "longer": 0.7, "shuffled": 0.7, "box_iou": 0.4}, []),
        ({"stage1": 0.649}, [0]),
        ({"stage1": 0.751}, [1]),
        ({"longer": 0.8}, [2]),
        ({"shuffled": 0.8}, [3]),
        ({"box_iou": 0.399}, [4]),
        ({"box_iou": None}, [4]),
        ({"shuffled": None}, [3]),
        (dict.fromkeys(FIGURES), [0, 1, 2, 3, 4]),
    ],
)
def test_what_is_demanded(change, failing, tmp_path, monkeypatch, capsys):
    rows = {seed: GOOD | {"seed": seed} for seed in range(5)} | {3: GOOD | change | {"seed": 3}}
    monkeypatch.setattr(controls, "measure", lambda folder, config, *_: rows[config.seed])
    monkeypatch.setattr(controls, "RESULTS", tmp_path / "results" / "builtin.json")
    assert main(["--out", str(tmp_path / "out")]) == (1 if failing else 0)
    texts = list(controls.DEMANDS)
    lines = [f"- fails on 3: {text}" if i in failing else f"- holds: {text}" for i, text in enumerate(texts)]
    assert controls.verdict([rows[2], rows[3]]).splitlines() == lines
    printed = capsys.readouterr().out
    assert "\n".join(lines) in printed
    assert printed.splitlines()[-1] == ("not all of it holds" if failing else "all of it holds on seeds 0, 1, 2, 3, 4")
    # The built-in job as it is goes to the results that are kept.
    assert json.loads((tmp_path / "results" / "builtin.json").read_text())["rows"] == list(rows.values())
    assert "\n".join(lines) in (tmp_path / "results" / "builtin.md").read_text()


@pytest.mark.parametrize("options", ["--seeds 7", "--exact", "--lr 0.1"])
def test_what_is_no_run_of_the_built_in_job_leaves_its_results_alone(options, tmp_path, monkeypatch):
    monkeypatch.setattr(controls, "measure", lambda folder, config, *_: GOOD | {"seed": config.seed})
    monkeypatch.setattr(controls, "RESULTS", tmp_path / "results" / "builtin.json")
    assert main([*options.split(), "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "results").exists()
    assert (tmp_path / "out" / "results.json").exists()


def test_the_page():
    undefined = dict.fromkeys(FIGURES) | {"seed": 12, "difference": dict.fromkeys(("mean", "low", "high"))}
    where = {"cpu": "a processor", "cores": 2, "python": "3.11.7", "numpy": "2.4.6", "blas": "openblas 1"}
    rows = [GOOD | {"seed": 0}, GOOD | undefined | {"code": [{"commit": None, "dirty": None}]}]
    changed = {"commit": "fedcba9876543210", "dirty": True}
    rows.append(GOOD | {"seed": 1, "code": [*GOOD["code"], changed]})
    results = {"command": "python -m minicam.controls", "date": "2026-01-02T03:04:05+00:00", "machine": where}
    text = controls.page(results | {"config": {"data": None}, "rows": rows})
    assert text.startswith("# Both stages and two controls, on the built-in data\n\n")
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "| seed |   stage 1 |   stage 2 |         difference (95 %) |    longer |  shuffled |   box IoU | seconds |",
        "| ---: | --------: | --------: | ------------------------: | --------: | --------: | --------: | ------: |",
        "|    0 |     0.700 |     0.800 | +0.100 (+0.020 to +0.180) |     0.750 |     0.600 |     0.500 |      62 |",
        "|   12 | undefined | undefined |                 undefined | undefined | undefined | undefined |      62 |",
        "|    1 |     0.700 |     0.800 | +0.100 (+0.020 to +0.180) |     0.750 |     0.600 |     0.500 |      62 |",
    ]
    assert text.splitlines()[-1] == (
        "Made on 2026-01-02 by `python -m minicam.controls`, from commit 0123456789ab and a version that git does not "
        "know and commit fedcba987654, with changes that were not committed; 2 cores of a processor, Python 3.11.7, "
        "NumPy 2.4.6, openblas 1."
    )
    assert "on images from elsewhere\n" in controls.page(results | {"config": {"data": "there"}, "rows": rows})


def test_the_command_is_kept_without_the_places():
    given = ["--lr=0.1", "--out", "runs/a", "--square", "--res=x.json", "--seeds", "0-4", "--out=b", "--limit", "7"]
    assert controls.without_places(given) == ["--lr=0.1", "--square", "--seeds", "0-4", "--limit", "7"]


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("7", [7]), ("0,2,5", [0, 2, 5]), ("5-6,1", [5, 6, 1])]
)
def test_seeds(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "4-0", "4-0,1", "1-2-3", "-1", "1,", "1,1", "0-2,2", "1.5"])
def test_seeds_that_are_none(text, capsys):
    said = f"argument --seeds: {text!r} is not a list of seeds such as 0-4 or 0,2,5; --help shows all options"
    assert tiny.refused(main, capsys, f"--seeds={text}") == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--results", "table.md"], "--results is table.md; give a name that ends in .json, for a page (.md) goes bes"),
        (["--epochs", "0"], "--epochs is 0; it must be at least 1"),
        (["--size", "1"], "--size is 1; small_gap needs at least"),
        (["--data", "nowhere"], "the data folder HERE/nowhere is not there; check the path"),
        (["--layout", "isic"], "--layout says how the folder of --data is laid out; give --data DIR, or leave out -"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--device", "cpu", "--precision", "tf32"], "--precision tf32 needs the matrix units of a GPU"),
        (["--resume", "x"], "unrecognized arguments: --resume x; --help shows all options"),
    ],
    ids=" ".join,
)
def test_options_that_are_refused(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tiny.refused(main, capsys, *arguments).startswith(said.replace("HERE", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
