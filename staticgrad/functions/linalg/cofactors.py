"""Determinants of matrices of up to three rows, entry by entry.

A product of two or three entries may overflow, or vanish, where the determinant does not. So rows
are brought to one magnitude by powers of two, of which no multiplication rounds, and what comes out
is taken back; of a row whose entries are 2**800 apart the smallest vanish. Gradients are cofactors,
determinants of one row less that are found in the same way: they are right for singular matrices,
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import mul
from typing import Any, Final

import numpy as np

from staticgrad.ir.functional import functions
from staticgrad.ops.custom import CustomFunction, custom_vjp
from staticgrad.types.dtype import F64

#: Rows are divided by the square of one of these, chosen by their largest entry: of (border, root)
#: the first whose border it is below. Then it is below 2**224 and, but for denormals, from 2**-222
#: on: no product of three entries over- or underflows.
_ROOTS: Final = ((-600, -400), (-200, -200), (200, 0), (600, 200), (1024, 400))

Rows = Sequence[Sequence[Any]]


def small_det(a: Any) -> Any:
    """The determinants of matrices [..., n, n], n from 1 to 3, in their dtype.

    Those whose products of three entries are in the range of float64 need no scaling.
    """
    rows = functions.unstack(functions.astype(a, "float64"), -2)
    entries = [functions.unstack(row, -1) for row in rows]
    if 3 * a.dtype.bias > F64.bias and len(rows) > 1:
        return _SCALED[len(rows)](*chain(*entries))
    return functions.astype(_along_first_row(entries), a.dtype)


def _along_first_row(rows: Rows) -> Any:
    """The determinant by its cofactors along the first row."""
    if len(rows) == 1:
        return rows[0][0]
    if len(rows) == 2:
        return rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    first, second, third = (
        entry * _along_first_row(_minor(rows, 0, column)) for column, entry in enumerate(rows[0])
    )
    return first - second + third


def _minor(rows: Rows, row: int, column: int) -> Rows:
    """The rows without one of them and without a column."""
    return [[*r[:column], *r[column + 1 :]] for number, r in enumerate(rows) if number != row]


def _scaled(n: int) -> CustomFunction:
    """The determinant of n * n entries in float64, as a function with the rule of its gradient."""

    @custom_vjp(name=f"staticgrad.det_of_{n}_rows")
    def determinant(*entries: Any) -> Any:
        rows = _rows(entries, n)
        roots = [_root(row) for row in rows]
        scales = [1.0 / (root * root) for root in roots]
        pairs = zip(rows, scales, strict=True)
        found = _along_first_row([[entry * scale for entry in row] for row, scale in pairs])
        # Squares may be out of range where the determinant is not, roots are not. Where it is 0,
        # and rows are large, theirs must be finite.
        back = functions.minimum(reduce(mul, roots), 2.0**1023)
        return found * back * back

    @determinant.rule
    def _(ct: Any, out: Any, *entries: Any) -> tuple[Any, ...]:
        rows = _rows(entries, n)
        smaller = _SCALED[n - 1] if n > 2 else lambda entry: entry
        return tuple(
            (-ct if (i + j) % 2 else ct) * smaller(*chain(*_minor(rows, i, j)))
            for i in range(n)
            for j in range(n)
        )

    return determinant


def _rows(entries: Sequence[Any], n: int) -> Rows:
    return [entries[n * row : n * (row + 1)] for row in range(n)]


def _root(row: Sequence[Any]) -> Any:
    """The root of what a row is divided by: a power of two."""
    size = reduce(functions.maximum, map(functions.absolute, row))
    root: Any = np.float64(2.0 ** _ROOTS[-1][1])
    for border, power in _ROOTS[-2::-1]:
        root = functions.where(size < 2.0**border, np.float64(2.0**power), root)
    return root


_SCALED: Final = {n: _scaled(n) for n in (2, 3)}
