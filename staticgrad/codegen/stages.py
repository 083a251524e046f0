"""Stores of vectors, and places, to source."""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.codegen.expressions import (
    VECTOR,
    Lines,
    Scope,
    Unit,
    operation,
    position_source,
    scaled,
    total,
)
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Axis,
    Store,
    roots,
)


def base_text(access: Access, skip: frozenset[str] = frozenset({VECTOR})) -> str:
    """The element offset of an access from the loops around the vector axis."""
    strides = (scaled(axis, s) for axis, s in access.strides if axis not in skip)
    return total(*strides, *(_moved(position, skip) for position in access.positions))


def _moved(position: Position, skip: frozenset[str]) -> str:
    """The elements that a position moves an access by."""
    place = position_source(position, skip)
    alone = place.isidentifier() or place.isdecimal() or position.stride in (0, 1)
    return "0" if place == "0" else scaled(place if alone else f"({place})", position.stride)


def scope_for(
    kernel: Kernel,
    inner: Sequence[str],
    before: Lines,
    body: Lines,
    unit: Unit,
    lanes: int,
    mask: str = "m",
) -> Scope:
    """A scope over the loop axes ``inner``, positions named after their axes."""
    return Scope(
        lanes=lanes,
        inner=frozenset(inner),
        before=before,
        body=body,
        base=base_text,
        position=lambda axis: axis,
        unit=unit,
        mask=mask,
    )


def limit(out: Lines, unit: Unit, axis: Axis, name: str) -> str:
    """Return the source of a loop limit; a limit that was stored is clamped to the extent."""
    if not name:
        return str(axis.extent)
    place = unit.fresh("e")
    out.add(f"{place} = word({name})")
    out.add(f"if {place} > {axis.extent}:")
    out.add(f"    {place} = {axis.extent}")
    return place


def write_store(scope: Scope, statement: Store) -> None:
    """Write a vector store: contiguous, strided or scattered, or combined with memory.

    Whole vectors that are streamed pass the caches where they lie in halves of lines.
    """
    scope.emit(roots(statement))
    access = scope.access(statement.access)
    value = scope.vector(statement.value)
    kind, lanes_at = scope.addressing(access, statement.indices)
    where = scope.place(access, statement.indices, vector=True)
    if kind == "lanes":
        target, verb, extra = total(lanes_at, scope.base(access)), "_at", ""
    elif kind == "strided" and access.stride(VECTOR) != 0:
        target, verb, extra = where, "_strided", f"{access.stride(VECTOR)}, "
    else:
        target, verb, extra = where, "", ""
    mask = scope.guard(access, True, scope.body)
    if statement.combine:
        there = f"load{verb}({access.operand}, {target}, {extra}{mask})"
        value = operation(COMBINERS[statement.combine].combine, [there, value])
    stored = f"store{verb}({access.operand}, {target}, {extra}{value}, {mask})"
    if statement.streamed:
        scope.body.add(f"if fits({access.operand}, {target}, {mask}):")
        scope.body.add(f"    stream({access.operand}, {target}, {value})")
        scope.body.add("else:")
        stored = f"    {stored}"
    scope.body.add(stored)
