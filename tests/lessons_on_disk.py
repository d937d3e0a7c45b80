"""The notebooks of `lessons/` as the tests see them."""

import ast
import importlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import nbformat

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "lessons"
BLANK = re.compile(r"^    \.\.\.  # (\d+) lines?$", re.MULTILINE)


@dataclass(frozen=True)
class Blank:
    """An exercise in its notebook: how many lines are asked for, the code of the cell, the function in it."""

    lines: int
    code: str
    function: ast.FunctionDef


@dataclass(frozen=True)
class Lesson:
    """A notebook: `02_convolution.ipynb` has the number 2 and the name convolution."""

    path: Path

    def __str__(self) -> str:
        return self.path.stem

    @property
    def number(self) -> int:
        return int(self.path.stem[:2])

    @property
    def name(self) -> str:
        return self.path.stem[3:]

    @cached_property
    def notebook(self) -> nbformat.NotebookNode:
        return nbformat.read(self.path, as_version=4)

    def sources(self, kind: str) -> list[str]:
        """The text of its "code" or "markdown" cells."""
        return [cell.source for cell in self.notebook.cells if cell.cell_type == kind]

    @property
    def code(self) -> str:
        return "\n\n".join(self.sources("code"))

    @property
    def prose(self) -> str:
        return "\n\n".join(self.sources("markdown"))

    @cached_property
    def blanks(self) -> dict[str, Blank]:
        """Of each exercise, by name."""
        found = {}
        for code in self.sources("code"):
            if match := BLANK.search(code):
                (function,) = (node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef))
                found[function.name] = Blank(int(match[1]), code, function)
        return found

    @property
    def checks(self) -> ModuleType:
        return importlib.import_module(f"course.checks.{self.name}")

    @property
    def solutions(self) -> ModuleType:
        return importlib.import_module(f"solutions.{self.name}")

    @property
    def wrong_answers(self) -> ModuleType:
        return importlib.import_module(f"wrong_answers.{self.name}")


LESSONS = [Lesson(path) for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))]
EXERCISES = [(lesson, name) for lesson in LESSONS for name in lesson.blanks]


def links(text: str) -> list[str]:
    """The relative targets of Markdown's links."""
    return [target for target in re.findall(r"\]\(([^()\s]+)\)", text) if "://" not in target]
