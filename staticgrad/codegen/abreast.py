"""Rows side by side to source: what is written once for all of them, and what for each.

A kernel, or a loop of stages, that takes several rows at a time runs each stage for all of them
together. The sum of a row is one chain of additions; those of several rows fill the time in which
each waits. What does not differ between rows is computed once. The first row's names are those of a
row alone, the others' end in their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from staticgrad.codegen.expressions import Lines, Scope, scaled, total
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    Extent,
    Keep,
    Loop,
    Search,
    Stage,
    Store,
    nested,
    statements,
)

_Named = TypeVar("_Named", Accumulate, Keep, Check, Search, Carry)


# -- rows told apart ------------------------------------------------------------------------------


def of_row(name: str, row: int) -> str:
    """A name for the row of a number."""
    return f"{name}_{row}" if row else name


def renamed(statement: _Named, row: int) -> _Named:
    """A statement whose result has the name of the row."""
    return replace(statement, name=of_row(statement.name, row)) if row else statement


class Rows:
    """``count`` rows side by side along ``axes``, and how they are told apart in ``stages``.

    ``own`` are the scratch operands of which each row has a part of its own; ``left``: the rows
    are those that are too few to be side by side.
    """

    def __init__(
        self,
        axes: Iterable[Axis],
        stages: Iterable[Stage],
        own: Iterable[str],
        count: int,
        left: bool,
    ) -> None:
        self.axes = {axis.name for axis in axes}
        self.own = frozenset(own)
        self.count = count
        self.left = left
        every = [s for stage, _ in nested(stages) for s in statements(stage)]
        self.stored = {s.access.operand for s in every if isinstance(s, Store)}
        own_names = Accumulate | Keep | Check | Search | Carry
        self.given = {s.name for s in every if isinstance(s, own_names)}

    def access(self, access: Access, row: int) -> Access:
        """Where a row loads or stores: at its place along outer loops, or in its own scratch."""
        if row == 0:
            return access
        strides = tuple((self.place(axis, row), stride) for axis, stride in access.strides)
        positions = tuple(
            replace(p, terms=tuple((self.place(axis, row), step) for axis, step in p.terms))
            for p in access.positions
        )
        if access.operand in self.own:
            positions = (*positions, Position((), row, f"{access.operand}_n"))
        return replace(access, strides=strides, positions=positions)

    def place(self, axis: str, row: int) -> str:
        """The variable of a row's position along a loop."""
        return of_row(axis, row) if axis in self.axes else axis

    def apart(self, expr: Expr) -> bool:
        """Whether an expression differs between rows, or may, whatever its arguments do."""
        access = expr.attribute
        if isinstance(access, Access):
            moves = any(access.stride(axis) != 0 for axis in self.axes)
            return moves or access.operand in self.stored
        given = expr.op == "ref" and access in self.given
        return given or (expr.op == "index" and access in self.axes)

    def name(self, name: str, row: int) -> str:
        """The variable of a result, which each row has or all of them share."""
        return of_row(name, row) if name in self.given else name

    def scope(self, first: Scope, row: int) -> Scope:
        """The scope of a row, given that of the first one."""
        return Scope(
            lanes=first.lanes,
            inner=first.inner,
            before=first.before,
            body=first.body,
            base=first.base,
            position=lambda axis: self.place(axis, row),
            unit=first.unit,
            result=lambda name: self.name(name, row),
            access=lambda access: self.access(access, row),
            apart=self.apart,
            first=first,
            row=row,
        )


# -- what a stage says of all its rows ------------------------------------------------------------


def scopes_abreast(rows: Rows, first: Scope) -> list[Scope]:
    """A scope for each row, given that of the first one."""
    return [first, *(rows.scope(first, row) for row in range(1, rows.count))]


def rows_of(kernel: Kernel, count: int) -> Rows:
    """So many rows of a kernel side by side."""
    moving = kernel.axes[len(kernel.axes) - kernel.grouped :] if kernel.grouped else kernel.axes
    return Rows(moving, kernel.stages, kernel.own_rows, count, count < kernel.abreast)


def trips_of(loop: Loop, count: int) -> Rows:
    """So many trips of a loop side by side."""
    return Rows([loop.axis], loop.stages, (), count, count < loop.abreast)


def emit_abreast(scopes: Sequence[Scope], wanted: Sequence[Expr]) -> None:
    """Lines for everything that ``wanted`` needs, those of the rows next to each other.

    A processor starts what does not wait; it finds that among the next few hundred instructions.
    """
    for expr in postorder(wanted):
        for scope in scopes:
            scope.emit_one(expr)


# -- where rows are -------------------------------------------------------------------------------


def write_own_rows(kernel: Kernel, out: Lines) -> None:
    """Lines before all iterations: how many elements of each scratch operand a row has."""
    for name, places in kernel.own_rows.items():
        for number, (axes, access) in enumerate(places):
            steps = [_last(axes[axis].extent, stride) for axis, stride in access.strides]
            steps += [scaled(f"({_farthest(p, axes)})", p.stride) for p in access.positions]
            size = total(*steps, "1")
            if number == 0:
                out.add(f"{name}_n = {size}")
            else:
                out.add(f"if {size} > {name}_n:")
                out.add(f"    {name}_n = {size}")


def _farthest(place: Position, axes: Mapping[str, Axis]) -> str:
    """The last position that a store lands at."""
    if place.extent is not None:
        return f"{place.extent} - 1"
    return total(str(place.start), *(_last(axes[axis].extent, s) for axis, s in place.terms))


def _last(extent: Extent, stride: Extent) -> str:
    """How far the last position along a loop moves an access."""
    return scaled(f"({extent} - 1)", stride)


def write_places(out: Lines, number: str, axes: Sequence[Axis], count: int) -> None:
    """The places of ``count`` rows along axes, from the flat number of the first one on."""
    for row in range(count):
        if row:
            out.add(f"{of_row(number, row)} = {number} + {row}")
        write_decode(out, of_row(number, row), axes, row)


def write_decode(out: Lines, flat: str, axes: Sequence[Axis], row: int = 0) -> None:
    """The positions along ``axes`` from their flat C-order number."""
    rest = flat
    for axis in reversed(axes[1:]):
        place = of_row(axis.name, row)
        out.add(f"{place} = {rest} % {axis.extent}")
        out.add(f"rest_{place} = {rest} // {axis.extent}")
        rest = f"rest_{place}"
    if axes:
        out.add(f"{of_row(axes[0].name, row)} = {rest}")
