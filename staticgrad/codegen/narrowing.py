"""The last elements of rows that are added onto memory: whole vectors, each half as wide.

A scatter's rows go to a few places, so a row is often added to what an earlier one has just stored.
A processor hands a store on to a load of the same bytes at once. One under a mask it hands on to
nobody: the load waits until the store has reached the cache, 30 cycles for each short row.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticgrad.codegen.expressions import VECTOR, Lines, Scope
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Map, Store


def adds_rows(kernel: Kernel, stage: Map, first: Scope) -> bool:
    """Whether each row of a Map is added to one place of memory, whose elements lie together.

    ``first``: a scope in which the stage is written.
    """
    stores = [s for s in stage.body if isinstance(s, Store)]
    return (
        kernel.serial
        and not stage.rows
        and stage.axis.extent != 1
        and bool(stores)
        and all(s.combine and s.access.stride(VECTOR) == 1 and not s.access.bounded for s in stores)
        and not any(first.is_vector(index) for s in stores for index in s.indices)
    )


def halves(first: Scope, multiple: int) -> dict[int, Scope]:
    """Scopes of half as many lanes as ``first`` has, of a quarter, and so on.

    ``multiple``: that of which rows have a multiple of elements; narrower vectors have no work.
    """
    found, lanes = {}, first.lanes // 2
    while lanes and multiple % (2 * lanes):
        found[lanes] = Scope(
            lanes=lanes,
            inner=first.inner,
            before=first.before,
            body=Lines(),
            base=first.base,
            position=first.position,
            unit=first.unit,
            apart=_moves,
            first=first,
            mask=f"m{lanes}",
        )
        lanes //= 2
    return found


def _moves(expr: Expr) -> bool:
    """Whether an expression moves along the row, whatever its arguments do."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(VECTOR) != 0
    return expr.op == "index" and expr.attribute == VECTOR


def write_rest(out: Lines, stop: str, narrower: Mapping[int, Lines]) -> None:
    """What is left of a row up to ``stop``, the widest vector first."""
    for lanes, body in narrower.items():
        out.add(f"if {VECTOR} + {lanes} <= {stop}:")
        out.add(f"    m{lanes} = mask{lanes}({lanes})")
        out.extend(body, 1)
        out.add(f"    {VECTOR} = {VECTOR} + {lanes}")
