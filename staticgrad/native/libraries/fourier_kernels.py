"""Kernels of Fourier transforms along one axis, for sizes of factors 2, 3 and 5.

A vector has the same element of several transforms, which are neighbouring rows or columns. They
are copied into a buffer, where all real parts of an element are followed by all imaginary ones, and
transformed by passes over one factor each between two buffers (Stockham's order: Van Loan,
Computational Frameworks for the Fast Fourier Transform, 1992, 1.7). A transform of real values is
one of half the size over pairs of them, behind or in front of a step that splits its spectrum. A
backward transform is a forward one of which real and imaginary parts are exchanged.

Lanes are computed alike: bits depend neither on threads nor on the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from textwrap import indent
from typing import Any, Final, Literal

import numpy as np

from staticgrad.support.records import NamedTuple
from staticgrad.support.tables import reciprocal_root, roots_of_unity

Array = np.ndarray[Any, Any]
#: Transforms in a vector of 256 bits. More registers are left for the parts of a butterfly than
#: with vectors of 512 bits, of which machines with AVX2 make two.
LANES: Final = {"float32": 8, "float64": 4}
#: Complex elements of a transform whose two buffers fit in an L2 cache of 512 KiB: of one line,
#: and of as many rows or columns as there are lanes.
LARGEST: Final = 16384
MOST_OF_COLUMNS: Final = 4096
#: Complex elements up to which a vector of several rows is faster than one of a line.
MOST_OF_ROWS: Final = 128
SMALLEST: Final = 4
_CODES: Final = {"float32": "f32", "float64": "f64"}
_PASS_WORDS: Final = 4


def complex_size(kind: str, size: int) -> int:
    """Return the number of complex elements that passes transform; 0: there is no kernel."""
    if kind != "c2c":
        if size % 2:
            return 0
        size //= 2
    return size if SMALLEST <= size <= LARGEST and _factors(size) else 0


Layout = Literal["lines", "rows", "columns"]


class FourierCall(NamedTuple):
    """The parts of a routine's name: ``fft:c2c.float64.2.2.f0.-1``, or with the last two of them
    ``fft:c2c.float64.4.4.f0.-2.128.columns``, which is a kernel of this module.

    The op ``FourierTransform`` says what the parts mean; ``rank`` and ``result_rank`` count the
    axis of both parts of complex numbers.
    """

    kind: str
    dtype: str
    rank: int
    result_rank: int
    how: str
    axes: tuple[int, ...]
    size: int = 0
    layout: str = ""

    @classmethod
    def of(cls, name: str) -> FourierCall:
        """Return the parts of a name, with or without its family."""
        kind, dtype, rank, result_rank, how, axes, *of_kernel = name.rpartition(":")[2].split(".")
        places = tuple(map(int, axes.split("_")))
        size, layout = of_kernel or (0, "")
        return cls(kind, dtype, int(rank), int(result_rank), how, places, int(size), layout)

    @property
    def name(self) -> str:
        """The name of the routine."""
        axes = "_".join(map(str, self.axes))
        parts = [*self[:5], axes, *self[6:]] if self.size else [*self[:5], axes]
        return f"fft:{'.'.join(map(str, parts))}"


def layout_of(
    kind: str, dtype: str, size: int, outer: int | None, inner: int | None
) -> Layout | None:
    """Choose the vector layout of a Fourier transform over [outer, size, inner]; None: unsupported.

    ``lines``: a vector has elements of one transform; otherwise it has an element of each of
    several rows or columns. None: pocketfft is faster, or the size has other prime factors.
    """
    elements, lanes = complex_size(kind, size), LANES[dtype]
    if not elements:
        return None
    if inner != 1:
        few = inner is not None and 2 * inner < lanes
        return None if few or elements > MOST_OF_COLUMNS else "columns"
    few = outer is not None and 2 * outer < lanes
    if elements % lanes**2 == 0 and elements > lanes**2 and (few or elements > MOST_OF_ROWS):
        return "lines"
    return None if few or elements > MOST_OF_COLUMNS else "rows"


def buffer_elements(dtype: str, layout: str, elements: int) -> int:
    """Return the numbers of one of two buffers; half a spectrum has one complex element more."""
    return 2 * (elements + LANES[dtype]) * (1 if layout == "lines" else LANES[dtype])


@cache
def _factors(size: int) -> tuple[int, ...]:
    """Factor a transform's size for the FFT's passes; empty if a prime factor is above 5."""
    factors = []
    for factor in (5, 3):
        while size % factor == 0:
            size //= factor
            factors.append(factor)
    if size & (size - 1):
        return ()
    twos = size.bit_length() - 1
    while twos:
        power = 3 if twos == 3 or twos > 4 else 2 if twos > 1 else 1
        factors.append(1 << power)
        twos -= power
    return tuple(factors)


def _roots(size: int, numbers: Array) -> Array:
    """Return the FFT's twiddle factors exp(-2 pi i k / size) in float64."""
    return roots_of_unity(numbers, size) * (1.0, -1.0)


