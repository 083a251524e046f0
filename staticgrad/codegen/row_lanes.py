"""Rows as the lanes of vectors to source: stages of scalars and of loops, for several vectors.

What a row of a scalar stage keeps, or carries from iteration to iteration of a loop, each lane
does, so that all names stand for vectors. Iterations wait for each other, vectors do not: some
stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit
from staticgrad.codegen.jammed import emit_jammed, of_row, renamed
from staticgrad.codegen.lookups import write_lookup
from staticgrad.codegen.stages import base_text, loop_limits, write_store
from staticgrad.codegen.vectors import Bodies, work, write_vector_loop
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.kernel import LANE_VECTORS, Kernel
from staticgrad.ir.kernels.stages import (
    Carry,
    Check,
    Keep,
    Loop,
    Scalar,
    Stage,
    Store,
    nested,
    roots,
    statements,
)
from staticgrad.ir.kernels.together import whole_vectors

#: Lines of the body for vectors side by side, at most.
_ROOM: Final = 500


def write_rows_in_lanes(kernel: Kernel, out: Lines, unit: Unit) -> None:
    """The vectors of rows from ``begin`` to ``end``."""
    masked = _body(kernel, unit, 1)
    count = whole_vectors(work(masked, unit), LANE_VECTORS, _ROOM)
    whole = _body(kernel, unit, count) if count > 1 else masked
    write_vector_loop(out, "begin", "end", kernel.lanes, Bodies(masked, whole, count, {}))


def _body(kernel: Kernel, unit: Unit, count: int) -> Lines:
    lines = Lines()
    _write_stages(kernel, kernel.stages, lines, unit, count)
    return lines


def _write_stages(
    kernel: Kernel, stages: Sequence[Stage], out: Lines, unit: Unit, count: int
) -> None:
    for stage in stages:
        if isinstance(stage, Scalar):
            _write_scalar(stage, _scopes(kernel, out, unit, count), _limits(kernel))
        elif isinstance(stage, Loop):
            _write_carries(stage.first, _scopes(kernel, out, unit, count))
            start, stop = loop_limits(out, unit, stage.axis)
            out.add(f"for {stage.axis.name} in range({start}, {stop}):")
            iteration = Lines()
            _write_stages(kernel, stage.stages, iteration, unit, count)
            _write_carries(stage.following, _scopes(kernel, iteration, unit, count))
            out.extend(iteration, 1)


def _write_scalar(stage: Scalar, scopes: Sequence[Scope], limits: Set[str]) -> None:
    for statement in stage.body:
        emit_jammed(scopes, roots(statement))
        if isinstance(statement, Keep) and statement.name in limits:
            scopes[0].body.add(f"{statement.name} = {scopes[0].one(statement.value)}")
            continue
        for scope in scopes:
            if isinstance(statement, Store):
                write_store(scope, statement)
            elif isinstance(statement, Keep):
                name = of_row(statement.name, scope.row)
                scope.body.add(f"{name} = {scope.vector(statement.value)}")
            elif isinstance(statement, Check):
                write_lookup(scope, renamed(statement, scope.row))


def _write_carries(carries: Sequence[Carry], scopes: Sequence[Scope]) -> None:
    """Carries given anew, all at once."""
    lines = scopes[0].body
    emit_jammed(scopes, [carry.value for carry in carries])
    names = [(of_row(c.name, s.row), c, s) for c in carries for s in scopes]
    for name, carry, scope in names:
        lines.add(f"{name}_n = {scope.vector(carry.value)}")
    for name, _, _ in names:
        lines.add(f"{name} = {name}_n")


def _scopes(kernel: Kernel, lines: Lines, unit: Unit, count: int) -> list[Scope]:
    """A scope for each of several vectors, one behind the other."""
    first = _scope(kernel, lines, unit, 0, None)
    return [first, *(_scope(kernel, lines, unit, number, first) for number in range(1, count))]


def _scope(kernel: Kernel, lines: Lines, unit: Unit, number: int, first: Scope | None) -> Scope:
    return Scope(
        lanes=kernel.lanes,
        inner=frozenset({VECTOR}),
        before=lines,
        body=lines,
        base=base_text,
        position=lambda axis: of_row(axis, number) if axis == VECTOR else axis,
        unit=unit,
        result=lambda name: of_row(name, number),
        apart=_differs,
        first=first,
        row=number,
        vector_refs=frozenset(of_row(name, number) for name in _results(kernel)),
    )


def _results(kernel: Kernel) -> list[str]:
    """The names of what is kept and carried."""
    every = (s for stage, _ in nested(kernel.stages) for s in statements(stage))
    names = [s.name for s in every if isinstance(s, Keep | Carry)]
    return [name for name in names if name not in _limits(kernel)]


def _limits(kernel: Kernel) -> Set[str]:
    """The names of the numbers at which loops begin and end, which are those of all rows."""
    loops = (stage.axis for stage, _ in nested(kernel.stages) if isinstance(stage, Loop))
    return {name for axis in loops for name in axis.limits}


def _differs(expr: Expr) -> bool:
    """Whether an expression differs between vectors, whatever its arguments do."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(VECTOR) != 0
    return expr.op == "ref" or (expr.op == "index" and expr.attribute == VECTOR)
