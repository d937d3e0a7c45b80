"""What the threads of a launch read and wrote: the record of it, and that record as text."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from minicam.emulator.module import Module, SharedArray, element, index_of

KINDS = ("read", "write", "atomic", "barrier")
SHOWN = 4  # elements of a list; then comes how many there are
GATHERED = "The accesses of a line of code are gathered, so the order of the lines here is not the order in time."

Position = tuple[int, int, int]


@dataclass(frozen=True)
class Access:
    """One access to one element; or the arrival of a thread at a barrier, which has no array.

    block, thread  positions (x, y, z)
    kind           "read", "write", "atomic" or "barrier"
    array          the name of the parameter or of the shared array
    index          of the element, as in NumPy
    line           "gap.cu:16"
    step           how many barriers the block had passed
    """

    block: Position
    thread: Position
    kind: str
    array: str
    index: tuple[int, ...]
    line: str
    step: int


@dataclass(frozen=True)
class Launch:
    """A launch, and all accesses to memory in the order in which they happened.

    `arguments` has the shape of each array, the value of each number, and None for a pointer to nothing.
    """

    file: str
    kernel: str
    grid: Position
    block: Position
    arguments: dict[str, Any]
    accesses: list[Access]


def record(module: Module, kernel: str, grid: Position, block: Position, args: Sequence[Any]) -> Launch:
    """The record of the launch that a module has just run, traced."""
    parameters = module.source.kernels[kernel]
    events = module.events()
    places = np.unique(events["place"])
    lines = dict(zip(places.tolist(), module.lines(places.tolist()), strict=True)) if len(places) else {}
    shared = {n: module.shared_array(-1 - n) for n in np.unique(events["array"]).tolist() if n < 0}
    accesses = []
    for place, offset, block_number, thread_number, interval, size, kind, array in events.tolist():
        if KINDS[kind] == "barrier":
            elements = [("", ())]
        elif array < 0:
            elements = _shared_elements(shared[array], offset, size)
        else:
            value = args[array]
            starts = range(offset, offset + size, value.itemsize)
            elements = [(parameters[array].name, index_of(value, start)) for start in starts]
        for name, index in elements:
            who = _position(block_number, grid), _position(thread_number, block)
            accesses.append(Access(*who, KINDS[kind], name, index, lines[place], interval))
    arguments = {
        p.name: value.shape if isinstance(value, np.ndarray) else value
        for p, value in zip(parameters, args, strict=True)
    }
    return Launch(module.source.name, kernel, tuple(grid), tuple(block), arguments, accesses)


def _shared_elements(array: SharedArray, offset: int, size: int) -> list[tuple[str, tuple[int, ...]]]:
    lengths = tuple(array.length[: array.dimensions])
    elements = range(offset // array.item_bytes, -(-(offset + size) // array.item_bytes))
    return [
        (array.name.decode(), tuple(int(i) for i in np.unravel_index(e, lengths)) if lengths else ()) for e in elements
    ]


def _position(number: int, size: Sequence[int]) -> Position:
    return number % size[0], number // size[0] % size[1], number // size[0] // size[1]


def _number(position: Position, size: Sequence[int]) -> int:
    return position[0] + size[0] * (position[1] + size[1] * position[2])


# -- as text


def text(launch: Launch, threads: int = 8, only: Collection[int] | None = None) -> str:
    """A launch, thread by thread, for so many threads that do something.

    only  show just those that have one of these numbers in their block
    Between two barriers each thread is a line (or some), in the order of its number, though any order is possible.
    """
    return "\n".join([*_head(launch), *_body(launch, threads, only)])


def _head(launch: Launch) -> Iterable[str]:
    blocks, size = np.prod(launch.grid), np.prod(launch.block)
    yield f"{launch.file}: {launch.kernel}"
    yield f"  grid {_point(launch.grid)}, block {_point(launch.block)}: {blocks} x {size} = {blocks * size} threads"
    arrays = [f"{name} {value}" for name, value in launch.arguments.items() if isinstance(value, tuple)]
    others = [f"{name} = {value!s}" for name, value in launch.arguments.items() if not isinstance(value, tuple)]
    yield f"  arrays {'  '.join(arrays)}"
    yield f"  {'  '.join(others)}"


def _body(launch: Launch, threads: int, only: Collection[int] | None) -> Iterable[str]:
    in_order = sorted(launch.accesses, key=_order)
    busy = list(dict.fromkeys((a.block, a.thread) for a in in_order if a.kind != "barrier"))
    asked_for = [who for who in busy if only is None or _number(who[1], launch.block) in only]
    shown = set(asked_for[:threads])
    for block, in_block in groupby(in_order, key=lambda a: a.block):
        accesses = list(in_block)
        if not any((block, a.thread) in shown for a in accesses):
            continue
        for _, in_step in groupby(accesses, key=lambda a: a.step):
            yield from _step(list(in_step), shown)
    if len(asked_for) > threads:
        yield f"  and {len(asked_for) - threads} more threads that do something (--threads shows more of them)"
    idle = int(np.prod(launch.grid) * np.prod(launch.block)) - len(busy)
    if idle:
        yield f"  {idle} threads touch no memory: {_idle(launch, set(busy))}"
    steps = (list(own) for _, own in groupby(in_order, key=_order))
    if any((own[0].block, own[0].thread) in shown and _gathered(own) for own in steps):
        yield f"  {GATHERED}"


def _order(access: Access) -> tuple:
    return access.block[::-1], access.step, access.thread[::-1]


def _step(accesses: list[Access], shown: set) -> Iterable[str]:
    """What the threads of a block do between two barriers, and the barrier."""
    for (block, thread), own in groupby(accesses, key=lambda a: (a.block, a.thread)):
        if (block, thread) not in shown:
            continue
        lines: dict[tuple[str, str], dict[str, list[Access]]] = {}  # by line and kind, then by array
        for a in own:
            if a.kind != "barrier":
                lines.setdefault((a.line, a.kind), {}).setdefault(a.array, []).append(a)
        name = f"  block {_point(block)} thread {_point(thread)}"
        for (line, kind), arrays in lines.items():
            what = "  ".join(_list(elements) for elements in arrays.values())
            yield f"{name}  {_verb(kind)} {what}   {line}"
            name = " " * len(name)
    barrier = next((a.line for a in accesses if a.kind == "barrier"), None)
    if barrier:
        yield f"  -- barrier, {barrier} --"


def _gathered(accesses: list[Access]) -> bool:
    """Does a thread come back to a line of code between two barriers, so that its text is not in the order of time?"""
    visits = [visit for visit, _ in groupby(accesses, key=lambda a: (a.line, a.kind, a.array))]
    return len(visits) > len(set(visits))


def _verb(kind: str) -> str:
    return {"read": "reads ", "write": "writes", "atomic": "atomic"}[kind]


def _list(accesses: list[Access]) -> str:
    names = [element(a.array, a.index) for a in accesses]
    if len(names) <= SHOWN + 1:
        return " ".join(names)
    return f"{' '.join(names[: SHOWN - 1])} ... {names[-1]} ({len(names)} in all)"


def _idle(launch: Launch, busy: set) -> str:
    """The threads that touched no memory, as ranges of their numbers in a block."""
    ranges = []
    size = int(np.prod(launch.block))
    for number in range(int(np.prod(launch.grid))):
        block = _position(number, launch.grid)
        idle = [t for t in range(size) if (block, _position(t, launch.block)) not in busy]
        for _, run in groupby(enumerate(idle), key=lambda pair: pair[1] - pair[0]):
            first, *rest = [t for _, t in run]
            ranges.append(f"{first}{f' to {rest[-1]}' if rest else ''} of block {_point(block)}")
    return ", ".join(ranges[:SHOWN]) + (" ..." if len(ranges) > SHOWN else "")


def _point(position: Sequence[int]) -> str:
    return f"({','.join(map(str, position))})"
