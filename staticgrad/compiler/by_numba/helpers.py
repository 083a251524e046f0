"""Functions that kernels of plain loops call, compiled by Numba.

The backend ``numba`` calls them here. Exported files contain the head of this module, from its
imports on, and of its functions those that they need (``compiler/by_numba/prelude.py`` reads the
text). So what is used here must be defined here.
"""

# ruff: noqa: E741, B905, SIM110
import sys
from functools import partial

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils
from numba.extending import intrinsic

bool_, int8, int16, int32, int64 = np.bool_, np.int8, np.int16, np.int32, np.int64
u8, u16, u32, u64, f32, f64 = np.uint8, np.uint16, np.uint32, np.uint64, np.float32, np.float64
at = np.uint64


def jit(function=None, **options):
    """Compile a function when it is first called; machine code is kept in __pycache__, from where
    Numba imports this module by its name."""
    if function is None:
        return partial(jit, **options)
    is_importable = __name__ in sys.modules
    return numba.njit(error_model="numpy", cache=is_importable, nogil=True, **options)(function)


# -- functions of kernels: files have those that they need ---------------------------------------


def _instruction(name, operands=1):
    """Define a Numba intrinsic for a processor instruction that NumPy lacks or has only slower."""

    def specialize(*kinds):
        def code(context, builder, signature, values):
            kind = values[0].type
            shape = ir.FunctionType(kind, [kind] * operands)
            return builder.call(builder.module.declare_intrinsic(name, [kind], shape), values)

        return kinds[0](*kinds), code

    takes = ", ".join("abc"[:operands])
    space = {"specialize": specialize}
    exec(f"def function(context, {takes}): return specialize({takes})", space)
    return intrinsic(space["function"])


@intrinsic
def restrict(context):
    """The arrays of a function do not overlap, as C's restrict says, so that LLVM makes vectors,
    the widest there are; it stays a function of its own, for its callers promise no such thing."""

    def code(context, builder, signature, values):
        """Mark a Numba function's arrays as ``noalias`` in LLVM, and prefer 512-bit vectors."""
        builder.function.attributes.add("noinline")
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        for argument in builder.function.args:
            kind = getattr(argument.type, "pointee", None)
            if isinstance(kind, (ir.FloatType, ir.DoubleType)) or getattr(kind, "width", 8) > 8:
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return numba.types.none(), code


WORD = ir.IntType(64)


def vector_of(context, array):
    """The type of a vector of 64 bytes, and its number of lanes."""
    lanes = 512 // array.dtype.bitwidth
    return ir.VectorType(context.get_data_type(array.dtype), lanes), lanes


def data_of(context, builder, signature, values):
    """Return LLVM pointers to the elements of a Numba function's arrays; None for a number."""
    pairs = zip(signature.args, values)
    arrays = numba.types.Array
    return [
        context.make_array(t)(context, builder, v).data if isinstance(t, arrays) else None
        for t, v in pairs
    ]


def element(builder, data, place):
    """One element."""
    return builder.load(builder.gep(data, [place]))


def vector_at(builder, data, place, kind):
    """The address of a vector in memory."""
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


def shuffle(builder, left, right, lanes):
    """The lanes of two vectors, chosen by number."""
    return builder.shuffle_vector(
        left, right, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    )


def splat(builder, number, kind):
    """A vector of equal elements."""
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
    return shuffle(builder, first, first, [0] * kind.count)


def _bits(kind):
    """Define a Numba intrinsic that reinterprets a number's bits as another element type."""

    @intrinsic
    def function(context, x):
        def code(context, builder, signature, values):
            return builder.bitcast(values[0], context.get_value_type(kind))

        return kind(x), code

    return function


as_int32 = _bits(numba.int32)


as_u32 = _bits(numba.uint32)


as_f32 = _bits(numba.float32)


as_int64 = _bits(numba.int64)


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
    """The larger of two integers."""
    return a if a > b else b


