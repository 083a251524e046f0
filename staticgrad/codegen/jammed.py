"""Rows side by side to source: what is written once for all of them, and what for each.

A kernel, or a loop of stages, that takes several rows at a time runs each stage for all of them
together. The sum of a row is one chain of additions; those of several rows fill the time in which
each waits. What does not differ between rows is computed once. The first row's names are those of a
row alone, the others' end in their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from staticgrad.codegen.expressions import NO_LOADS, Lines, Scope, scaled, total
from staticgrad.ir.expr import LEAVES, Access, Expr, Position, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    Extent,
    Keep,
    Map,
    Search,
    Stage,
    Store,
    nested,
    roots,
    statements,
)
from staticgrad.ir.kernels.width import differs
from staticgrad.records import replace

#: Expressions of a stored value from which on such values are written in turns.
LONG: Final = 16
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
    are those that are too few to be side by side. ``loads_alike``: those whose places, which
    ``checks`` find, are the same for all rows.
    """

    def __init__(
        self,
        axes: Iterable[Axis],
        stages: Iterable[Stage],
        own: Iterable[str],
        count: int,
        left: bool,
        checks: Iterable[Check] = (),
        loads_alike: frozenset[Expr] = NO_LOADS,
    ) -> None:
        self.axes = {axis.name for axis in axes}
        self.own = frozenset(own)
        self.count = count
        self.left = left
        every = [s for stage, _ in nested(stages) for s in statements(stage)]
        self.stored = {s.access.operand for s in every if isinstance(s, Store)}
        own_names = Accumulate | Keep | Check | Search | Carry
        self.given = {s.name for s in every if isinstance(s, own_names)}
        self.given -= {check.name for check in checks}
        self.loads_alike = loads_alike

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
        return differs(expr, self.axes, self.stored, self.given)

    def name(self, name: str, row: int) -> str:
        """The variable of a result, which each row has or all of them share."""
        return of_row(name, row) if name in self.given else name

    def scope(self, first: Scope, row: int) -> Scope:
        """The scope of a row, given that of the first one."""
        return Scope(
            lanes=first.lanes,
            inner=first.inner | {self.place(axis, row) for axis in first.inner},
            before=first.before,
            body=first.body,
            base=first.base,
            position=lambda axis: self.place(axis, row),
            unit=first.unit,
            result=lambda name: self.name(name, row),
            access=lambda access: self.access(access, row),
            apart=self.apart,
            first=first,
            mask=first.mask,
            row=row,
            loads_alike=first.loads_alike,
        )


# -- what a stage says of all its rows ------------------------------------------------------------


def scopes_jammed(rows: Rows, first: Scope) -> list[Scope]:
    """A scope for each row, given that of the first one."""
    return [first, *(rows.scope(first, row) for row in range(1, rows.count))]


def rows_of(kernel: Kernel, count: int) -> Rows:
    """So many rows of a kernel side by side."""
    moving = kernel.axes[len(kernel.axes) - kernel.grouped :] if kernel.grouped else kernel.axes
    left, own = count < kernel.jammed, kernel.own_rows
    if count == 1:
        return Rows(moving, kernel.stages, own, count, left)
    alike = kernel.checks_alike, kernel.loads_alike
    return Rows(moving, kernel.stages, own, count, left, *alike)


def may_run_again(stages: Iterable[Stage]) -> bool:
    """Return whether the last row may be computed several times at once, interleaved.

    All its copies load before one of them stores, so they store the same; what is added to memory
    is added once.
    """
    every = [s for stage, _ in nested(stages) for s in statements(stage)]
    return not any(isinstance(s, Store) and s.combine for s in every)


def emit_jammed(scopes: Sequence[Scope], wanted: Sequence[Expr]) -> None:
    """Lines for everything that ``wanted`` needs, those of the rows next to each other.

    A processor starts what does not wait; it finds that among the next few hundred instructions.
    """
    for expr in postorder(wanted):
        for scope in scopes:
            scope.emit_one(expr)


def emit_alike(scope: Scope, stage: Map) -> None:
    """Lines for values that a map stores, one of each in turn where they are long and alike.

    They are rows side by side that share what they read: told apart by name they would not.
    """
    stores = [s for s in stage.body if isinstance(s, Store)]
    if len(stores) < 2 or len(stores) < len(stage.body):
        return
    if len([*postorder(roots(stores[0]))]) < LONG:
        return
    for without in ((), LEAVES):  # one may have a number where others load
        orders = [_computed(store, without) for store in stores]
        ops = [expr.op for expr in orders[0]]
        if all([expr.op for expr in order] == ops for order in orders):
            for alike in zip(*orders, strict=True):
                for expr in alike:
                    scope.emit([expr])
            return


def _computed(store: Store, without: Sequence[str]) -> list[Expr]:
    """What a store computes, in order, except for some operations."""
    return [expr for expr in postorder(roots(store)) if expr.op not in without]


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


def write_numbers(out: Lines, number: str, count: int, stop: str | None) -> None:
    """The flat numbers of ``count`` rows; ``stop``: those from there on are the last one again."""
    fills = stop is None or (stop.isdecimal() and int(stop) % count == 0)
    for row in range(1, count):
        out.add(f"{of_row(number, row)} = {number} + {row}")
        if not fills:
            out.add(f"if {of_row(number, row)} >= {stop}:")
            out.add(f"    {of_row(number, row)} = {stop} - 1")


def write_places(out: Lines, number: str, axes: Sequence[Axis], count: int) -> None:
    """The places of ``count`` rows along axes, given their flat numbers."""
    for row in range(count):
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
