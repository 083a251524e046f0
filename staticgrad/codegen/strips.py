"""Strips of rows to source: a vector of rows runs each stage before the next one.

Stages over a row are written for some rows side by side, one turn after the other; a stage of
scalars in between is written once, each lane of its vectors a row. Numbers that later stages read
lie in local memory meanwhile, an element for each row of the strip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, element
from staticgrad.codegen.jammed import Rows, of_row
from staticgrad.codegen.stages import base_text, write_store
from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Keep,
    Scalar,
    Stage,
    Store,
    roots,
    statements,
)

#: Writes some stages for the rows from one number to another; lines of each turn of rows side by
#: side stand before them and behind them.
WriteRows = Callable[
    [Lines, str, str, Sequence[Stage], Callable[[Rows], Lines], Callable[[Rows], Lines]], None
]


def write_strips(
    kernel: Kernel, unit: Unit, at: str, out: Lines, start: str, stop: str, rows: WriteRows
) -> None:
    """Every stage for the rows from ``start`` to ``stop``, strip by strip.

    ``at``: the variable of a row's number, as ``rows`` names it.
    """
    left = _left(kernel)
    for name, value in left.items():
        out.add(f"{name}_t = local_{element(value.dtype)}({kernel.lanes})")
    out.add(f"for strip in range({start}, {stop}, {kernel.lanes}):")
    strip = Lines()
    strip.add(f"past_strip = strip + {kernel.lanes}")
    strip.add(f"if past_strip > {stop}:")
    strip.add(f"    past_strip = {stop}")
    for stages in _runs(kernel):
        if isinstance(stages[0], Scalar):
            _write_vector(kernel, stages, strip, unit, left)
            continue
        given = [name for name in left if name in _given(stages)]
        read = [name for name in left if name in _read(stages) and name not in given]

        def before(jammed: Rows, names: Sequence[str] = read) -> Lines:
            lines = Lines()
            for name in names:
                for row in range(jammed.count):
                    lines.add(f"{of_row(name, row)} = load1({name}_t, {of_row(at, row)} - strip)")
            return lines

        def behind(jammed: Rows, names: Sequence[str] = given) -> Lines:
            lines = Lines()
            for name in names:
                for row in range(jammed.count):
                    lines.add(f"store1({name}_t, {of_row(at, row)} - strip, {of_row(name, row)})")
            return lines

        rows(strip, "strip", "past_strip", stages, before, behind)
    out.extend(strip, 1)


def _runs(kernel: Kernel) -> Iterator[Sequence[Stage]]:
    """The stages, those that follow each other and are of one kind together."""
    for _, run in groupby(kernel.stages, key=lambda stage: isinstance(stage, Scalar)):
        yield [*run]


def _given(stages: Sequence[Stage]) -> dict[str, Expr]:
    """What each name stands for behind these stages."""
    every = (s for stage in stages for s in statements(stage))
    return {s.name: s.value for s in every if isinstance(s, Accumulate | Keep)}


def _read(stages: Sequence[Stage]) -> set[str]:
    """The names that stages read."""
    every = postorder(root for stage in stages for s in statements(stage) for root in roots(s))
    return {str(expr.attribute) for expr in every if expr.op == "ref"}


def _left(kernel: Kernel) -> dict[str, Expr]:
    """The numbers that some run of stages leaves for a later one."""
    found: dict[str, Expr] = {}
    given: dict[str, Expr] = {}
    for stages in _runs(kernel):
        found |= {name: given[name] for name in sorted(_read(stages)) if name in given}
        given |= _given(stages)
    return found


# -- a vector of rows -----------------------------------------------------------------------------


def _write_vector(
    kernel: Kernel, stages: Sequence[Stage], out: Lines, unit: Unit, left: dict[str, Expr]
) -> None:
    """Stages of scalars, each lane a row of the strip."""
    row, given = kernel.axes[-1].name, _given(stages)
    out.add(f"{VECTOR} = strip")
    out.add(f"m = mask{kernel.lanes}(past_strip - strip)")
    read = [name for name in left if name in _read(stages) and name not in given]
    for name in read:
        out.add(f"{name}_w = load{kernel.lanes}({name}_t, 0)")
    scope = Scope(
        lanes=kernel.lanes,
        inner=frozenset({VECTOR}),
        before=out,
        body=out,
        base=base_text,
        position=lambda axis: axis,
        unit=unit,
        result=lambda name: f"{name}_w",
        vector_refs=frozenset(f"{name}_w" for name in (*read, *given)),
    )
    known: dict[Expr, Expr] = {}
    for statement in (s for stage in stages for s in statements(stage)):
        if isinstance(statement, Store):
            indices = tuple(_along(index, row, known) for index in statement.indices)
            access, value = _transposed(statement.access, row), _along(statement.value, row, known)
            write_store(scope, replace(statement, access=access, value=value, indices=indices))
        elif isinstance(statement, Keep):
            value = _along(statement.value, row, known)
            scope.emit([value])
            out.add(f"{statement.name}_w = {scope.vector(value)}")
            if statement.name in left:
                out.add(f"store{kernel.lanes}({statement.name}_t, 0, {statement.name}_w)")


def _along(root: Expr, row: str, known: dict[Expr, Expr]) -> Expr:
    """An expression of a row as one of a vector that runs along the rows."""
    for expr in postorder([root]):
        if expr in known:
            continue
        args, attribute = tuple([known[arg] for arg in expr.args]), expr.attribute
        if isinstance(attribute, Access):
            attribute = _transposed(attribute, row)
        elif expr.op == "index" and attribute == row:
            attribute = VECTOR
        same = attribute == expr.attribute and args == expr.args
        known[expr] = expr if same else Expr(expr.op, expr.dtype, args, attribute)
    return known[root]


def _transposed(access: Access, row: str) -> Access:
    """An access that vectors along the rows make."""
    strides = tuple([(VECTOR if axis == row else axis, step) for axis, step in access.strides])
    positions = tuple(
        replace(p, terms=tuple([(VECTOR if a == row else a, step) for a, step in p.terms]))
        for p in access.positions
    )
    return replace(access, strides=strides, positions=positions)
