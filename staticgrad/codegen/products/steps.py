"""How far the loops of a product move its factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticgrad.codegen.expressions import VECTOR
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.kernels.stages import Axis, Extent


def steps_of(access: Access, inside: set[str]) -> dict[str, Extent]:
    """The strides of an access along some loops."""
    return {axis: stride for axis, stride in access.moves if axis in inside}


def flat_step(steps: Mapping[str, Extent], axes: Sequence[Axis]) -> Extent | None:
    """The one stride along loops flattened in C order; None if it is not known to be one."""
    if len(axes) == 1:
        return steps.get(axes[0].name, 0)
    if all(step == 0 for step in steps.values()):
        return 0
    inner = steps.get(axes[-1].name, 0)
    wanted = inner
    for axis, around in zip(reversed(axes), reversed(axes[:-1]), strict=False):
        if not isinstance(wanted, int) or not isinstance(axis.extent, int):
            return None
        wanted = wanted * axis.extent
        if steps.get(around.name, 0) != wanted:
            return None
    return inner


def along_vectors(access: Access) -> Access:
    """The access with the innermost k as the loop over lanes."""
    names = {"k": VECTOR}
    strides = tuple((names.get(axis, axis), stride) for axis, stride in access.strides)
    positions = tuple(
        Position(
            tuple((names.get(axis, axis), step) for axis, step in p.terms),
            p.start,
            p.stride,
            p.extent,
            p.within,
        )
        for p in access.positions
    )
    return Access(access.operand, strides, (), positions)
