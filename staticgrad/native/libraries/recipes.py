"""Recipes of linear algebra for one matrix: calls of LAPACK, and loops of our own.

Matrices lie in C order, which Fortran reads as their transposes: each recipe is the algorithm of
the transposed problem, so that nothing is transposed in memory. A line of a recipe is a line of the
kernel language, or a call of LAPACK, in whose arguments

- a letter in quotes is a character, ``#word`` the character of a code that the step gave;
- ``0.0`` and ``nan`` are numbers, and so is any text with a point;
- a name of an operand, a result or scratch is a pointer to this iteration's part; ``b[i]`` to an
  element of it; ``info`` the integer that says how the call ended;
- anything else is a word, handed over as an integer.

Recipes of complex matrices are made of those of real ones (``_of_complex``): an element is a pair
of numbers, but of what is marked ``name:real``, and functions are LAPACK's of complex matrices.

``check`` ends an iteration whose ``info`` is not 0, ``checked`` one whose ``how`` is not 0: it is
noted, or the step's substitute is written instead.

**Small matrices** are loops in the kernel language, with many matrices interleaved. A call of
LAPACK takes as long as the arithmetic of dozens of elements, and each step of a small factorization
depends on the one before. So each lane of a vector computes one matrix; the remainder of a batch is
computed one by one by the same text with one lane, bitwise identical. In a text ``$`` stands for
the lanes, ``real`` and ``whole`` for elements and for integers as wide. A text returns 0, or how a
matrix failed; if it had many, each is then computed again by itself.

**Loops** of a recipe take larger matrices without LAPACK: those for which ``is_fast`` holds, and
all in its portable variant. They call ``functions``, in which a line with ``#`` is a line for each
of ``_ROWS`` rows, whose sums are in registers. No sum depends on the width of a vector. Texts over
complex numbers are written by ``complex_text``; QR factors are in ``reflections``, eigenvalues and
singular values in ``jacobi``.

Source: Golub and Van Loan, Matrix Computations, 4th edition: 3.4.1 (outer products with pivots),
4.2.5 (outer products of a Cholesky factor), 3.1.3 (substitution by columns).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from textwrap import indent
from typing import Final

from staticgrad.errors import LinearAlgebraError
from staticgrad.native.libraries import complex_text, jacobi, reflections
from staticgrad.support.records import dataclass, replace

#: Rows and columns of the largest matrices that loops take, and of those whose columns are
#: exchanged: beyond that LAPACK is as fast for many, and faster for one.
SMALL: Final = 24
SMALL_PIVOTED: Final = 16
#: Rows and columns of the largest matrices of which loops make Cholesky and LU factors, and solve
#: systems: 1.6 MB of float64, within the L2 of 2 MB. Beyond that LAPACK is faster, and systems are
#: solved in blocks of BLOCK unknowns. Times beside LAPACK's for 400 rows of float64: Cholesky 0.4,
#: LU with a solution 0.6; for 1000 rows 1.0 and 1.7 (Xeon with AVX-512, 2026-11).
WHOLE: Final = 448
BLOCK: Final = 96
#: Element type -> interleaved lanes: what a register of 512 bits has.
LANES: Final = {"f32": 16, "f64": 8}

#: x[:, permutation] = L @ U, U with a diagonal of ones. Columns stay where they are until the end:
#: ``places`` has the place of each among those that are left, n where it is not. Magnitudes are
#: compared as integers, NaN as the largest; of equal ones that of the least place is the pivot, as
#: in ``getrf``.
LU: Final = """
for e in range(m * n):
    store$(rows, e * $, load_strided(x, e, m * n, every))
for c in range(n):
    store$(places, c * $, whole$(c))
count = whole$(0)
for j in range(k):
    best = whole$(-1)
    near = whole$(0)
    column = whole$(0)
    for c in range(n):
        magnitude = bitcast_whole(absolute(load$(rows, (j * n + c) * $)))
        place = load$(places, c * $)
        is_nearer = (magnitude == best) & (place < near)
        is_better = (place < n) & ((magnitude > best) | is_nearer)
        best = select(is_better, magnitude, best)
        near = select(is_better, place, near)
        column = select(is_better, whole$(c), column)
    store$(order, j * $, column)
    count = count + select(near == j, whole$(0), whole$(1))
    at = cast_i64(column) * $ + iota$(0)
    pivot = load_at(rows, at + j * n * $, every)
    pivot = select(pivot == 0.0, real$(1.0), pivot)
    inverse = real$(1.0) / pivot
    is_tiny = absolute(inverse) == inf
    for c in range(n):
        place = load$(places, c * $)
        place = select(place == j, near, place)
        place = select(column == c, whole$(n), place)
        store$(places, c * $, place)
        old = load$(rows, (j * n + c) * $)
        ratio = old * inverse
        if some(is_tiny):
            ratio = select(is_tiny, old / pivot, ratio)
        store$(ratios, c * $, select(place < n, ratio, real$(0.0)))
        store$(rows, (j * n + c) * $, select(place < n, ratio, old))
    for i in range(j + 1, m):
        factor = load_at(rows, at + i * n * $, every)
        for c in range(n):
            old = load$(rows, (i * n + c) * $)
            less = old - factor * load$(ratios, c * $)
            less = select(load$(places, c * $) < n, less, old)
            store$(rows, (i * n + c) * $, less)
for c in range(n):
    place = load$(places, c * $)
    store_at(order, cast_i64(place) * $ + iota$(0), whole$(c), mask_of(place < n))
for c in range(n):
    column = load$(order, c * $)
    store_strided(permutation, c, n, cast_i64(column), every)
    at = cast_i64(column) * $ + iota$(0)
    for i in range(m):
        store_strided(lu, i * n + c, m * n, load_at(rows, at + i * n * $, every), every)
store_strided(swaps, 0, 1, cast_i64(count), every)
return 0
"""
#: x = L @ L.T.
CHOLESKY: Final = """
for i in range(n):
    for j in range(i + 1):
        store$(rows, (i * n + j) * $, load_strided(x, i * n + j, n * n, every))
