"""Loops over vectors to source: whole ones, several at a time, and the rest under a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Unit
from staticgrad.codegen.jammed import of_row
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernels.stages import Accumulate, Statement, Store, roots
from staticgrad.records import dataclass

#: Loads and stores of a body beyond which memory is what it waits for.
_STREAMS: Final = 12


@dataclass(frozen=True)
class Bodies:
    """A loop's body for one vector under a mask ``m``, and for ``count`` whole ones (0: none)."""

    masked: Lines
    whole: Lines
    count: int
    windows: Mapping[str, str]  # none


def work(body: Lines, unit: Unit) -> int:
    """The lines of a body, with those of the helpers that it calls."""
    called = sum(
        source.count("\n")
        for name, source in unit.helpers.items()
        for line in body.lines
        if f"{name}(" in line
    )
    return len(body.lines) + called


def may_be_mixed(statements: Sequence[Statement]) -> bool:
    """Return whether several vectors of these statements may be interleaved."""
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


def write_vector_loop(out: Lines, start: str, stop: str, lanes: int, bodies: Bodies) -> None:
    """All vectors from ``start`` to ``stop``; the masks of whole ones are constants."""
    step = lanes * bodies.count
    if not step or (start == "0" and stop.isdecimal() and int(stop) < step):
        out.add(f"for {VECTOR} in range({start}, {stop}, {lanes}):")
        out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
        out.extend(bodies.masked, 1)
        return
    out.add(f"m = mask{lanes}({lanes})")
    out.add(f"{VECTOR} = {start}")
    out.add(f"while {VECTOR} + {step} <= {stop}:")
    for number in range(1, bodies.count):
        out.add(f"    {of_row(VECTOR, number)} = {VECTOR} + {number * lanes}")
    out.extend(bodies.whole, 1)
    out.add(f"    {VECTOR} = {VECTOR} + {step}")
    if start == "0" and stop.isdecimal() and int(stop) % step == 0:
        return
    out.add(f"{'if' if bodies.count == 1 else 'while'} {VECTOR} < {stop}:")
    out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
    out.extend(bodies.masked, 1)
    if bodies.count > 1:
        out.add(f"    {VECTOR} = {VECTOR} + {lanes}")
