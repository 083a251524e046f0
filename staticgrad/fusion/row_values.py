"""Values of which a group of rows has one element per row, and how its nodes read them.

The domain of such a group is outer axes and a row, its last ``row`` axes. A node of it is computed
either for each element of the domain, or once per row; the latter has the shape of the outer axes,
with or without axes of size 1 in the place of the row's.
"""

from __future__ import annotations

from staticgrad.fusion.groups import Source, Walk
from staticgrad.types.arrays import Shape, c_strides


def outer_shape(domain: Shape, row: int) -> Shape:
    """The axes outside the row."""
    return domain[: len(domain) - row]


def is_per_row(shape: Shape, domain: Shape, row: int) -> bool:
    """Whether values of a shape have one element for each row of the domain."""
    outer = outer_shape(domain, row)
    return shape in (outer, (*outer, *(1,) * row)) and shape != domain


def row_walk(source: Source, shape: Shape, domain: Shape, row: int) -> Walk:
    """How a source moves over the domain if a node of ``shape`` reads it, one of the two."""
    if shape == domain:
        strides = source.layout.broadcast(source.type.shape, domain)
    else:
        outer = outer_shape(domain, row)
        strides = source.layout.broadcast(source.type.shape, shape)[: len(outer)]
        strides = (*strides, *(0,) * row)
    return Walk(source.base, source.layout.offset, strides)


def meets_rows(walk: Walk, domain: Shape, row: int) -> bool:
    """Whether a walk over a value with one element per row meets that of the row it is in."""
    outer = outer_shape(domain, row)
    wanted = (*c_strides(outer), *(0,) * row)
    return walk.offset == 0 and all(
        extent == 1 or stride == want
        for extent, stride, want in zip(domain, walk.strides, wanted, strict=True)
    )
