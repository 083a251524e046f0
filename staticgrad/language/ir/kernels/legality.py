"""Legality of directives: the one place that says which ones a kernel may have, and why not.

``verify_kernel``, lowering, tuning and the defaults of a machine call ``legal``. A directive is
judged beside the others of its kernel: rows in which iterations are interleaved are not interleaved
themselves.

**Strips.** A scalar stage after a sum of the row computes one number in the time of a vector. In a
strip, as many rows as a vector has lanes run a stage before any of them runs the next one, so that
such a stage is a vector. No bit depends on it: each lane computes what a row alone does.

**Half vectors.** If rows fill half of a vector at most, a map that stores may take half vectors: a
processor whose registers of 512 bits are two halves then takes half the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from staticgrad.language.ir.expr import Access, postorder
from staticgrad.language.ir.kernels.bodies import Body, accesses, bodies, bodies_of
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Strips,
    Vector,
    concerns,
    streamed_operands,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    FARTHEST,
    HALF_LINE,
    LANES,
    Accumulate,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Keep,
    Loop,
    Map,
    Scalar,
    Search,
    Stage,
    Statement,
    Store,
    loops_of,
    nested_stages,
    roots,
    statements,
)
from staticgrad.language.ir.kernels.text import access_text
from staticgrad.language.ir.kernels.width import REGISTER
from staticgrad.language.types.dtype import F32, F64, I32, I64
from staticgrad.support.records import replace

#: Interleaved rows or iterations, at most: their values are to stay in registers.
MOST_INTERLEAVED: Final = 16
#: Loads and stores of a body beyond which memory is what it waits for.
_STREAMS: Final = 12
#: Values of ``Vector.tail``.
_TAILS: Final = ("peel", "mask")


class IllegalDirectiveError(ValueError):
    """A directive that a kernel does not allow; the message says why."""


def legal(kernel: Kernel, directive: Directive) -> str:
    """Return why a directive is illegal for a kernel beside its others; empty if it is legal."""
    if [*map(concerns, kernel.directives)].count(concerns(directive)) > 1:
        return "it is given twice"
    every = list(nested_stages(kernel.stages))
    if not isinstance(directive, Stream | Strips):
        if not -1 <= directive.stage < len(every):
            return "there is no such stage"
        every = every if directive.stage < 0 else [every[directive.stage]]
    stages = [stage for stage, _ in every]
    match directive:
        case Vector(tail):
            return "" if tail in _TAILS else "there is no such tail"
        case Interleave(axis="o"):
            return next(_dependences_of_rows(kernel, directive.factor), "")
        case Interleave(axis="j", factor=count):
            return _dependence_of_vectors(kernel, stages, count)
        case Interleave(axis, count):
            loops = [s for s in stages if isinstance(s, Loop) and s.axis.name == axis]
            dependences = (_dependences_of_iterations(kernel, loop, count) for loop in loops)
            wrong = next((reason for reasons in dependences for reason in reasons), "")
            return wrong if loops else "there is no such axis"
        case Prefetch(axis, distance):
            if not 0 < distance <= FARTHEST:
                return f"the distance is one iteration at least, and {FARTHEST} at most"
            maps = [(s, around) for s, around in every if isinstance(s, Map)]
            axes = {a.name for s, around in maps for a in (*kernel.axes, *around, *s.loops)}
            return "" if maps and axis in {"*", *axes} else "there is no such axis around a map"
        case Stream(operand):
            return _narrow_store(kernel, operand)
        case Strips():
            return "" if may_take_strips(kernel) else "these rows cannot run in strips"


def with_directives(kernel: Kernel, directives: Iterable[Directive]) -> Kernel:
    """Return the kernel with its loop directives replaced; an illegal one raises.

    Raises:
        IllegalDirectiveError: one of them would change results, or names what is not there.
    """
    changed = replace(kernel, directives=tuple(directives))
    for directive in changed.directives:
        if reason := legal(changed, directive):
            raise IllegalDirectiveError(f"{directive}: {reason}")
    return changed


def legal_ones(kernel: Kernel, directives: Iterable[Directive]) -> Directives:
    """Return those of some directives that a kernel may have beside its own."""
    return tuple(
        directive
        for directive in directives
        if not legal(replace(kernel, directives=(*kernel.directives, directive)), directive)
    )


# -- rows and iterations --------------------------------------------------------------------------


def _dependences_of_rows(kernel: Kernel, count: int) -> Iterator[str]:
    """Yield the dependences that forbid interleaving rows of a kernel."""
    if not 1 <= count <= MOST_INTERLEAVED:
        yield f"{count} interleaved rows: 1 to {MOST_INTERLEAVED}"
    if kernel.serial:
        yield "the rows of this kernel run in their order"
    if not kernel.axes or kernel.outer in ("elements", "tiles"):
        yield "there are no rows to interleave"
    if kernel.outer == "lanes":
        yield "rows that are lanes are taken in no other way"
    if any(d.factor > 1 and d.axis not in "oj" for d in _interleavings(kernel)):
        yield "iterations of its loops are interleaved"
    stages = [stage for stage, _ in nested_stages(kernel.stages)]
    for stage in stages:
        for axis in loops_of(stage):
            if axis.limits:
                yield f"the loop {axis.name} ends elsewhere in each row"
    yield from _waits(stages, "rows")

    def outer(access: Access) -> tuple[Extent | tuple[Extent, ...], ...]:
        return tuple(access.stride(axis.name) for axis in kernel.axes)

    stored: dict[str, tuple[Extent | tuple[Extent, ...], ...]] = {}
    for s in _stores(bodies(kernel)):
        name, strides = s.access.operand, outer(s.access)
        has_own_scratch = kernel.operand(name).mode == "scratch" and not any(strides)
        if not (all(strides) or has_own_scratch):
            yield f"interleaved rows store to one element: {access_text(s.access)}"
        stored[name] = strides
    for access, _ in accesses(kernel):
        if stored.get(access.operand, outer(access)) != outer(access):
            yield f"a row reads or writes where others store: {access_text(access)}"


def _dependences_of_iterations(kernel: Kernel, loop: Loop, count: int) -> Iterator[str]:
    """Yield the dependences that forbid interleaving the iterations of a kernel's inner loop."""
    axis, inside = loop.axis.name, [stage for stage, _ in nested_stages(loop.stages)]
    if not 1 <= count <= MOST_INTERLEAVED:
        yield f"{count} interleaved iterations of {axis}: 1 to {MOST_INTERLEAVED}"
    if loop.first or loop.following or loop.going:
        yield f"an iteration of {axis} waits for the one before"
    yield from _waits(inside, "iterations")
    numbers = {id(stage): number for number, (stage, _) in enumerate(nested_stages(kernel.stages))}
    for directive in _interleavings(kernel):
        deeper = {stage.axis.name for stage in inside if isinstance(stage, Loop)}
        at = directive.stage < 0 or any(numbers[id(stage)] == directive.stage for stage in inside)
        if directive.factor > 1 and count > 1 and directive.axis in deeper and at:
            deeper_text = f"iterations of {directive.axis}"
            yield f"{deeper_text} are interleaved inside interleaved ones of {axis}"
    result_kinds = (Accumulate, Keep, Check, Search, Carry)
    results = {s.name for stage in inside for s in statements(stage) if isinstance(s, result_kinds)}
    for stage in inside:
        for inner in loops_of(stage):
            if results.intersection(inner.limits):
                yield f"the loop {inner.name} ends elsewhere in each iteration"
    computed = [body for stage in loop.stages for body in bodies_of(stage, (loop.axis,))]
    stores = [*_stores(computed)]
    stored = {store.access.operand: store.access.stride(axis) for store in stores}
    for store in stores:
        stride = store.access.stride(axis)
        if stride == 0 or stored[store.access.operand] != stride:
            yield f"interleaved iterations store to one element: {access_text(store.access)}"
    for access in (expr.attribute for body in computed for expr in body.expressions):
        if isinstance(access, Access):
            stride = access.stride(axis)
            if stored.get(access.operand, stride) != stride:
                yield f"an iteration reads where others store: {access_text(access)}"


