"""Checks of a kernel whose stages run in order: every value is defined before it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from staticgrad.ir.expr import Access, Expr, ref
from staticgrad.ir.kernels.bodies import (
    Body,
    accesses,
    accesses_of,
    bodies,
    bodies_of,
    broken,
    refuse,
    shown,
    unseen,
)
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    ColumnAccumulate,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Order,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
    loops_of,
    nested,
    small,
    statements,
)
from staticgrad.ir.kernels.text import PRODUCT, access_text
from staticgrad.types.dtype import I64, DType


def results_come_first(kernel: Kernel) -> None:
    """A ref names a result of its dtype that is there: a check before it in its body, what the
    stage's first body gave (Columns, Sort), what an earlier Map accumulated, an earlier Scalar kept
    or checked, or a Loop around it or before it carries, which is one element per row."""
    _results_of(kernel, kernel.stages, {})


def _results_of(kernel: Kernel, stages: Sequence[Stage], ready: dict[str, DType]) -> None:
    """Add the results of stages to ``ready``; results of a Loop's stages stay inside."""
    for stage in stages:
        _check_limits(kernel, stage, ready)
        if isinstance(stage, Loop):
            _check_refs(kernel, stage.first, ready)
            ready |= {carry.name: carry.value.dtype for carry in stage.first}
            inside = dict(ready)
            _results_of(kernel, stage.stages, inside)
            _check_refs(kernel, stage.following, inside)
        else:
            if isinstance(stage, Gemm):
                _results_of(kernel, stage.fed, dict(ready))
            _results_of_stage(kernel, stage, ready)


def _results_of_stage(kernel: Kernel, stage: Stage, ready: dict[str, DType]) -> None:
    inside: dict[str, DType] = {}  # vectors, which only the stores of the stage may read
    if isinstance(stage, Gemm):
        inside[PRODUCT] = kernel.operand(stage.a.operand).dtype.compute
    for body in bodies_of(stage, ()):
        if body.stage is not stage:  # what feeds it
            continue
        local = ready | inside
        given = _check_refs(kernel, body.statements, local)
        if isinstance(stage, Scalar):
            ready |= given
        found = {s.name: s.value.dtype for s in body.statements if isinstance(s, Accumulate)}
        found |= {s.name: I64 for s in body.statements if isinstance(s, Order)}
        if isinstance(stage, Columns | Sort):
            inside = found  # the stores after them give none
        else:
            ready |= found


def _check_limits(kernel: Kernel, stage: Stage, ready: Mapping[str, DType]) -> None:
    """A loop takes its limits from i64 numbers of the row that are there, where it may have any."""
    ends: tuple[Axis, ...] = ()
    begins: tuple[Axis, ...] = ()
    match stage:
        case Map(axis=axis) if not stage.rows:
            ends = (axis,)
        case Loop(axis=axis):
            ends = begins = (axis,)
        case Gemm(i=i, j=j, k=k):
            ends = tuple(axes[0] for axes in (i, j, k) if len(axes) == 1)
            begins = k if len(k) == 1 else ()
            ends = (*ends, k[0]) if stage.by_first and not small(i) else ends
    for axis in loops_of(stage):
        if axis.limits and (axis not in ends or (axis.first and axis not in begins)):
            broken(kernel, f"the loop {axis.name} has no numbers from which or to which it runs")
        for name in axis.limits:
            _check_ref(kernel, ref(name, I64), ready)


def _check_refs(
    kernel: Kernel, statements: Sequence[Statement], known: Mapping[str, DType]
) -> dict[str, DType]:
    """Return the results of statements; each may read earlier ones and ``known``."""
    given: dict[str, DType] = {}
    seen: set[int] = set()
    for statement in statements:
        for expr in unseen(statement, seen):
            if expr.op == "ref":
                _check_ref(kernel, expr, given if expr.attribute in given else known)
        if isinstance(statement, Check | Search | Keep):
            given[statement.name] = statement.value.dtype if isinstance(statement, Keep) else I64
    return given


def _check_ref(kernel: Kernel, expr: Expr, ready: Mapping[str, DType]) -> None:
    name = str(expr.attribute)
    if name not in ready:
        broken(kernel, f"@{name} is used before anything gives it")
    if ready[name] is not expr.dtype:
        broken(kernel, f"@{name} is {ready[name].code}, it is used as {expr.dtype.code}")