failed = i64x$(0)
for j in range(n):
    pivot = load$(rows, (j * n + j) * $)
    failed = select((failed == 0) & ~(pivot > 0.0), i64x$(j + 1), failed)
    root = sqrt(pivot)
    store$(rows, (j * n + j) * $, root)
    for i in range(j + 1, n):
        store$(rows, (i * n + j) * $, load$(rows, (i * n + j) * $) / root)
    for i in range(j + 1, n):
        factor = load$(rows, (i * n + j) * $)
        for c in range(j + 1, i + 1):
            less = load$(rows, (i * n + c) * $) - factor * load$(rows, (c * n + j) * $)
            store$(rows, (i * n + c) * $, less)
for e in range(n * n):
    store$(l, e * $, real$(0.0))
for i in range(n):
    for j in range(i + 1):
        store_strided(l, i * n + j, n * n, load$(rows, (i * n + j) * $), every)
return word(hmax(failed))
"""


def _write_substitution(factor: str, backward: str, transposed: str, divided: str) -> str:
    """Write a recipe's lines of forward or back substitution on the right-hand sides in ``rows``.

    ``backward``: the last is found first; ``transposed``: the coefficients are those of the
    transposed ``factor``; ``divided``: its diagonal is not of ones. Conditions of the language.
    """
    return f"""
for step in range(n):
    row = step
    low = step + 1
    high = n
    if {backward}:
        row = n - 1 - step
        low = 0
        high = row
    if {divided}:
        pivot = load_strided({factor}, row * n + row, n * n, every)
        for c in range(k):
            store$(rows, (row * k + c) * $, load$(rows, (row * k + c) * $) / pivot)
    for other in range(low, high):
        at = other * n + row
        if {transposed}:
            at = row * n + other
        coefficient = load_strided({factor}, at, n * n, every)
        for c in range(k):
            less = coefficient * load$(rows, (row * k + c) * $)
            store$(rows, (other * k + c) * $, load$(rows, (other * k + c) * $) - less)
"""


def _zero_on_diagonal(factor: str) -> str:
    return f"""
failed = i64x$(0)
for j in range(n):
    is_zero = load_strided({factor}, j * n + j, n * n, every) == 0.0
    failed = select((failed == 0) & is_zero, i64x$(j + 1), failed)
"""


#: a @ X = b by L and then U, a.T @ X = b by the transposes of U and then L.
SYSTEM: Final = f"""{_zero_on_diagonal("lu")}
apart = iota$(0) * (n * k)
for i in range(n):
    place = i64x$(i)
    if trans == 1:
        given = load_strided(permutation, i, n, every)
        place = select((given >= 0) & (given < n), given, place)
    for c in range(k):
        store$(rows, (i * k + c) * $, load_at(b, place * k + c + apart, every))
for back in range(2):
{indent(_write_substitution("lu", "back == 1", "trans == 1", "back == trans"), "    ")}
for e in range(n * k):
    store$(x, e * $, real$(0.0))
for i in range(n):
    place = i64x$(i)
    if trans == 0:
        place = load_strided(permutation, i, n, every)
    within = mask_of((place >= 0) & (place < n))
    for c in range(k):
        store_at(x, place * k + c + apart, load$(rows, (i * k + c) * $), within)
return word(hmax(failed))
"""
TRIANGULAR: Final = f"""
failed = i64x$(0)
if unit == 0:
{indent(_zero_on_diagonal("a"), "    ")}
for e in range(n * k):
    store$(rows, e * $, load_strided(b, e, n * k, every))
{_write_substitution("a", "ahead == 0", "trans == 84", "unit == 0")}
for e in range(n * k):
    store_strided(x, e, n * k, load$(rows, e * $), every)
return word(hmax(failed))
"""


def function(name: str, parameters: list[str], text: str, element: str, lanes: int) -> str:
    """Write a recipe's text as a function of the kernel language, over so many lanes."""
    integer = f"i{element[1:]}"
    element_by_local = {"rows": element, "ratios": element, "places": integer, "order": integer}
    element_by_local["vectors"] = element
    for word, value in _NUMBERS[element].items():
        text = re.sub(rf"\b{word}\b", value, text)
    head = [f"def {name}({', '.join(parameters)}):", f"    every = mask{lanes}({lanes})"]
    for local, kind in element_by_local.items():
        if re.search(rf"\b{local}\b", text):
            count = (SMALL * SMALL if local in ("rows", "vectors") else SMALL) * lanes
            head.append(f"    {local} = local_{kind}({count})")
    for word, kind in (("real", element), ("whole", integer)):
        text = re.sub(rf"\b{word}(?=\$)", f"{kind}x", text)
    text = text.replace("bitcast_whole", f"bitcast_{integer}").replace("$", str(lanes))
    return "\n".join([*head, indent(text.strip("\n"), "    ")]) + "\n"


#: Rows that are computed at once: as many sums as registers of 256 bits hold, in pairs.
_ROWS: Final = 6


def _write_unknown(number: int) -> str:
    """Write the lines that solve for one unknown of a block: subtract those before, store it."""
    subtractions = [
        f"    element = load1(a, at{number} * along + at{earlier} * across)\n"
        "    factor = -splat$(adjoint_if(element, is_adjoint))\n"
        f"    s{number} = fma(factor, s{earlier}, s{number})"
        for earlier in range(number)
    ]
    lines = [
        f"if {number} < rows:",
        *subtractions,
        "    if unit == 0:",
        f"        pivot = adjoint_if(load1(a, at{number} * (along + across)), is_adjoint)",
        f"        s{number} = divide(s{number}, splat$(pivot))",
        f"    store$(y, at{number} * each + c, s{number})",
    ]
    return "\n".join(lines)