def _interleavings(kernel: Kernel) -> Iterator[Interleave]:
    return (directive for directive in kernel.directives if isinstance(directive, Interleave))


def _waits(stages: Iterable[Stage], what: str) -> Iterator[str]:
    """Yield which stages take one row or iteration at a time."""
    for stage in stages:
        if not isinstance(stage, Map | Scalar | Loop):
            yield f"the {what} of a {type(stage).__name__.lower()} are not interleaved"
        if isinstance(stage, Loop) and stage.going:
            yield f"the loop {stage.axis.name} goes on by what each row carries"


def _stores(computed: Iterable[Body]) -> Iterator[Store]:
    return (s for body in computed for s in body.statements if isinstance(s, Store))


# -- vectors --------------------------------------------------------------------------------------


def _dependence_of_vectors(kernel: Kernel, stages: Sequence[Stage], count: int) -> str:
    """Return the dependence that forbids interleaving vectors of a kernel; empty if none."""
    if count < 1 or count & (count - 1):
        return "vectors are taken by powers of two"
    if kernel.serial:
        return "the elements of this kernel run in their order"
    maps = [stage for stage in stages if isinstance(stage, Map)]
    if any(isinstance(stage, Columns) for stage in stages):
        return ""
    mixed = any(may_be_mixed(stage.body) for stage in maps)
    return "" if mixed else "a vector may read what another one stores"


