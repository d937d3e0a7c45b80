"""The form of the lessons, and that they leave no file of minicam unexplained."""

import functools
import re
from itertools import pairwise

import nbformat
import pytest
from lessons_on_disk import BLANK, FOLDER, LESSONS, ROOT, links

README = (FOLDER / "README.md").read_text(encoding="utf-8")
SUFFIXES = {".py", ".cu", ".cuh", ".h", ".cpp"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "minicam").rglob("*")
    if path.suffix in SUFFIXES and path.read_bytes().strip()
)
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=str)


def lines_of(code):
    """The lines that are more than layout."""
    return [line.strip() for line in code.splitlines() if line.strip()]


def test_they_are_numbered_without_a_gap():
    assert [lesson.number for lesson in LESSONS] == list(range(1, 13))


@each_lesson
def test_it_is_a_valid_notebook_without_outputs(lesson):
    nbformat.validate(lesson.notebook)
    cells = lesson.notebook.cells
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells if cell.cell_type == "code")
    assert lesson.notebook.metadata.kernelspec.name == "python3"


@each_lesson
def test_it_has_the_length_of_a_lesson_and_cells_that_can_be_read(lesson):
    assert 25 <= len(lesson.notebook.cells) <= 40
    for code in lesson.sources("code"):
        assert len(lines_of(code)) <= 12, code


@each_lesson
def test_it_opens_with_what_the_reader_can_then_do_needs_and_spends(lesson):
    opening = lesson.notebook.cells[0].source
    assert opening.startswith(f"# {lesson.number}. ")
    for promise in ("**After this lesson you can**", "**You need**", "**It takes**"):
        assert promise in opening
    assert re.search(r"run in (about )?\d+ seconds", opening)


@each_lesson
def test_it_ends_with_what_to_read_and_the_way_on(lesson):
    end = lesson.notebook.cells[-1].source
    assert "## Now read\n" in end
    assert f"solutions/{lesson.name}.py" in links(end)
    following = [other.path.name for other in LESSONS if other.number == lesson.number + 1]
    assert [target for target in links(end) if target.endswith(".ipynb")] == following


@each_lesson
def test_its_links_lead_to_files(lesson):
    for target in links(lesson.prose):
        assert (FOLDER / target.partition("#")[0]).exists(), target


@each_lesson
def test_it_sets_exercises_one_after_the_other(lesson):
    titles = re.findall(r"^### Exercise (\d+)\.(\d+): \S", lesson.prose, re.MULTILINE)
    assert titles == [(str(lesson.number), str(n)) for n in range(1, len(titles) + 1)]
    assert 3 <= len(titles) <= 6
    assert len(lesson.blanks) == len(titles)
    for above, cell in pairwise(lesson.notebook.cells):
        if BLANK.search(cell.source):
            assert "### Exercise" in above.source


@each_lesson
def test_every_blank_is_followed_by_its_check_and_has_a_specification(lesson):
    for name, blank in lesson.blanks.items():
        assert blank.code.rstrip().endswith(f"\n\n\ncheck.{name}({name})"), blank.code
        assert '    """' in blank.code, blank.code


@each_lesson
def test_it_imports_minicam_and_does_not_paste_it(lesson):
    """No four lines in a row of any function of minicam's; imports and lone brackets do not count."""
    for code in lesson.sources("code"):
        assert not runs_of_four(code) & runs_of_minicam(), code
    assert any("minicam" in code for code in lesson.sources("code"))


@functools.cache
def runs_of_minicam():
    texts = ((ROOT / file).read_text(encoding="utf-8") for file in FILES)
    return set().union(*map(runs_of_four, texts))


def runs_of_four(code):
    lines = [line for line in lines_of(code) if len(line) > 3 and not line.startswith(("import ", "from "))]
    return {tuple(lines[n : n + 4]) for n in range(len(lines) - 3)}


# --- lessons/README.md


def test_the_map_lists_every_lesson_in_order():
    assert list(dict.fromkeys(t for t in links(README) if t.endswith(".ipynb"))) == [x.path.name for x in LESSONS]


@each_lesson
def test_the_map_repeats_what_the_lesson_says_of_itself(lesson):
    opening = " ".join(lesson.notebook.cells[0].source.split())
    title = lesson.notebook.cells[0].source.splitlines()[0].removeprefix("# ")
    minutes = re.search(r"\*\*It takes\*\* about (\d+) minutes", opening)[1]
    seconds = re.search(r"run in (?:about )?(\d+) seconds", opening)[1]
    (row,) = (row for row in README.splitlines() if row.startswith(f"| [{title}]({lesson.path.name}) |"))
    assert row.endswith(f" | {minutes} min | {seconds} s |")


@pytest.mark.parametrize("target", sorted(set(links(README))))
def test_a_link_of_the_map_leads_to_a_file(target):
    assert (FOLDER / target).exists()


# | [`backend.py`](../minicam/backend.py), ... | 11 |
TABLE = {
    target.removeprefix("../"): [int(n) for n in re.findall(r"\d+", row[1])]
    for row in re.findall(r"^\| (\[`.*) \| ([\d, ]+) \|$", README, re.MULTILINE)
    for target in links(row[0])
}


@pytest.mark.parametrize("file", FILES)
def test_every_file_of_minicam_is_explained_by_the_lesson_that_the_table_names(file):
    assert TABLE.get(file), f"{file}: add it to the table of files in lessons/README.md"
    for number in TABLE[file]:
        (lesson,) = (lesson for lesson in LESSONS if lesson.number == number)
        assert f"../{file}" in links(lesson.prose), f"{lesson} has no link to {file}"


def test_the_table_names_no_other_files():
    assert set(TABLE) <= set(FILES)
