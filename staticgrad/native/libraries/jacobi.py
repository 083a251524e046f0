"""Eigenvalues of symmetric matrices by Jacobi's method, in the kernel language.

Rows and columns p and q are rotated until every element beside the diagonal is small, in the order
of rows (Golub and Van Loan, 8.5.5; Rutishauser, 1966). A rotation computes each element by itself,
without sums, so one text has the bits of the other: ``LANES`` interleaves matrices, ``ROWS`` takes
one matrix by vectors of a row.
"""

from __future__ import annotations

from textwrap import indent
from typing import Final

#: Rows beyond which columns no longer lie in L1: one-sided rotations, of rows alone, are faster.
MOST_TWO_SIDED: Final = 24
#: Sweeps over all pairs; six to nine are usual.
MOST_SWEEPS: Final = 40

#: The angle that makes element (p, q) zero; EPSILON and LEAST are of matrices scaled to about 1.
_ANGLE: Final = """
app = {at_pp}
aqq = {at_qq}
apq = {at_pq}
rotates = (absolute(apq) > LEAST) & (apq * apq > EPSILON * absolute(app * aqq))
"""
_ROTATION: Final = """
both = select(rotates, apq + apq, {kind}(1.0))
theta = (aqq - app) / both
t = {kind}(1.0) / (absolute(theta) + sqrt(fma(theta, theta, {kind}(1.0))))
t = select(theta < 0.0, -t, t)
t = select(rotates, t, {kind}(0.0))
cosine = {kind}(1.0) / sqrt(fma(t, t, {kind}(1.0)))
sine = t * cosine
tau = sine / ({kind}(1.0) + cosine)
"""
#: Elements of two rows, g and h.
_PAIR: Final = """
turned = fma(-{sine}, fma(g, {tau}, h), g)
h = fma({sine}, fma(-{tau}, h, g), h)
"""
#: The rotation of rows p and q of a matrix, vector by vector.
_ROWS: Final = """
for k in range(0, n, $):
    within = mask$(n - k)
    g = load({name}, p * n + k, within)
    h = load({name}, q * n + k, within)
{pair}
    store({name}, p * n + k, turned, within)
    store({name}, q * n + k, h, within)
"""


def _indent(text: str, depth: int) -> str:
    return indent(text.strip("\n"), "    " * depth)


def _rotate_rows(name: str) -> str:
    """Write the rotation of two rows of the matrix of a name."""
    pair = _indent(_PAIR.format(sine="splat$(sine)", tau="splat$(tau)"), 1)
    return _ROWS.format(name=name, pair=pair)


def _write_rotations(has_vectors: bool) -> str:
    """Write the function that rotates the rows of r, and those of z, until r's are orthogonal."""
    rows = _rotate_rows("r") + _rotate_rows("z") * has_vectors
    return f"""
def outlined_rotations(r, z, n):
    tolerance = sqrt(realx1(n) * EPSILON)
    moved = 1
    sweep = 0
    while moved == 1 and sweep < {MOST_SWEEPS}:
        moved = 0
        sweep = sweep + 1
        for p in range(n - 1):
            for q in range(p + 1, n):
                first = real$(0.0)
                last = real$(0.0)
                cross = real$(0.0)
                for k in range(0, n, $):
                    within = mask$(n - k)
                    g = load(r, p * n + k, within)
                    h = load(r, q * n + k, within)
                    first = fma(g, g, first)
                    last = fma(h, h, last)
                    cross = fma(g, h, cross)
                app = hsum(first)
                aqq = hsum(last)
                apq = hsum(cross)
                rotates = absolute(apq) > sqrt(app) * sqrt(aqq) * tolerance
                rotates = rotates & (app > TINY) & (aqq > TINY)
                if some(rotates):
                    moved = 1
{_indent(_ROTATION.format(kind="realx1"), 5)}
{_indent(rows, 5)}
    return moved"""


