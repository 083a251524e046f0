"""The bodies of a kernel's stages as verifiers walk them, and the bytes that a kernel touches.

A body is statements and the loops around them. From loops, strides and positions follow the first
and the last element that an access may touch, for concrete arguments, and whether two operands that
are stored to in one buffer are disjoint for all values of the sizes. Indices have values only in a
run: an operand with a gather, a scatter or a search may be touched anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from staticgrad.language.ir.expr import Access, Expr, postorder
from staticgrad.language.ir.kernels.kernel import Kernel, number_of
from staticgrad.language.ir.kernels.stages import (
    Axis,
    ColumnAccumulate,
    Extent,
    Gemm,
    Loop,
    Search,
    Stage,
    Statement,
    Store,
    nested_stages,
    parts,
    roots,
    statements,
)
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.support.caches import cached_on_first, cached_property
from staticgrad.support.records import NamedTuple, dataclass


@dataclass(frozen=True)
class Body:
    """Statements under the same loops, outermost first; ``stage`` is the one they belong to.

    ``around`` are the outer loops and ``iterations`` the Loops around the stage.
    """

    stage: Stage
    statements: tuple[Statement, ...]
    loops: tuple[Axis, ...]
    around: tuple[Axis, ...]
    iterations: tuple[Loop, ...] = ()

    @cached_property
    def expressions(self) -> tuple[Expr, ...]:
        """Every distinct expression, operands first."""
        every = (root for statement in self.statements for root in roots(statement))
        return tuple(postorder(every))


@lru_cache(maxsize=1)  # one invariant after the other asks for those of one kernel
def bodies(kernel: Kernel) -> tuple[Body, ...]:
    """Every body of every stage, in the order in which they run."""
    return tuple(body for stage in kernel.stages for body in bodies_of(stage, kernel.axes))


def bodies_of(
    stage: Stage, around: tuple[Axis, ...], iterations: tuple[Loop, ...] = ()
) -> Iterator[Body]:
    """Yield the statement lists of a kernel stage and of those inside it, with their loops."""
    if isinstance(stage, Loop):
        yield Body(stage, stage.first, around, around, iterations)
        inside = (*around, stage.axis)
        for inner in stage.stages:
            yield from bodies_of(inner, inside, (*iterations, stage))
        yield Body(stage, stage.following, inside, inside, (*iterations, stage))
        return
    if isinstance(stage, Gemm):
        for fed in stage.fed:
            yield from bodies_of(fed, (*around, stage.k[0]), iterations)
    for computed, loops in parts(stage):
        yield Body(stage, computed, (*around, *loops), around, iterations)


def accesses(kernel: Kernel) -> Iterator[tuple[Access, tuple[Axis, ...]]]:
    """Yield every memory access of a kernel with the loops around it."""
    for stage, around in nested_stages(kernel.stages):
        if isinstance(stage, Gemm):
            for access, loops in stage.reads:
                yield access, (*kernel.axes, *around, *loops)
    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access):
                yield expr.attribute, body.loops
        for statement in body.statements:
            if isinstance(statement, Store | Search):
                yield statement.access, body.loops


def stores_apart(
    kernel: Kernel, arguments: Sequence[Size], names: Sequence[str], offsets: Sequence[Size]
) -> bool:
    """Return whether a kernel's stores at ``offsets`` of one buffer are disjoint.

    That is proven if nothing is stored, and if all move alike and each run of elements ends
    before the next one begins.
    """
    paths = [[pair for pair in accesses(kernel) if pair[0].operand == name] for name in names]
    values = dict(zip(kernel.arguments, arguments, strict=True))
    every = [loops for path in paths for _, loops in path]
    if all(any(number_of(axis.extent, values) == 0 for axis in loops) for loops in every):
        return True
    access, loops = paths[0][0]
    for (other_access, around), *others in paths:
        alike = (other_access.strides, around) == (access.strides, loops)
        if others or other_access.gather or other_access.positions or not alike:
            return False
    if any(kernel.operand(name).mode != "out" for name in names):
        return False
    extents = {axis.name: number_of(axis.extent, values) for axis in loops}
    strides = [(number_of(stride, values), extents[axis]) for axis, stride in access.strides]
    moves = [move for move in strides if move[0] != 0 and move[1] != 1]
    moves.sort(key=lambda move: -hint_value(move[0]))  # the farthest first
    places = sorted(offsets, key=hint_value)
    return any(_are_disjoint(places, moves[:cut], moves[cut:]) for cut in range(len(moves) + 1))


def _are_disjoint(
    places: Sequence[Size], outer: Sequence[tuple[Size, Size]], inner: Sequence[tuple[Size, Size]]
) -> bool:
    """Return whether runs of inner loops from several offsets are disjoint within an outer step."""
    run: Size = 1
    for stride, extent in inner:
        run = run + (extent - 1) * stride
    if not all(is_at_least(next_start, start + run) for start, next_start in pairwise(places)):
        return False
    if outer and not is_at_least(outer[-1][0], places[-1] - places[0] + run):
        return False
    return all(
        is_at_least(outer_move[0], inner_move[0] * inner_move[1])
        for outer_move, inner_move in pairwise(outer)
    )


#: Bytes [first, behind the last), counted from where an operand is bound; None: any of its buffer.
Reach = tuple[int, int] | None
_Values = Mapping[str, int]


class LoopPart(NamedTuple):
    """Iterations from ``first`` to ``end`` of the loop ``name``."""

    name: str
    first: int
    end: int


@cached_on_first(64)
def reaches(
    kernel: Kernel, arguments: tuple[int, ...], part: LoopPart | None = None
) -> tuple[Reach, ...]:
    """Return the byte range that a kernel may touch of each operand; (0, 0): nothing."""
    values = dict(zip(kernel.arguments, arguments, strict=True))
    paths = _paths(kernel)
    return tuple(
        _bytes(paths.get(operand.name, ()), operand.dtype.itemsize, values, part)
        for operand in kernel.operands
    )


@cached_on_first(1)
def _paths(kernel: Kernel) -> dict[str, Sequence[tuple[Access, tuple[Axis, ...]]] | None]:
    """Return a kernel's accesses and their loops by operand; None where they are not exact."""
    paths: dict[str, list[tuple[Access, tuple[Axis, ...]]]] = {}
    anywhere = {operand.name for operand in kernel.operands if operand.is_own}
    for access, loops in accesses(kernel):
        paths.setdefault(access.operand, []).append((access, loops))
        if access.gather:
            anywhere.add(access.operand)
    for stage, _ in nested_stages(kernel.stages):
        columns = (s for s in statements(stage) if isinstance(s, ColumnAccumulate))
        anywhere.update(s.partials for s in columns)
    return {**paths, **dict.fromkeys(anywhere)}


