"""The Makefile and `.ci/run`: what they install and run, with stand-ins for Python, pip and pytest."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "run"

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("bash") is None or not (ROOT / "Makefile").exists(),
    reason="needs make, bash, and the files of the repository",
)

# Stands in for Python: notes how it was called, and makes a virtual environment that has itself in it.
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
    *sys.version_info*) exit ${TOO_OLD:-0} ;;
    *ensurepip*) exit ${NO_VENV:-0} ;;
    --version) echo "Python 3.10.2" ;;
    "-m venv"*) mkdir -p .venv/bin && : > .venv/pyvenv.cfg && cp "$0" .venv/bin/python && cp "$0" .venv/bin/ruff ;;
    "-m pip"*) exit ${NO_INDEX:-0} ;;
    "-m pytest"*) echo "=== $TESTS in 1.25s ==="; exit ${CODE:-0} ;;
    *"import importlib.metadata"*) exit ${OTHER_TORCH:-0} ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A folder with what making needs."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(SCRIPT, folder / ".ci")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    return folder


def run(folder, *command, **environment):
    """Run a command there. Returns its exit status, what it said, and how Python was called."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = kept | {"PYTHON": "./python", "CXX": "c++"} | environment  # has a compiler
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    called = [line for line in calls.read_text().splitlines() if line.startswith("-m")] if calls.exists() else []
    return done.returncode, done.stdout, called


VENV = "-m venv --clear .venv"
INSTALL = "-m pip install --quiet --disable-pip-version-check --editable ."


def test_everything_is_installed_once(clone):
    assert run(clone, "make", "train", "ARGS=--epochs 3") == (
        0,
        "making .venv with Python 3.10.2\ninstalling minicam into .venv\n",
        [VENV, INSTALL, "-m minicam.train --epochs 3"],
    )
    assert run(clone, "make", "train") == (0, "", ["-m minicam.train"])
    assert run(clone, "make", "test", TESTS="3 passed")[2] == [f"{INSTALL}[test]", "-m pytest"]
    assert run(clone, "make", "test", "ARGS=-k conv", TESTS="3 passed")[2] == ["-m pytest -k conv"]
    assert run(clone, "make", "bench", "ARGS=--quick")[2] == [f"{INSTALL}[bench]", "-m minicam.bench cpu --quick"]
    assert run(clone, "make", "bench")[2] == ["-m minicam.bench cpu"]
    opened = f"-m jupyter lab --ServerApp.root_dir={clone} --no-browser lessons/01_images.ipynb"
    assert run(clone, "make", "lessons", "ARGS=--no-browser")[2] == [f"{INSTALL}[lessons]", opened]
    assert run(clone, "make", "lessons", "ARGS=--no-browser")[2] == [opened]
    assert run(clone, "make", "lint") == (0, "", [])
    assert (clone / "calls").read_text() == "check\n"


def test_what_the_tests_need_is_enough_to_train(clone):
    assert run(clone, "make", "test", TESTS="3 passed")[2] == [VENV, f"{INSTALL}[test]", "-m pytest"]
    assert run(clone, "make", "train")[2] == ["-m minicam.train"]


def test_a_compiler_is_installed_where_there_is_none(clone):
    tools = clone / "tools"
    tools.mkdir()
    for name in ("make", "sh", "bash", "mkdir", "cp", "touch", "rm", "cat", "env"):
        (tools / name).symlink_to(shutil.which(name))
    none = {"PATH": str(tools), "CXX": ""}
    zig = f"{INSTALL.removesuffix(' --editable .')} ziglang"
    _, said, called = run(clone, "make", "test", TESTS="3 passed", **none)
    assert called == [VENV, f"{INSTALL}[test]", zig, "-m pytest"]
    assert "there is no g++ or clang++ for the emulator: installing Zig's compiler into .venv" in said
    assert run(clone, "make", "test", TESTS="3 passed", **none)[2] == ["-m pytest"]
    assert zig in run(clone, "make", "lessons", **none)[2]
    run(clone, "make", "clean")
    (tools / "clang++").symlink_to("/bin/true")
    assert zig not in run(clone, "make", "test", TESTS="3 passed", **none)[2]


def test_other_dependencies_are_installed_anew(clone):
    run(clone, "make", "test", TESTS="3 passed")
    later = (clone / ".venv" / ".installed_test").stat().st_mtime + 10
    os.utime(clone / "pyproject.toml", (later, later))
    assert run(clone, "make", "train")[2] == [INSTALL, "-m minicam.train"]


