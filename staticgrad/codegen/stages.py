"""Stores of vectors, and places, to source."""

from __future__ import annotations

from staticgrad.codegen.expressions import (
    VECTOR,
    Lines,
    Unit,
    position_source,
    scaled,
    total,
)
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.kernels.stages import (
    Axis,
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


def limit(out: Lines, unit: Unit, axis: Axis, name: str) -> str:
    """Return the source of a loop limit; a limit that was stored is clamped to the extent."""
    if not name:
        return str(axis.extent)
    place = unit.fresh("e")
    out.add(f"{place} = word({name})")
    out.add(f"if {place} > {axis.extent}:")
    out.add(f"    {place} = {axis.extent}")
    return place
