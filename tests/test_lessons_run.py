"""Every lesson from a clean kernel, its blanks left in: each check says its hint, and no cell fails."""

import copy
import os

import nbclient
import pytest
from lessons_on_disk import FOLDER, LESSONS
from nbclient.exceptions import CellExecutionError

# nbclient's warnings, and of what it stands on; those of a lesson are in its kernel, a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore")

LONGEST = 300  # seconds for one cell: it hangs
NOWHERE = "http://127.0.0.1:9"  # no lesson needs the network

USING_REAL = [lesson for lesson in LESSONS if "real." in "\n".join(lesson.sources("code"))]


def execute(lesson, folder, **environment):
    """Run a lesson; return it with its outputs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MINICAM_", "PYTEST", "PYTHONWARNINGS"))}
    kept["MINICAM_CACHE"] = os.environ["MINICAM_CACHE"]
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        kept[variable] = NOWHERE
    notebook = copy.deepcopy(lesson.notebook)  # running fills the cells with outputs
    client = nbclient.NotebookClient(
        notebook, timeout=LONGEST, resources={"metadata": {"path": str(FOLDER)}}, kernel_name="python3"
    )
    try:
        return client.execute(env=kept | {"IPYTHONDIR": str(folder)} | environment)
    except CellExecutionError as error:
        pytest.fail(str(error))


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook, stream="stdout"):
    return "".join(output.text for output in outputs(notebook) if output.get("name") == stream)


def files():
    return {path for path in FOLDER.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("lesson", LESSONS, ids=str)
def test_it_runs_offline_without_real_data_and_leaves_no_file(lesson, tmp_path):
    before = files()
    missing = str(tmp_path / "missing")
    notebook = execute(lesson, tmp_path, MINICAM_WEIGHTS=missing, MINICAM_ISIC=missing)
    assert files() == before
    verify(lesson, notebook)


@pytest.mark.real
@pytest.mark.parametrize("lesson", USING_REAL, ids=str)
def test_it_runs_on_real_images_and_weights(lesson, tmp_path, real):
    (weights,) = (real / "weights").glob("vgg16*.h5")
    verify(lesson, execute(lesson, tmp_path, MINICAM_WEIGHTS=str(weights), MINICAM_ISIC=str(real / "isic2017")))


def verify(lesson, notebook):
    assert printed(notebook, "stderr") == ""
    said = printed(notebook)
    for name in lesson.blanks:
        assert f"✗ {name}(" in said
    assert said.count("\n  Hint: ") == len(lesson.blanks)
    figures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(figures) >= 5