def test_what_failed_begins_anew(clone):
    status, _, called = run(clone, "make", "train", NO_INDEX="1")
    assert (status, called) == (2, [VENV, INSTALL])
    assert run(clone, "make", "train")[2] == [INSTALL, "-m minicam.train"]


def test_clean_keeps_what_was_made_with_minicam(clone):
    run(clone, "make", "train")
    for name in ("runs", "weights", "results", "minicam/__pycache__", "lessons", "tests"):
        (clone / name).mkdir(parents=True)
    assert run(clone, "make", "clean")[0] == 0
    assert {path.name for path in clone.iterdir()} == {
        ".ci", "Makefile", "pyproject.toml", "python", "runs", "weights", "results", "minicam", "lessons", "tests",
    }  # fmt: skip
    assert list((clone / "minicam").iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PYTHON": "nowhere"}, "minicam needs Python 3.11 or newer, and there is no nowhere; name one with PYTHON="),
        ({"TOO_OLD": "1"}, "minicam needs Python 3.11 or newer; ./python is Python 3.10.2; name another with PYTHON="),
        ({"NO_VENV": "1"}, "./python cannot make a virtual environment: its modules venv and ensurepip are missing; "),
    ],
)
def test_a_python_that_does_not_do(environment, said, clone):
    status, text, called = run(clone, "make", "test", **environment)
    assert (status, called) == (2, [])
    assert text.startswith(said)
    assert text.count("\n") == 2  # and make's own
    assert not (clone / ".venv").exists()


# -- .ci/run


def ci(folder, **environment):
    """Run .ci/run. Returns its exit status, its last line, and how Python was called."""
    status, text, called = run(folder, ".ci/run", **({"TESTS": "31 passed, 2 skipped"} | environment))
    return status, text.splitlines()[-1], called


def test_ci_without_real_data(clone):
    installed = [VENV, f"{INSTALL}[test]"]
    assert ci(clone) == (0, "31 passed, 0 failed, 2 skipped", [*installed, "-m pytest"])
    assert (clone / "calls").read_text().splitlines()[-1] == "check"
    assert ci(clone, ARGS="-k conv")[2] == ["-m pytest"]  # of the environment: it would narrow the tests
    assert ci(clone, TESTS="2 failed, 29 passed, 1 error", CODE="1")[:2] == (1, "29 passed, 3 failed, 0 skipped")
    assert ci(clone, TESTS="nothing", CODE="4")[:2] == (1, "0 passed, 1 failed, 0 skipped")
    assert ci(clone, TESTS="31 passed", CODE="1")[:2] == (1, "31 passed, 1 failed, 0 skipped")


def test_ci_fails_with_lint(clone):
    run(clone, "make", "test", TESTS="1 passed")
    (clone / ".venv" / "bin" / "ruff").write_text("#!/bin/sh\nexit 1\n")
    assert ci(clone)[:2] == (1, "31 passed, 1 failed, 2 skipped")


INSTALL_BENCH = "-m pip install --quiet --disable-pip-version-check -e .[test,bench]"


def test_ci_with_real_data(clone):
    (clone.parent / "shared").mkdir()
    run(clone, "make", "test", TESTS="1 passed")
    calls = ["-m pytest", INSTALL_BENCH, "-m pytest -m oracle or real"]
    assert ci(clone) == (0, "62 passed, 0 failed, 4 skipped", calls)
    python = clone / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\n[ -z "$MINICAM_REAL" ] || echo "$MINICAM_REQUIRE_ALL at $MINICAM_REAL"\n')
    lines = run(clone, ".ci/run", MINICAM_REAL="x", MINICAM_REQUIRE_ALL="1")[1].splitlines()
    assert [line for line in lines if " at " in line] == [f"1 at {clone.parent / 'shared'}"]


@pytest.mark.parametrize("problem", ["NO_INDEX", "OTHER_TORCH"])
def test_ci_fails_where_the_frameworks_are_not_to_be_had(problem, clone):
    (clone.parent / "shared").mkdir()
    run(clone, "make", "test", TESTS="1 passed")
    status, line, called = ci(clone, **{problem: "1"})
    assert (status, line) == (1, "31 passed, 1 failed, 2 skipped")
    assert called == ["-m pytest", INSTALL_BENCH]
