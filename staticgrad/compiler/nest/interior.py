"""Find the middle of a row, where no vector crosses an end and one part is read.

Values assembled from parts are choices by position: the first rows and columns come from one part,
the others from another (``lowering/windows/parts.py``). Loads of parts have ends. Vectors in the
middle of a row that lies in the middle of the rows cross no end, and read one known part of each
assembly, mostly the largest: they need no mask and no choice. ``interior`` finds what has to hold
there, and the expressions that are left::

    y[j] = x[j - 1] if 1 <= j < n + 1 else 0       # a pad of x
    in the middle, where 1 <= j and j < n + 1 for all lanes:  y[j] = x[j - 1], without a mask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from staticgrad.language.ir.expr import Access, Expr, Position, postorder
from staticgrad.language.ir.kernels.stages import LANES, Map, Store, roots
from staticgrad.support.records import dataclass

#: Comparisons of a position with a place that assemblies are made of, and their opposites.
_OPPOSITE: Final = {"lt": "ge", "ge": "lt"}


@dataclass(frozen=True)
class Interior:
    """The region of a map where vectors need no masks.

    ``columns`` are positions that lanes move and ``rows`` those that stand still in a row: all lie
    inside of their ends. ``tests`` are comparisons that hold, each as the axis, "lt" or "ge", and
    the place. ``chosen`` has for each expression of the body that is another one there its
    replacement.
    """

    columns: tuple[Position, ...] = ()
    rows: tuple[Position, ...] = ()
    tests: tuple[tuple[str, str, Expr], ...] = ()
    chosen: Mapping[Expr, Expr] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.columns or self.tests)


def interior(stage: Map) -> Interior | None:
    """Return the conditions under which the middle of a map needs no masks; None if never.

    None if vectors have masks everywhere, or nowhere, as where a program chooses by position
    between operands without ends.
    """
    exprs = [root for s in stage.body for root in roots(s)]
    if not _ends(stage, exprs):
        return None
    decision = _decide_choices(exprs)
    tests, chosen = decision or ((), {})
    ends = _ends(stage, [chosen.get(e, e) for e in exprs])
    columns = [p for p in ends if p.step(LANES) != 0]
    if any(p.step(LANES) != 1 for p in columns):
        return None  # these have masks in all vectors
    rows = [] if decision is None else [p for p in ends if p.step(LANES) == 0]
    return Interior(tuple(columns), tuple(rows), tuple(dict.fromkeys(tests)), chosen)


def _ends(stage: Map, exprs: Sequence[Expr]) -> dict[Position, None]:
    """Return the positions that have ends, of stores and of loads that expressions need."""
    accesses = [e.attribute for e in postorder(exprs) if isinstance(e.attribute, Access)]
    accesses += [s.access for s in stage.body if isinstance(s, Store)]
    return dict.fromkeys(p for access in accesses for p in access.bounded_positions)


def _decide_choices(
    exprs: Sequence[Expr],
) -> tuple[list[tuple[str, str, Expr]], dict[Expr, Expr]] | None:
    """Return the tests that decide selects by position in the middle of a row, and the choices.

    Of several parts the last one is left, the largest; of a part and a fill the part. None if
    another part is between two places: outside of both is not one test.
    """
    tests: list[tuple[str, str, Expr]] = []
    chosen: dict[Expr, Expr] = {}
    for e in postorder(exprs):
        args = tuple([chosen.get(arg, arg) for arg in e.args])
        comparisons = _conjoined_comparisons(e.args[0]) if e.op == "select" else None
        if comparisons is not None:
            _, part, alternative = args
            if alternative.op == "literal":
                tests += comparisons
                chosen[e] = part
            elif len(comparisons) == 1:
                ((axis, op, place),) = comparisons
                tests.append((axis, _OPPOSITE[op], place))
                chosen[e] = alternative
            else:
                return None
        elif any(new is not old for new, old in zip(args, e.args, strict=True)):
            chosen[e] = Expr(e.op, e.dtype, args, e.attribute)
    return tests, chosen


def _conjoined_comparisons(condition: Expr) -> list[tuple[str, str, Expr]] | None:
    """Return the comparisons of loop indices that a condition combines by and, or None."""
    if condition.op == "and":
        operand_tests = [_conjoined_comparisons(arg) for arg in condition.args]
        return (
            None
            if None in operand_tests
            else [test for tests in operand_tests for test in tests or ()]
        )
    if condition.op not in _OPPOSITE:
        return None
    at, place = condition.args
    if at.op != "index" or place.op not in ("literal", "size"):
        return None
    return [(str(at.attribute), condition.op, place)]
