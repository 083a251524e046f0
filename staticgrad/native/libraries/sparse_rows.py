"""Routines of sparse matrices with a fixed pattern: products with dense rows, and sampled products.

The sum of a row is added up in the order of its elements, from 0, and each multiplication and
addition rounds: bitwise as SciPy's loops, and the same for every number of threads. An element
whose place lies outside of the matrix counts as 0, so that no pattern reads foreign memory.

A dense operand has rows of ``k`` numbers. Longer rows are taken by vectors, several of them in
registers while the elements pass, and rows that come next are prefetched. Of rows of one number the
pattern is checked for many rows at a time, since a test of each element takes as long as its
product.
"""

from __future__ import annotations

from textwrap import indent
from typing import Final

from staticgrad.native.libraries.routines import register

#: Lanes of a vector of 512 bits.
LANES: Final = {"f32": 16, "f64": 8, "i32": 16, "i64": 8}
#: Vectors of a dense row that stay in registers, the most first.
_VECTORS: Final = (8, 4, 2, 1)
#: Elements between the prefetch of a dense row and its use; 8 to 32 differ little.
_AHEAD: Final = 16
_CACHE_LINE: Final = 64  # bytes
#: Elements between the prefetch of what a product with a vector reads in order, and its use. It
#: saves a fifth where the matrix is not in a cache: matrix of 10^5 rows, Xeon, 2026-11.
_NEAR: Final = 256

#: The record has the operands, the pattern (ir: ``SparseProduct``), the result, then the sizes.
_HEAD: Final = """\
def kernel(t, own, begin, end):
    sizes = {sizes}
    rows = t[sizes]
    inner = t[sizes + 1]
    k = t[sizes + 2]
    count = t[sizes + 3]
    first_step = t[sizes + 4]
    second_step = t[sizes + 5]
    out_step = t[sizes + 6]
    length = t[sizes + 7]
    each = t[sizes + 8]
    starts = ptr_{whole}(t[{starts}])
    places = ptr_{whole}(t[{places}])
    order = ptr_{whole}(t[{order}])
    parts = (length + each - 1) // each
    for iteration in range(begin, end):
        batch = iteration // parts
        first = iteration % parts * each
        last = first + each
        if last > length:
            last = length
        values = ptr_{real}(t[0] + batch * first_step * {bytes})
        dense = ptr_{real}(t[1] + batch * second_step * {bytes})
        out = ptr_{real}(t[{out}] + batch * out_step * {bytes})
"""
#: Whether the rows from ``first`` to ``last`` follow each other, and all their places exist.
_VALID: Final = """
low = word(load1(starts, first))
high = word(load1(starts, last))
valid = 1
if low < 0 or high > count:
    valid = 0
for row in range(first, last, {lanes}):
    some_rows = mask{lanes}(last - row)
    if some(load(starts, row + 1, some_rows) < load(starts, row, some_rows)):
        valid = 0
"""
#: Whether those of a pattern's ``array`` are from 0 to below ``limit``.
_EXIST: Final = """
if valid == 1:
    least = {whole}x{lanes}(0)
    most = {whole}x{lanes}(0)
    for e in range(low, high, {lanes}):
        elements = load({array}, e, mask{lanes}(high - e))
        least = minimum(least, elements)
        most = maximum(most, elements)
    if high > low and (word(hmin(least)) < 0 or word(hmax(most)) >= {limit}):
        valid = 0
"""
_VALID_ROWS: Final = """
if valid == 1:
    for row in range(first, last):
        high = word(load1(starts, row + 1))
        total = {real}x1(0.0)
        for e in range(low, high):
            total = total + load1(values, {element}) * load1(dense, word(load1(places, e)))
        store1(out, row, total)
        low = high
        prefetch({stream}, low + {near})
        prefetch(places, low + 2 * {near})
"""
_BOUNDS: Final = """
low = word(load1(starts, row))
high = word(load1(starts, row + 1))
if low < 0:
    low = 0
if high > count:
    high = count
"""


def _indent_block(text: str, depth: int) -> str:
    return indent(text.strip("\n"), "    " * depth) + "\n"


