"""The exercises of the lessons: what their checks let pass, and what they say."""

import ast
import functools
import inspect
import re
import sys

import numpy as np
import pytest
from lessons_on_disk import EXERCISES, LESSONS

from course import emulated
from course.exercise import case, differs, exercise

each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=str)
each_exercise = pytest.mark.parametrize(("lesson", "name"), EXERCISES, ids=lambda x: str(x))


def wrong_answers(lesson, name):
    return {k: f for k, f in vars(lesson.wrong_answers).items() if k.startswith(f"{name}__")}


@each_lesson
def test_notebook_checks_and_solutions_have_the_same_exercises(lesson):
    checks = {name for name, value in vars(lesson.checks).items() if hasattr(value, "verdict")}
    assert set(lesson.blanks) == checks
    assert checks <= set(vars(lesson.solutions))
    stray = [name for name in vars(lesson.wrong_answers) if "__" in name.strip("_")]
    assert {name.split("__")[0] for name in stray} == checks


@each_exercise
def test_the_solution_passes(lesson, name):
    right, words = getattr(lesson.checks, name).verdict(getattr(lesson.solutions, name))
    assert right, words
    assert words == f"✓ {name} is right."


@each_exercise
def test_the_blank_asks_for_as_many_lines_as_the_solution_has(lesson, name):
    function = getattr(lesson.solutions, name)
    (tree,) = ast.parse(inspect.getsource(function)).body
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    lines = inspect.getsource(function).splitlines()[body[0].lineno - 1 :]
    count = sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)
    assert lesson.blanks[name].lines == count


@each_exercise
def test_the_answer_and_the_solution_take_the_same_arguments(lesson, name):
    solution = inspect.signature(getattr(lesson.solutions, name))
    assert ast.unparse(lesson.blanks[name].function.args) == str(solution)[1:-1]


@each_exercise
def test_the_blank_is_told_so_with_a_hint(lesson, name):
    right, words = getattr(lesson.checks, name).verdict(lambda *_: None)
    assert not right
    assert "returned None. Is the blank still there" in words
    assert "\n  Hint: " in words


@each_exercise
def test_wrong_but_plausible_answers_are_rejected(lesson, name):
    answers = wrong_answers(lesson, name)
    assert answers
    for wrong, function in answers.items():
        right, words = getattr(lesson.checks, name).verdict(function)
        assert not right, f"{wrong} passes"
        assert "\n  Hint: " in words
        assert not re.search(r"(Name|Attribute|Syntax|Import)Error", words), words


@each_exercise
def test_no_constant_passes(lesson, name):
    """Not 0, nor whatever the right answer of any one case is, nor an argument handed back."""
    check = getattr(lesson.checks, name)
    cases = list(check.cases())
    answers = [getattr(lesson.solutions, name)(*one.args) for one in cases]
    for constant in [0, 1, 1.0, True, False, "", [], np.zeros(3), *answers]:
        assert not check.verdict(lambda *_, constant=constant: constant)[0], constant
    for n in range(max(len(one.args) for one in cases)):
        assert not check.verdict(lambda *args, n=n: args[n])[0], f"returning argument {n} passes"


# --- the checks themselves


@exercise
def double():
    """Add it to itself."""
    yield case(1, gives=2)
    yield case(np.arange(3.0), gives=np.array([0.0, 2, 4]), hint="Arrays, too.")


@exercise
def root():
    """There are two."""
    yield case(4, holds=lambda y: y * y == 4)
    yield case(9, holds=lambda y: y * y == 9)


@exercise
def both():
    """Two results."""
    yield case(2, gives=("two", True, 2.0))


def said(check, answer):
    right, words = check.verdict(answer)
    return words if right else words.splitlines()[0]


