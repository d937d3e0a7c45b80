"""Exercises that check themselves.

An exercise is a function that the learner writes. Its check is a generator of cases with the same name, whose
docstring is the hint:

    @exercise
    def output_size():
        '''Count the places where the kernel fits.'''
        yield case(7, 3, gives=5)
        yield case(8, 3, gives=6, hint="An even size is no exception.")

A lesson calls it with the answer, `check.output_size(output_size)`, and one line is printed: right, or what was
given, what came back, what was expected, and the hint. No error in the answer stops the notebook. There are always
several cases with different results, so no constant passes.
"""

import copy
import functools
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SHOWN = 60  # letters of an argument that are printed
FEW = 8  # numbers of an array that are printed; of a larger one, its shape


@dataclass(frozen=True)
class Case:
    """One call of the answer, and what it must return."""

    args: tuple
    gives: Any  # array, number, text, or a tuple of these
    holds: Callable[[Any], bool | str] | None  # in place of `gives`: is it right, or what is wrong with it?
    hint: str
    tolerance: float

    def fault(self, answer: Callable) -> str | None:
        """What is wrong with an answer, in words; None: nothing."""
        given = [copy.deepcopy(a) if isinstance(a, np.ndarray | list | dict) else a for a in self.args]
        call = f"{shown(answer)}({', '.join(map(shown, self.args))})"
        try:
            found = answer(*given)
        except (Exception, SystemExit) as error:
            # The line of the answer, not the line of NumPy below it.
            code = getattr(answer, "__code__", None)
            lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code is code]
            where = f" in its line {lines[-1] - code.co_firstlineno + 1}" if lines else ""
            return f"{call} raised {type(error).__name__}: {error}{where}."
        if found is None:
            return f"{call} returned None. Is the blank still there, or a return missing?"
        for n, (was, now) in enumerate(zip(self.args, given, strict=True), 1):
            if not _same(was, now):
                return f"{call} changed its argument number {n}, which is not its own."
        if self.holds is not None:
            try:
                right = self.holds(found)
                if isinstance(right, str):
                    return f"{call} returned {shown(found)}: {right}."
                return None if right else f"{call} returned {shown(found)}."
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                return f"{call} returned {shown(found)}, which cannot be used: {error}."
        difference = differs(found, self.gives, self.tolerance)
        return difference and f"{call} {difference}."


def case(*args: Any, gives: Any = None, holds: Callable | None = None, hint: str = "", tolerance: float = 1e-6) -> Case:
    """A case. `hint` is said after the exercise's own; `tolerance` is relative to the largest number expected."""
    if (gives is None) == (holds is None):
        raise ValueError("a case has either what it gives or what holds for it")
    return Case(args, gives, holds, hint, tolerance)


def exercise(cases: Callable[[], Iterator[Case]]) -> Callable[[Callable], None]:
    """Make a check of a generator of cases. `verdict(answer)` of it returns what it would print."""

    def verdict(answer: Callable) -> tuple[bool, str]:
        name = cases.__name__
        if not callable(answer):
            return False, f"✗ {name}: expected a function, found {shown(answer)}."
        for one in cases():
            if fault := one.fault(answer):
                hint = " ".join(f"{cases.__doc__} {one.hint}".split())
                return False, f"✗ {fault}\n  Hint: {hint}"
        return True, f"✓ {name} is right."

    @functools.wraps(cases)
    def check(answer: Callable) -> None:
        print(verdict(answer)[1])

    check.verdict = verdict
    check.cases = cases
    return check


def differs(found: Any, expected: Any, tolerance: float = 1e-6) -> str | None:
    """How a result differs from what is expected, in words; None: it does not."""
    if isinstance(expected, tuple):
        several = isinstance(found, tuple | list) or (isinstance(found, np.ndarray) and found.ndim)
        if not several or len(found) != len(expected):
            return f"returned {shown(found)}, expected {len(expected)} results"
        for n, pair in enumerate(zip(found, expected, strict=True), 1):
            if difference := differs(*pair, tolerance):
                return f"{difference} (result number {n})"
        return None
    unlike = f"returned {shown(found)}, expected {shown(expected)}"
    if isinstance(expected, str | bool | np.bool_):
        same = isinstance(found, str if isinstance(expected, str) else bool | np.bool_) and found == expected
        return None if same else unlike
    try:
        # NumPy would make numbers of text and of a truth value, and drop the imaginary part of others.
        if isinstance(found, bool | np.bool_) or np.asarray(found).dtype.kind not in "biuf":
            return unlike
        found_array, wanted = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    except (TypeError, ValueError):
        return unlike
    if found_array.shape != wanted.shape:
        describe = shown if max(found_array.size, wanted.size) <= FEW else _kind
        return f"returned {describe(found_array[()])}, expected {describe(wanted[()])}"
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0) or 1
    wrong = ~np.isclose(found_array, wanted, rtol=0, atol=tolerance * size, equal_nan=True)
    if not wrong.any():
        return None
    if wanted.ndim == 0:
        return f"returned {found_array:.6g}, expected {wanted:.6g}"
    first = tuple(np.argwhere(wrong)[0].tolist())
    return (
        f"returned {found_array[first]:.6g} at {list(first)}, expected {wanted[first]:.6g} "
        f"({wrong.sum()} of {wrong.size} numbers are wrong)"
    )


def shown(value: Any) -> str:
    """A value in few letters."""
    if isinstance(value, np.ndarray) and value.size > FEW:
        return f"array {value.shape}"
    if callable(value):
        return getattr(value, "__name__", "a function")
    if isinstance(value, np.floating):
        return f"{value:.6g}"
    try:
        text = " ".join((np.array2string(value, precision=4) if isinstance(value, np.ndarray) else repr(value)).split())
    except Exception:  # of a class of the learner's
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _same(was: Any, now: Any) -> bool:
    """Whether an argument is what it was, so far as it can be changed: an array, a list or dict of anything."""
    if isinstance(was, np.ndarray):
        return isinstance(now, np.ndarray) and np.array_equal(was, now, equal_nan=was.dtype.kind == "f")
    if isinstance(was, dict):
        return was.keys() == now.keys() and all(_same(value, now[key]) for key, value in was.items())
    if isinstance(was, list | tuple):
        return len(was) == len(now) and all(map(_same, was, now))
    return was is now or was == now


def _kind(array: Any) -> str:
    return f"an array of shape {np.shape(array)}" if np.ndim(array) else "a number"