#: Eigenvalues and eigenvectors of a symmetric matrix as singular values, and vectors, of the matrix
#: plus a number that makes it positive definite: rows that are rotated until they are orthogonal.
_SHIFTED: Final = """
def outlined_shifted(w, v, a, n, power):
    bound = realx1(0.0)
    for i in range(n):
        sum = realx1(0.0)
        for j in range(n):
            sum = sum + absolute(load1(a, i * n + j))
        bound = maximum(bound, sum)
    bound = select(bound > 0.0, bound * 1.5, realx1(1.0))
    for i in range(n):
        store1(a, i * n + i, load1(a, i * n + i) + bound)
    moved = outlined_rotations(a, a, n)
    for i in range(n):
        total = real$(0.0)
        for c in range(0, n, $):
            element = load(a, i * n + c, mask$(n - c))
            total = fma(element, element, total)
        store1(w, i, sqrt(hsum(total)))
    for i in range(n):
        least = i
        for j in range(i + 1, n):
            if some(load1(w, j) < load1(w, least)):
                least = j
        length = load1(w, least)
        store1(w, least, load1(w, i))
        store1(w, i, (length - bound) * power)
        for c in range(0, n, $):
            within = mask$(n - c)
            g = load(a, i * n + c, within)
            h = load(a, least * n + c, within)
            store(a, least * n + c, g, within)
            if HAS_VECTORS == 1:
                store(v, i * n + c, h / splat$(length), within)
    return moved
"""


def write_lanes(has_vectors: bool) -> str:
    """Write the recipe of small matrices, each in a lane."""
    angle = _ANGLE.format(
        at_pp="load$(rows, (p * n + p) * $)",
        at_qq="load$(rows, (q * n + q) * $)",
        at_pq="load$(rows, (p * n + q) * $)",
    )
    pair = _indent(_PAIR.format(sine="sine", tau="tau"), 6)
    vectors = f"""
                for k in range(n):
                    g = load$(vectors, (p * n + k) * $)
                    h = load$(vectors, (q * n + k) * $)
{_indent(_PAIR.format(sine="sine", tau="tau"), 5)}
                    store$(vectors, (p * n + k) * $, turned)
                    store$(vectors, (q * n + k) * $, h)"""
    identity = """
for e in range(n * n):
    store$(vectors, e * $, real$(0.0))
for i in range(n):
    store$(vectors, (i * n + i) * $, real$(1.0))"""
    rows_out = """
    for k in range(n):
        store_at(v, place * n + k + apart, load$(vectors, (i * n + k) * $), every)"""
    return f"""
norm = real$(0.0)
unfit = real$(0.0)
for i in range(n):
    for j in range(i + 1):
        element = load_strided(x, i * n + j, n * n, every)
        norm = maximum(norm, absolute(element))
        unfit = fma(element, real$(0.0), unfit)
        store$(rows, (i * n + j) * $, element)
power = bitcast_real(bitcast_whole(norm) & whole$(EXPONENT))
power = select(power > 0.0, power, real$(SMALLEST))
for i in range(n):
    for j in range(i + 1):
        element = load$(rows, (i * n + j) * $) / power
        store$(rows, (i * n + j) * $, element)
        store$(rows, (j * n + i) * $, element)
{identity if has_vectors else ""}
failed = select(unfit == 0.0, i64x$(0), i64x$(-1))
moved = 1
sweep = 0
if some(failed < 0):
    moved = 0
while moved == 1 and sweep < {MOST_SWEEPS}:
    moved = 0
    sweep = sweep + 1
    for p in range(n - 1):
        for q in range(p + 1, n):
{_indent(angle, 3)}
            if some(rotates):
                moved = 1
{_indent(_ROTATION.format(kind="real$"), 4)}
                for k in range(n):
                    if k != p and k != q:
                        g = load$(rows, (p * n + k) * $)
                        h = load$(rows, (q * n + k) * $)
{pair}
                        store$(rows, (p * n + k) * $, turned)
                        store$(rows, (k * n + p) * $, turned)
                        store$(rows, (q * n + k) * $, h)
                        store$(rows, (k * n + q) * $, h)
                store$(rows, (p * n + p) * $, fma(-t, apq, app))
                store$(rows, (q * n + q) * $, fma(t, apq, aqq))
                beside = select(rotates, real$(0.0), apq)
                store$(rows, (p * n + q) * $, beside)
                store$(rows, (q * n + p) * $, beside){vectors if has_vectors else ""}
apart = iota$(0) * (n * n)
for i in range(n):
    value = load$(rows, (i * n + i) * $)
    place = i64x$(0)
    for j in range(n):
        other = load$(rows, (j * n + j) * $)
        is_before = other < value
        if j < i:
            is_before = other <= value
        place = place + select(is_before, i64x$(1), i64x$(0))
    store_at(w, place + iota$(0) * n, value * power, every){rows_out if has_vectors else ""}
if moved == 1:
    failed = select(failed == 0, i64x$(1), failed)
if some(failed < 0):
    return -1
return word(hmax(failed))
"""


