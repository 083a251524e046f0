"""Factors and solutions of small matrices: loops in the language of kernels, many matrices
interleaved.

A call of LAPACK takes as long as the arithmetic of dozens of elements, and each step of a small
factorization waits for the one before. So a lane of a vector has a matrix of its own; what remains
of a batch is taken one by one by the same text with one lane, which gives the same bytes.
In a text ``$`` stands for the lanes, ``real`` and ``whole`` for elements and for integers as wide.
A text ends by returning 0, or how a matrix failed; of many, each is then done again by itself.

Source: Golub and Van Loan, Matrix Computations, 4th edition: 3.4.1 (outer products with pivots),
4.2.5 (outer products of a Cholesky factor), 3.1.3 (substitution by columns).
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import Final

#: Rows and columns of the largest matrices that loops take, and of those whose columns are
#: exchanged: beyond that LAPACK is as fast for many, and faster for one.
SMALL: Final = 24
SMALL_PIVOTED: Final = 16
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


def _substitution(factor: str, backward: str, transposed: str, divided: str) -> str:
    """Lines that put unknowns into the place of the right-hand sides, which are in ``rows``.

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
{indent(_substitution("lu", "back == 1", "trans == 1", "back == trans"), "    ")}
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
{_substitution("a", "ahead == 0", "trans == 84", "unit == 0")}
for e in range(n * k):
    store_strided(x, e, n * k, load$(rows, e * $), every)
return word(hmax(failed))
"""


def function(name: str, parameters: list[str], text: str, element: str, lanes: int) -> str:
    """A text as a function of the kernel language, over so many lanes."""
    whole = f"i{element[1:]}"
    own = {"rows": element, "ratios": element, "places": whole, "order": whole}
    head = [f"def {name}({', '.join(parameters)}):", f"    every = mask{lanes}({lanes})"]
    for local, kind in own.items():
        if re.search(rf"\b{local}\b", text):
            count = (SMALL * SMALL if local == "rows" else SMALL) * lanes
            head.append(f"    {local} = local_{kind}({count})")
    for word, kind in (("real", element), ("whole", whole)):
        text = re.sub(rf"\b{word}(?=\$)", f"{kind}x", text)
    text = text.replace("bitcast_whole", f"bitcast_{whole}").replace("$", str(lanes))
    return "\n".join([*head, indent(text.strip("\n"), "    ")]) + "\n"