class FourierPlan(NamedTuple):
    """Tables that a kernel reads: words of its passes, and numbers of the element type.

    ``words``: the number of passes; then for each its factor, the product of earlier factors, that
    of later ones, and where its roots of unity begin. ``numbers``: the scale of the result, the
    signs of imaginary parts in front of a split of a spectrum, of its roots and of the result, its
    scale, and from 8 on those roots; then those of the passes. ``roots``: where those of the first
    pass of a line begin. ``elements``: the number of complex elements.
    """

    words: Array
    numbers: Array
    elements: int
    roots: int


@cache
def plan(kind: str, dtype: str, how: str, size: int, layout: str) -> FourierPlan:
    """Return the plan of an FFT of ``size`` elements: factors, buffers, twiddle factors."""
    count = elements = complex_size(kind, size)
    is_back = how[0] == "b"
    scale = (1.0, reciprocal_root(size), 1.0 / size)[int(how[1])]
    head = np.zeros(8)
    head[0] = scale
    if kind == "r2c":
        head[1:5] = 1.0, 1.0, -1.0 if is_back else 1.0, 0.5
    if kind == "c2r":
        head[1:5] = 1.0 if is_back else -1.0, -1.0, 1.0, 1.0
    parts = [head]
    if kind != "c2c":
        split = _roots(size, np.arange(elements // 2 + 1))
        parts.append(np.stack([split[:, 1], -split[:, 0]], -1).ravel())  # times -i
    at = sum(part.size for part in parts)
    roots_at = at
    if layout == "lines":
        lanes = LANES[dtype]
        left = elements // lanes
        powers = np.arange(lanes)[:, None] * np.arange(left).reshape(-1, 1, lanes)
        roots = _roots(elements, powers)[:, 1:]  # by group, number, lane, part
        parts.append(np.moveaxis(roots, -1, -2).ravel())
        at += parts[-1].size
        elements = left
    words, done = [], 1
    for factor in _factors(elements):
        left = elements // done // factor
        powers = np.arange(left)[:, None] * np.arange(1, factor)
        parts.append(_roots(elements, powers * done).ravel())
        words += [factor, done, left, at]
        at += parts[-1].size
        done *= factor
    numbers = np.concatenate(parts).astype(dtype)
    return FourierPlan(
        np.array([len(words) // _PASS_WORDS, *words], np.int64), numbers, count, roots_at
    )


# -- butterflies: lines of the kernel language over r0, i0, r1, i1, ... into s0, j0, ... -----------


def _butterfly(factor: int, number: str) -> str:
    """Write the source lines of an FFT butterfly of ``factor`` elements."""
    if factor == 2:
        return "s0 = r0 + r1\nj0 = i0 + i1\ns1 = r0 - r1\nj1 = i0 - i1\n"
    if factor == 4:
        return _write_radix4(
            ("0", "1", "2", "3"), ("s0", "s1", "s2", "s3"), ("j0", "j1", "j2", "j3")
        )
    if factor == 8:
        return _write_radix8(number)
    return _write_odd_radix(factor, number)


def _write_radix4(of: Sequence[str], real: Sequence[str], imaginary: Sequence[str]) -> str:
    """Write the source lines of a radix-4 butterfly."""
    a, b, c, d = of
    lines = []
    for part, (p, q) in (("r", (a, c)), ("i", (a, c))):
        lines += [f"even_{part} = {part}{p} + {part}{q}", f"odd_{part} = {part}{p} - {part}{q}"]
    for part in "ri":
        lines += [f"sum_{part} = {part}{b} + {part}{d}", f"gap_{part} = {part}{b} - {part}{d}"]
    lines += [
        f"{real[0]} = even_r + sum_r",
        f"{imaginary[0]} = even_i + sum_i",
        f"{real[1]} = odd_r + gap_i",
        f"{imaginary[1]} = odd_i - gap_r",
        f"{real[2]} = even_r - sum_r",
        f"{imaginary[2]} = even_i - sum_i",
        f"{real[3]} = odd_r - gap_i",
        f"{imaginary[3]} = odd_i + gap_r",
    ]
    return "\n".join(lines) + "\n"


def _write_radix8(number: str) -> str:
    """Write the lines of half of a radix-8 butterfly, with its eighth roots of unity."""
    text = _write_radix4("0246", [f"a{k}" for k in range(4)], [f"b{k}" for k in range(4)])
    text += _write_radix4("1357", [f"c{k}" for k in range(4)], [f"d{k}" for k in range(4)])
    # The eighth roots of unity are (1 +- i) / sqrt(2): two sums and two products of one number.
    root = repr(float(np.sqrt(np.array(0.5, number))))
    text += f"""\
e1 = (c1 + d1) * {root}
f1 = (d1 - c1) * {root}
e3 = (d3 - c3) * {root}
f3 = (c3 + d3) * {root}
s0 = a0 + c0
j0 = b0 + d0
s4 = a0 - c0
j4 = b0 - d0
s1 = a1 + e1
j1 = b1 + f1
s5 = a1 - e1
j5 = b1 - f1
s2 = a2 + d2
j2 = b2 - c2
s6 = a2 - d2
j6 = b2 + c2
s3 = a3 + e3
j3 = b3 - f3
s7 = a3 - e3
j7 = b3 + f3
"""
    return text


def _write_odd_radix(factor: int, number: str) -> str:
    """Write the lines of a radix-3 or radix-5 butterfly, whose roots are conjugate pairs."""
    half = factor // 2
    roots = _roots(factor, np.arange(factor)).astype(number).astype(float)
    lines = []
    for v in range(1, half + 1):
        for part in "ri":
            a, b = f"{part}{v}", f"{part}{factor - v}"
            lines += [f"sum_{part}{v} = {a} + {b}", f"gap_{part}{v} = {a} - {b}"]
    for part, out in (("r", "s"), ("i", "j")):
        sums = [f"sum_{part}{v}" for v in range(1, half + 1)]
        lines.append(f"{out}0 = {' + '.join([f'{part}0', *sums])}")
    for u in range(1, half + 1):
        for part in "ri":
            even = f"{part}0"
            for v in range(1, half + 1):
                even = f"fma(sum_{part}{v}, {float(roots[u * v % factor, 0])!r}, {even})"
            odd = ""
            for v in range(1, half + 1):
                unit = repr(float(-roots[u * v % factor, 1]))
                odd = f"fma(gap_{part}{v}, {unit}, {odd})" if odd else f"gap_{part}{v} * {unit}"
            lines += [f"even_{part} = {even}", f"odd_{part} = {odd}"]
        lines += [
            f"s{u} = even_r + odd_i",
            f"j{u} = even_i - odd_r",
            f"s{factor - u} = even_r - odd_i",
            f"j{factor - u} = even_i + odd_r",
        ]
    return "\n".join(lines) + "\n"


def _write_pass(factor: int, dtype: str, is_last: bool, way: str) -> str:
    """Write the loops of one FFT pass from x into y; the last pass of a line writes pairs."""
    lanes = LANES[dtype]
    pair = 2 * lanes
    lines = []
    for v in range(factor):
        lines += [
            f"r{v} = load{lanes}(x, from_{v} + re)",
            f"i{v} = load{lanes}(x, from_{v} + im)",
        ]
    loads = [f"from_{v} = source + {v} * jump" for v in range(factor)]
    stores = []
    for u in range(factor):
        real, imaginary = f"s{u}", f"j{u}"
        if is_last:
            real, imaginary = f"s{u} * scale", f"j{u} * scale"
        elif u:
            real = f"fma(s{u}, wr{u}, -(j{u} * wi{u}))"
            imaginary = f"fma(s{u}, wi{u}, j{u} * wr{u})"
        place = f"target + {u} * step"
        if is_last and way:
            pair_of = f"{real}, {imaginary}" if way == "forward" else f"{imaginary}, {real}"
            stores += [
                f"store{lanes}(out, to + {place}, turn0({pair_of}))",
                f"store{lanes}(out, to + {place} + {lanes}, turn1({pair_of}))",
            ]
            continue
        stores += [
            f"store{lanes}(y, {place} + re, {real})",
            f"store{lanes}(y, {place} + im, {imaginary})",
        ]
    body = "\n".join([*loads, *lines]) + "\n" + _butterfly(factor, dtype) + "\n".join(stores)
    head = [f"jump = {pair} * done * left", f"step = {pair} * done"]
    inner = (
        f"for q in range(0, done):\n    source = {pair} * (q + done * j)\n"
        f"    target = {pair} * (q + {factor} * done * j)\n" + indent(body, "    ")
    )
    if is_last:
        return "\n".join([*head, "j = 0", inner]) + "\n"
    roots = []
    for u in range(1, factor):
        place = f"at + {2 * (factor - 1)} * j + {2 * (u - 1)}"
        roots += [
            f"wr{u} = splat{lanes}(load1(numbers, {place}))",
            f"wi{u} = splat{lanes}(load1(numbers, {place} + 1))",
        ]
    loop = indent("\n".join([*roots, inner]), "    ")
    return "\n".join([*head, "for j in range(0, left):", loop]) + "\n"


@cache
def _write_passes(dtype: str, way: str = "") -> str:
    """Write the function that runs all FFT passes, back and forth between two buffers.

    ``way``, forward or back: the result of a line is written as pairs, into ``out`` from ``to`` on.
    """
    code, lanes = _CODES[dtype], LANES[dtype]
    name, further = (f"line_{way}_{code}", ", out, to") if way else (f"fourier_{code}", "")
    text = f"""\
def shared_{name}(first, second, words, numbers, re, im{further}):
    scale = splat{lanes}(load1(numbers, 0))
    before = address(first)
    after = address(second)
    for number in range(0, words[0]):
        factor = words[{_PASS_WORDS} * number + 1]
        done = words[{_PASS_WORDS} * number + 2]
        left = words[{_PASS_WORDS} * number + 3]
        at = words[{_PASS_WORDS} * number + 4]
        x = ptr_{code}(before)
        y = ptr_{code}(after)
        before = address(y)
        after = address(x)
"""
    for condition, is_last in (("left > 1", False), ("left == 1", True)):
        for factor in (2, 3, 4, 5, 8):
            text += f"        if {condition} and factor == {factor}:\n"
            text += indent(_write_pass(factor, dtype, is_last, way), " " * 12)
    return text


@cache
def _write_split(dtype: str) -> str:
    """Write the function that converts between half a spectrum and that of packed real pairs.

    Elements k and n - k of both are E + T and the conjugate of E - T, of E = X + conj(Y) and
    T = u (X - conj(Y)) of the other ones, X and Y.
    """
    code, lanes = _CODES[dtype], LANES[dtype]
    pair = 2 * lanes
    return f"""\
def shared_split_{code}(x, numbers, elements):
    before = splat{lanes}(load1(numbers, 1))
    turn = splat{lanes}(load1(numbers, 2))
    behind = splat{lanes}(load1(numbers, 3))
    scale = splat{lanes}(load1(numbers, 4))
    for k in range(0, elements // 2 + 1):
        wr = splat{lanes}(load1(numbers, 8 + 2 * k))
        wi = splat{lanes}(load1(numbers, 9 + 2 * k)) * turn
        here = {pair} * k
        there = {pair} * (elements - k)
        xr = load{lanes}(x, here)
        xi = load{lanes}(x, here + {lanes}) * before
        yr = load{lanes}(x, there)
        yi = load{lanes}(x, there + {lanes}) * before
        er = (xr + yr) * scale
        ei = (xi - yi) * scale
        dr = (xr - yr) * scale
        di = (xi + yi) * scale
        tr = fma(dr, wr, -(di * wi))
        ti = fma(dr, wi, di * wr)
        store{lanes}(x, here, er + tr)
        store{lanes}(x, here + {lanes}, (ei + ti) * behind)
        store{lanes}(x, there, er - tr)
        store{lanes}(x, there + {lanes}, (ti - ei) * behind)
"""


@cache
def _write_row_copies(dtype: str) -> str:
    """Write the functions that copy rows into an FFT's buffer and back."""
    code, lanes = _CODES[dtype], LANES[dtype]
    return f"""\
def shared_rows_in_{code}(p, at, stride, count, rows, x):
    for k in range(0, count, {lanes}):
        if rows >= {lanes} and k + {lanes} <= count:
            transpose{lanes}(p, at + k, stride, {lanes}, {lanes}, x, k * {lanes}, {lanes})
        else:
            for row in range(0, {lanes}):
                for column in range(k, k + {lanes}):
                    if row < rows and column < count:
                        store1(x, column * {lanes} + row, load1(p, at + column + row * stride))


def shared_rows_out_{code}(x, count, rows, p, at, stride):
    for k in range(0, count, {lanes}):
        if rows >= {lanes} and k + {lanes} <= count:
            transpose{lanes}(x, k * {lanes}, {lanes}, {lanes}, {lanes}, p, at + k, stride)
        else:
            for row in range(0, {lanes}):
                for column in range(k, k + {lanes}):
                    if row < rows and column < count:
                        store1(p, at + column + row * stride, load1(x, column * {lanes} + row))
"""


@cache
def _write_column_copies(dtype: str) -> str:
    """Write the functions that copy columns into an FFT's buffer: real (1) or complex (2).

    As many columns as there are lanes have loops of their own, without masks: a masked store of a
    processor without mask registers is a call.
    """
    code, lanes = _CODES[dtype], LANES[dtype]
    loops = {
        f"in_1_{code}(p, at, stride, count, columns, x)": f"""\
store{lanes}(x, k * {lanes}, load(p, at + k * stride, m))
""",
        f"out_1_{code}(x, count, columns, p, at, stride)": f"""\
store(p, at + k * stride, load{lanes}(x, k * {lanes}), m)
""",
        f"in_2_{code}(p, at, stride, count, columns, x)": f"""\
low = load(p, at + k * stride, m)
high = load(p, at + k * stride + {lanes}, n)
store{lanes}(x, k * {2 * lanes}, every0(low, high))
store{lanes}(x, k * {2 * lanes} + {lanes}, every1(low, high))
""",
        f"out_2_{code}(x, count, columns, p, at, stride)": f"""\
real = load{lanes}(x, k * {2 * lanes})
imaginary = load{lanes}(x, k * {2 * lanes} + {lanes})
store(p, at + k * stride, turn0(real, imaginary), m)
store(p, at + k * stride + {lanes}, turn1(real, imaginary), n)
""",
    }
    return "\n\n".join(
        f"""\
def shared_columns_{head}:
    if columns >= {lanes}:
        m = mask{lanes}({lanes})
        n = mask{lanes}({lanes})
        for k in range(0, count):
{indent(body, " " * 12)}\
    else:
        m = mask{lanes}({"2 * " * ("_2_" in head)}columns)
        n = mask{lanes}(2 * columns - {lanes})
        for k in range(0, count):
{indent(body, " " * 12)}"""
        for head, body in loops.items()
    )


def _write_first_pass(kind: str, dtype: str) -> str:
    """Write the first FFT pass of a single line, vectorized along it, from p into y."""
    lanes, code = LANES[dtype], _CODES[dtype]
    pair = 2 * lanes
    real, imaginary = "ri" if kind != "back" else "ir"
    body = []
    for v in range(lanes):
        place = f"at + 2 * (j + {v} * left)"
        body += [
            f"low = load{lanes}(p, {place})",
            f"high = load{lanes}(p, {place} + {lanes})",
            f"{real}{v} = every0(low, high)",
            f"{imaginary}{v} = every1(low, high)",
        ]
    body += _butterfly(lanes, dtype).splitlines()
    body += [f"store{lanes}(real, 0, s0)", f"store{lanes}(imaginary, 0, j0)"]
    for u in range(1, lanes):
        place = f"roots + {2 * (lanes - 1)} * j + {pair * (u - 1)}"
        body += [
            f"wr = load{lanes}(numbers, {place})",
            f"wi = load{lanes}(numbers, {place} + {lanes})",
            f"store{lanes}(real, {u * lanes}, fma(s{u}, wr, -(j{u} * wi)))",
            f"store{lanes}(imaginary, {u * lanes}, fma(s{u}, wi, j{u} * wr))",
        ]
    square = f"{lanes}, {lanes}, {lanes}"
    body += [
        f"transpose{lanes}(real, 0, {square}, y, {pair} * j + re, {pair})",
        f"transpose{lanes}(imaginary, 0, {square}, y, {pair} * j + im, {pair})",
    ]
    text = f"""\
def shared_first_{kind}_{code}(p, at, y, numbers, roots, left, re, im):
    real = local_{code}({lanes * lanes})
    imaginary = local_{code}({lanes * lanes})
    for j in range(0, left, {lanes}):
"""
    return text + indent("\n".join(body), " " * 8) + "\n"


def _write_line_split(dtype: str) -> str:
    """Write the spectrum split of ``_split`` for a single line, vectorized along it.

    It reads pairs at ``p`` and writes pairs at ``q``, which may be the same.
    """
    lanes, code = LANES[dtype], _CODES[dtype]
    return f"""\
def shared_split_line_{code}(p, at, q, to, numbers, elements):
    before = splat{lanes}(load1(numbers, 1))
    turn = splat{lanes}(load1(numbers, 2))
    behind = splat{lanes}(load1(numbers, 3))
    scale = splat{lanes}(load1(numbers, 4))
    reversed = local_{code}({2 * lanes})
    all = mask{lanes}({lanes})
    for k in range(0, elements // 2, {lanes}):
        low = load{lanes}(numbers, 8 + 2 * k)
        high = load{lanes}(numbers, 8 + {lanes} + 2 * k)
        wr = every0(low, high)
        wi = every1(low, high) * turn
        low = load{lanes}(p, at + 2 * k)
        high = load{lanes}(p, at + 2 * k + {lanes})
        xr = every0(low, high)
        xi = every1(low, high) * before
        there = 2 * (elements - k)
        yr = load_strided(p, at + there, -2, all)
        yi = load_strided(p, at + there + 1, -2, all) * before
        er = (xr + yr) * scale
        ei = (xi - yi) * scale
        dr = (xr - yr) * scale
        di = (xi + yi) * scale
        tr = fma(dr, wr, -(di * wi))
        ti = fma(dr, wi, di * wr)
        real = er + tr
        imaginary = (ei + ti) * behind
        store{lanes}(q, to + 2 * k, turn0(real, imaginary))
        store{lanes}(q, to + 2 * k + {lanes}, turn1(real, imaginary))
        store{lanes}(reversed, 0, er - tr)
        store{lanes}(reversed, {lanes}, (ti - ei) * behind)
        real = load_strided(reversed, {lanes - 1}, -1, all)
        imaginary = load_strided(reversed, {2 * lanes - 1}, -1, all)
        store{lanes}(q, to + there - {2 * lanes - 2}, turn0(real, imaginary))
        store{lanes}(q, to + there - {lanes - 2}, turn1(real, imaginary))
    middle = load1(p, at + elements) * load1(numbers, 4)
    other = load1(p, at + elements + 1) * load1(numbers, 4)
    store1(q, to + elements, middle + middle)
    store1(q, to + elements + 1, -(other + other) * load1(numbers, 1) * load1(numbers, 3))
"""


@cache
def source(kind: str, dtype: str, is_back: bool, layout: str) -> str:
    """Return the source of the kernel of a Fourier transform.

    ``layout``: a vector has ``rows`` or ``columns``, or, of ``lines``, elements of one transform.
    """
    code, lanes = _CODES[dtype], LANES[dtype]
    pair, each_in, each_out = 2 * lanes, 1 + (kind[0] == "c"), 1 + (kind[2] == "c")
    words = 8 + (kind[0] == "c") + (kind[2] == "c")  # behind the shapes
    swapped = kind == "c2r" or (kind == "c2c" and is_back)
    re, im = (lanes, 0) if swapped else (0, lanes)
    way = ("back" if swapped else "forward") if layout == "lines" else ""
    parts = [_write_passes(dtype, way)]
    lines = [
        "def kernel(t, own, begin, end):",
        f"    given = ptr_{code}(t[0])",
        f"    out = ptr_{code}(t[1])",
        "    outer = t[2]",
        "    size = t[3]",
        "    inner = t[4]",
        f"    results = t[{6 + (kind[0] == 'c')}]",
        f"    words = ptr_i64(t[{words}])",
        f"    numbers = ptr_{code}(t[{words + 1}])",
        f"    elements = t[{words + 2}]",
        f"    roots = t[{words + 3}]",
        f"    first = ptr_{code}(own[0])",
        f"    second = ptr_{code}(own[0] + t[{words + 4}])",
        f"    found = ptr_{code}(address(first) if words[0] % 2 == 0 else address(second))",
        "    for iteration in range(begin, end):",
    ]
    if layout == "lines":
        parts.append(_write_first_pass(way, dtype))
        lines += [
            f"        at = iteration * size * {each_in}",
            f"        to = iteration * results * {each_out}",
            f"        left = elements // {lanes}",
        ]
        source_of = "given, at"
        if kind == "c2r":
            source_of = "second, 0"
            lines += [
                f"        shared_split_line_{code}(given, at, second, 0, numbers, elements)",
                "        a = load1(given, at)",
                "        b = load1(given, at + 2 * elements)",
                "        store1(second, 0, a + b)",
                "        store1(second, 1, a - b)",
            ]
        lines += [
            f"        shared_first_{way}_{code}("
            f"{source_of}, first, numbers, roots, left, {re}, {im})",
            f"        shared_line_{way}_{code}(first, second, words, numbers, {re}, {im}, out, to)",
        ]
        if kind == "r2c":
            lines += [
                "        store1(out, to + 2 * elements, load1(out, to))",
                "        store1(out, to + 2 * elements + 1, load1(out, to + 1))",
                f"        shared_split_line_{code}(out, to, out, to, numbers, elements)",
            ]
        if kind != "c2c":
            parts.append(_write_line_split(dtype))
        return "\n\n".join([*parts, "\n".join(lines) + "\n"])
    if layout == "rows":
        parts.append(_write_row_copies(dtype))
        lines += [
            f"        at = iteration * {lanes}",
            "        count = outer - at",
            f"        stride = size * {each_in}",
            f"        wide = results * {each_out}",
            f"        shared_rows_in_{code}(given, at * stride, stride, stride, count, first)",
        ]
        store = f"shared_rows_out_{code}(found, wide, count, out, at * wide, wide)"
    else:
        parts.append(_write_column_copies(dtype))
        lines += [
            f"        groups = (inner + {lanes - 1}) // {lanes}",
            "        place = iteration // groups",
            f"        at = iteration % groups * {lanes}",
            "        count = inner - at",
            f"        from_place = (place * size * inner + at) * {each_in}",
            f"        to_place = (place * results * inner + at) * {each_out}",
            f"        shared_columns_in_{each_in}_{code}("
            f"given, from_place, inner * {each_in}, size, count, first)",
        ]
        store = (
            f"shared_columns_out_{each_out}_{code}("
            f"found, results, count, out, to_place, inner * {each_out})"
        )
    if kind == "c2r":  # the first and the last element of half a spectrum are real
        zero = f"{code}x{lanes}(0.0)"
        lines += [
            f"        store{lanes}(first, {lanes}, {zero})",
            f"        store{lanes}(first, {pair} * elements + {lanes}, {zero})",
            f"        shared_split_{code}(first, numbers, elements)",
        ]
    lines.append(f"        shared_fourier_{code}(first, second, words, numbers, {re}, {im})")
    if kind == "r2c":  # the spectrum is periodic
        lines += [
            f"        last = {pair} * elements",
            f"        store{lanes}(found, last, load{lanes}(found, 0))",
            f"        store{lanes}(found, last + {lanes}, load{lanes}(found, {lanes}))",
            f"        shared_split_{code}(found, numbers, elements)",
        ]
    if kind != "c2c":
        parts.append(_write_split(dtype))
    lines.append(f"        {store}")
    return "\n\n".join([*parts, "\n".join(lines) + "\n"])
