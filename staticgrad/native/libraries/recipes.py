"""What the routines of linear algebra do for a matrix, in the kernel language and calls of LAPACK.

Matrices lie in C order, which Fortran reads as their transposes: each recipe is the algorithm of
the transposed problem, so that nothing is transposed in memory. A line of a recipe is a line of the
kernel language, or a call of LAPACK, in whose arguments

- a letter in quotes is a character, ``#word`` the character of a code that the step gave;
- ``0.0`` and ``nan`` are numbers, and so is what has a point;
- a name of an operand, a result or scratch is a pointer to this iteration's part; ``b[i]`` to an
  element of it; ``info`` the integer that says how the call ended;
- anything else is a word, handed over as an integer.

``check`` ends an iteration whose ``info`` is not 0, ``checked`` one whose ``how`` is not: it is
noted, or what the step gave for it is written instead.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Final

from staticgrad.errors import LinearAlgebraError
from staticgrad.native.libraries import small_matrices
from staticgrad.records import dataclass


@dataclass(frozen=True)
class Recipe:
    """One routine.

    ``sizes`` are the words that a step gives. ``operands``, ``results`` and ``scratch`` have the
    elements of one iteration by name; ``name:i64`` has another element type than the routine's.
    ``body`` is what is done where ``when`` is not 0, ``failed`` what is done instead of saying that
    it failed, and ``failure`` says what an ``info`` means. ``parts``: the iterations that one
    matrix takes; ``part`` is the number of one of them. ``small``: what ``small_matrices`` has for
    matrices whose sizes ``is_small`` holds for.
    """

    sizes: str
    operands: dict[str, str]
    results: dict[str, str]
    scratch: dict[str, str]
    when: str
    body: str
    failed: str = ""
    failure: Callable[[int, int], Exception] | None = None
    parts: str = "1"
    small: str = ""
    is_small: str = ""


def _not_positive(matrix: int, order: int) -> Exception:
    return LinearAlgebraError(
        f"matrix {matrix} is not positive definite: its leading minor of order {order} is not",
        hint="add to the diagonal, k + 1e-6 * sg.eye(n); errors='nan' gives NaN instead",
    )


def _singular(matrix: int, place: int) -> Exception:
    return LinearAlgebraError(
        f"matrix {matrix} is singular: a pivot is 0, number {place} of the diagonal",
        hint="sg.linalg.lstsq or pinv solve what has no inverse; errors='nan' gives no error",
    )


def _no_convergence(matrix: int, how: int) -> Exception:
    what = "holds NaN or infinities" if how < 0 else "needs more iterations than LAPACK makes"
    return LinearAlgebraError(
        f"no eigenvalues or singular values of matrix {matrix} were found: it {what}",
        hint="errors='nan' gives NaN instead",
    )


#: op(A) X = B with A triangular: Fortran reads X'op(A)' = B'. ``ahead``: X begins with its first
#: unknowns. It is found in blocks of ``block`` of them, for ``each`` columns in a part. What is
#: known of X is taken away by a product, which is faster than ``trsm`` of as many terms.
_TRIANGULAR: Final = """
first = part * each
count = k - first
if count > each:
    count = each