def _bytes(
    paths: Sequence[tuple[Access, tuple[Axis, ...]]] | None,
    itemsize: int,
    values: _Values,
    part: LoopPart | None,
) -> Reach:
    """Return the byte range that accesses of one operand cover; None if unbounded."""
    if paths is None:
        return None
    if part and any(p.step(part.name) != 0 for access, _ in paths for p in access.positions):
        return None
    ends = []
    for access, loops in paths:
        shift = 0
        if part is not None:
            count = part.end - part.first
            loops = tuple([Axis(a.name, count) if a.name == part.name else a for a in loops])
            shift = part.first * number_of(access.stride(part.name), values)
        if (span := elements(access, loops, values)) is not None:
            ends.append((span[0] + shift, span[1] + shift))
    if not ends:
        return 0, 0
    first, last = min(low for low, _ in ends), max(high for _, high in ends)
    return first * itemsize, (last + 1) * itemsize


def elements(access: Access, loops: Sequence[Axis], values: _Values) -> tuple[int, int] | None:
    """Return the first and last element of a memory access; None where its loops are empty."""
    last = {axis.name: number_of(axis.extent, values) - 1 for axis in loops}
    if any(number < 0 for number in last.values()):
        return None
    first, end = _ends(access.strides, last, values)
    for position in access.positions:
        low, high = _ends(position.terms, last, values)
        start = number_of(position.start, values)
        low, high = start + low, start + high
        if position.extent is not None:
            low, high = max(low, 0), min(high, number_of(position.extent, values) - 1)
        if low > high:
            return None
        stride = number_of(position.stride, values)
        first += min(low * stride, high * stride)
        end += max(low * stride, high * stride)
    return first, end


def _ends(
    moves: Sequence[tuple[str, Extent]], last: Mapping[str, int], values: _Values
) -> tuple[int, int]:
    """Return how far down and how far up loops move the index of a memory access."""
    low = high = 0
    for axis, step in moves:
        move = last[axis] * (step if isinstance(step, int) else values[step])
        if move < 0:
            low += move
        else:
            high += move
    return low, high
