"""Where and with which code something was measured."""

import os
import platform
import subprocess

import numpy as np
import pytest

from minicam.provenance import machine, version


def test_the_machine():
    found = machine()
    assert found.keys() == {"cpu", "cores", "python", "numpy", "blas"}
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["cpu"].strip()
    assert any(character.isdigit() for character in found["blas"])


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository in tmp_path with a package in it, not committed yet; returns a function that calls git there."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b.c")

    def call(*arguments):
        command = ["git", "-C", tmp_path, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        call("init")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("one = 1\n")
    return call


def test_the_commit_of_a_package(git, tmp_path):
    package = tmp_path / "package"
    assert version(package) == {"commit": None, "dirty": None}  # in a repository, but not of it
    git("add", "package")
    git("commit", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    assert version(package) == {"commit": commit, "dirty": False}
    (tmp_path / "results.json").write_text("{}")
    assert version(package) == {"commit": commit, "dirty": False}  # the code is what was committed
    (package / "__init__.py").write_text("one = 2\n")
    assert version(package) == {"commit": commit, "dirty": True}
    git("checkout", "package")
    (package / "new.py").write_text("")
    assert version(package) == {"commit": commit, "dirty": True}


def test_where_there_is_no_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version(tmp_path) == {"commit": None, "dirty": None}
