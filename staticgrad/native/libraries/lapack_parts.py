"""Parts of the routines of ``lapack``, in the language of kernels: solutions of systems."""

from __future__ import annotations

from typing import Final

#: op(A) X = B with A triangular: Fortran reads X'op(A)' = B'. ``ahead``: X begins with its first
#: unknowns. It is found in blocks of ``block`` of them, for ``each`` columns in a part. What is
#: known of X is taken away by a product, which is faster than ``trsm`` of as many terms.
TRIANGULAR: Final = """
first = part * each
count = k - first
if count > each:
    count = each
lacpy('A', count, n, b[first], k, x[first], k)
if k == 1:
    trsv(#uplo, #turned, #diag, n, a, n, x, 1)
else:
    for step in range(0, n, block):
        low = step
        if ahead == 0:
            low = (n - 1) // block * block - step
        high = low + block
        if high > n:
            high = n
        wide = high - low
        known = low
        start = 0
        if ahead == 0:
            known = n - high
            start = high
        place = low * n + start
        if trans == 84:
            place = start * n + low
        given = first + start * k
        to = first + low * k
        if known > 0:
            gemm('N', #trans, count, wide, known, -1.0, x[given], k, a[place], n, 1.0, x[to], k)
        trsm('R', #uplo, #trans, #diag, count, wide, 1.0, a[low * n + low], n, x[to], k)
"""
ZERO_ON_DIAGONAL: Final = """
how = 0
for j in range(n):
    if how == 0 and some(load1(a, j * n + j) == 0.0):
        how = j + 1
checked
"""
#: Up to so many unknowns, and so many numbers on the right, loops solve a system: a call of a
#: routine takes as long as the arithmetic of dozens.
_SMALL: Final = 16
_SMALL_SIDES: Final = 64


def _unknown(row: str, other: str, known: str, divided: int) -> str:
    """Lines that find the unknowns of a ``row`` from the ``known`` ones, in a loop over ``other``;
    by the factor whose diagonal stands in lu where ``trans`` is ``divided``."""
    return f"""\
        for {other} in range({known}):
            at = {row} * n + {other}
            if trans == 1:
                at = {other} * n + {row}
            for c in range(k):
                less = load1(lu, at) * load1(y, {other} * k + c)
                store1(y, {row} * k + c, load1(y, {row} * k + c) - less)
        if trans == {divided}:
            for c in range(k):
                store1(y, {row} * k + c, load1(y, {row} * k + c) / load1(lu, {row} * n + {row}))"""


SMALL_SYSTEM: Final = f"""
if n <= {_SMALL} and n * k <= {_SMALL_SIDES}:
    lacpy('A', k, n, b, k, y, k)
    if trans == 1:
        for j in range(n):
            place = word(load1(permutation, j))
            if place >= 0 and place < n:
                for c in range(k):
                    store1(y, j * k + c, load1(b, place * k + c))
    for step in range(n):
{_unknown("step", "before", "step", divided=0)}
    for back in range(n):
        row = n - 1 - back
{_unknown("row", "beyond", "row + 1, n", divided=1)}
    if trans == 1:
        lacpy('A', k, n, y, k, x, k)
    else:
        laset('A', k, n, 0.0, 0.0, x, k)
        for j in range(n):
            place = word(load1(permutation, j))
            if place >= 0 and place < n:
                for c in range(k):
                    store1(x, place * k + c, load1(y, j * k + c))"""