def write_rows(has_vectors: bool) -> str:
    """Write the functions that take one matrix of any size, whose work is in ``a`` and ``z``."""
    angle = _ANGLE.format(
        at_pp="load1(a, p * n + p)", at_qq="load1(a, q * n + q)", at_pq="load1(a, p * n + q)"
    )
    vectors = _indent(_rotate_rows("z"), 5)
    mirror = """
    store_strided(a, k * n + p, n, turned, within)
    store_strided(a, k * n + q, n, h, within)"""
    shifted = _SHIFTED.replace("HAS_VECTORS", str(int(has_vectors)))
    return f"""{_write_rotations(has_vectors=False)}{shifted}
def outlined_jacobi(x, w, v, a, z, n):
    norm = realx1(0.0)
    unfit = realx1(0.0)
    for i in range(n):
        for j in range(i + 1):
            element = load1(x, i * n + j)
            norm = maximum(norm, absolute(element))
            unfit = fma(element, realx1(0.0), unfit)
    if not some(unfit == 0.0):
        return -1
    power = bitcast_real(bitcast_whole(norm) & wholex1(EXPONENT))
    power = select(power > 0.0, power, realx1(SMALLEST))
    for i in range(n):
        for j in range(i + 1):
            element = load1(x, i * n + j) / power
            store1(a, i * n + j, element)
            store1(a, j * n + i, element)
    if n > {MOST_TWO_SIDED}:
        return outlined_shifted(w, v, a, n, power)
    if {int(has_vectors)} == 1:
        for e in range(n * n):
            store1(z, e, realx1(0.0))
        for i in range(n):
            store1(z, i * n + i, realx1(1.0))
    moved = 1
    sweep = 0
    while moved == 1 and sweep < {MOST_SWEEPS}:
        moved = 0
        sweep = sweep + 1
        for p in range(n - 1):
            for q in range(p + 1, n):
{_indent(angle, 4)}
                if some(rotates):
                    moved = 1
{_indent(_ROTATION.format(kind="realx1"), 5)}
{_indent(_rotate_rows("a") + mirror.lstrip(chr(10)), 5)}
                    store1(a, p * n + p, fma(-t, apq, app))
                    store1(a, q * n + q, fma(t, apq, aqq))
                    store1(a, p * n + q, realx1(0.0))
                    store1(a, q * n + p, realx1(0.0))
{vectors if has_vectors else ""}
    for i in range(n):
        value = load1(a, i * n + i)
        place = 0
        for j in range(n):
            other = load1(a, j * n + j)
            if some(other < value) or (j < i and some(other == value)):
                place = place + 1
        store1(w, place, value * power)
        if {int(has_vectors)} == 1:
            for k in range(n):
                store1(v, place * n + k, load1(z, i * n + k))
    return moved
"""


