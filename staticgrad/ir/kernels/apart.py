"""Whether operands that a kernel stores to in one buffer lie apart, for all values of the names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.bodies import accesses
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Axis, Extent
from staticgrad.types.dim import Size, is_at_least
from staticgrad.types.tensor import hint_value


def stores_apart(
    kernel: Kernel, arguments: Sequence[Size], names: Sequence[str], offsets: Sequence[Size]
) -> bool:
    """Whether stores to operands that begin at ``offsets`` of one buffer never meet.

    That is proven where nothing is stored, and where all move alike, and each run of elements ends
    before the next one begins.
    """
    paths = [[each for each in accesses(kernel) if each[0].operand == name] for name in names]
    values = dict(zip(kernel.arguments, arguments, strict=True))
    every = [loops for path in paths for _, loops in path]
    if all(any(_number(axis.extent, values) == 0 for axis in loops) for loops in every):
        return True
    first = paths[0][0]
    plain = all(len(path) == 1 and _moves_as(path[0], first) for path in paths)
    if not plain or any(kernel.operand(name).mode != "out" for name in names):
        return False
    moves = _moves(*first, values)
    places = sorted(offsets, key=hint_value)
    return any(_apart(places, moves[:cut], moves[cut:]) for cut in range(len(moves) + 1))


def _moves_as(
    path: tuple[Access, tuple[Axis, ...]], other: tuple[Access, tuple[Axis, ...]]
) -> bool:
    access, loops = path
    plain = not (access.gather or access.positions)
    return plain and access.strides == other[0].strides and loops == other[1]


def _moves(
    access: Access, loops: Sequence[Axis], values: Mapping[str, Size]
) -> list[tuple[Size, Size]]:
    """The stride and the extent of every loop that moves an access, the farthest first."""

    extents = {axis.name: _number(axis.extent, values) for axis in loops}
    strides = [(axis, _number(stride, values)) for axis, stride in access.strides]
    found = [(step, extents[axis]) for axis, step in strides if step != 0 and extents[axis] != 1]
    return sorted(found, key=lambda move: -hint_value(move[0]))


def _number(extent: Extent, values: Mapping[str, Size]) -> Size:
    return extent if isinstance(extent, int) else values[extent]


def _apart(
    places: Sequence[Size],
    outer: Sequence[tuple[Size, Size]],
    inner: Sequence[tuple[Size, Size]],
) -> bool:
    """Whether runs of the inner loops from each of these places on lie side by side in a step of
    the outer ones, none of which meets another."""
    run: Size = 1
    for stride, extent in inner:
        run = run + (extent - 1) * stride
    if not all(is_at_least(after, before + run) for before, after in pairwise(places)):
        return False
    if outer and not is_at_least(outer[-1][0], places[-1] - places[0] + run):
        return False
    return all(is_at_least(one[0], two[0] * two[1]) for one, two in pairwise(outer))
