"""Checks that the iterations of a kernel are independent: those of a stage's vector loop, and
interleaved rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.bodies import (
    accesses,
    accesses_of,
    bodies,
    bodies_of,
    broken,
    refuse,
    shown,
)
from staticgrad.ir.kernels.kernel import MOST_JAMMED, Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Carry,
    Check,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Order,
    Scalar,
    Search,
    Stage,
    Store,
    loops_of,
    nested,
    roots,
    statements,
)
from staticgrad.ir.kernels.text import access_text


def lanes_store_apart(kernel: Kernel) -> None:
    """No two lanes of a vector store to one element: it moves along the loop, or its index does."""
    for body in bodies(kernel):
        if isinstance(body.stage, Scalar | Loop) or body.loops[-1].extent in (0, 1):
            continue
        axis = body.loops[-1].name
        moving = {s.name for s in statements(body.stage) if isinstance(s, Order)}
        for statement in body.statements:
            if isinstance(statement, Check | Search):
                if _moves(roots(statement)[:1], axis, moving):
                    moving.add(statement.name)
            elif isinstance(statement, Store):
                stays = not statement.access.stride(axis)
                stays &= not _moves(statement.indices, axis, moving)
                if stays:
                    headline = f"all lanes of {axis} store to one element"
                    broken(kernel, headline, shown(statement))


def iterations_store_apart(kernel: Kernel) -> None:
    """No two iterations store to one element, unless they run in order: each element that workers
    share moves along every outer loop, or what a run finds tells its place.

    It is necessary, not sufficient: that the strides keep iterations apart is for those who make
    kernels. But a store that an iteration does not move leaves what the last one computed.
    """
    listed = kernel.listed.names if kernel.listed else ()
    shared = {o.name for o in kernel.operands if not o.is_own and o.name not in listed}
    outer = [axis.name for axis in kernel.axes if axis.extent not in (0, 1)]
    if kernel.serial or not outer:
        return
    for body in bodies(kernel):
        for store in body.statements:
            if not isinstance(store, Store) or store.access.operand not in shared or store.indices:
                continue
            stays = [axis for axis in outer if not _is_apart(store.access, axis)]
            if stays:
                headline = f"all iterations along {stays[0]} store to one element"
                broken(kernel, headline, shown(store))


def _is_apart(access: Access, axis: str) -> bool:
    """Return whether a loop moves an access, or only one of its iterations stores."""
    alone = (p for p in access.bounded if p.extent == 1 and not p.within)
    return access.stride(axis) != 0 or any((axis, 1) in p.terms for p in alone)


def _moves(exprs: Iterable[Expr], axis: str, moving: Set[str]) -> bool:
    """Return whether an expression varies along a loop, given the results that do."""
    for expr in postorder(exprs):
        access = expr.attribute
        if isinstance(access, Access) and access.stride(axis):
            return True
        if (expr.op, access) == ("index", axis) or (expr.op == "ref" and access in moving):
            return True
    return False


def lanes_read_apart(kernel: Kernel) -> None:
    """No lane reads what another one of its stage stores, and no load waits for a store unless it
    moves with it: lanes run side by side, and what does not move is loaded before the loop."""
    for body in bodies(kernel):
        if isinstance(body.stage, Scalar | Loop):
            continue
        axis = body.loops[len(body.around)] if isinstance(body.stage, Columns) else body.loops[-1]
        written = statements(body.stage) if isinstance(body.stage, Columns) else body.statements
        stored = [s.access for s in written if isinstance(s, Store)]
        if isinstance(body.stage, Gemm):
            for factor in (body.stage.a, body.stage.b):
                if factor.operand in {access.operand for access in stored}:
                    broken(kernel, "a product stores to its factor", access_text(factor))
        seen: set[int] = set()
        before: set[str] = set()
        for statement in body.statements:
            for access in accesses_of(statement, seen):
                alone = axis.extent in (0, 1) and access.operand not in before
                if not alone and not _follows(access, axis.name, stored):
                    broken(kernel, "a lane reads where others store", access_text(access))
            if isinstance(statement, Store):
                before.add(statement.access.operand)


def rows_fill_lanes(kernel: Kernel) -> None:
    """Rows that are the lanes of vectors have scalars and loops of them only, and read nothing that
    is stored; each stores to elements of its own, or the first one alone does."""
    if not kernel.in_lanes:
        return
    if kernel.serial or kernel.grouped or kernel.jammed > 1 or kernel.listed is not None:
        broken(kernel, "rows that are lanes are taken in no other way")
    for stage, _ in nested(kernel.stages):
        if not isinstance(stage, Scalar | Loop):
            broken(kernel, f"a {type(stage).__name__.lower()} takes no rows as lanes")
        _ends_for_all(kernel, stage)
    row = kernel.axes[0].name
    written = [s for stage, _ in nested(kernel.stages) for s in statements(stage)]
    stored = {s.access.operand for s in written if isinstance(s, Store)}
    limits = {n for s, _ in nested(kernel.stages) for axis in loops_of(s) for n in axis.limits}
    for statement in written:
        if isinstance(statement, Keep) and statement.name in limits:
            names = {s.name for s in written if isinstance(s, Keep | Carry)}
            moves = _moves([statement.value], row, names)
            refuse(kernel, moves, "a loop ends elsewhere in each row", statement)
        wrong = isinstance(statement, Store) and (
            bool(statement.combine)
            or bool(statement.indices)
            or not _own_of_row(statement.access, row)
        )
        refuse(kernel, wrong, "rows that are lanes store to one element", statement)
    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access) and expr.attribute.operand in stored:
                broken(kernel, "a row reads where others store", access_text(expr.attribute))


def _ends_for_all(kernel: Kernel, stage: Stage) -> None:
    if isinstance(stage, Loop) and stage.going:
        broken(kernel, f"the loop {stage.axis.name} goes on by what each row carries")


def _own_of_row(access: Access, row: str) -> bool:
    """Return whether rows store to different elements, or only the first row stores."""
    first = any(p.terms == ((row, 1),) and p.extent == 1 for p in access.bounded)
    return access.stride(row) != 0 or first


def rows_stand_apart(kernel: Kernel) -> None:
    """Rows side by side have maps, scalars and loops of them only, run in any order, and touch of
    what they store their own elements alone: it moves along every outer loop, or each has a scratch
    of its own."""
    for loop, _ in nested(kernel.stages):
        if isinstance(loop, Loop) and loop.jammed != 1:
            _iterations_stand_apart(kernel, loop)
        if kernel.jammed > 1:
            _ends_alike(kernel, loop, None)
    if kernel.jammed == 1:
        return
    if not kernel.axes or kernel.serial:
        broken(kernel, "there are no rows to take side by side")
    for stage, _ in nested(kernel.stages):
        if not isinstance(stage, Map | Scalar | Loop):
            broken(kernel, f"a {type(stage).__name__.lower()} takes no rows side by side")
        _ends_for_all(kernel, stage)
    stored = _stored_apart(kernel)
    for access, _ in accesses(kernel):
        strides = _outer_strides(kernel, access)
        if stored.get(access.operand, strides) != strides:
            broken(kernel, "a row reads or writes where others store", access_text(access))


def _iterations_stand_apart(kernel: Kernel, loop: Loop) -> None:
    """The same of the iterations of a loop, which carry nothing."""
    axis = loop.axis.name
    if not 1 <= loop.jammed <= MOST_JAMMED or kernel.jammed > 1:
        broken(kernel, f"{loop.jammed} iterations of {axis} stand side by side")
    if loop.first or loop.following:
        broken(kernel, f"an iteration of {axis} waits for the one before")
    for stage, _ in nested(loop.stages):
        if not isinstance(stage, Map | Scalar | Loop):
            broken(kernel, f"a {type(stage).__name__.lower()} takes no iterations side by side")
        if isinstance(stage, Loop) and stage.jammed != 1:
            broken(kernel, f"iterations of {stage.axis.name} stand side by side in such of {axis}")
        _ends_for_all(kernel, stage)
        _ends_alike(kernel, stage, loop)
    inside = [body for stage in loop.stages for body in bodies_of(stage, (loop.axis,))]
    stores = [s for body in inside for s in body.statements if isinstance(s, Store)]
    stored = {store.access.operand: store.access.stride(axis) for store in stores}
    for store in stores:
        if store.access.stride(axis) == 0 or not _moves_alike(store.access, axis, stored):
            broken(kernel, "iterations side by side store to one element", shown(store))
    loads = (expr.attribute for body in inside for expr in body.expressions)
    for access in loads:
        if isinstance(access, Access) and not _moves_alike(access, axis, stored):
            broken(kernel, "an iteration reads where others store", access_text(access))


def _ends_alike(kernel: Kernel, stage: Stage, loop: Loop | None) -> None:
    """The loops of what runs side by side end alike: it is known where before any of it runs."""
    inside = [s for each, _ in nested(loop.stages if loop else ()) for s in statements(each)]
    own = {s.name for s in inside if isinstance(s, Accumulate | Keep | Check | Search | Carry)}
    for axis in loops_of(stage):
        if axis.limits and (loop is None or own.intersection(axis.limits)):
            broken(kernel, f"the loop {axis.name} ends elsewhere in each row")


def _moves_alike(access: Access, axis: str, stored: Mapping[str, str | int]) -> bool:
    """Return whether an access moves along a loop as the stores to its operand do, if any."""
    stride = access.stride(axis)
    return stored.get(access.operand, stride) == stride


def _outer_strides(kernel: Kernel, access: Access) -> tuple[str | int, ...]:
    return tuple(access.stride(axis.name) for axis in kernel.axes)


def _stored_apart(kernel: Kernel) -> dict[str, tuple[str | int, ...]]:
    """Return the outer strides of the stores, by operand."""
    modes = {operand.name: operand.mode for operand in kernel.operands}
    found: dict[str, tuple[str | int, ...]] = {}
    for body in bodies(kernel):
        for statement in body.statements:
            if isinstance(statement, Store):
                name, strides = statement.access.operand, _outer_strides(kernel, statement.access)
                if not all(strides) and (modes[name] != "scratch" or any(strides)):
                    broken(kernel, "rows side by side store to one element", shown(statement))
                found[name] = strides
    return found


def _follows(access: Access, axis: str, stored: Iterable[Access]) -> bool:
    """Return whether a load moves along a loop as all stores to its operand do.

    An offset added to both, equal for all lanes, is guaranteed by the kernel's author.
    """
    strides = {other.stride(axis) for other in stored if other.operand == access.operand}
    return not strides or (strides == {access.stride(axis)} and access.stride(axis) != 0)