def test_what_is_said_of_answers():
    assert said(double, lambda x: 2 * x) == "✓ double is right."
    assert double.verdict(lambda x: 2)[1].splitlines() == [
        "✗ <lambda>([0. 1. 2.]) returned 2, expected [0. 2. 4.].",
        "  Hint: Add it to itself. Arrays, too.",
    ]
    assert said(double, lambda x: x) == "✗ <lambda>(1) returned 1, expected 2."
    assert said(double, lambda x: 2 * x + (x == 2)) == (
        "✗ <lambda>([0. 1. 2.]) returned 5 at [2], expected 4 (1 of 3 numbers are wrong)."
    )
    assert said(double, lambda x: np.nan) == "✗ <lambda>(1) returned nan, expected 2."
    assert said(double, lambda x: "two") == "✗ <lambda>(1) returned 'two', expected 2."
    assert said(double, lambda x: "2") == "✗ <lambda>(1) returned '2', expected 2."
    assert said(double, lambda x: [2.0, 2]) == "✗ <lambda>(1) returned [2. 2.], expected 2."
    assert said(double, 2) == "✗ double: expected a function, found 2."
    assert said(double, lambda: 2).startswith("✗ <lambda>(1) raised TypeError: ")


def test_the_line_of_the_answer_that_raised_is_named():
    def divide(x):
        y = 0
        return x / y

    assert said(double, divide) == "✗ divide(1) raised ZeroDivisionError: division by zero in its line 3."


def test_an_answer_may_not_change_its_arguments():
    def in_place(x):
        x *= 2
        return x

    assert said(double, in_place) == "✗ in_place([0. 1. 2.]) changed its argument number 1, which is not its own."

    @exercise
    def total():
        """All of them, in lists, too."""
        yield case([1, [np.ones(2), {"b": 3}]], gives=6)

    def emptying(change):
        def answer(x):
            change(x)
            return 6

        return answer

    changes = lambda x: x.pop(), lambda x: x[1][0].fill(2), lambda x: x[1][1].update(b=4), lambda x: x[1].append(5)
    for change in changes:
        assert "changed its argument number 1" in said(total, emptying(change))
    assert said(total, emptying(len)) == "✓ total is right."


def test_more_than_one_result_can_be_right():
    assert said(root, lambda x: x**0.5) == said(root, lambda x: -(x**0.5)) == "✓ root is right."
    assert said(root, lambda x: 2) == "✗ <lambda>(9) returned 2."
    assert said(root, lambda x: "2").startswith("✗ <lambda>(4) returned '2', which cannot be used: ")


def test_several_results():
    assert said(both, lambda x: ("two", True, 2)) == "✓ both is right."
    assert said(both, lambda x: ["two", True, 2]) == "✓ both is right."
    assert said(both, lambda x: ("two", True)) == "✗ <lambda>(2) returned ('two', True), expected 3 results."
    assert said(both, lambda x: ("two", 1, 2)) == "✗ <lambda>(2) returned 1, expected True (result number 2)."


def test_a_list_and_an_array_serve_as_a_tuple_of_numbers():
    for one in ([1, 2], np.array([1, 2])):
        assert differs(one, (1, 2)) is None
        assert differs(one, (1, 3)) == "returned 2, expected 3 (result number 2)"
    for text in (["1", "2"], np.array(["1", "2"]), np.array([1 + 5j, 2])):
        assert differs(text, np.array([1, 2])).startswith("returned ")
    assert differs([0, 1], [1]) == "returned [0. 1.], expected [1.]"
    assert differs(np.zeros((3, 4)), np.zeros((4, 3))) == (
        "returned an array of shape (3, 4), expected an array of shape (4, 3)"
    )


def test_nothing_an_answer_does_stops_the_notebook(capsys):
    def endless(x):
        return endless(x)

    class Mute:
        def __repr__(self):
            raise RuntimeError

    odd = lambda x: object(), lambda x: [1, [2]], lambda x: np.zeros((2, 0)), lambda x: Mute(), lambda x: sys.exit(1)
    for answer in (endless, functools.partial(max, 0), *odd):
        for check in (double, root, both):
            check(answer)
    assert capsys.readouterr().out.count("Hint: ") == 21


def test_a_case_says_what_is_right():
    with pytest.raises(ValueError, match="either"):
        case(1)


def test_a_kernel_that_is_an_answer_may_include_a_header_of_minicam():
    text = '#include "mma.cuh"\nextern "C" __global__ void f(const float* x, int n) {}\n'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulated, "compiler", lambda: None)  # for this question none is needed
        assert emulated.refusal(text, "f", "const float* x, int n") is None
        other = text.replace("mma", "no_such")
        assert emulated.refusal(other, "f", "const float* x, int n").startswith("it cannot be run: ")
        assert emulated.refusal(text, "g", "const float* x, int n").startswith("there must be one kernel, ")