def may_be_mixed(statements: Sequence[Statement]) -> bool:
    """Return whether vectors of these statements may be interleaved: none reads another's store."""
    if not all(isinstance(statement, Store | Accumulate) for statement in statements):
        return False
    stores = [s.access for s in statements if isinstance(s, Store)]
    evaluated = postorder(root for statement in statements for root in roots(statement))
    loads = [e.attribute for e in evaluated if isinstance(e.attribute, Access)]
    if any(access.bounded_positions or access.gather for access in stores):
        return False
    if len({*loads, *stores}) > _STREAMS:
        return False
    stored = {access.operand: access for access in stores}
    return not any(a.bounded_positions or stored.get(a.operand, a) != a for a in loads) and all(
        access == stored[access.operand] and access.stride(LANES) != 0 for access in stores
    )


def _narrow_store(kernel: Kernel, operand: str) -> str:
    """Return why a kernel's stores to an operand cannot bypass the caches; empty if they can."""
    stored = [
        (stage, s)
        for stage, _ in nested_stages(kernel.stages)
        for s in statements(stage)
        if isinstance(s, Store) and s.access.operand == operand
    ]
    if not stored or kernel.operand(operand).mode != "out":
        return "no result of this name is stored to"
    for stage, s in stored:
        is_contiguous = isinstance(stage, Map) and s.access.stride(stage.axis.name) == 1
        wide = kernel.lanes * s.value.dtype.itemsize >= HALF_LINE
        alone = not (s.combine or s.access.gather or s.access.bounded_positions)
        if not (is_contiguous and wide and alone):
            return f"only whole vectors of results are streamed: {access_text(s.access)}"
    return ""


def half_registers(kernel: Kernel, stage: Map) -> int:
    """Return the lanes of half-width vectors (256 bits) if a map may use them; else 0.

    A row that is added up has the lanes that the order of its sum says.
    """
    half, streamed = kernel.lanes // 2, streamed_operands(kernel.directives)
    bits = 8 * max((operand.dtype.itemsize for operand in kernel.operands), default=0)
    stores = all(isinstance(s, Store) and s.access.operand not in streamed for s in stage.body)
    return half if stores and 2 * half * bits >= REGISTER else 0


#: What rows leave for later stages: elements of these dtypes.
KEPT: Final = (F32, F64, I32, I64)


def may_take_strips(kernel: Kernel) -> bool:
    """Return whether a kernel's rows may be taken in strips: maps and scalars only."""
    moving = kernel.grouped or len(kernel.axes)
    if moving != 1 or kernel.serial or kernel.own_rows:
        return False
    if kernel.outer not in ("axes", "squares", "groups"):
        return False
    return all(_fits(stage) for stage in kernel.stages)


def _fits(stage: object) -> bool:
    """Return whether a kernel stage may run over strips of rows."""
    if isinstance(stage, Map):
        inner = (Store, Accumulate, ColumnAccumulate)
        return not (stage.rows or stage.axis.limits) and all(
            isinstance(s, inner) and _has_kept_dtype(s) and not getattr(s, "blocks", False)
            for s in stage.body
        )
    if not isinstance(stage, Scalar):
        return False
    return all(
        isinstance(s, Keep | Store) and _has_kept_dtype(s) and not getattr(s, "combine", "")
        for s in statements(stage)
    )


def _has_kept_dtype(statement: object) -> bool:
    """Return whether the value that a statement keeps, if any, has a dtype kept between stages."""
    return not isinstance(statement, Keep | Accumulate) or statement.value.dtype in KEPT