#: Rows ``low`` to ``high`` of y, each of ``each`` elements, become unknowns. The coefficient of
#: unknown k in row i is a[i * along + k * across]. Every sum runs over the unknowns in the order in
#: which they are found in blocks, so the bits do not depend on the number of columns.
_UNKNOWNS: Final = f"""
def outlined_unknowns(a, low, high, along, across, is_adjoint, y, each, count, ahead, unit):
    for step in range(low, high, {_ROWS}):
        rows = high - step
        if rows > {_ROWS}:
            rows = {_ROWS}
        row = step
        turn = 1
        start = low
        past = step
        if ahead == 0:
            row = high - 1 - (step - low)
            turn = 0 - 1
            start = row + 1
            past = high
        at# = row + turn * (# if # < rows else rows - 1)
        along# = at# * along
        for c in range(0, count, $):
            s# = load$(y, at# * each + c)
            from_y = start * each + c
            from_a = start * across
            for _ in range(start, past):
                known = load$(y, from_y)
                f# = -splat$(adjoint_if(load1(a, along# + from_a), is_adjoint))
                s# = fma(f#, known, s#)
                from_y = from_y + each
                from_a = from_a + across
{indent(chr(10).join(map(_write_unknown, range(_ROWS))), " " * 12)}
    return 0
"""
#: ``count`` columns of b from ``first`` on, in the order of a permutation, are copied to y or back.
_COLUMNS: Final = """
def outlined_gather(b, k, first, place, y, each, row, count):
    for c in range(0, count, $):
        store$(y, row * each + c, load(b, place * k + first + c, mask$(count - c)))
    return 0
def outlined_clear(x, k, first, n, count):
    for i in range(n):
        for c in range(0, count, $):
            store(x, i * k + first + c, real$(0.0), mask$(count - c))
    return 0
def outlined_scatter(x, k, first, place, y, each, row, count):
    for c in range(0, count, $):
        store(x, place * k + first + c, load$(y, row * each + c), mask$(count - c))
    return 0
"""


def _unmask(text: str) -> str:
    """Text for some lanes of a vector as text for all: masked stores are slow on AVX2."""
    return re.sub(r"\b(load|store)\((.*), some\)", r"\1$(\2)", text)


def _write_column_loop(first: str, text: str) -> str:
    """Write a loop over columns c from ``first`` to n in vectors of ``some`` lanes."""
    return f"""rest = n - (n - {first}) % $
for c in range({first}, rest, $):
{indent(_unmask(text), "    ")}
for c in range(rest, n, $):
    some = mask$(n - c)
{indent(text, "    ")}"""


_TILE: Final = """
def outlined_narrow_tile(lu, n, row, rows, past, c, wide, is_lower):
    some = mask$(wide)
    at# = (row + (# if # < rows else rows - 1)) * n
    s# = load(lu, at# + c, some)
    place = c
    for k in range(past):
        known = load(lu, place, some)
        s# = fma(-splat$(load1(lu, at# + k)), known, s#)
        place = place + n
    store(lu, at# + c, s#, some)
    if is_lower == 1:
        for k in range(c, c + wide - 1):
            known = load(lu, k * n + c, some)
            later = some ^ mask$(k + 1 - c)
            s# = select_mask(later, fma(-splat$(load1(lu, at# + k)), known, s#), s#)
            store(lu, at# + c, s#, some)
    return 0
"""
_LARGEST: Final = """size = bitcast_whole(magnitude(load(lu, at + c, some)))
most = maximum(most, size)"""
_ELIMINATION: Final = """ratio = load(lu, at + c, some)
ratio = divide(ratio, divisor)
store(lu, at + c, ratio, some)
for below in range(j + 1, row + rows):
    less = load(lu, below * n + c, some)
    less = fma(-splat$(load1(lu, below * n + j)), ratio, less)
    store(lu, below * n + c, less, some)"""
_COPY: Final = """same = load(x, at + c, some)
store(lu, at + c, same, some)"""
#: x[:, permutation] = L @ U. Each block of rows is computed of those before it (left-looking; Golub
#: and Van Loan, 3.2.11), and within itself row by row. Returns the number of exchanges.
_FACTORS: Final = f"""{_TILE}{_unmask(_TILE).replace("narrow_", "")}
def tiles(lu, n, row, rows, first, last, is_lower):
    for c in range(first, last, $):
        past = c if is_lower == 1 else first
        if last - c >= $:
            done = outlined_tile(lu, n, row, rows, past, c, $, is_lower)
        else:
            done = outlined_narrow_tile(lu, n, row, rows, past, c, last - c, is_lower)
    return 0
def exchanged(lu, pivots, n, first, last, low, high):
    for row in range(first, last):
        for j in range(low, high):
            other = word(load1(pivots, j))
            if other != j:
                one = load1(lu, row * n + j)
                store1(lu, row * n + j, load1(lu, row * n + other))
                store1(lu, row * n + other, one)
    return 0
def outlined_factors(x, lu, permutation, pivots, m, n):
    for j in range(n):
        store1(permutation, j, i64x1(j))
    exchanges = 0
    for row in range(0, m, {_ROWS}):
        rows = m - row
        if rows > {_ROWS}:
            rows = {_ROWS}
        left = row if row < n else n
        for each in range(row, row + rows):
            at = each * n
{indent(_write_column_loop("0", _COPY), " " * 12)}
        done = exchanged(lu, pivots, n, row, row + rows, 0, left)
        done = tiles(lu, n, row, rows, 0, left, 1)
        done = tiles(lu, n, row, rows, left, n, 0)
        past = row + rows
        if past > n:
            past = n
        for j in range(left, past):
            at = j * n
            most = whole$(0)
{indent(_write_column_loop("j", _LARGEST), " " * 12)}
            best = word(hmax(most))
            other = j
            while word(bitcast_whole(magnitude(load1(lu, at + other)))) != best:
                other = other + 1
            store1(pivots, j, i32x1(other))
            if other != j:
                exchanges = exchanges + 1
                one = load1(permutation, j)
                store1(permutation, j, load1(permutation, other))
                store1(permutation, other, one)
                done = exchanged(lu, pivots, n, row, row + rows, j, j + 1)
            pivot = load1(lu, at + j)
            divisor = splat$(select(pivot == 0.0, realx1(1.0), pivot))
            begin = j + 1
{indent(_write_column_loop("begin", _ELIMINATION), " " * 12)}
        done = exchanged(lu, pivots, n, 0, row, left, past)
    return exchanges
"""


_UNIT_STEP: Final = """if {row} < rows:
    pivot_at = at{row} * n + at{row}
    if c == row:
        store(l, at{row} * n + c, s{row}, some ^ mask$({row}))
        pivot = real_part(load1(l, pivot_at))
        if how == 0 and word(pivot > 0.0) == 0:
            how = at{row} + 1
        store1(l, pivot_at, sqrt(pivot))
    s{row} = s{row} * splat$(realx1(1.0) / real_part(load1(l, pivot_at)))
    if c > row:
        store(l, at{row} * n + c, s{row}, some)
    else:
        store(l, at{row} * n + c, s{row}, some ^ mask$({after}))
    {transposed}"""