lacpy('A', count, n, b[first], k, x[first], k)
if k == 1:
    trsv(#uplo, #transposed, #diag, n, a, n, x, 1)
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
_ZERO_ON_DIAGONAL: Final = """
how = 0
for j in range(n):
    if how == 0 and some(load1(a, j * n + j) == 0.0):
        how = j + 1
checked
"""
#: LAPACK finds eigenvalues of what is not finite, or prints that it got a wrong argument.
_IF_FINITE: Final = """
lassq({count}, {matrix}, 1, 0.0, 1.0)
if some(load1(reals, 0) * 0.0 + load1(reals, 1) * 0.0 == 0.0):
    {call}
else:
    store1(ints, 0, i32x1(-1))
check
"""


def _small(rows: str, columns: str, most: int = small_matrices.SMALL) -> str:
    return f"{rows} <= {most} and {columns} <= {most}"


RECIPES: Final[dict[str, Recipe]] = {
    "cholesky": Recipe(
        "n",
        {"x": "n * n"},
        {"l": "n * n"},
        {},
        "n",
        "laset('A', n, n, 0.0, 0.0, l, n)\n"
        "lacpy('U', n, n, x, n, l, n)\n"
        "potrf('U', n, l, n, info)\n"
        "check\n",
        "laset('A', n, n, nan, nan, l, n)\n",
        _not_positive,
        small=small_matrices.CHOLESKY,
        is_small=_small("n", "n"),
    ),
    "triangular_solve": Recipe(
        "n k uplo trans transposed diag unit ahead each block",
        {"a": "n * n", "b": "n * k"},
        {"x": "n * k"},
        {},
        "n * k",
        "if unit == 0:\n"
        + "".join(f"    {line}\n" for line in _ZERO_ON_DIAGONAL.strip().splitlines())
        + _TRIANGULAR,
        "",
        _singular,
        "(k + each - 1) // each",
        small_matrices.TRIANGULAR,
        _small("n", "k"),
    ),
    "lu": Recipe(
        "m n k",
        {"x": "m * n"},
        {"lu": "m * n", "permutation:i64": "n", "swaps:i64": "1"},
        {"pivots:i32": "k"},
        "1",
        "if m > 0 and n > 0:\n"
        "    lacpy('A', n, m, x, n, lu, n)\n"
        "    getrf(n, m, lu, n, pivots, info)\n"
        "for j in range(n):\n"
        "    store1(permutation, j, i64x1(j))\n"
        "count = 0\n"
        "for j in range(k):\n"
        "    other = word(load1(pivots, j)) - 1\n"
        "    if other != j:\n"
        "        count = count + 1\n"
        "        first = load1(permutation, j)\n"
        "        store1(permutation, j, load1(permutation, other))\n"
        "        store1(permutation, other, first)\n"
        "store1(swaps, 0, i64x1(count))\n",
        small=small_matrices.LU,
        is_small=_small("m", "n", small_matrices.SMALL_PIVOTED),
    ),
    "lu_solve": Recipe(
        "n k trans",
        {"lu": "n * n", "permutation:i64": "n", "b": "n * k"},
        {"x": "n * k"},
        {"y": "n * k"},
        "n * k",
        _ZERO_ON_DIAGONAL.strip().replace("load1(a,", "load1(lu,")
        + """
if trans == 0:
    lacpy('A', k, n, b, k, y, k)
    trsm('R', 'U', 'N', 'N', k, n, 1.0, lu, n, y, k)
    trsm('R', 'L', 'N', 'U', k, n, 1.0, lu, n, y, k)
    laset('A', k, n, 0.0, 0.0, x, k)
    for j in range(n):
        place = word(load1(permutation, j))
        if place >= 0 and place < n:
            lacpy('A', k, 1, y[j * k], k, x[place * k], k)
else:
    laset('A', k, n, 0.0, 0.0, x, k)
    for j in range(n):
        place = word(load1(permutation, j))
        if place >= 0 and place < n:
            lacpy('A', k, 1, b[place * k], k, x[j * k], k)
    trsm('R', 'L', 'T', 'U', k, n, 1.0, lu, n, x, k)
    trsm('R', 'U', 'T', 'N', k, n, 1.0, lu, n, x, k)
""",
        "",
        _singular,
        small=small_matrices.SYSTEM,
        is_small=_small("n", "k", small_matrices.SMALL_PIVOTED),
    ),
    "qr": Recipe(
        "m n k p lwork",
        {"x": "m * n"},
        {"q": "m * p", "r": "p * n"},
        {"a": "m * n", "tau": "k", "work": "lwork"},
        "1",
        "if p * n > 0:\n"
        "    laset('A', n, p, 0.0, 0.0, r, n)\n"
        "if k > 0:\n"
        "    lacpy('A', n, m, x, n, a, n)\n"
        "    gelqf(n, m, a, n, tau, work, lwork, info)\n"
        "    lacpy('L', n, k, a, n, r, n)\n"
        "if m * p > 0:\n"
        "    laset('A', p, m, 0.0, 0.0, q, p)\n"
        "    if k > 0:\n"
        "        lacpy('A', k, m, a, n, q, p)\n"
        "    orglq(p, m, k, q, p, tau, work, lwork, info)\n",
    ),
    "eigh": Recipe(
        "n lwork liwork",
        {"x": "n * n"},
        {"w": "n", "v": "n * n"},
        {"work": "lwork", "iwork:i32": "liwork"},
        "n",
        "laset('A', n, n, 0.0, 0.0, v, n)\n"
        "lacpy('U', n, n, x, n, v, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="v",
            call="syevd('V', 'U', n, v, n, w, work, lwork, iwork, liwork, info)",
        ),
        "laset('A', n, 1, nan, nan, w, n)\nlaset('A', n, n, nan, nan, v, n)\n",
        _no_convergence,
    ),
    "eigvalsh": Recipe(
        "n lwork liwork",
        {"x": "n * n"},
        {"w": "n"},
        {"a": "n * n", "work": "lwork", "iwork:i32": "liwork"},
        "n",
        "laset('A', n, n, 0.0, 0.0, a, n)\n"
        "lacpy('U', n, n, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="a",
            call="syevd('N', 'U', n, a, n, w, work, lwork, iwork, liwork, info)",
        ),
        "laset('A', n, 1, nan, nan, w, n)\n",
        _no_convergence,
    ),
    "svd": Recipe(
        "m n k p w job lwork",
        {"x": "m * n"},
        {"u": "m * p", "s": "k", "v": "w * n"},
        {"a": "m * n", "work": "lwork", "iwork:i32": "8 * k"},
        "1",
        "if k > 0:\n"
        "    lacpy('A', n, m, x, n, a, n)\n"
        + indent(
            _IF_FINITE.format(
                count="m * n",
                matrix="a",
                call="gesdd(#job, n, m, a, n, s, v, n, u, p, work, lwork, iwork, info)",
            ).lstrip(),
            "    ",
        )
        + "else:\n"
        "    if m * p > 0:\n"
        "        laset('A', p, m, 0.0, 1.0, u, p)\n"
        "    if w * n > 0:\n"
        "        laset('A', n, w, 0.0, 1.0, v, n)\n",
        "laset('A', k, 1, nan, nan, s, k)\n"
        "laset('A', p, m, nan, nan, u, p)\n"
        "laset('A', n, w, nan, nan, v, n)\n",
        _no_convergence,
    ),
    "svdvals": Recipe(
        "m n k lwork",
        {"x": "m * n"},
        {"s": "k"},
        {"a": "m * n", "work": "lwork", "iwork:i32": "8 * k"},
        "k",
        "lacpy('A', n, m, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="m * n",
            matrix="a",
            call="gesdd('N', n, m, a, n, s, a, n, a, m, work, lwork, iwork, info)",
        ),
        "laset('A', k, 1, nan, nan, s, k)\n",
        _no_convergence,
    ),
    "tridiagonal_solve": Recipe(
        "n k",
        {"lower": "n", "diagonal": "n", "upper": "n", "b": "n * k"},
        {"x": "n * k"},
        {"l": "n", "d": "n", "u": "n"},
        "n * k",
        "lacpy('A', n, 1, diagonal, n, d, n)\n"
        "lacpy('A', n, 1, lower, n, l, n)\n"
        "lacpy('A', n, 1, upper, n, u, n)\n"
        "lacpy('A', n, k, b, n, x, n)\n"
        "gtsv(n, k, l[1], d, u, x, n, info)\n"
        "check\n",
        "laset('A', n, k, nan, nan, x, n)\n",
        _singular,
    ),
}