@jit(forceinline=True)
def smaller(a, b):
    """The smaller of two integers."""
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
    """a * 2**count; 0 if no bit is left."""
    return a << count if 0 <= count < bits else a - a


@jit(forceinline=True)
def shift_right(a, count, bits):
    """a / 2**count, rounded down; all bits are the sign's if none is left."""
    if 0 <= count < bits:
        return a >> count
    return a >> (bits - 1) if a < 0 else a - a


# A float that an integer cannot hold has no value in LLVM (it may become any number, another in
# each place that reads it): the three below ask first, and give what x86-64 gives.


@jit(forceinline=True)
def to_i32(x):
    """A float as i32; NaN and what 32 bits cannot hold give the smallest integer."""
    return int32(x) if abs(x) < 2147483648.0 else int32(-2147483648)


@jit(forceinline=True)
def to_i64(x):
    """A float as i64; NaN and what 64 bits cannot hold give the smallest integer."""
    return int64(x) if abs(x) < 9223372036854775808.0 else int64(-9223372036854775808)


@jit(forceinline=True)
def to_u64(x):
    """A float as u64, as processors convert it: up to 2**64, and wrapped above."""
    if x >= 9223372036854775808.0:
        return u64(to_i64(x - 9223372036854775808.0)) ^ u64(9223372036854775808)
    return u64(to_i64(x))


@intrinsic
def widen_f16(context, bits):
    """The bits of a float16 as a float32."""

    def code(context, builder, signature, values):
        return builder.fpext(builder.bitcast(values[0], ir.HalfType()), ir.FloatType())

    return numba.float32(bits), code


@intrinsic
def narrow_f16(context, x):
    """The bits of a float32 as float16, rounded to nearest, to even between two."""

    def code(context, builder, signature, values):
        return builder.bitcast(builder.fptrunc(values[0], ir.HalfType()), ir.IntType(16))

    return numba.uint16(x), code


@jit(forceinline=True)
def widen_bf16(bits):
    """The upper half of the bits of a float32."""
    return as_f32(u32(u32(bits) << u32(16)))


@jit(forceinline=True)
def narrow_bf16(x):
    """The upper half of the bits, rounded to nearest, to even between two; NaN stays NaN."""
    bits = int64(as_u32(x))
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return u16(rounded if x == x else (bits >> 16) | 0x40)


@jit(forceinline=True)
def odd_f32(x):
    """A float64 as float32; of two neighbours the one with odd bits, which narrower formats round
    as they round the float64."""
    nearest = f32(x)
    bits = as_int32(nearest)
    if f64(nearest) != x and bits & 1 == 0:
        bits = int32(bits - 1 if absolute(f64(nearest)) > absolute(x) else bits + 1)
    return as_f32(bits)


@jit(forceinline=True)
def odd_f64(x, low, bit):
    """An integer of 64 bits as float64: bit 2048 also stands for all bits below it if the number
    does not fit."""
    if absolute(f64(x)) < 9007199254740992.0:
        return f64(x)
    return f64((x - (x & low)) | bit if x & low else x)


@jit
def window(position, words):
    """Extract 52 bits of a constant of u64 words, from a bit position on."""
    byte = min(int64(position >> u64(3)), 8 * (len(words) - 1))
    word, shift = byte >> 3, u64((byte & 7) << 3)
    content = words[word] << shift
    if shift > u64(0):
        content |= words[word + 1] >> (u64(64) - shift)
    return (content << (position & u64(7))) >> u64(12)


@jit
def check_index(index, extent, wrap, position, words):
    """Check an index of an axis: one out of range is noted, with the least position, and is 0."""
    wrapped = index + extent if wrap and index < 0 else index
    if 0 <= wrapped < extent:
        return wrapped
    if words[0] < 0 or position < words[0]:
        words[0] = position
        words[1] = index
    return 0


