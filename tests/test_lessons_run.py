"""Every lesson from a clean kernel, its blanks left in: each check says its hint, and no cell fails."""

import asyncio
import copy
import os
import subprocess
import sys
from pathlib import Path

import nbclient
import pytest
from lessons_on_disk import FOLDER, LESSONS, ROOT
from nbclient.exceptions import CellExecutionError

# nbclient's warnings, and of what it stands on; those of a lesson are in its kernel, a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

LONGEST = 240  # seconds for a lesson: it hangs
OFFLINE = Path(__file__).parent / "offline"  # no lesson needs the network


def execute(lesson, folder, **environment):
    """Run a lesson; return it with its outputs. `folder` takes what the kernel writes elsewhere than in its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MINICAM_", "PYTEST", "PYTHON"))}
    kept["MINICAM_CACHE"] = os.environ["MINICAM_CACHE"]
    kept |= {"PYTHONPATH": str(OFFLINE), "IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    notebook = copy.deepcopy(lesson.notebook)  # running fills the cells with outputs
    client = nbclient.NotebookClient(
        notebook, timeout=None, resources={"metadata": {"path": str(FOLDER)}}, kernel_name="python3"
    )
    try:
        return asyncio.run(asyncio.wait_for(client.async_execute(env=kept | environment), LONGEST))
    except CellExecutionError as error:
        pytest.fail(str(error))
    except TimeoutError:
        pytest.fail(f"{lesson} did not end in {LONGEST} s")


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook, stream="stdout"):
    return "".join(output.text for output in outputs(notebook) if output.get("name") == stream)


def files(*others):
    """What is in the folder of the lessons, beside it, and in others."""
    found = {path for folder in (FOLDER, *others) for path in folder.rglob("*") if "__pycache__" not in path.parts}
    return found | set(ROOT.iterdir())


@pytest.mark.parametrize("lesson", LESSONS, ids=str)
def test_it_runs_offline_without_real_data_and_leaves_no_file(lesson, tmp_path):
    before = files()
    notebook = execute(lesson, tmp_path, MINICAM_WEIGHTS="", MINICAM_ISIC="")
    assert files(tmp_path / "tmp") == before
    verify(lesson, notebook)


@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if "emulated." in lesson.code], ids=str)
def test_it_runs_without_a_compiler_and_says_so(lesson, tmp_path):
    cache = str(tmp_path / "nothing compiled")
    notebook = execute(lesson, tmp_path, CXX="no_compiler", MINICAM_CACHE=cache, MINICAM_WEIGHTS="", MINICAM_ISIC="")
    verify(lesson, notebook, figures=0)
    assert "CXX names no_compiler" in printed(notebook)


@pytest.mark.real
@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if "real." in lesson.code], ids=str)
def test_it_runs_on_real_images_and_weights(lesson, tmp_path, real):
    (weights,) = (real / "weights").glob("vgg16*.h5")
    verify(lesson, execute(lesson, tmp_path, MINICAM_WEIGHTS=str(weights), MINICAM_ISIC=str(real / "isic2017")))


def test_there_is_no_network_in_these_runs():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(OFFLINE)}, capture_output=True, text=True)
    assert done.stderr.endswith("OSError: 192.0.2.1: there is no network in this test\n")


def verify(lesson, notebook, figures=5):
    assert printed(notebook, "stderr") == ""
    said = printed(notebook)
    for name in lesson.blanks:
        assert f"✗ {name}(" in said
    assert said.count("\n  Hint: ") == len(lesson.blanks)
    found = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(found) >= figures