def write_singular(has_vectors: bool) -> str:
    """Write the functions of a singular value decomposition, which need those of QR factors.

    Rows of R are rotated until they are orthogonal (Hestenes, 1958; Drmac and Veselic, 2008): their
    lengths are the singular values. Of a matrix with more columns than rows it is the transpose.
    """
    return f"""{_write_rotations(has_vectors)}
def outlined_completion(r, n, row, values):
    best = 0
    least = realx1(2.0)
    for c in range(n):
        total = realx1(0.0)
        for i in range(n):
            if i != row and some(load1(values, i) != 0.0):
                total = fma(load1(r, i * n + c), load1(r, i * n + c), total)
        if some(total < least):
            least = total
            best = c
    for c in range(n):
        store1(r, row * n + c, realx1(0.0))
    store1(r, row * n + best, realx1(1.0))
    for again in range(3):
        for i in range(n):
            if i != row and some(load1(values, i) != 0.0):
                dot = realx1(0.0)
                for c in range(n):
                    dot = fma(load1(r, i * n + c), load1(r, row * n + c), dot)
                for c in range(n):
                    less = fma(-dot, load1(r, i * n + c), load1(r, row * n + c))
                    store1(r, row * n + c, less)
        total = realx1(0.0)
        for c in range(n):
            total = fma(load1(r, row * n + c), load1(r, row * n + c), total)
        for c in range(n):
            store1(r, row * n + c, load1(r, row * n + c) / sqrt(total))
    return 0
def outlined_left(q, columns, z, g, stride, m, n):
    for i in range(0, m, 6):
        rows = m - i
        at# = (i + (# if # < rows else rows - 1)) * columns
        to# = (i + (# if # < rows else rows - 1)) * stride
        for c in range(0, n, $):
            within = mask$(n - c)
            s# = real$(0.0)
            for k in range(n):
                known = load(z, k * n + c, within)
                s# = fma(splat$(load1(q, at# + k)), known, s#)
            store(g, to# + c, s#, within)
    return 0
def outlined_svd(x, u, s, v, work, m, n, p, w):
    tall = m
    short = n
    columns = p
    if m < n:
        tall = n
        short = m
        columns = w
    if short == 0:
        for e in range(m * p):
            store1(u, e, realx1(0.0))
        for i in range(p):
            store1(u, i * p + i, realx1(1.0))
        for e in range(w * n):
            store1(v, e, realx1(0.0))
        for i in range(w):
            store1(v, i * n + i, realx1(1.0))
        return 0
    norm = real$(0.0)
    unfit = real$(0.0)
    for e in range(0, m * n, $):
        element = load(x, e, mask$(m * n - e))
        norm = maximum(norm, absolute(element))
        unfit = fma(element, real$(0.0), unfit)
    if not some(hsum(unfit) == 0.0):
        return -1
    power = bitcast_real(bitcast_whole(hmax(norm)) & wholex1(EXPONENT))
    power = select(power > 0.0, power, realx1(SMALLEST))
    q = ptr_real(address(work) + BYTES * m * n)
    r = ptr_real(address(q) + BYTES * tall * columns)
    a = ptr_real(address(r) + BYTES * columns * short)
    panels = ptr_real(address(a) + BYTES * m * n)
    t = ptr_real(address(panels) + BYTES * tall * (columns + 7))
    z = ptr_real(address(t) + BYTES * 8 * (short + 8))
    turned = ptr_real(address(z) + BYTES * short * short)
    for i in range(m):
        for j in range(0, n, $):
            element = load(x, i * n + j, mask$(n - j)) / splat$(power)
            if m < n:
                store_strided(work, j * m + i, m, element, mask$(n - j))
            else:
                store(work, i * n + j, element, mask$(n - j))
    done = outlined_qr(work, q, r, a, panels, t, tall, short, short, columns)
    for e in range(short * short):
        store1(z, e, realx1(0.0))
    for i in range(short):
        store1(z, i * short + i, realx1(1.0))
    moved = outlined_rotations(r, z, short)
    for i in range(short):
        total = real$(0.0)
        for c in range(0, short, $):
            element = load(r, i * short + c, mask$(short - c))
            total = fma(element, element, total)
        length = sqrt(hsum(total))
        length = select(hsum(total) > TINY, length, realx1(0.0))
        store1(t, i, length)
        divisor = splat$(select(length > 0.0, length, realx1(1.0)))
        for c in range(0, short, $):
            within = mask$(short - c)
            store(r, i * short + c, load(r, i * short + c, within) / divisor, within)
    for i in range(short):
        value = load1(t, i)
        place = 0
        for j in range(short):
            other = load1(t, j)
            if some(other > value) or (j < i and some(other == value)):
                place = place + 1
        store1(s, place, value * power)
        store1(t, short + i, realx1(place))
{_VECTORS if has_vectors else ""}
    return moved
"""


#: U and V of rotated rows.
_VECTORS: Final = """
    for i in range(short):
        if some(load1(t, i) == 0.0):
            done = outlined_completion(r, short, i, t)
            store1(t, i, realx1(1.0))
    for i in range(short):
        place = word(cast_i64(load1(t, short + i)))
        for c in range(0, short, $):
            within = mask$(short - c)
            element = load(r, i * short + c, within)
            if m < n:
                store_strided(u, c * p + place, p, element, within)
            else:
                store(v, place * n + c, element, within)
            store_strided(turned, c * short + place, short, load(z, i * short + c, within), within)
    if m < n:
        done = outlined_left(q, columns, turned, a, short, tall, short)
        for i in range(tall):
            for c in range(0, columns, $):
                inside = load(a, i * short + c, mask$(short - c))
                beyond = load(q, i * columns + c, mask$(columns - c))
                element = select_mask(mask$(short - c), inside, beyond)
                store_strided(v, c * n + i, n, element, mask$(columns - c))
    else:
        done = outlined_left(q, columns, turned, u, p, tall, short)
        for i in range(tall):
            for c in range(short, columns, $):
                within = mask$(columns - c)
                store(u, i * p + c, load(q, i * columns + c, within), within)
"""