def columns_stand_alone(kernel: Kernel) -> None:
    """Check that nothing else accesses what a column accumulates to and in."""
    touched = Counter(access.operand for access, _ in accesses(kernel))
    every = (s for body in bodies(kernel) for s in body.statements)
    columns = [s for s in every if isinstance(s, ColumnAccumulate)]
    touched.update(name for s in columns for name in (s.partials, s.scratch))
    for statement in columns:
        for name in (statement.partials, statement.scratch):
            refuse(kernel, touched[name] > 1, f"{name} is used elsewhere too", statement)


def modes_are_kept(kernel: Kernel) -> None:
    """in is only read; out and scratch are read only after a statement before has stored to them,
    in the text or in an earlier iteration of a Loop;
    check is only noted to; each operand is used for what it says."""
    modes = {operand.name: operand.mode for operand in kernel.operands}
    read = {kernel.listed.table} if kernel.listed else set[str]()
    stored: set[str] = set()
    noted: set[str] = set()
    for body in bodies(kernel):
        if isinstance(body.stage, Gemm):
            for factor in (body.stage.a, body.stage.b):
                _check_read(kernel, modes, stored, factor, _of_earlier_iterations(body, factor))
                read.add(factor.operand)
        seen: set[int] = set()
        for statement in body.statements:
            for access in accesses_of(statement, seen):
                _check_read(kernel, modes, stored, access, _of_earlier_iterations(body, access))
                read.add(access.operand)
            if isinstance(statement, Store):
                _check_store(kernel, modes, stored, statement)
            elif isinstance(statement, Check):
                noted.add(statement.operand)
            stored |= _filled(kernel, modes, statement)
    _check_uses(kernel, read, stored, noted)


def _of_earlier_iterations(body: Body, access: Access) -> set[str]:
    """Return the operands that surrounding Loops store to, unless the first iteration reads them:
    a bounded position of the read moves with the loops."""
    return {
        statement.access.operand
        for iteration in body.iterations
        if any(position.step(iteration.axis.name) != 0 for position in access.bounded)
        for stage, _ in nested(iteration.stages)
        for statement in statements(stage)
        if isinstance(statement, Store)
    }


def _filled(kernel: Kernel, modes: Mapping[str, str], statement: Statement) -> set[str]:
    """The operands that a statement writes, which fit what it does with them."""
    match statement:
        case Store(access=access):
            return {access.operand}
        case Order(scratch=scratch):
            own = modes.get(scratch) == "scratch"
            refuse(kernel, not own, "keys are ordered in what is not a scratch", statement)
            return {scratch}
        case ColumnAccumulate(partials=partials, scratch=scratch):
            own = (modes.get(partials), modes.get(scratch)) == ("out", "scratch")
            refuse(kernel, not own, "a column goes to an output, in a scratch", statement)
            return {partials, scratch}
    return set()


def _check_read(
    kernel: Kernel,
    modes: Mapping[str, str],
    stored: Set[str],
    access: Access,
    earlier: Set[str] = frozenset(),
) -> None:
    mode, there = modes[access.operand], access.operand in stored or access.operand in earlier
    if mode == "check" or (mode in ("out", "scratch") and not there):
        broken(kernel, f"{mode} operand {access.operand} is read", access_text(access))


def _check_store(kernel: Kernel, modes: Mapping[str, str], stored: set[str], store: Store) -> None:
    mode = modes[store.access.operand]
    if mode in ("in", "check"):
        broken(kernel, f"{mode} operand {store.access.operand} is written", shown(store))
    if store.combine:
        _check_read(kernel, modes, stored, store.access)


def _check_uses(kernel: Kernel, read: set[str], stored: set[str], noted: set[str]) -> None:
    used = {"in": read, "out": stored, "inout": stored, "scratch": stored, "check": noted}
    for operand in kernel.operands:
        if operand.name not in used[operand.mode]:
            broken(kernel, f"{operand.mode} operand {operand.name} is not used as such")
    wrong = noted - {operand.name for operand in kernel.operands if operand.mode == "check"}
    if wrong:
        broken(kernel, f"a check is noted to {min(wrong)}, which is not a check operand")
