"""The promises that hold the library together: who may import whom, how long a file may be, what each one contains."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minicam

ROOT = Path(minicam.__file__).parent

# The reading order. A module imports what stands above it or beside it, never what stands below it. A package is one
# entry, and stands for all that is in it; but for its `__main__`, a command, which stands at the end with the others.
# Every module has its place here: put a new one where it belongs.
ORDER = [
    {"backend"},
    {"source"},
    {"emulator", "nvrtc"},
    {"cuda"},
    {"device"},
    {"ops"},
    {"layers"},
    {"model"},
    {"weights", "cam", "optim", "data", "metrics", "provenance", "files", "store"},
    {"config", "features", "shortcuts"},
    {"choices"},
    {"run", "inference"},
    {"pictures", "fit", "results"},
    {"train"},
    {"evaluate", "explain", "controls", "reproduce", "bench"},
]
FOR_ALL = {"", "cli"}  # `minicam` itself and the helper of its commands: importable by all, and importing none
NO_MODEL = {"weights", "cam", "optim"}  # these take plain arrays and dicts

RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in MODULES.items()}


def place(module):
    """The entry of ORDER that a module belongs to: `ops` for minicam.ops.conv, "" for minicam."""
    if module.endswith(".__main__"):
        return "bench"
    return module.split(".")[1] if "." in module else ""


def imports(module):
    """All that a module imports, at its top or in a function, as full names: `minicam.ops.conv`, `numpy`."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = node.module
            if node.level:  # relative: count upwards from the package
                package = module.split(".") if MODULES[module].stem == "__init__" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:  # `from package import module` imports the module, and not what the package does
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return found


def inside(module):
    return imports(module) & MODULES.keys()


def test_every_module_has_its_place_in_the_order():
    unknown = {name for name in MODULES if place(name) not in RANK.keys() | FOR_ALL}
    assert not unknown, f"{', '.join(sorted(unknown))}: add to the table ORDER in tests/test_layout.py"


def test_imports_run_one_way():
    back = [
        f"{module} imports {other}, which stands below it"
        for module in MODULES
        for other in sorted(inside(module))
        if place(module) in RANK and place(other) in RANK and RANK[place(other)] > RANK[place(module)]
    ]
    assert not back, "; ".join(back)


def test_the_reading_order_of_the_docstring_is_that_of_the_imports():
    (block,) = re.findall(r"\n\n((?: {4}.*\n?)+)", minicam.__doc__)
    steps = [[name.strip() for name in step.split(",")] for step in block.split("->")]
    names = [name for step in steps for name in step]
    assert set(names) == {place(name) for name in MODULES} - FOR_ALL - {"provenance"}
    assert [RANK[name] for name in names] == sorted(RANK[name] for name in names)


def test_what_is_importable_by_all_imports_none():
    for module in MODULES:
        if place(module) in FOR_ALL:
            assert {place(other) for other in inside(module)} <= FOR_ALL, module


def test_imports_form_no_cycle():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(inside(module) - {module}):
                visit(other)
            done.add(path.pop())

    for module in MODULES:
        visit(module)


def test_weights_cam_and_optim_import_no_model():
    for module in MODULES:
        if place(module) in NO_MODEL:
            assert not {"model", "layers"} & {place(other) for other in inside(module)}, module


def test_only_backend_imports_cupy():
    users = {module for module in MODULES if any(name.split(".")[0] == "cupy" for name in imports(module))}
    assert users <= {"minicam.backend"}


def test_no_deep_learning_framework_is_imported():
    frameworks = {"torch", "tensorflow", "keras", "jax", "mxnet", "paddle", "autograd", "tinygrad"}
    for module in MODULES:
        if place(module) != "bench":  # which compares with them
            assert not frameworks & {name.split(".")[0] for name in imports(module)}, module


