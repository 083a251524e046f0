"""QR factors by Householder reflections, in the kernel language, for matrices of any size.

Columns are factored in panels of ``PANEL``; the rest of the matrix takes the reflections of a panel
at once (the WY form, Schreiber and Van Loan, 1989; LAPACK's ``geqrf``). A tile of columns reads
each row twice, and its sums are in registers: the order of a sum does not depend on a vector's
width. Signs are LAPACK's.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Final

#: Reflections that are applied at once: as many sums as registers of 512 bits hold with their
#: operands.
PANEL: Final = 8
_COLUMNS: Final = range(PANEL)

#: Squares of a norm outside of (TINY, HUGE) are computed of scaled elements (Blue, 1978).
_REFLECTION: Final = f"""
def sum_squares(a, n, m, column, scale):
    sum0 = realx1(0.0)
    sum1 = realx1(0.0)
    for i in range(column + 1, m, 2):
        sum0 = sum0 + squared(load1(a, i * n + column) * scale)
        if i + 1 < m:
            sum1 = sum1 + squared(load1(a, (i + 1) * n + column) * scale)
    return sum0 + sum1
def outlined_panel(a, n, m, first, wide, v, t):
    within = mask$(wide)
    for i in range(first * {PANEL}, m * {PANEL}):
        store1(v, i, realx1(0.0))
    for i in range({PANEL * PANEL}):
        store1(t, i, realx1(0.0))
    for j in range(wide):
        column = first + j
        diagonal = column * n + column
        alpha = load1(a, diagonal)
        scale = realx1(1.0)
        below = sum_squares(a, n, m, column, scale)
        total = below + squared(alpha)
        if not some((total > TINY) & (total < HUGE)):
            scale = select(total < 1.0, realx1(UP), realx1(DOWN))
            below = sum_squares(a, n, m, column, scale)
            total = below + squared(alpha * scale)
        root = sqrt(total)
        root = select(real_part(alpha) < 0.0, root, -root)
        scaled = alpha * scale
        tau = (root - scaled) / root
        factor = divide(realx1(1.0), scaled - root)
        if some((below == 0.0) & (imaginary_part(alpha) == 0.0)):
            tau = realx1(0.0)
            factor = realx1(0.0)
        else:
            store1(a, diagonal, root / scale)
        store1(v, column * {PANEL} + j, realx1(1.0))
        w = load(a, column * n + first, within)
        for i in range(column + 1, m):
            element = load1(a, i * n + column) * scale * factor
            store1(v, i * {PANEL} + j, element)
            w = fma(splat$(conj(element)), load(a, i * n + first, within), w)
        w = w * splat$(conj(tau))
        later = within ^ mask$(j + 1)
        for i in range(column, m):
            row = load(a, i * n + first, later)
            row = fma(-splat$(load1(v, i * {PANEL} + j)), w, row)
            store(a, i * n + first, row, later)
        store1(t, j * {PANEL} + j, tau)
        for q in range(j):
            dot = realx1(0.0)
            for i in range(column, m):
                dot = fma(conj(load1(v, i * {PANEL} + q)), load1(v, i * {PANEL} + j), dot)
            store1(t, q * {PANEL} + j, -tau * dot)
        for q in range(j):
            sum = realx1(0.0)
            for r in range(q, j):
                sum = fma(load1(t, q * {PANEL} + r), load1(t, r * {PANEL} + j), sum)
            store1(t, q * {PANEL} + j, sum)
    return 0
"""


def _write_tile(name: str, is_adjoint: bool) -> str:
    """Write the function that takes V T V' a, or V T' V' a, from a tile of columns of a."""
    lines = [f"w{r} = real$(0.0)" for r in _COLUMNS]
    lines += ["at = row * n + c", f"from_v = row * {PANEL}", "for _ in range(row, m):"]
    lines += ["    known = load(a, at, some)"]
    lines += [
        f"    w{r} = fma(splat$(conj(load1(v, from_v + {r}))), known, w{r})" for r in _COLUMNS
    ]
    lines += ["    at = at + n", f"    from_v = from_v + {PANEL}"]
    for r in _COLUMNS:
        for number, q in enumerate(range(r + 1) if is_adjoint else range(r, PANEL)):
            factor = (
                f"conj(load1(t, {q * PANEL + r}))" if is_adjoint else f"load1(t, {r * PANEL + q})"
            )
            product = f"-splat$({factor}) * w{q}"
            if number:
                product = f"fma(-splat$({factor}), w{q}, z{r})"
            lines.append(f"z{r} = {product}")
    lines += ["at = row * n + c", f"from_v = row * {PANEL}", "for _ in range(row, m):"]
    lines += ["    known = load(a, at, some)"]
    lines += [f"    known = fma(splat$(load1(v, from_v + {r})), z{r}, known)" for r in _COLUMNS]
    lines += ["    store(a, at, known, some)", "    at = at + n", f"    from_v = from_v + {PANEL}"]
    head = f"def outlined_{name}(a, n, m, row, c, wide, v, t):\n    some = mask$(wide)\n"
    return head + indent("\n".join(lines), "    ") + "\n    return 0\n"


def write_functions(unmask: Callable[[str], str]) -> str:
    """Write the functions of QR factors; ``unmask`` writes a tile of all lanes."""
    text = _REFLECTION
    for name, is_adjoint in (("reflect", True), ("reflect_back", False)):
        tile = _write_tile(f"narrow_{name}", is_adjoint)
        text += tile + unmask(tile.replace("narrow_", ""))
        text += f"""
def {name}_columns(a, n, m, row, first, last, v, t):
    for c in range(first, last, $):
        if last - c >= $:
            done = outlined_{name}(a, n, m, row, c, $, v, t)
        else:
            done = outlined_narrow_{name}(a, n, m, row, c, last - c, v, t)
    return 0
"""
    return text + _FACTORS


#: R, and Q of ``p`` columns. The vectors of panel number b are at v + b * PANEL * m.
_FACTORS: Final = f"""
def outlined_qr(x, q, r, a, v, t, m, n, k, p):
    for e in range(0, m * n, $):
        store(a, e, load(x, e, mask$(m * n - e)), mask$(m * n - e))
    for first in range(0, k, {PANEL}):
        wide = k - first
        if wide > {PANEL}:
            wide = {PANEL}
        of_panel = ptr_real(address(v) + BYTES * first * m)
        of_block = ptr_real(address(t) + BYTES * first * {PANEL})
        done = outlined_panel(a, n, m, first, wide, of_panel, of_block)
        done = reflect_columns(a, n, m, first, first + wide, n, of_panel, of_block)
    for i in range(p):
        for c in range(0, n, $):
            known = load(a, i * n + c, mask$(n - c))
            known = select_mask(mask$(i - c), real$(0.0), known)
            store(r, i * n + c, known, mask$(n - c))
    for i in range(m):
        for c in range(0, p, $):
            store(q, i * p + c, real$(0.0), mask$(p - c))
        if i < p:
            store1(q, i * p + i, realx1(1.0))
    for step in range(0, k, {PANEL}):
        first = (k - 1) // {PANEL} * {PANEL} - step
        of_panel = ptr_real(address(v) + BYTES * first * m)
        of_block = ptr_real(address(t) + BYTES * first * {PANEL})
        done = reflect_back_columns(q, p, m, first, first, p, of_panel, of_block)
    return 0
"""
