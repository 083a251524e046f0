"""The control flow of a loop or branch step as a few instructions over addresses.

Three writers print them: the driver's table (``compiler/runtime/words.py``), exported files of
Python and libraries for C (``staticgrad.exporting``). A loop of 4 iterations that carries ``c`` (3
elements), reads rows ``x[t]`` (2 elements) and stores rows ``y[t]`` (5 elements)::

    loop (in c, in x, out c', out y) iterations 4 carries 1 slices 1

                                      ->

    Loop(4, carries={0: PingPongBuffers(first=c, last=c', alternate=room)}):
        RunBody(0): in.c = CarryAddress(0)     in.x = StepAddress(x, stride=2)
                    out.c = CarryAddress(0, written=True)     out.y = StepAddress(y, stride=5)
    Copy(c', CarryAddress(0), 3)

An iteration reads one of two ping-pong buffers and writes the other one; the last iteration writes
the result. A carried value whose values are all stored is a row of that array instead.

Sizes and offsets are elements, and symbolic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from staticgrad.language.ir.schedule import Step, StepBody
from staticgrad.language.types.dim import Size
from staticgrad.support.records import NamedTuple


class StepAddress(NamedTuple):
    """An address in an operand of the step: ``offset`` elements behind the begin of the access.

    With a ``stride``, in elements, it moves by so much with the index of the iteration.
    """

    access: int
    offset: Size = 0
    stride: Size | None = None


class CarryAddress(NamedTuple):
    """The ping-pong buffer from which an iteration reads a carried value, or which it writes.

    Behind the loop it is the buffer that the next iteration would read.
    """

    carry: int
    written: bool = False


#: An i64: the index of the iteration, or behind a loop the number of iterations that ran.
Counter = Literal["index", "count"]
Location = StepAddress | CarryAddress | Counter


class PingPongBuffers(NamedTuple):
    """The buffers of a carried value, of which iterations read one and write another.

    The first iteration reads ``first``. Iterations write ``last`` and ``alternate`` in turn; each
    reads what the one before it has written.
    """

    first: StepAddress
    last: StepAddress
    alternate: StepAddress

    def write_addresses(self, iterations: int) -> tuple[StepAddress, StepAddress]:
        """Return where the first and the second iteration write: the last one writes ``last``."""
        return (self.last, self.alternate) if iterations % 2 else (self.alternate, self.last)


class RunBody(NamedTuple):
    """One run of a body of the step, by its number.

    ``bound``: the location of each buffer of the body that is outside of it.
    """

    body: int
    bound: Mapping[str, Location]


class Copy(NamedTuple):
    """Copy ``elements`` from a location to an address, unless both are the same."""

    target: StepAddress
    source: Location
    elements: Size


class BreakUnless(NamedTuple):
    """End the loop if the byte at ``condition`` is 0."""

    condition: StepAddress


class Loop(NamedTuple):
    """Run the ``instructions`` so many times; ``backwards``, from the last index to the first.

    ``carries``: the ping-pong buffers of carried values that have them.
    """

    iterations: Size
    backwards: bool
    carries: Mapping[int, PingPongBuffers]
    instructions: tuple[RunBody | BreakUnless, ...]


class Branch(NamedTuple):
    """Run the case at an i64 ``selector``; numbers beyond the cases are the first or the last."""

    selector: StepAddress
    cases: tuple[RunBody, ...]


Instruction = Copy | Loop | Branch


def control_flow(step: Step) -> tuple[Instruction, ...]:
    """Return the control-flow instructions of a loop or branch: runs of bodies, copies, tests."""
    control, bodies = step.control, step.bodies()
    if control.kind == "branch":
        cases = tuple(RunBody(n, _bind_locations(step, body, {})) for n, body in enumerate(bodies))
        return (Branch(StepAddress(control.decides), cases),)
    iterations = step.arguments[0]
    counts = {n: body.schedule.buffer(name).size for body in bodies for name, n in body.carried}
    prologue, epilogue = list[Copy](), list[Copy]()
    carries: dict[int, PingPongBuffers] = {}
    for n, (first, last, alternate) in enumerate(control.carries):
        if n in control.logged:
            begin = StepAddress(last, iterations * counts[n] if control.backwards else 0)
            prologue.append(Copy(begin, StepAddress(first), counts[n]))
        else:
            carries[n] = PingPongBuffers(
                StepAddress(first), StepAddress(last), StepAddress(alternate)
            )
            epilogue.append(Copy(StepAddress(last), CarryAddress(n), counts[n]))
    if control.done >= 0:
        epilogue.append(Copy(StepAddress(control.done), "count", 1))
    instructions: list[RunBody | BreakUnless] = []
    for n, body in enumerate(bodies):
        instructions.append(RunBody(n, _bind_locations(step, body, counts)))
        if control.kind == "while" and n == 0:
            instructions.append(BreakUnless(StepAddress(control.decides)))
    return (*prologue, Loop(iterations, control.backwards, carries, tuple(instructions)), *epilogue)


def _bind_locations(step: Step, body: StepBody, counts: Mapping[int, Size]) -> dict[str, Location]:
    """Bind the buffers of a loop's body to locations outside: operands, rows, ping-pong buffers."""
    control, buffers, carried = step.control, body.schedule.by_name, dict(body.carried)
    bound: dict[str, Location] = {}
    for name, access in body.outside:
        written = buffers[name].role != "input"
        if name in body.rows:
            bound[name] = StepAddress(access, 0, buffers[name].size)
        elif name not in carried:
            bound[name] = StepAddress(access)
        elif carried[name] in control.logged:  # an iteration writes what the next one reads
            count, (_, log, _) = counts[carried[name]], control.carries[carried[name]]
            bound[name] = StepAddress(log, count if written != control.backwards else 0, count)
        else:
            bound[name] = CarryAddress(carried[name], written)
    if body.number:
        bound[body.number] = "index"
    return bound