SOURCES = [path for path in ROOT.rglob("*") if path.suffix in (".cu", ".cuh", ".cpp", ".h")]
FILES = [*MODULES.values(), *sorted(SOURCES), *sorted(Path(__file__).parent.glob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_file_is_longer_than_300_lines(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 300, f"{path} has {lines} lines: a file that wants to be longer is two ideas"


# --- operations ---

FORMS = {"minicam.ops.im2col", "minicam.ops.winograd"}  # of conv, in NumPy
OPS = sorted(name for name in MODULES if re.match(r"minicam\.ops\.[^_]", name) and name not in FORMS)
NO_BACKWARD = {"minicam.ops.warp", "minicam.ops.sgd"}  # nothing is learned through them
NAMES = ["forward_naive", "forward_numpy", "backward_numpy", "forward_cuda", "backward_cuda", "forward", "backward"]


@pytest.mark.parametrize("module", OPS)
def test_every_operation_has_the_same_names_in_the_same_order(module):
    defined = []
    for node in TREES[module].body:
        if isinstance(node, ast.FunctionDef):
            defined.append(node.name)
        if isinstance(node, ast.Assign):
            defined += [target.id for target in node.targets if isinstance(target, ast.Name)]
    mine = [name for name in defined if name in NAMES]
    backward = {name for name in NAMES if name.startswith("backward")}
    assert mine == [name for name in NAMES if module not in NO_BACKWARD or name not in backward]


@pytest.mark.parametrize("module", OPS)
def test_every_operation_opens_with_its_formula_and_its_shapes(module):
    text = ast.get_docstring(TREES[module])
    opening, *rest = text.split("\n\n")
    assert opening.endswith("."), "what the operation is, in sentences"
    assert re.search(r"^ *\S.* = ", "\n\n".join(rest), re.MULTILINE), "a formula"
    assert re.search(r"\(N, |\bshape\b", text), "shapes"


def test_the_package_of_operations_names_them_all():
    assert {f"minicam.ops.{name}" for name in importlib.import_module("minicam.ops").__all__} == set(OPS)


# --- what is public ---


def public_functions(module):
    """Public functions, and public methods of public classes, defined in a module: (name, function, class or None)."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value, None
        if inspect.isclass(value):
            for key, member in vars(value).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))  # classmethod, property
                if not key.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{key}", function, value


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_every_public_function_has_a_docstring_and_annotations(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    for function_name, function, owner in public_functions(module):
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        if owner is not None and not isinstance(vars(owner)[function.__name__], staticmethod):
            parameters = parameters[1:]  # self
        missing = [p.name for p in parameters if p.annotation is p.empty]
        assert not missing, f"{name}.{function_name}: {', '.join(missing)} without annotation"
        assert signature.return_annotation is not signature.empty, f"{name}.{function_name}: returns what?"
        # A method that overrides a documented one says nothing new.
        documented = [getattr(c, function.__name__, None) for c in owner.__mro__] if owner else [function]
        assert any(getattr(f, "__doc__", None) for f in documented), f"{name}.{function_name} has no docstring"


HELP = [("minicam.train", "--train-from"), ("minicam.evaluate", "--without"), ("minicam.emulator", "trace")]


@pytest.mark.parametrize(("module", "says"), HELP)
def test_help_answers_within_a_second(module, says):
    """Best of three, as the machine may be busy. Heavy imports belong in the functions that need them."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
    assert min(seconds) < 1


# --- the suite itself ---


@pytest.mark.parametrize(("require_all", "failed", "skipped"), [("", 0, 4), ("1", 3, 1)])
def test_a_skip_of_what_must_run_is_a_failure_where_everything_is_required(require_all, failed, skipped, tmp_path):
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = oracle\n real\n gpu\n", encoding="utf-8")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.oracle\ndef test_oracle(): pytest.importorskip('no_such_framework')\n"
        "@pytest.mark.real\ndef test_real(real): pass\n"
        "@pytest.mark.gpu\ndef test_gpu(): pytest.skip('no GPU')\n"
        "@pytest.mark.oracle\ndef test_fine(): pass\n",
        encoding="utf-8",
    )
    (tmp_path / "test_file.py").write_text("import pytest\npytest.importorskip('no_such_framework')\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MINICAM", "PYTEST"))}
    environment["MINICAM_REQUIRE_ALL"] = require_all
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = re.findall(r"(\d+) (failed|error|passed|skipped)", done.stdout.splitlines()[-1])
    counts = {what: int(n) for n, what in found}
    assert counts.get("failed", 0) + counts.get("error", 0) == failed, done.stdout
    assert counts.get("skipped", 0) == skipped, done.stdout
    assert counts["passed"] == 1, done.stdout
    assert done.returncode == (1 if failed else 0)
    assert done.stdout.count("MINICAM_REQUIRE_ALL=1, but this skipped") >= failed


def test_real_data_that_is_named_but_missing_is_a_failure(tmp_path):
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_some.py").write_text("def test_real(real): pass\n", encoding="utf-8")
    (tmp_path / "isic2017").mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "MINICAM_REAL": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert f"MINICAM_REAL is {tmp_path}, which has no folder weights" in done.stdout