@jit
def reached_end(reached, values, out, words, count):
    """``reached``, copied; the first element that is false is noted, with the bits of its value."""
    for i in range(count):
        out[i] = reached[i]
        if not reached[i] and words[0] < 0:
            words[0] = i
            words[1] = values[i : i + 1].view(np.int64)[0]


@jit
def search(values, stride, count, value, right):
    """Count the values below one among ``count`` ascending ones; with ``right`` also equal ones.

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
    """Copy so many elements."""
    for j in range(count):
        to[j] = source[j]


# -- sums: every sum is a tree that depends on its number of terms and its element type alone ------


@intrinsic
def vector_sum(context, terms, count):
    """Lane l of a vector of 64 bytes adds terms l, l + 16, l + 32, ... (8 of elements of 64 bits),
    then the lanes are halved. All lanes have equally many terms."""

    def code(context, builder, signature, values):
        """Emit LLVM IR that sums a row in vector lanes, then halves the lanes."""
        kind, lanes = vector_of(context, terms)
        data = data_of(context, builder, signature, values)[0]
        total = cgutils.alloca_once_value(builder, ir.Constant(kind, [-0.0] * lanes))
        with cgutils.for_range(builder, builder.udiv(values[1], WORD(lanes))) as loop:
            place = vector_at(builder, data, builder.mul(loop.index, WORD(lanes)), kind)
            now = builder.fadd(builder.load(total), builder.load(place, align=4))
            builder.store(now, total)
        sums = builder.load(total)
        while lanes > 1:
            lanes //= 2
            upper = shuffle(builder, sums, sums, [*range(lanes, 2 * lanes)])
            sums = builder.fadd(shuffle(builder, sums, sums, [*range(lanes)]), upper)
        return builder.extract_element(sums, ir.IntType(32)(0))

    return terms.dtype(terms, numba.int64), code


@jit(forceinline=True)
def lane_sum(terms, count):
    """Sum up to 4096 terms of a row in the order of vector lanes; its array has 4096."""
    if count <= 0:
        return terms.dtype.type(0.0)
    lanes = 8 if terms.itemsize == 8 else 16
    past = (count + lanes - 1) // lanes * lanes
    for l in range(count, past):
        terms[at(l)] = -0.0
    return vector_sum(terms, past)


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
    """Combine the partial sums of blocks (``add_block``), the latest first."""
    total = levels.dtype.type(0.0)  # a product with 0 would be a float64
    has_sum = False
    for level in range(40):
        if (blocks >> level) & 1:
            total = levels[level] + total if has_sum else levels[level]
            has_sum = True
    return total


@jit
def group_length(rows):
    """Rows of a group: there are at most 32 groups, of 32 rows or more."""
    return max(32, (rows + 31) // 32)


@jit
def add_row_block(sums, width, number, first):
    """Add a row block to the binary counter of each column: block ``sums[0]``, levels from
    ``first``.
    """
    level = first
    while number & 1:
        for j in range(width):
            sums[0, j] = sums[at(level), j] + sums[0, j]
        number >>= 1
        level += 1
    for j in range(width):
        sums[at(level), j] = sums[0, j]


@jit
def fold_rows(sums, width, blocks, first, to):
    """Combine the block sums of each column into ``sums[to]``; levels begin at ``first``."""
    has_sum = False
    for level in range(len(sums) - first):
        if (blocks >> level) & 1:
            for j in range(width):
                term = sums[first + level, j]
                sums[to, j] = term + sums[to, j] if has_sum else term
            has_sum = True


@jit
def end_row(sums, width, row, rows):
    """Behind a row of a group of so many: ``sums[0]`` is the block of up to 32 rows that are added
    one after the other, ``sums[1]`` the sum behind the last row, ``sums[2:]`` a binary counter."""
    if row % 32 != 31 and row != rows - 1:
        return
    add_row_block(sums, width, row // 32, 2)
    sums[0, :width] = -0.0
    if row == rows - 1:
        fold_rows(sums, width, row // 32 + 1, 2, 1)


@jit
def end_row_of_groups(sums, width, row, rows):
    """End a row of a column reduction by groups, whose sums are added one after the other."""
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
    """End a row of a strided reduction: sum each column in the order of vector lanes."""
    if row % 4096 != 4095 and row != rows - 1:
        return
    lanes = 8 if sums.itemsize == 8 else 16
    half = lanes
    while half > 1:
        half //= 2
        for l in range(half):
            for j in range(width):
                sums[l, j] += sums[l + half, j]
    add_row_block(sums, width, row // 4096, lanes)
    sums[:lanes, :width] = -0.0
    if row == rows - 1:
        fold_rows(sums, width, row // 4096 + 1, lanes, 0)


# -- products --------------------------------------------------------------------------------------


@jit
def offsets(extents, strides):
    """Return the offsets of the elements that nested loops read, in their order."""
    places = np.zeros(1, int64)
    for n in range(len(extents)):
        outer, places = places, np.empty(len(places) * max(extents[n], 0), int64)
        for i in range(len(outer)):
            for j in range(extents[n]):
                places[at(i * extents[n] + j)] = outer[at(i)] + j * strides[n]
    return places


# Rows of a tile of sums in registers.
ROWS = 6


# Vectors of 64 bytes in each row of a tile, at most.
VECTORS = 4 if get_host_cpu_features().get("avx512f") else 1


def _tile(vectors):
    """Make a GEMM micro-kernel: sums[i, j] += a[a_i[i] + a_k[k]] * panel[k * step + j], by FMA."""

    @intrinsic
    def function(context, a, a_i, a_k, panel, step, sums, count):
        """Accumulate one register tile of a matrix product, as a Numba intrinsic."""

        def code(context, builder, signature, values):
            """Emit LLVM IR of the GEMM micro-kernel: FMAs over k with the tile in registers."""
            kind, lanes = vector_of(context, a)
            a_data, rows_data, steps_data, panel_data, _, sums_data, _ = data_of(
                context, builder, signature, values
            )
            signature = ir.FunctionType(kind, [kind] * 3)
            name = f"llvm.fma.v{lanes}f{a.dtype.bitwidth}"
            fma = cgutils.get_or_insert_function(builder.module, signature, name)
            tile = []
            for i in range(ROWS):
                row = builder.gep(a_data, [element(builder, rows_data, WORD(i))])
                for v in range(vectors):
                    place = vector_at(builder, sums_data, WORD(i * 64 + v * lanes), kind)
                    total = cgutils.alloca_once_value(builder, builder.load(place, align=4))
                    tile.append((row, v, place, total))
            with cgutils.for_range(builder, values[6]) as loop:
                place, right = element(builder, steps_data, loop.index), []
                for v in range(vectors):
                    column = builder.add(builder.mul(loop.index, values[4]), WORD(v * lanes))
                    vector = vector_at(builder, panel_data, column, kind)
                    right.append(builder.load(vector, align=4))
                for row, v, _, total in tile:
                    if v == 0:
                        left = splat(builder, element(builder, row, place), kind)
                    now = builder.call(fma, [left, right[v], builder.load(total)])
                    builder.store(now, total)
            for _, _, place, total in tile:
                builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return numba.types.none(a, a_i, a_k, panel, step, sums, count), code

    return function


tile_4 = _tile(4)


tile_2 = _tile(2)


tile_1 = _tile(1)


@jit
def width_of(columns, lanes):
    """Columns of the next tile of so many."""
    if VECTORS == 1 or columns <= lanes:
        return lanes
    return 2 * lanes if columns <= 2 * lanes else 4 * lanes


@intrinsic
def transpose(context, b, b_j, first, panel, place, width):
    """panel[place + i * width + j] = b[b_j[j] + first + i]: a square of vectors of 64 bytes."""

    def code(context, builder, signature, values):
        """Emit LLVM IR that transposes a square of vectors by exchanging halves, then quarters."""
        kind, lanes = vector_of(context, b)
        data = data_of(context, builder, signature, values)
        rows = []
        for j in range(lanes):
            source = builder.add(element(builder, data[1], WORD(j)), values[2])
            rows.append(builder.load(vector_at(builder, data[0], source, kind), align=4))
        half = lanes
        while half > 1:  # exchange the off-diagonal halves of squares, then of their quarters
            half //= 2
            for j in range(lanes):
                if not j & half:
                    upper, lower = rows[j], rows[j + half]
                    left = [l if not l & half else l - half + lanes for l in range(lanes)]
                    right = [l + half if not l & half else l + lanes for l in range(lanes)]
                    rows[j] = shuffle(builder, upper, lower, left)
                    rows[j + half] = shuffle(builder, upper, lower, right)
        for i, row in enumerate(rows):
            to = builder.add(values[4], builder.mul(values[5], WORD(i)))
            builder.store(row, vector_at(builder, data[3], to, kind), align=4)
        return context.get_dummy_value()

    return numba.types.none(b, b_j, first, panel, place, width), code


@jit
def evenly(places, step):
    """Return whether elements are so far from each other in memory."""
    for n in range(1, len(places)):
        if places[n] != places[n - 1] + step:
            return False
    return True


@jit
def pack(b, b_k, b_j, panel, rows):
    """Columns of b as ``multiply`` reads them, and the step of a row; whole vectors have no copy
    if rows of b are short or those of a few. For one or two rows of a, nothing is needed."""
    lanes, inner, along = 64 // b.itemsize, len(b_k), evenly(b_j, 1)
    if (rows <= 2 and along) or inner == 0:
        return panel[:0], 0
    if along and rows <= 32 and len(b_j) % width_of(len(b_j), lanes) == 0 and inner > 1:
        step = b_k[1] - b_k[0]
        if 0 < step <= 512 and evenly(b_k, step):
            return b[b_k[0] + b_j[0] :], step
    across, j = evenly(b_k, 1), 0
    while j < len(b_j):
        width = width_of(len(b_j) - j, lanes)
        count = min(width, len(b_j) - j)
        to = panel[j:]
        if along:
            for k in range(inner):
                source = b_k[at(k)] + b_j[at(j)]
                for c in range(count):
                    to[at(k * 64 + c)] = b[at(source + c)]
        else:
            for c0 in range(0, count, lanes):
                columns = b_j[j + c0 : j + min(c0 + lanes, count)]
                for k0 in range(0, inner, lanes):
                    past = min(k0 + lanes, inner)
                    if across and len(columns) == lanes and past - k0 == lanes:
                        transpose(b, columns, b_k[at(k0)], to, k0 * 64 + c0, 64)
                        continue
                    for k in range(k0, past):
                        for c in range(len(columns)):
                            to[at(k * 64 + c0 + c)] = b[at(columns[at(c)] + b_k[at(k)])]
        for k in range(inner):
            for c in range(count, width):
                to[at(k * 64 + c)] = 0
        j += width
    return panel, 64


@jit
def multiply(a, a_i, a_k, b, b_k, b_j, packed, sums, start, begin, end):
    """sums[i, j] = the sum over k of a[a_i[i] + a_k[k]] * b[b_k[k] + b_j[j]].

    Every element is a chain of fma in ascending k, a new one at each multiple of 4096, added in
    their order. These are the terms from ``start`` on of a sum from ``begin`` to ``end``, after the
    terms before them. ``sums`` has rows of 64 columns; behind 96 of them are the sums of chains
    that have ended. ``packed`` is what ``pack`` returned.
    """
    panel, step = packed
    zero, height, k, inner = sums.dtype.type(0.0), len(a_i), 0, len(a_k)
    if inner == 0 and start == begin:
        sums[: height * 64] = zero
    while k < inner:
        stop = min(inner, (start + k) // 4096 * 4096 + 4096 - start)
        if start + k == begin or (start + k) % 4096 == 0:
            sums[: height * 64] = zero
        if len(panel) == 0:
            add_rows(a, a_i, a_k[k:stop], b, b_k[k:stop], b_j, sums)
        else:
            add_tiles(a, a_i, a_k[k:stop], panel[k * step :], step, len(b_j), sums)
        if start + stop == end and end > begin // 4096 * 4096 + 4096:
            for n in range(height * 64):
                sums[n] = sums[n + 6144] + sums[n]
        elif (start + stop) % 4096 == 0:
            first = start + stop <= begin // 4096 * 4096 + 4096
            for n in range(height * 64):
                sums[n + 6144] = sums[n] if first else sums[n + 6144] + sums[n]
        k = stop


@jit
def add_tiles(a, a_i, a_k, panel, step, columns, sums):
    """Accumulate a matrix product tile by tile; the last tile may repeat its last row."""
    lanes, count, j = 64 // a.itemsize, len(a_k), 0
    last = np.empty(ROWS, int64)
    while j < columns:
        width, right = width_of(columns - j, lanes), panel[j:]
        for i in range(0, len(a_i), ROWS):
            rows, to = a_i[i : i + ROWS], sums[i * 64 + j :]
            if len(rows) < ROWS:
                for r in range(ROWS):
                    last[r] = rows[min(r, len(rows) - 1)]
                rows = last
            if width == lanes:
                tile_1(a, rows, a_k, right, step, to, count)
            elif width == 2 * lanes:
                tile_2(a, rows, a_k, right, step, to, count)
            else:
                tile_4(a, rows, a_k, right, step, to, count)
        j += width


@jit
def add_rows(a, a_i, a_k, b, b_k, b_j, sums):
    """Accumulate products of one or two rows with b in place, four rows of b at a time."""
    restrict()
    width = len(b_j)
    for i in range(len(a_i)):
        k = 0
        while k + 4 <= len(a_k):
            p, q = a_i[i] + a_k[k], b_k[k] + b_j[0]
            p1, q1 = a_i[i] + a_k[k + 1], b_k[k + 1] + b_j[0]
            p2, q2 = a_i[i] + a_k[k + 2], b_k[k + 2] + b_j[0]
            p3, q3 = a_i[i] + a_k[k + 3], b_k[k + 3] + b_j[0]
            x, x1, x2, x3 = a[at(p)], a[at(p1)], a[at(p2)], a[at(p3)]
            for j in range(width):
                y = fma(x1, b[at(q1 + j)], fma(x, b[at(q + j)], sums[at(i * 64 + j)]))
                sums[at(i * 64 + j)] = fma(x3, b[at(q3 + j)], fma(x2, b[at(q2 + j)], y))
            k += 4
        while k < len(a_k):
            x, q = a[at(a_i[i] + a_k[k])], b_k[k] + b_j[0]
            for j in range(width):
                sums[at(i * 64 + j)] = fma(x, b[at(q + j)], sums[at(i * 64 + j)])
            k += 1


@jit(forceinline=True)
def zero_if(condition, x):
    """Zero of the sign of x if a condition holds, else x."""
    return as_f32(u32(as_u32(x) & u32(0x80000000))) if condition else x


@jit(forceinline=True)
def fma_flushed(a, b, c):
    """a * b + c rounded once to 24 digits; operands and results below 2**-126 are zero."""
    least, large = f32(1.1754944e-38), f32(4294967296.0)
    a, b = zero_if(absolute(a) < least, a), zero_if(absolute(b) < least, b)
    c = zero_if(absolute(c) < least, c)
    result = fma(a, b, c)
    if absolute(result) > least or result != result:
        return result
    enlarged = fma(a * large, b * large, c * large * large)
    return zero_if(absolute(enlarged) < least * large * large, result)


@jit(forceinline=True)
def upper(word):
    """The bfloat16 number in the upper half of the bits of a float32 number."""
    return as_f32(u32(as_u32(word) & u32(0xFFFF0000)))


@jit(forceinline=True)
def lower(word):
    """The bfloat16 number in the lower half of the bits of a float32 number."""
    return as_f32(u32(as_u32(word) << u32(16)))


@jit
def multiply_flushed(a, a_i, a_k, b, b_k, b_j, packed, sums, start, begin, end, in_pairs):
    """Compute what ``multiply`` does by ``fma_flushed``: subnormal factors and sums are zero.

    ``in_pairs``: elements are words of two factors each.
    """
    height, k, inner = len(a_i), 0, len(a_k)
    if inner == 0 and start == begin:
        sums[: height * 64] = 0
    while k < inner:
        stop = min(inner, (start + k) // 4096 * 4096 + 4096 - start)
        if start + k == begin or (start + k) % 4096 == 0:
            sums[: height * 64] = 0
        for i in range(height):
            for n in range(k, stop):
                x, q = a[at(a_i[i] + a_k[n])], b_k[n]
                for j in range(len(b_j)):
                    place, y = at(i * 64 + j), b[at(q + b_j[j])]
                    if in_pairs:
                        sums[place] = fma_flushed(upper(x), upper(y), sums[place])
                        sums[place] = fma_flushed(lower(x), lower(y), sums[place])
                    else:
                        sums[place] = fma_flushed(x, y, sums[place])
        has_blocks = end > begin // 4096 * 4096 + 4096
        for n in range(height * 64 if start + stop == end and has_blocks else 0):
            sums[n] = sums[n + 6144] + sums[n]
        if (start + stop) % 4096 == 0 and not (start + stop == end and has_blocks):
            first = start + stop <= begin // 4096 * 4096 + 4096
            for n in range(height * 64):
                sums[n + 6144] = sums[n] if first else sums[n + 6144] + sums[n]
        k = stop


@jit
def multiply_integers(a, a_i, a_k, b, b_k, b_j, sums, start):
    """sums[i, j] = the sum over k of a[a_i[i] + a_k[k]] * b[b_k[k] + b_j[j]], modulo 2**bits, after
    the terms before ``start``."""
    if start == 0:
        sums[: len(a_i) * 64] = 0
    for i in range(len(a_i)):
        for k in range(len(a_k)):
            x = a[at(a_i[i] + a_k[k])]
            for j in range(len(b_j)):
                sums[at(i * 64 + j)] += x * b[at(b_k[k] + b_j[j])]


@jit(forceinline=True)
def dot4(u, s):
    """The sum of the products of the bytes of two words: unsigned ones of u, signed ones of s."""
    total = 0
    for shift in range(0, 32, 8):
        total += (u >> shift & 255) * (((s >> shift & 255) ^ 128) - 128)
    return total


@jit
def multiply_words(a, a_i, a_k, b, b_k, b_j, sums, start, is_signed):
    """Compute what ``multiply_integers`` does of words of bytes, of which those of a, or of b, are
    signed."""
    if start == 0:
        sums[: len(a_i) * 64] = 0
    for i in range(len(a_i)):
        for k in range(len(a_k)):
            x = a[at(a_i[i] + a_k[k])]
            for j in range(len(b_j)):
                y, place = b[at(b_k[k] + b_j[j])], at(i * 64 + j)
                sums[place] += dot4(y, x) if is_signed else dot4(x, y)


# -- sparse matrices -------------------------------------------------------------------------------


@jit
def sparse_product(data, x, starts, places, order, out, sizes, steps, total):
    """out[r] = the sum of data[e] * x[places[e]] over the elements e of row r, in their order.

    ``order`` has the number of each element, or is empty. ``total`` counts blocks of rows.
    """
    rows, inner, k, count, grain = sizes
    for b in range(total // max(-(-rows // grain), 1)):
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
    height, inner, k, count, grain = sizes
    sums = np.empty(lanes, out.dtype)
    for b in range(total // max(-(-count // grain), 1)):
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
