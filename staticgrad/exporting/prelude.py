"""Functions that exported files define before their kernels; a file contains those it needs."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_TEXT: Final = '''
def _instruction(name, operands=1):
    """An operation of the processor that NumPy does not have, or has only slower."""

    def typed(*kinds):
        def code(context, builder, signature, values):
            kind = values[0].type
            shape = ir.FunctionType(kind, [kind] * operands)
            return builder.call(builder.module.declare_intrinsic(name, [kind], shape), values)

        return kinds[0](*kinds), code

    takes = ", ".join("abc"[:operands])
    space = {"typed": typed}
    exec(f"def function(context, {takes}): return typed({takes})", space)
    return intrinsic(space["function"])


@intrinsic
def restrict(context):
    """The arrays of a function do not overlap, as C's restrict says, so that LLVM makes vectors,
    the widest there are; it stays a function of its own, for its callers promise no such thing."""

    def code(context, builder, signature, values):
        builder.function.attributes.add("noinline")
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        for argument in builder.function.args:
            kind = getattr(argument.type, "pointee", None)
            if isinstance(kind, (ir.FloatType, ir.DoubleType)) or getattr(kind, "width", 8) > 8:
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return numba.types.none(), code


def _bits(kind):
    """The bits of a number as a number of another element type."""

    @intrinsic
    def function(context, x):
        def code(context, builder, signature, values):
            return builder.bitcast(values[0], context.get_value_type(kind))

        return kind(x), code

    return function


as_i32 = _bits(numba.int32)


as_u32 = _bits(numba.uint32)


as_f32 = _bits(numba.float32)


as_i64 = _bits(numba.int64)


as_u64 = _bits(numba.uint64)


as_f64 = _bits(numba.float64)


sqrt = _instruction("llvm.sqrt")


floor = _instruction("llvm.floor")


ceil = _instruction("llvm.ceil")


trunc = _instruction("llvm.trunc")


rint = _instruction("llvm.roundeven")


absolute = _instruction("llvm.fabs")


# The larger of two numbers: NaN wins, and -0 < +0.
maximum = _instruction("llvm.maximum", 2)


minimum = _instruction("llvm.minimum", 2)


# a * b + c, rounded once.
fma = _instruction("llvm.fma", 3)


@jit(forceinline=True)
def larger(a, b):
    return a if a > b else b


@jit(forceinline=True)
def smaller(a, b):
    return a if a < b else b


@jit(forceinline=True)
def floor_divide(a, b):
    """Divide as NumPy does; 0 for a divisor of 0."""
    if b == 0:
        return a - a
    return a * b if b == -1 else a // b


@jit(forceinline=True)
def remainder(a, b):
    """The rest with the divisor's sign, as NumPy's; 0 for a divisor of 0."""
    if b == 0 or b == -1:
        return a - a
    return a % b


@jit(forceinline=True)
def c_fmod(a, b):
    """The exact rest of a division, with the sign of a."""
    return np.fmod(a, b)


@jit(forceinline=True)
def shift_left(a, count, bits):
    return a << count if 0 <= count and count < bits else a - a


@jit(forceinline=True)
def shift_right(a, count, bits):
    if 0 <= count and count < bits:
        return a >> count
    return a >> (bits - 1) if a < 0 else a - a


@jit(forceinline=True)
def to_u64(x):
    """A float as u64, as processors convert it: up to 2**64, and wrapped above."""
    if x >= 9223372036854775808.0:
        return u64(i64(x - 9223372036854775808.0)) ^ u64(9223372036854775808)
    return u64(i64(x))


@jit
def window(position, words):
    """52 bits of a constant of u64 words, from a bit position on."""
    byte = min(i64(position >> u64(3)), 8 * (len(words) - 1))
    word, shift = byte >> 3, u64((byte & 7) << 3)
    whole = words[word] << shift
    if shift > u64(0):
        whole |= words[word + 1] >> (u64(64) - shift)
    return (whole << (position & u64(7))) >> u64(12)


@jit
def checked(index, extent, wrap, position, words):
    """An index of an axis; one out of range is noted, with the smallest position, and is then 0."""
    found = index + extent if wrap and index < 0 else index
    if 0 <= found and found < extent:
        return found
    if words[0] < 0 or position < words[0]:
        words[0] = position
        words[1] = index
    return 0


@jit
def search(values, stride, count, value, right):
    """How many of ``count`` ascending values are below one; with ``right`` also those equal to it.

    NaN is above all numbers.
    """
    first = 0
    while count > 0:
        half = count // 2
        element = values[at((first + half) * stride)]
        if right:
            below = element <= value or value != value
        else:
            below = element < value or (value != value and element == element)
        if below:
            first += half + 1
            count -= half + 1
        else:
            count = half
    return first


@jit(forceinline=True)
def copy(to, source, count):
    for j in range(count):
        to[j] = source[j]


# -- sums: every sum is a tree that depends on its number of terms and its element type alone ------


@jit
def lane_sum(terms, count):
    """The sum of up to 4096 terms of a row: lane l adds terms l, l + 16, l + 32, ... one after the
    other, then the lanes are halved. There are 16 lanes, 8 of elements of 64 bits."""
    restrict()
    if count <= 0:
        return terms.dtype.type(0.0)
    lanes = 8 if terms.itemsize == 8 else 16
    lane = np.empty(16, terms.dtype)
    for l in range(16):
        lane[l] = -0.0
    full = count // lanes * lanes
    if lanes == 16:
        for start in range(0, full, 16):
            for l in range(16):
                lane[l] += terms[at(start + l)]
    else:
        for start in range(0, full, 8):
            for l in range(8):
                lane[l] += terms[at(start + l)]
    for l in range(count - full):
        lane[l] += terms[at(full + l)]
    while lanes > 1:
        lanes //= 2
        for l in range(lanes):
            lane[l] += lane[l + lanes]
    return lane[0]


@jit
def add_block(levels, number, value):
    """Put the sum of block ``number`` to those before it: equal numbers of blocks are joined, as
    in a binary counter."""
    level = 0
    while number & 1:
        value = levels[at(level)] + value
        number >>= 1
        level += 1
    levels[at(level)] = value


@jit
def fold(levels, blocks):
    """The sum of so many blocks: the partial sums of ``add_block``, the latest first."""
    total = levels[0] * 0 if blocks > 0 else levels.dtype.type(0.0)
    met = False
    for level in range(40):
        if (blocks >> level) & 1:
            total = levels[level] + total if met else levels[level]
            met = True
    return total


@jit
def group_length(rows):
    """Rows of a group: there are at most 32 groups, of 32 rows or more."""
    return max(32, (rows + 31) // 32)


@jit
def end_row(sums, width, row, rows):
    """Behind a row of a group of so many: ``sums[0]`` is the block of up to 32 rows that are added
    one after the other, ``sums[1]`` the sum behind the last row, ``sums[2:]`` a binary counter."""
    if row % 32 != 31 and row != rows - 1:
        return
    number, level = row // 32, 2
    while number & 1:
        for j in range(width):
            sums[0, j] = sums[at(level), j] + sums[0, j]
        number >>= 1
        level += 1
    for j in range(width):
        sums[at(level), j] = sums[0, j]
        sums[0, j] = -0.0
    if row == rows - 1:
        blocks, met = row // 32 + 1, False
        for level in range(38):
            if (blocks >> level) & 1:
                for j in range(width):
                    term = sums[level + 2, j]
                    sums[1, j] = term + sums[1, j] if met else term
                met = True


@jit
def end_row_of_groups(sums, width, row, rows):
    """Behind a row of a column: groups of rows, whose sums are added one after the other."""
    length = group_length(rows)
    within = row % length
    if within % 32 != 31 and within != length - 1 and row != rows - 1:
        return
    end_row(sums, width, within, min(length, rows - (row - within)))
    if within == length - 1 or row == rows - 1:
        for j in range(width):
            if row >= length:
                sums[1, j] = sums[39, j] + sums[1, j]
            sums[39, j] = sums[1, j]


@jit
def end_row_of_lanes(sums, width, row, rows):
    """Behind a term of rows that lie across memory: ``lane_sum`` of each column."""
    if row % 4096 != 4095 and row != rows - 1:
        return
    lanes = 8 if sums.itemsize == 8 else 16
    half, first = lanes, lanes
    while half > 1:
        half //= 2
        for l in range(half):
            for j in range(width):
                sums[l, j] += sums[l + half, j]
    number, level = row // 4096, first
    while number & 1:
        for j in range(width):
            sums[0, j] = sums[at(level), j] + sums[0, j]
        number >>= 1
        level += 1
    for j in range(width):
        sums[at(level), j] = sums[0, j]
    sums[:first, :width] = -0.0
    if row == rows - 1:
        blocks, met = row // 4096 + 1, False
        for level in range(24):
            if (blocks >> level) & 1:
                for j in range(width):
                    term = sums[first + level, j]
                    sums[0, j] = term + sums[0, j] if met else term
                met = True


# -- products --------------------------------------------------------------------------------------


@jit
def multiply(a, a0, ai, ak, b, b0, bk, tile, row, height, inner, width, begin):
    """tile[i, j] = the sum over k of a[i, k] * b[k, j].

    Every element is a chain of fma in ascending k, a new one for each 4096, added in their order.
    Factors are flat arrays that begin at ``a0`` and ``b0``: a step of i is ``ai`` elements, of k
    ``ak`` and ``bk``, and one of j is 1. Four rows and four k are taken together, so that what is
    read is used several times; LLVM makes vectors of the loops over j.
    """
    one = tile.dtype.type(0.0)
    part = np.empty((4, 128), tile.dtype)
    for i in range(0, height, 4):
        rows = min(4, height - i)
        i1, i2, i3 = min(i + 1, height - 1), min(i + 2, height - 1), min(i + 3, height - 1)
        start, first = begin, True
        while first or start < begin + inner:
            stop = min((start // 4096 + 1) * 4096, begin + inner)
            for j in range(width):
                part[0, j] = one
                part[1, j] = one
                part[2, j] = one
                part[3, j] = one
            k, last = start - begin, stop - begin
            while k + 4 <= last:
                p0, p1 = a0 + i * ai + k * ak, a0 + i1 * ai + k * ak
                p2, p3 = a0 + i2 * ai + k * ak, a0 + i3 * ai + k * ak
                a00, a01 = a[at(p0)], a[at(p0 + ak)]
                a02, a03 = a[at(p0 + 2 * ak)], a[at(p0 + 3 * ak)]
                a10, a11 = a[at(p1)], a[at(p1 + ak)]
                a12, a13 = a[at(p1 + 2 * ak)], a[at(p1 + 3 * ak)]
                a20, a21 = a[at(p2)], a[at(p2 + ak)]
                a22, a23 = a[at(p2 + 2 * ak)], a[at(p2 + 3 * ak)]
                a30, a31 = a[at(p3)], a[at(p3 + ak)]
                a32, a33 = a[at(p3 + 2 * ak)], a[at(p3 + 3 * ak)]
                q0 = b0 + k * bk
                q1, q2, q3 = q0 + bk, q0 + 2 * bk, q0 + 3 * bk
                for j in range(width):
                    x0, x1, x2, x3 = b[at(q0 + j)], b[at(q1 + j)], b[at(q2 + j)], b[at(q3 + j)]
                    part[0, j] = fma(a03, x3, fma(a02, x2, fma(a01, x1, fma(a00, x0, part[0, j]))))
                    part[1, j] = fma(a13, x3, fma(a12, x2, fma(a11, x1, fma(a10, x0, part[1, j]))))
                    part[2, j] = fma(a23, x3, fma(a22, x2, fma(a21, x1, fma(a20, x0, part[2, j]))))
                    part[3, j] = fma(a33, x3, fma(a32, x2, fma(a31, x1, fma(a30, x0, part[3, j]))))
                k += 4
            while k < last:
                y0, y1 = a[at(a0 + i * ai + k * ak)], a[at(a0 + i1 * ai + k * ak)]
                y2, y3 = a[at(a0 + i2 * ai + k * ak)], a[at(a0 + i3 * ai + k * ak)]
                for j in range(width):
                    x0 = b[at(b0 + k * bk + j)]
                    part[0, j] = fma(y0, x0, part[0, j])
                    part[1, j] = fma(y1, x0, part[1, j])
                    part[2, j] = fma(y2, x0, part[2, j])
                    part[3, j] = fma(y3, x0, part[3, j])
                k += 1
            for r in range(rows):
                for j in range(width):
                    place = at((i + r) * row + j)
                    tile[place] = part[r, j] if first else tile[place] + part[r, j]
            start, first = stop, False


@jit
def multiply_integers(a, a0, ai, ak, b, b0, bk, tile, row, height, inner, width, begin):
    """tile[i, j] = the sum over k of a[i, k] * b[k, j], modulo 2**bits; see ``multiply``."""
    for i in range(height):
        for j in range(width):
            tile[at(i * row + j)] = 0
        for k in range(inner):
            x = a[at(a0 + i * ai + k * ak)]
            for j in range(width):
                tile[at(i * row + j)] += x * b[at(b0 + k * bk + j)]


# -- sparse matrices -------------------------------------------------------------------------------


@jit
def sparse_product(data, x, starts, places, order, out, sizes, steps, total):
    """out[r] = the sum of data[e] * x[places[e]] over the elements e of row r, in their order.

    ``order`` has the number of each element, or is empty. ``total`` counts blocks of rows.
    """
    rows, inner, k, count, each = sizes
    for b in range(total // max(-(-rows // each), 1)):
        for r in range(rows):
            to = b * steps[2] + r * k
            for c in range(k):
                out[at(to + c)] = 0
            for e in range(max(starts[at(r)], 0), min(starts[at(r + 1)], count)):
                number = order[at(e)] if len(order) else e
                row = places[at(e)]
                if 0 <= row < inner and 0 <= number < count:
                    factor, begin = data[at(b * steps[0] + number)], b * steps[1] + row * k
                    for c in range(k):
                        out[at(to + c)] += factor * x[at(begin + c)]


@jit
def sampled_product(u, v, rows, places, out, sizes, steps, total, lanes):
    """out[e] = the sum of u[rows[e]] * v[places[e]]: ``lanes`` partial sums, joined by halving."""
    height, inner, k, count, each = sizes
    sums = np.empty(lanes, out.dtype)
    for b in range(total // max(-(-count // each), 1)):
        for e in range(count):
            sums[:] = 0
            if 0 <= rows[at(e)] < height and 0 <= places[at(e)] < inner:
                first = b * steps[0] + rows[at(e)] * k
                second = b * steps[1] + places[at(e)] * k
                for c in range(k):
                    sums[c % lanes] += u[at(first + c)] * v[at(second + c)]
            width = 1 if k == 1 else lanes
            while width > 1:
                width //= 2
                for c in range(width):
                    sums[c] += sums[c + width]
            out[at(b * steps[2] + e)] = sums[0]
'''


def texts(source: str) -> dict[str, str]:
    """The text of each function, or of the comment in front of several, by its name."""
    return {
        match[1] if (match := re.search(r"^(?:def )?(\w+)(?:\(| = )", text, re.M)) else text: text
        for text in re.split(r"\n\n\n", source.strip("\n"))
    }


PRELUDE: Final = texts(_TEXT)


def prelude_of(names: Collection[str]) -> list[str]:
    """Return the texts of the named functions and of those that they call, in table order."""
    needed, waiting = set[str](), [*names]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [o for o in PRELUDE if o != name and re.search(rf"\b{o}\b", PRELUDE[name])]
    return [text for name, text in PRELUDE.items() if name in needed]
