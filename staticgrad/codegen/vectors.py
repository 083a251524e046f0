"""Vectors side by side to source: bodies of a map's loop, for one vector under a mask and for more.

A processor works on as many vectors of a loop as its window of instructions holds. A long body has
it wait for its own chains of operations, so several vectors are taken at a time, their lines next
to each other. They are whole ones: a mask that is a constant costs nothing, and hardware finds the
streams of what is loaded without one. What is left is taken under a mask, one vector at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.codegen.abreast import of_row
from staticgrad.codegen.expressions import VECTOR, Inside, Lines, Scope, Unit
from staticgrad.codegen.interleaved import Interleaved, write_left
from staticgrad.codegen.peeling import pays_to_peel, write_peeled_loop
from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import Accumulate, Map, Statement, Store, roots
from staticgrad.records import dataclass

#: Lines of a body, helpers included, up to which the window holds enough vectors by itself.
SHORT: Final = 32
#: Vectors side by side, at most. Beyond, what spills of registers costs more than waiting.
MOST: Final = 4
#: Lines of the body for whole vectors: each takes about a twentieth of a millisecond to compile.
_ROOM: Final = 1100
#: Loads and stores of a body beyond which memory is what it waits for.
_STREAMS: Final = 12


@dataclass(frozen=True)
class Bodies:
    """A loop's body for one vector under a mask ``m``, and for ``count`` whole ones (0: none).

    ``windows``: masks of ends that some vectors cross.
    """

    masked: Lines
    whole: Lines
    count: int
    windows: Mapping[str, Inside]


def work(body: Lines, unit: Unit) -> int:
    """The lines of a body, with those of the helpers that it calls."""
    called = sum(
        source.count("\n")
        for name, source in unit.helpers.items()
        for line in body.lines
        if f"{name}(" in line
    )
    return len(body.lines) + called


def whole_vectors(lines: int, most: int) -> int:
    """How many whole vectors a body of so many lines is written for, besides one under a mask.

    Powers of two up to ``most``; none where that would take too long to compile.
    """
    count = most
    while count and count * lines > _ROOM:
        count //= 2
    return count


def may_stand_abreast(kernel: Kernel, stage: Map, runs: Interleaved) -> bool:
    """Whether lines of several vectors may be mixed: no vector reads what another one stores."""
    if kernel.serial or runs.loads or runs.waiting:
        return False
    return may_be_mixed(stage.body)


def may_be_mixed(statements: Sequence[Statement]) -> bool:
    """Whether lines of several vectors of these statements may be mixed."""
    if not all(isinstance(statement, Store | Accumulate) for statement in statements):
        return False
    stores = [s.access for s in statements if isinstance(s, Store)]
    evaluated = postorder(root for statement in statements for root in roots(statement))
    loads = [e.attribute for e in evaluated if isinstance(e.attribute, Access)]
    if any(access.bounded or access.gather for access in stores):
        return False
    if len({*loads, *stores}) > _STREAMS:
        return False
    stored = {access.operand: access for access in stores}
    return not any(a.bounded or stored.get(a.operand, a) != a for a in loads) and all(
        access == stored[access.operand] and access.stride(VECTOR) != 0 for access in stores
    )


def vectors_abreast(first: Scope, count: int) -> list[Scope]:
    """A scope for each of several vectors, one behind the other, given that of the first one."""
    return [first, *(_following(first, number) for number in range(1, count))]


def _following(first: Scope, number: int) -> Scope:
    def position(axis: str) -> str:
        return of_row(axis, number) if axis == VECTOR else axis

    return Scope(
        lanes=first.lanes,
        inner=first.inner,
        before=first.before,
        body=first.body,
        base=first.base,
        position=position,
        unit=first.unit,
        apart=_moves,
        first=first,
    )


def _moves(expr: Expr) -> bool:
    """Whether an expression differs between vectors, whatever its arguments do."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(VECTOR) != 0
    return expr.op == "index" and expr.attribute == VECTOR


def write_vector_loop(out: Lines, start: str, stop: str, lanes: int, bodies: Bodies) -> None:
    """All vectors; of those written apart the masks are constants, and cost nothing."""
    if pays_to_peel(bodies.masked, bodies.windows):
        write_peeled_loop(out, start, stop, lanes, bodies.masked, bodies.windows)
        return
    step, masked = lanes * bodies.count, bodies.masked
    if not step:
        out.add(f"for {VECTOR} in range({start}, {stop}, {lanes}):")
    else:
        out.add(f"m = mask{lanes}({lanes})")
        write_left(out, bodies.whole, str(lanes), 0)
        out.add(f"{VECTOR} = {start}")
        out.add(f"while {VECTOR} + {step} <= {stop}:")
        for number in range(1, bodies.count):
            out.add(f"    {of_row(VECTOR, number)} = {VECTOR} + {number * lanes}")
        out.extend(bodies.whole, 1)
        out.add(f"    {VECTOR} = {VECTOR} + {step}")
        out.add(f"{'if' if bodies.count == 1 else 'while'} {VECTOR} < {stop}:")
    out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
    write_left(out, masked, f"{stop} - {VECTOR}", 1)
    out.extend(masked, 1)
    if bodies.count > 1:
        out.add(f"    {VECTOR} = {VECTOR} + {lanes}")