#: How a tile is read and written by columns: through registers, or element by element.
_BY_COLUMNS: Final = {
    False: {
        "before": "transpose$(x, c * n + row, n, wide, rows, tile, 0, $)",
        "first": "load$(tile, (# if # < rows else rows - 1) * $)",
        "transposed": "store$(tile, {row} * $, s{row})",
        "behind": """transpose$(tile, 0, $, rows, $, square, 0, $)
    for lane in range(wide):
        columns = rows
        if c == row and lane < rows:
            columns = lane
        store(l, (c + lane) * n + row, load$(square, lane * $), mask$(columns))""",
    },
    True: {
        "before": "done = 0",
        "first": "load_strided(x, c * n + at#, n, mask$(wide))",
        "transposed": """later = mask$(wide)
    if c == row:
        later = later ^ mask$({after})
    store_strided(l, c * n + at{row}, n, s{row}, later)""",
        "behind": "done = 0",
    },
}
#: One tile of the factor's transpose, in the upper triangle of l, and its transpose in the lower.
_CHOLESKY_TILE: Final = """
def outlined_narrow_cholesky(x, l, n, row, rows, c, wide):
    some = mask$(wide)
    tile = local_real(256)
    square = local_real(256)
    {before}
    at# = row + (# if # < rows else rows - 1)
    s# = {first}
    place = c
    base = 0
    for _ in range(row):
        known = load(l, place, some)
        s# = fma(-splat$(conj(load1(l, base + at#))), known, s#)
        place = place + n
        base = base + n
    how = 0
{steps}
    {behind}
    return how
"""


def _write_cholesky(is_complex: bool = False) -> str:
    """Write the functions of a Cholesky factor: blocks of rows of its transpose, left-looking."""
    steps, by_columns = [], dict(_BY_COLUMNS[is_complex])
    transposed = by_columns.pop("transposed")
    for row in range(_ROWS):
        numbers = {"row": row, "after": row + 1}
        steps.append(_UNIT_STEP.format(**numbers, transposed=transposed.format(**numbers)))
        steps += [
            f"    factor = -splat$(conj(load1(l, at{row} * n + at{later})))\n"
            f"    s{later} = fma(factor, s{row}, s{later})"
            for later in range(row + 1, _ROWS)
        ]
    tile = _CHOLESKY_TILE.format(steps=indent("\n".join(steps), "    "), **by_columns)
    unmasked = _unmask(tile.replace("narrow_", ""))
    return f"""{tile}{unmasked}
def outlined_cholesky_factor(x, l, n):
    how = 0
    for row in range(0, n, {_ROWS}):
        rows = n - row
        if rows > {_ROWS}:
            rows = {_ROWS}
        for c in range(row, n, $):
            wide = n - c
            if wide > $:
                wide = $
            if c > row and wide == $:
                failed = outlined_cholesky(x, l, n, row, rows, c, wide)
            else:
                failed = outlined_narrow_cholesky(x, l, n, row, rows, c, wide)
            if how == 0:
                how = failed
    for i in range(n):
        for c in range(i + 1, n, $):
            store(l, i * n + c, real$(0.0), mask$(n - c))
    return how
"""


#: Words of texts by element type: UP and DOWN scale what is outside of squares from TINY to HUGE.
_NUMBERS: Final = {
    "f32": {
        "local_real": "local_f32", "ptr_real": "ptr_f32", "bitcast_real": "bitcast_f32",
        "EXPONENT": str(0x7F800000), "EPSILON": str(2.0**-48), "LEAST": str(2.0**-34),
        "SMALLEST": str(2.0**-126),
        "TINY": "1e-27", "HUGE": "1e37", "UP": str(2.0**100), "DOWN": str(2.0**-100),
    },
    "f64": {
        "local_real": "local_f64", "ptr_real": "ptr_f64", "bitcast_real": "bitcast_f64",
        "EXPONENT": str(0x7FF << 52), "EPSILON": str(2.0**-106), "LEAST": str(2.0**-63),
        "SMALLEST": str(2.0**-1022),
        "TINY": "1e-270", "HUGE": "1e300", "UP": str(2.0**600), "DOWN": str(2.0**-600),
    },
}  # fmt: skip


