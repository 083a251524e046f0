"""The control flow of a step with bodies: runs of bodies, moves, loops and branches over places.

What a loop does is written here once: carried values take turns in two places or are rows of a log,
slices and stacks are one row further in each iteration, the last iteration writes the results. The
words of a table, files of Python and libraries for C print these instructions.

Sizes and offsets are elements, and symbolic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from staticgrad.language.ir.schedule import Step, StepBody
from staticgrad.language.types.dim import Size
from staticgrad.support.records import NamedTuple


class At(NamedTuple):
    """An access of the step, from element ``offset`` on.

    With a ``row``, its number of elements, it is so many rows further as the number of the
    iteration says.
    """

    access: int
    offset: Size = 0
    row: Size | None = None


class Turn(NamedTuple):
    """Place where a carried value is read, or ``written``, in an iteration; behind the loop
    where the next iteration would read it."""

    carry: int
    written: bool = False


#: An i64: the number of the iteration, or behind a loop how many iterations were made.
Counter = Literal["number", "made"]
Place = At | Turn | Counter


class Turns(NamedTuple):
    """The places of a carried value: read at ``first`` in the first iteration, then written to two
    places by turns, and read there by the next one."""

    first: At
    last: At
    alternate: At

    def write_places(self, iterations: int) -> tuple[At, At]:
        """Return where the first and the second iteration write: the last one writes ``last``."""
        return (self.last, self.alternate) if iterations % 2 else (self.alternate, self.last)


class Run(NamedTuple):
    """One run of a body of the step, by its number.

    ``bound`` has the place of each buffer of the body that is outside of it.
    """

    body: int
    bound: Mapping[str, Place]


class Move(NamedTuple):
    """So many ``elements`` are copied, unless both places are the same."""

    to: At
    source: Place
    elements: Size


class Unless(NamedTuple):
    """The loop ends if the byte at a place is 0."""

    goes: At


class Loop(NamedTuple):
    """So many iterations of what is ``inside``; ``backwards``, their numbers begin with the last.

    ``turns``: the carried values that take turns.
    """

    iterations: Size
    backwards: bool
    turns: Mapping[int, Turns]
    inside: tuple[Run | Unless, ...]


class Branch(NamedTuple):
    """One of several runs, by an i64; numbers beyond them are the first or the last."""

    chosen: At
    cases: tuple[Run, ...]


Instruction = Move | Loop | Branch


def control_flow(step: Step) -> tuple[Instruction, ...]:
    """Return the control-flow instructions of a loop or branch: runs of bodies, moves, tests."""
    control, bodies = step.control, step.bodies()
    if control.kind == "branch":
        cases = tuple(Run(n, _bind_places(step, body, {})) for n, body in enumerate(bodies))
        return (Branch(At(control.decides), cases),)
    iterations = step.arguments[0]
    counts = {n: body.schedule.buffer(name).size for body in bodies for name, n in body.carried}
    prologue, epilogue = list[Move](), list[Move]()
    turns: dict[int, Turns] = {}
    for n, (first, last, alternate) in enumerate(control.carries):
        if n in control.logged:
            begin = At(last, iterations * counts[n] if control.backwards else 0)
            prologue.append(Move(begin, At(first), counts[n]))
        else:
            turns[n] = Turns(At(first), At(last), At(alternate))
            epilogue.append(Move(At(last), Turn(n), counts[n]))
    if control.done >= 0:
        epilogue.append(Move(At(control.done), "made", 1))
    inside: list[Run | Unless] = []
    for n, body in enumerate(bodies):
        inside.append(Run(n, _bind_places(step, body, counts)))
        if control.kind == "while" and n == 0:
            inside.append(Unless(At(control.decides)))
    return (*prologue, Loop(iterations, control.backwards, turns, tuple(inside)), *epilogue)


def _bind_places(step: Step, body: StepBody, counts: Mapping[int, Size]) -> dict[str, Place]:
    """Bind the buffers of a loop's body to places outside: operands, rows, ping-pong buffers."""
    control, buffers, carried = step.control, body.schedule.by_name, dict(body.carried)
    bound: dict[str, Place] = {}
    for name, access in body.outside:
        written = buffers[name].role != "input"
        if name in body.rows:
            bound[name] = At(access, 0, buffers[name].size)
        elif name not in carried:
            bound[name] = At(access)
        elif carried[name] in control.logged:  # an iteration writes what the next one reads
            count, (_, log, _) = counts[carried[name]], control.carries[carried[name]]
            bound[name] = At(log, count if written != control.backwards else 0, count)
        else:
            bound[name] = Turn(carried[name], written)
    if body.number:
        bound[body.number] = "number"
    return bound