def _write_sum_loop(real: str, element: str, vectors: int, mask: str) -> str:
    """Write the loop over a sparse row's elements that sums ``vectors`` vectors of its product."""
    lanes, nbytes = LANES[real], int(real[1:]) // 8
    numbers = range(vectors)
    loads = [
        f"load(dense, at, {mask})" if mask else f"load{lanes}(dense, at + {n * lanes})"
        for n in numbers
    ]
    stores = [
        f"store(out, row * k + c, total{n}, {mask})"
        if mask
        else f"store{lanes}(out, row * k + c + {n * lanes}, total{n})"
        for n in numbers
    ]
    near = [
        f"        prefetch(dense, near + {at})"
        for at in range(0, vectors * lanes, _CACHE_LINE // nbytes)
    ]
    lines = [
        *(f"total{n} = {real}x{lanes}(0.0)" for n in numbers),
        "for e in range(low, high):",
        f"    if e + {_AHEAD} < count:",
        f"        near = word(load1(places, e + {_AHEAD})) * k + c",
        *near,
        "    place = word(load1(places, e))",
        f"    at_value = {element}",
        "    if place >= 0 and place < inner and at_value >= 0 and at_value < count:",
        f"        factor = splat{lanes}(load1(values, at_value))",
        "        at = place * k + c",
        *(f"        total{n} = total{n} + factor * {load}" for n, load in enumerate(loads)),
        *stores,
    ]
    return "\n".join(lines) + "\n"


def _write_product(real: str, index_element: str, transposed: bool) -> str:
    """Write the kernel of a sparse-dense product: out[r] = sum of values[e] * dense[place of e]."""
    element = "word(load1(order, e))" if transposed else "e"
    pattern = (
        {"starts": 5, "places": 6, "order": 7}
        if transposed
        else {"starts": 2, "places": 3, "order": 7}
    )
    shape = {"real": real, "whole": index_element, "bytes": int(real[1:]) // 8, "element": element}
    lanes = {**shape, "lanes": LANES[index_element]}
    text = _HEAD.format(**shape, **pattern, out=8, sizes=9)
    text += "        valid = 0\n        if k == 1:\n" + _indent_block(_VALID.format(**lanes), 3)
    text += _indent_block(_EXIST.format(**lanes, array="places", limit="inner"), 3)
    if transposed:
        text += _indent_block(_EXIST.format(**lanes, array="order", limit="count"), 3)
    stream = "order" if transposed else "values"
    text += _indent_block(_VALID_ROWS.format(**shape, stream=stream, near=_NEAR), 3)
    text += "        if valid == 0:\n            for row in range(first, last):\n"
    text += _indent_block(_BOUNDS, 4) + "                c = 0\n"
    for vectors in _VECTORS:
        step = vectors * LANES[real]
        text += f"                while k - c >= {step}:\n"
        text += _indent_block(_write_sum_loop(real, element, vectors, ""), 5)
        text += f"                    c = c + {step}\n"
    text += f"                if c < k:\n                    rest = mask{LANES[real]}(k - c)\n"
    return text + _indent_block(_write_sum_loop(real, element, 1, "rest"), 5)


#: out[e] = the product of row ``places[e]`` of the one and row ``order[e]`` of the other operand.
_SAMPLED: Final = """
for e in range(first, last):
    place = word(load1(places, e))
    other = word(load1(order, e))
    totals = {real}x{lanes}(0.0)
    if place >= 0 and place < rows and other >= 0 and other < inner:
        for c in range(0, k, {lanes}):
            rest = mask{lanes}(k - c)
            totals = totals + load(values, place * k + c, rest) * load(dense, other * k + c, rest)
    store1(out, e, hsum(totals))
"""
_SAMPLED_ONE: Final = """
for e in range(first, last):
    place = word(load1(places, e))
    other = word(load1(order, e))
    total = {real}x1(0.0)
    if place >= 0 and place < rows and other >= 0 and other < inner:
        total = total + load1(values, place) * load1(dense, other)
    store1(out, e, total)
"""


def _write_sampled_product(real: str, index_element: str) -> str:
    """Write the kernel of a sampled product: dot products at the pattern of a sparse matrix."""
    shape = {
        "real": real,
        "whole": index_element,
        "bytes": int(real[1:]) // 8,
        "lanes": LANES[real],
    }
    pattern = {"starts": 2, "places": 4, "order": 3}
    text = _HEAD.format(**shape, **pattern, out=8, sizes=9)
    text += "        if k == 1:\n" + _indent_block(_SAMPLED_ONE.format(**shape), 3)
    return text + "        else:\n" + _indent_block(_SAMPLED.format(**shape), 3)


def source(name: str) -> str:
    """Return the kernel source of a sparse routine: ``product.f32.i32``, ``sampled.f32.i64``."""
    kind, real, index_element = name.split(".")
    return (
        _write_sampled_product(real, index_element)
        if kind == "sampled"
        else _write_product(real, index_element, kind == "transposed")
    )


register("sparse", linked=lambda spec: (source(spec), ()))