def vectors(text: str, element: str, is_complex: bool = False) -> str:
    """Write the functions of a recipe's loops for an element type, or for complex numbers of it."""
    if not text:
        return ""
    integer = f"i{element[1:]}"
    text = text.replace("bitcast_whole", f"bitcast_{integer}").replace("realx1", f"{element}x1")
    text = text.replace("wholex1", f"{integer}x1")
    nbytes = str(int(element[1:]) // 8 * (1 + is_complex))
    for word, value in {**_NUMBERS[element], "BYTES": nbytes}.items():
        text = re.sub(rf"\b{word}\b", value, text)
    text = re.sub(r"\breal(?=\$)", f"{element}x", text)
    text = re.sub(r"\bwhole(?=\$)", f"{integer}x", text).replace("$", str(LANES[element]))
    lines = text.strip("\n").splitlines()
    rows = [range(_ROWS if "#" in line else 1) for line in lines]
    text = "".join(
        line.replace("#", str(row)) + "\n"
        for line, copies in zip(lines, rows, strict=True)
        for row in copies
    )
    return complex_text.write_complex(text) if is_complex else complex_text.OF_REAL + text


@dataclass(frozen=True)
class Recipe:
    """One routine.

    ``sizes`` are the words that a step gives. ``operands``, ``results`` and ``scratch`` have the
    elements of one iteration by name; ``name:i64`` has another element type than the routine's.
    ``body`` is what is done where ``when`` is not 0, ``failed`` what is done instead of saying that
    it failed, and ``failure`` says what an ``info`` means. ``parts``: the iterations that one
    matrix takes; ``part`` is the number of one of them. ``small``: what ``small_matrices`` has for
    matrices whose sizes ``is_small`` holds for. ``loops``: the body without LAPACK, for larger
    ones, and ``is_fast``: for which it is faster. ``functions``: what ``loops`` calls of this
    language. ``complex_body``: the body for complex matrices, if it is another text.
    ``by_elements``: ``loops`` have the bits of ``small``, take what is left of a batch, and are of
    real matrices alone. ``is_complex``: elements are pairs; ``complex_functions``: of complex
    matrices, if others.
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
    loops: str = ""
    is_fast: str = ""
    functions: str = ""
    complex_functions: str = ""
    complex_body: str = ""
    is_complex: bool = False
    by_elements: bool = False


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


def _no_solution(matrix: int, how: int) -> Exception:
    what = "a matrix holds NaN or infinities" if how < 0 else "an eigenvalue of a is one of -b"
    return LinearAlgebraError(
        f"equation {matrix} has no solution: {what}", hint="errors='nan' gives NaN instead"
    )


#: op(A) Y = B with A triangular, for ``count`` columns: Fortran reads Y'op(A)' = B'. ``ahead``: Y
#: begins with its first unknowns. It is found in blocks, and what is known of it is taken away by a
#: product. ``uplo``, ``code`` and ``diag`` are BLAS's letters of A as Fortran reads it.
_TRIANGULAR: Final = f"""
block = {BLOCK}
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
    along = n
    across = 1
    if code == 84:
        place = start * n + low
        along = 1
        across = n
    given = start * each
    to = low * each
    if known > 0:
        gemm('N', #code, count, wide, known, -1.0, y[given], each, a[place], n, 1.0, y[to], each)
    done = outlined_unknowns(a, low, high, along, across, 0, y, each, count, ahead, unit)
"""
#: The columns of one part.
_PART: Final = """
first = part * each
count = k - first
if count > each:
    count = each
"""
_ZERO_ON_DIAGONAL: Final = """
how = 0
for j in range(n):
    if how == 0 and some(load1(a, j * n + j) == 0.0):
        how = j + 1
checked
"""
_NONZERO_DIAGONAL: Final = "if unit == 0:\n" + indent(_ZERO_ON_DIAGONAL.strip(), "    ")
_ZERO_IN_LU: Final = _ZERO_ON_DIAGONAL.strip().replace("load1(a,", "load1(lu,") + "\n"
#: A permutation of what is not a number may leave rows out.
_CLEAR: Final = "done = outlined_clear(x, k, first, n, count)"
#: The same in one block, which needs no product.
_TRIANGULAR_LOOPS: Final = """
along = n
across = 1
is_adjoint = 0
if code != 78:
    along = 1
    across = n
    is_adjoint = 1
done = outlined_unknowns({factor}, 0, n, along, across, is_adjoint, y, each, count, ahead, unit)
"""


def _write_triangular(text: str) -> str:
    return f"""{_PART}
code = trans
for i in range(n):
    done = outlined_gather(b, k, first, i, y, each, i, count)
{text.strip()}
for i in range(n):
    done = outlined_scatter(x, k, first, i, y, each, i, count)
"""


def _write_permutation(trans: int, move: str) -> str:
    """Write the lines that permute the rows of y after LU, where ``trans`` matches."""
    return f"""
for i in range(n):
    place = i
    if trans == {trans}:
        place = word(load1(permutation, i))
    if place >= 0 and place < n:
        done = outlined_{move}, k, first, place, y, each, i, count)
"""


def _write_system(text: str, clear: str) -> str:
    """Write L and then U, or for the transposed system their transposes, U first."""
    return f"""{_PART.rstrip()}{_write_permutation(1, "gather(b")}code = 78
if trans == 1:
    code = 84
for back in range(2):
    ahead = 1 - back
    unit = back
    if code == 84:
        unit = 1 - back
    uplo = 85
    diag = 78
    if unit == 1:
        uplo = 76
        diag = 85
{indent(text.strip(), "    ")}
{clear}{_write_permutation(0, "scatter(x")}"""


_GETRF: Final = """
if m > 0 and n > 0:
    lacpy('A', n, m, x, n, lu, n)
    getrf(n, m, lu, n, pivots, info)
for j in range(n):
    store1(permutation, j, i64x1(j))
count = 0
for j in range(k):
    other = word(load1(pivots, j)) - 1
    if other != j:
        count = count + 1
        first = load1(permutation, j)
        store1(permutation, j, load1(permutation, other))
        store1(permutation, other, first)
store1(swaps, 0, i64x1(count))
"""
_LU: Final = """
count = outlined_factors(x, lu, permutation, pivots, m, n)
store1(swaps, 0, i64x1(count))
"""
#: a X + X b = q is b' X' + X' a' = q' to Fortran. With the Schur forms b' = U T U', a' = V S V' it
#: is T Y + Y S = U' q' V (Bartels and Stewart, 1972).
_SYLVESTER: Final = """
lacpy('A', m, m, a, m, s, m)
lacpy('A', n, n, b, n, schur, n)
lacpy('A', n, m, q, n, x, n)
lassq(m * m, s, 1, 0.0, 1.0)
ssum = load1(reals, 0) * 0.0 + load1(reals, 1) * 0.0
lassq(n * n, schur, 1, 0.0, 1.0)
tsum = load1(reals, 0) * 0.0 + load1(reals, 1) * 0.0
if some(ssum + tsum == 0.0):
    gees('V', 'N', info, m, s, m, whole, w, wi, v, m, work, lwork, whole, info)
    gees('V', 'N', info, n, schur, n, whole, w, wi, u, n, work, lwork, whole, info)
    gemm('T', 'N', n, m, n, 1.0, u, n, x, n, 0.0, f, n)
    gemm('N', 'N', n, m, m, 1.0, f, n, v, m, 0.0, x, n)
    trsyl('N', 'N', 1, n, m, schur, n, s, m, x, n, scale, info)
    if some(load1(scale, 0) != 1.0):
        store1(ints, 0, i32x1(1))
    gemm('N', 'N', n, m, n, 1.0, u, n, x, n, 0.0, f, n)
    gemm('N', 'T', n, m, m, 1.0, f, n, v, m, 0.0, x, n)
else:
    store1(ints, 0, i32x1(-1))
check
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

#: T and Z with x = Z T Z', of the matrix itself, whose rows are copied to columns. ``chosen`` asks
#: for eigenvalues that come first: on the left, on the right, inside, outside of the unit circle.
_SCHUR: Final = (
    """
lead = n if n > 0 else 1
for i in range(n):
    lacpy('A', 1, n, x[i * n], 1, a[i], n)
"""
    + _IF_FINITE.format(
        count="n * n",
        matrix="a",
        call="gees('V', 'N', info, n, a, lead, whole, w, wi, v, lead, work, lwork, whole, info)",
    ).replace("\ncheck\n", "\n")
    + """
count = 0
if chosen > 0 and n > 0:
    if some(load1(ints, 0) == 0):
        for j in range(n):
            across = load1(w, j)
            along = load1(wi, j)
            size = across * across + along * along
            is_first = 0
            if chosen == 1 and some(across < 0.0):
                is_first = 1
            if chosen == 2 and some(across >= 0.0):
                is_first = 1
            if chosen == 3 and some(size <= 1.0):
                is_first = 1
            if chosen == 4 and some(size > 1.0):
                is_first = 1
            count = count + is_first
            store1(whole, j, i32x1(is_first))
        trsen('N', 'V', whole, n, a, n, v, n, w, wi, place, s, s, work, lwork, place, 1, info)
for i in range(n):
    lacpy('A', 1, n, a[i], n, form[i * n], 1)
    lacpy('A', 1, n, v[i], n, z[i * n], 1)
store1(first, 0, i64x1(count))
check
"""
)
#: What ``sytrf`` makes of the lower triangle: L and D apart (``syconv``), and the order of rows.
_LDL: Final = """
for i in range(n):
    lacpy('A', 1, i + 1, x[i * n], 1, a[i], n)
sytrf('L', n, a, n, pivots, work, lwork, info)
syconv('L', 'C', n, a, n, pivots, beside, info)
for j in range(n):
    store1(permutation, j, i64x1(j))
is_second = 0
for j in range(n):
    pivot = word(load1(pivots, j))
    place = j
    other = pivot - 1
    if pivot < 0:
        other = 0 - pivot - 1
        if is_second == 0:
            other = j
            is_second = 1
        else:
            is_second = 0
    if other != place:
        swapped = load1(permutation, place)
        store1(permutation, place, load1(permutation, other))
        store1(permutation, other, swapped)
laset('A', n, n, 0.0, 0.0, packed, n)
for i in range(n):
    lacpy('A', 1, i + 1, a[i], n, packed[i * n], 1)
"""

#: What ``geev`` gives of a real matrix, as complex numbers: of a pair of conjugate eigenvalues two
#: rows are the real and the imaginary part of the vector of the first, and that of the second is
#: its conjugate. Where LAPACK failed ``wi`` may hold anything.
_PARTS_OF_VALUES: Final = """
for j in range(n):
    store1(w, 2 * j, load1(wr, j))
    store1(w, 2 * j + 1, load1(wi, j))
"""
_PARTS_OF_VECTORS: Final = """
for j in range(n):
    first = j
    last = j
    if some(load1(wi, j) > 0.0) and j + 1 < n:
        last = j + 1
    if some(load1(wi, j) < 0.0) and j > 0:
        first = j - 1
    for i in range(n):
        imaginary = real1(0.0)
        if first != last:
            imaginary = load1(rows, last * n + i)
        if first != j:
            imaginary = -imaginary
        store1(v, 2 * (j * n + i), load1(rows, first * n + i))
        store1(v, 2 * (j * n + i) + 1, imaginary)
"""


_LQ: Final = """
if p * n > 0:
    laset('A', n, p, 0.0, 0.0, r, n)
if k > 0:
    lacpy('A', n, m, x, n, a, n)
    gelqf(n, m, a, n, tau, work, lwork, info)
    lacpy('L', n, k, a, n, r, n)
if m * p > 0:
    laset('A', p, m, 0.0, 0.0, q, p)
    if k > 0:
        lacpy('A', k, m, a, n, q, p)
    orglq(p, m, k, q, p, tau, work, lwork, info)
"""
#: LAPACK finds LQ factors of the transposed matrix in twice the time of QR factors, where there are
#: no more columns than rows: a copy in Fortran's order costs less.
_QR: Final = f"""
if m < n:
{indent(_LQ.strip(), "    ")}
else:
    if p * n > 0:
        laset('A', n, p, 0.0, 0.0, r, n)
    if k > 0:
        for i in range(m):
            for j in range(n):
                store1(a, j * m + i, load1(x, i * n + j))
        geqrf(m, n, a, m, tau, work, lwork, info)
        for i in range(k):
            for j in range(i, n):
                store1(r, i * n + j, load1(a, j * m + i))
    if m * p > 0:
        laset('A', m, p, 0.0, 0.0, columns, m)
        if k > 0:
            lacpy('A', m, k, a, m, columns, m)
        orgqr(m, p, k, columns, m, tau, work, lwork, info)
        for i in range(m):
            for j in range(p):
                store1(q, i * p + j, load1(columns, j * m + i))
"""


def _of_any_matrix(vectors: bool, is_complex: bool) -> Recipe:
    """Return the recipe for eigenvalues, and eigenvectors in rows, of general matrices (geev).

    Fortran gets the matrix itself, not its transpose, so that the order is that of NumPy. Results
    are pairs, of real matrices too.
    """
    parts = "" if is_complex else "2 * "
    results = {"w": f"{parts}n", **({"v": f"{parts}n * n"} if vectors else {})}
    scratch = {"a": "n * n"}
    if is_complex:
        scratch |= {"work": "lwork", "rwork:real": "2 * n"}
        rows = "v" if vectors else "a"
        words, unpacking = f"w, {rows}, n, {rows}, n, work, lwork, rwork, info", ""
    else:
        scratch |= {"wr": "n", "wi": "n", **({"rows": "n * n"} if vectors else {}), "work": "lwork"}
        rows = "rows" if vectors else "a"
        words = f"wr, wi, {rows}, n, {rows}, n, work, lwork, info"
        unpacking = _PARTS_OF_VALUES + _PARTS_OF_VECTORS.lstrip() * vectors
    call = f"geev('N', '{'NV'[vectors]}', n, a, n, {words}){unpacking.rstrip()}"
    count = f"{2 if is_complex else 1} * n * n"
    return Recipe(
        "n lwork",
        {"x": "n * n"},
        results,
        scratch,
        "n",
        "for i in range(n):\n    lacpy('A', 1, n, x[i * n], 1, a[i], n)"
        + _IF_FINITE.format(count=count, matrix="a", call=call.replace("\n", "\n    ")),
        "".join(
            f"laset('A', {size}, 1, nan, nan, {name}, {size})\n" for name, size in results.items()
        ),
        _no_convergence,
        is_complex=is_complex,
    )


def _small(rows: str, columns: str, most: int = SMALL) -> str:
    return f"{rows} <= {most} and {columns} <= {most}"


#: Rows of the largest symmetric matrices whose eigenvalues Jacobi's method computes sooner than
#: LAPACK: of one matrix, and of MANY or more, which are interleaved. Times beside LAPACK's of 64
#: matrices of 4, 16 and 24 rows: 0.1, 0.4 and 0.6 (float64), 0.05, 0.15 and 0.25 (float32); of one
#: of 8 rows 0.8 (Xeon with AVX-512, 2026-11).
JACOBI: Final = 8
JACOBI_OF_MANY: Final = 24
MANY: Final = 16
_MANY: Final = f"n <= {JACOBI_OF_MANY} and count >= {MANY}"
#: The largest number of singular values that it computes sooner: for 4 and 8 rows and columns in
#: 0.4 and 0.7 of LAPACK's time, for 10 and 16 in 1.3 and 1.5 (float64).
JACOBI_SINGULAR: Final = 8
_FEW_VALUES: Final = f"k <= {JACOBI_SINGULAR} and m <= {WHOLE} and n <= {WHOLE}"

#: How names of recipes over complex numbers begin.
_OF_COMPLEX: Final = "complex_"
#: The recipes over real numbers, but for those of general matrices.
_REAL: Final[dict[str, Recipe]] = {
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
        "fill(l, n * n, nan)\n",
        _not_positive,
        small=CHOLESKY,
        is_small=_small("n", "n"),
        loops="how = outlined_cholesky_factor(x, l, n)\nchecked\n",
        is_fast=f"n <= {WHOLE}",
        functions=_write_cholesky(),
        complex_functions=_write_cholesky(is_complex=True),
    ),
    "triangular_solve": Recipe(
        "n k uplo trans transposed diag unit ahead each",
        {"a": "n * n", "b": "n * k"},
        {"x": "n * k"},
        {"y": "n * each"},
        "n * k",
        _NONZERO_DIAGONAL + _write_triangular(_TRIANGULAR),
        "",
        _singular,
        "(k + each - 1) // each",
        TRIANGULAR,
        _small("n", "k"),
        _NONZERO_DIAGONAL + _write_triangular(_TRIANGULAR_LOOPS.format(factor="a")),
        f"n <= {WHOLE}",
        _COLUMNS + _UNKNOWNS,
    ),
    "lu": Recipe(
        "m n k",
        {"x": "m * n"},
        {"lu": "m * n", "permutation:i64": "n", "swaps:i64": "1"},
        {"pivots:i32": "k"},
        "1",
        _GETRF,
        small=LU,
        is_small=_small("m", "n", SMALL_PIVOTED),
        loops=_LU,
        is_fast=_small("m", "n", WHOLE),
        functions=_FACTORS,
    ),
    "lu_solve": Recipe(
        "n k trans each",
        {"lu": "n * n", "permutation:i64": "n", "b": "n * k"},
        {"x": "n * k"},
        {"y": "n * each"},
        "n * k",
        _ZERO_IN_LU
        + _write_system(
            _TRIANGULAR.replace("a[", "lu[").replace("(a,", "(lu,"),
            "laset('A', count, n, 0.0, 0.0, x[first], k)",
        ),
        "",
        _singular,
        "(k + each - 1) // each",
        SYSTEM,
        _small("n", "k", SMALL_PIVOTED),
        _ZERO_IN_LU + _write_system(_TRIANGULAR_LOOPS.format(factor="lu"), _CLEAR),
        f"n <= {WHOLE}",
        _COLUMNS + _UNKNOWNS,
    ),
    "qr": Recipe(
        "m n k p lwork",
        {"x": "m * n"},
        {"q": "m * p", "r": "p * n"},
        {"a": "m * n", "tau": "k", "work": "lwork", "columns": "m * (p + 7)"},
        "1",
        _QR,
        loops="done = outlined_qr(x, q, r, a, columns, work, m, n, k, p)",
        is_fast=_small("m", "n", WHOLE),
        functions=reflections.write_functions(_unmask),
        complex_body=_LQ,
    ),
    "eigh": Recipe(
        "n lwork liwork count",
        {"x": "n * n"},
        {"w:real": "n", "v": "n * n"},
        {"work": "lwork", "iwork:i32": "liwork", "z": "n * n"},
        "n",
        "laset('A', n, n, 0.0, 0.0, v, n)\n"
        "lacpy('U', n, n, x, n, v, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="v",
            call="syevd('V', 'U', n, v, n, w, work, lwork, iwork, liwork, info)",
        ),
        "fill(w, n, nan)\nfill(v, n * n, nan)\n",
        _no_convergence,
        small=jacobi.write_lanes(has_vectors=True),
        is_small=_MANY,
        loops="how = outlined_jacobi(x, w, v, work, z, n)\nchecked\n",
        is_fast=f"n <= {JACOBI}",
        functions=jacobi.write_rows(has_vectors=True),
        by_elements=True,
    ),
    "eigvalsh": Recipe(
        "n lwork liwork count",
        {"x": "n * n"},
        {"w:real": "n"},
        {"a": "n * n", "work": "lwork", "iwork:i32": "liwork"},
        "n",
        "laset('A', n, n, 0.0, 0.0, a, n)\n"
        "lacpy('U', n, n, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="n * n",
            matrix="a",
            call="syevd('N', 'U', n, a, n, w, work, lwork, iwork, liwork, info)",
        ),
        "fill(w, n, nan)\n",
        _no_convergence,
        small=jacobi.write_lanes(has_vectors=False),
        is_small=_MANY,
        loops="how = outlined_jacobi(x, w, w, a, a, n)\nchecked\n",
        is_fast=f"n <= {JACOBI}",
        functions=jacobi.write_rows(has_vectors=False),
        by_elements=True,
    ),
    "svd": Recipe(
        "m n k p w job lwork",
        {"x": "m * n"},
        {"u": "m * p", "s:real": "k", "v": "w * n"},
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
        "fill(s, k, nan)\nfill(u, m * p, nan)\nfill(v, w * n, nan)\n",
        _no_convergence,
        loops="how = outlined_svd(x, u, s, v, work, m, n, p, w)\nchecked\n",
        is_fast=_FEW_VALUES,
        functions=reflections.write_functions(_unmask) + jacobi.write_singular(has_vectors=True),
        by_elements=True,
    ),
    "svdvals": Recipe(
        "m n k lwork",
        {"x": "m * n"},
        {"s:real": "k"},
        {"a": "m * n", "work": "lwork", "iwork:i32": "8 * k"},
        "k",
        "lacpy('A', n, m, x, n, a, n)\n"
        + _IF_FINITE.format(
            count="m * n",
            matrix="a",
            call="gesdd('N', n, m, a, n, s, a, n, a, m, work, lwork, iwork, info)",
        ),
        "fill(s, k, nan)\n",
        _no_convergence,
        loops="how = outlined_svd(x, a, s, a, work, m, n, k, k)\nchecked\n",
        is_fast=_FEW_VALUES,
        functions=reflections.write_functions(_unmask) + jacobi.write_singular(has_vectors=False),
        by_elements=True,
    ),
    "schur": Recipe(
        "n lwork chosen",
        {"x": "n * n"},
        {"form": "n * n", "z": "n * n", "first:i64": "1"},
        {
            "a": "n * n",
            "v": "n * n",
            "w": "n",
            "wi": "n",
            "work": "lwork",
            "whole:i32": "n",
            "place:i32": "2",
            "s:real": "1",
        },
        "1",
        _SCHUR,
        "laset('A', n, n, nan, nan, form, n)\nlaset('A', n, n, nan, nan, z, n)\n",
        _no_convergence,
    ),
    "ldl": Recipe(
        "n lwork",
        {"x": "n * n"},
        {"packed": "n * n", "beside": "n", "permutation:i64": "n"},
        {"a": "n * n", "work": "lwork", "pivots:i32": "n"},
        "n",
        _LDL,
    ),
    "sylvester": Recipe(
        "m n lwork",
        {"a": "m * m", "b": "n * n", "q": "m * n"},
        {"x": "m * n"},
        {
            "s": "m * m",
            "v": "m * m",
            "schur": "n * n",
            "u": "n * n",
            "f": "m * n",
            "w": "m + n",
            "wi": "m + n",
            "work": "lwork",
            "whole:i32": "m + n",
            "scale:real": "1",
        },
        "m * n",
        _SYLVESTER,
        "laset('A', n, m, nan, nan, x, n)\n",
        _no_solution,
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
#: Texts of real recipes, and what complex ones have in their place, of which loops take the first.
#: BLAS has no ``trsv`` for the conjugate of a matrix that is not transposed.
_COMPLEX_TEXTS: Final = (
    (r"some\(load1\((\w+), (.*)\) == 0\.0\)", r"some(load1(\1, 2 * (\2)) == 0.0)"
     r" and some(load1(\1, 2 * (\2) + 1) == 0.0)"),
    (r"= 84\b", "= 67"),
    (r"done = outlined_gather\(b, .*, (\w+), y,.*",
     r"lacpy('A', count, 1, b[\1 * k + first], k, y[i * each], each)"),
    (r"done = outlined_scatter\(x, .*, (\w+), y,.*",
     r"lacpy('A', count, 1, y[i * each], each, x[\1 * k + first], k)"),
    (r"done = outlined_unknowns\((\w+), .*",
     r"trsm('R', #uplo, #code, #diag, count, wide, 1.0, \1[low * n + low], n, y[to], each)"),
    (r"'T'", "'C'"),
    (r"lassq\(", "lassq(2 * "),
    (r"orglq", "unglq"),
    (r"gees(.*)w, wi,(.*)lwork,", r"gees\1w,\2lwork, rwork,"),
    (r"trsen(.*)w, wi,(.*)lwork, place, 1,", r"trsen\1w,\2lwork,"),
    (r"load1\(w, j\)", "load1(w, 2 * j)"),
    (r"load1\(wi, j\)", "load1(w, 2 * j + 1)"),
    (r"sytrf", "hetrf"),
    (r"syevd(.*)iwork, liwork", r"heevd\1rwork, 2 * n * n + 5 * n + 1, iwork, liwork"),
    (r"gesdd(.*)iwork", r"gesdd\1rwork, iwork"),
)  # fmt: skip


def _of_complex(recipe: Recipe) -> Recipe:
    """Return a linear-algebra recipe for complex matrices, with conjugate transposes."""
    body, loops = recipe.complex_body or recipe.body, recipe.loops
    for number, (pattern, text) in enumerate(_COMPLEX_TEXTS):
        body = re.sub(pattern, text, body)
        loops = loops if number else re.sub(pattern, text, loops)
    scratch = {**recipe.scratch, **({"rwork:real": ""} if "rwork" in body else {})}
    functions = recipe.complex_functions or recipe.functions
    if recipe.by_elements:
        recipe = replace(recipe, is_fast="")
        functions = loops = ""
    of_pairs = replace(recipe, small="", is_small="", functions=functions, is_complex=True)
    return replace(of_pairs, body=body, loops=loops, scratch=scratch)


#: The names of all recipes.
NAMES: Final = tuple(
    f"{kind}{name}" for kind in ("", _OF_COMPLEX) for name in (*_REAL, "eig", "eigvals")
)


@cache
def recipe_of(name: str) -> Recipe:
    """Return the recipe of a name; it is put together when it is first asked for."""
    real = name.removeprefix(_OF_COMPLEX)
    if real in ("eig", "eigvals"):
        return _of_any_matrix(real == "eig", real != name)
    return _REAL[real] if real == name else _of_complex(_REAL[real])
