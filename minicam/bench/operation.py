"""One operation: its result compared with what must come out, then its time, then its row."""

from collections.abc import Callable, Mapping
from typing import Any

from minicam.bench.cases import Case
from minicam.bench.clock import Clock, in_turn
from minicam.bench.figures import rates, rounded, timed
from minicam.bench.reference import ADVICE, compare, rounding


def operation(
    case: Case, precision: str, best: dict, clock: Clock, repeats: int, warm_up: int = 3, advice: str = ADVICE
) -> dict:
    """Check a case, time it in turn with PyTorch, and make a row of it.

    best    the peaks, of which a rate is a share (see `figures.rates`)
    advice  the command that finds out what is wrong with a result
    Raises MinicamError where the result is wrong.
    """
    pairs = case.check(case.run(), rounding(precision))
    off = max(compare(f"{case.name} {case.direction} ({precision})", *pair, advice=advice) for pair in pairs)
    memory, twin = fastest(clock, case.twins)
    runs = [run for run in (case.run, case.but, twin) if run is not None]
    seconds = in_turn(clock, runs, repeats, warm_up)
    times = timed(seconds[0] - seconds[1] if case.but else seconds[0], seconds[-1] if twin else None)
    rate = rates(best, precision, times["milliseconds"], case.flops, case.bytes)
    names = {"layer": case.name, "direction": case.direction, "precision": precision, "count": case.count}
    return names | times | {"torch_format": memory} | rate | {"flops": case.flops, "off": rounded(off)}


def fastest(
    clock: Clock, runs: Mapping[str, Callable[[], Any]], warm_up: int = 1
) -> tuple[str | None, Callable[[], Any] | None]:
    """Name and function of the one that takes the least time, each timed once; None of none. One alone is not tried."""
    if len(runs) < 2:
        return next(iter(runs.items()), (None, None))
    seconds = in_turn(clock, list(runs.values()), 1, warm_up)[:, 0]
    return list(runs.items())[seconds.argmin()]
