"""Look-ups that are alike in all rows: checked indices along the vectors that no outer loop moves.

Rows side by side check such indices once, and find each lane's place once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernels.stages import Axis, Check, Map, Stage, Store, roots

#: Rows side by side that look up alike.
ROWS: Final = 4
#: Elements that indices choose from, at most: so many of all these rows lie in the second cache.
WIDEST: Final = 1 << 13


def checks_alike(axes: Sequence[Axis], stages: Sequence[Stage]) -> Iterator[Check]:
    """Yield the checks of a kernel with one map whose stores all go to directly indexed places."""
    stage = stages[0]
    if not axes or len(stages) > 1 or not isinstance(stage, Map) or stage.rows or stage.axis.past:
        return
    stores = [s for s in stage.body if isinstance(s, Store)]
    if not all(isinstance(statement, Check | Store) for statement in stage.body):
        return
    if any(s.combine or s.access.gather or s.access.bounded for s in stores):
        return
    checks = [statement for statement in stage.body if isinstance(statement, Check)]
    outer, stored = {axis.name for axis in axes}, {s.access.operand for s in stores}
    own, moved = {check.name for check in checks}, set[str]()
    for check in checks:
        if any(differs(expr, {stage.axis.name}, (), moved) for expr in postorder([check.index])):
            moved.add(check.name)
        if any(differs(expr, outer, stored, own) for expr in postorder(roots(check))):
            continue
        own.remove(check.name)
        if check.name in moved:
            yield check


def loads_alike(checks: Sequence[Check], exprs: Sequence[Expr]) -> Iterator[Expr]:
    """Loads all of whose places are found by such checks, and that have no ends."""
    names = {check.name for check in checks}
    for load in postorder(exprs):
        access = load.attribute
        if load.op == "load" and isinstance(access, Access) and access.gather:
            indices = load.args[: len(access.gather)]
            known = all(index.op == "ref" and index.attribute in names for index in indices)
            if known and not access.bounded:
                yield load


def differs(
    expr: Expr, axes: Collection[str], stored: Collection[str], given: Collection[str]
) -> bool:
    """Return whether an expression may vary along loops, whatever its arguments are.

    ``stored``: operands that are stored to; ``given``: results that differ.
    """
    access = expr.attribute
    if isinstance(access, Access):
        return access.operand in stored or any(access.stride(axis) != 0 for axis in axes)
    if expr.op == "ref":
        return access in given
    return expr.op == "index" and access in axes
