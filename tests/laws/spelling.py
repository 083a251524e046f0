"""An op's NumPy expression, evaluated: what "as NumPy" means for it.

The expressions stand in ``declared_samples.py``; the few ops without a single function of NumPy
have one here, written from the definition. Sums and vector math differ in their last places only.
"""

from dataclasses import replace

import numpy as np
import scipy.special

from staticgrad.language.ops.windows import place_dtype
from staticgrad.native.libraries.special_functions import function
from tests.laws.array_samples import branch_arrays, recurrence_arrays, while_arrays


def evaluate_spelling(text, op, operands):
    """The arrays that the expression ``text`` gives."""
    names = dict(zip("xyz", operands, strict=False))
    with np.errstate(all="ignore"):
        value = eval(text, {**HELPERS, **names, "op": op, "operands": operands})
    return tuple(map(np.asarray, value)) if isinstance(value, tuple) else (np.asarray(value),)


def raise_to_power(x, op):
    """x to a whole power: repeated multiplication, and its reciprocal below 0."""
    power = np.power(x, x.dtype.type(abs(op.exponent)))
    return power if op.exponent >= 0 else 1 / power


def flat(x, op):
    """x to a fraction; at 0 nothing, or NaN from the exponent -1 down. Below 0 there is none."""
    power = np.power(x, x.dtype.type(op.exponent))
    at_zero = x.dtype.type(0 if op.exponent > -1 else np.nan)
    below = x.dtype.type(np.nan) if (2 * op.exponent).is_integer() else power  # of -inf: as pow
    return np.where(x == 0, at_zero, np.where(x < 0, below, power))


def inverse(x, y):
    """1 / x ** -y in integers, without its fraction: by remainders, of the bases 1 and -1 alone."""
    odd = np.remainder(y, 2) == 1
    by_minus = np.where(odd, -np.ones_like(y), np.ones_like(y))
    powers = np.where(np.equal(x, 1), 1, np.where(np.equal(-x, 1), by_minus, 0))
    return powers.astype(x.dtype)


def gammaln(x):
    """SciPy's, but for the smallest numbers, next to 1, where it loses digits, and at -inf."""
    wide = x.astype(np.float64)
    values = np.where(
        np.abs(wide - 1) < 1e-9, np.euler_gamma * (1 - wide), scipy.special.gammaln(wide)
    )
    values = np.where(np.abs(wide) < 1e-300, -np.log(np.abs(wide)), values)
    return np.where(wide == -np.inf, np.inf, values).astype(x.dtype)


def halve_tiny(x, wide):
    """x / 2 of tiny x, else what was found in float64: a number that is rounded twice."""
    return np.where(np.abs(x) < 1e-30, x * x.dtype.type(0.5), wide.astype(x.dtype))


def betaln(a, b):
    """SciPy's for positive a and b; inf where one is 0, -inf where one is inf."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    inside = (low > 0) & np.isfinite(high)
    border = np.where(low == 0, np.inf, np.where((low > 0) & np.isinf(high), -np.inf, np.nan))
    values = scipy.special.betaln(*(np.where(inside, v, 1).astype(float) for v in (a, b)))
    return np.where(inside, values, border).astype(a.dtype)


def betainc(a, b, x):
    """SciPy's."""
    values = scipy.special.betainc(*(v.astype(float) for v in (a, b, x)))
    return np.asarray(values).astype(x.dtype)


def cap_operand(a, x):
    """The first operand of an incomplete gamma function, where SciPy's does not overflow."""
    return np.where(x < 1e290, np.minimum(a.astype(float), 1e300), a)


def polygamma(x, order):
    """SciPy's; of order 1 NaN at -inf."""
    outside = (x == -np.inf) & (order == 1)
    values = scipy.special.polygamma(order, np.where(outside, 1, x))
    return np.where(outside, np.nan, values).astype(x.dtype)


def zeta(s, q):
    """SciPy's where s > 1 and q > 0, its poles, NaN elsewhere."""
    poles = ((s > 1) & (q <= 0) & (np.floor(q) == q)) | ((s == 1) & (q == q))
    inside = (s > 1) & (q > 0)
    values = scipy.special.zeta(np.where(inside, s, 2), np.where(inside, q, 1))
    values = np.where(s > 1100, np.power(np.abs(q), -s), values)
    return np.where(inside, values, np.where(poles, np.inf, np.nan)).astype(q.dtype)


def scan_linear(a, b, axis):
    """out[0] = b[0], then out[i] = a[i] * out[i - 1] + b[i]."""
    out = np.moveaxis(b.copy(), axis, 0)
    factors = np.moveaxis(a, axis, 0)
    for i in range(1, len(out)):
        out[i] += factors[i] * out[i - 1]
    return np.moveaxis(out, 0, axis)


def align_axes(x, op):
    """x with an axis of size 1 wherever ``broadcast`` makes a new one."""
    shape = [1] * len(op.shape)
    for size, axis in zip(x.shape, op.axes, strict=True):
        shape[axis] = size
    return x.reshape(shape)


def keys(starts, lengths, steps):
    """Starts, lengths and steps as a key of indexing."""
    parts = zip(starts, lengths, steps, strict=True)
    return np.ix_(*(start + step * np.arange(length) for start, length, step in parts))


def pad_zeros(x, op):
    """Zeros, with x at its places."""
    out = np.zeros(op.shape, x.dtype)
    out[keys(op.starts, x.shape, op.steps)] = x
    return out


def transpose(x, flip):
    """x, or its transpose."""
    return np.swapaxes(x, -1, -2) if flip else x


def scatter_by_numpy(x, places, op):
    """Zeros, to which ``np.add.at`` adds x along an axis, of each part on its own."""
    if op.parts > 1:
        cuts = np.arange(1, op.parts) * -(-len(places) // op.parts)
        pairs = zip(np.split(x, cuts, op.axis), np.split(places, cuts), strict=True)
        return np.stack([scatter_by_numpy(*pair, replace(op, parts=1)) for pair in pairs], op.axis)
    shape = (*x.shape[: op.axis], op.size, *x.shape[op.axis + places.ndim :])
    out = np.zeros(shape, x.dtype)
    where = (*(slice(None),) * op.axis, places.astype(np.int64))
    np.add.at(out, where, x)
    return out


def extremes(x, places, op):
    """Reduce each place by ``np.maximum.at`` or ``np.minimum.at``, from its identity."""
    if x.dtype.kind in "iu":
        ends = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
    else:
        ends = (False, True) if x.dtype.kind == "b" else (-np.inf, np.inf)
    shape = (*x.shape[: op.axis], op.size, *x.shape[op.axis + places.ndim :])
    out = np.full(shape, ends[op.kind == "min"], x.dtype)
    where = (*(slice(None),) * op.axis, places.astype(np.int64))
    (np.maximum if op.kind == "max" else np.minimum).at(out, where, x)
    return out


def write_entries(x, places, base, op):
    """A copy of base in which one entry after the other is replaced."""
    out = np.moveaxis(base.copy(), op.axis, 0)
    flat = places.astype(np.int64).ravel()
    others = (*x.shape[: op.axis], flat.size, *x.shape[op.axis + places.ndim :])
    for place, entry in zip(flat, np.moveaxis(x.reshape(others), op.axis, 0), strict=True):
        out[place] = entry
    return np.ascontiguousarray(np.moveaxis(out, 0, op.axis))


def scattered_along(x, places, op):
    """Zeros, to which ``np.add.at`` adds every element at its own index."""
    out = np.zeros((*x.shape[: op.axis], op.size, *x.shape[op.axis + 1 :]), x.dtype)
    where = list(np.indices(x.shape))
    where[op.axis] = places.astype(np.int64)
    np.add.at(out, tuple(where), x)
    return out


def count_up(op):
    """Positions along an axis."""
    return np.indices(op.shape)[op.axis].astype(op.dtype.numpy)


def sort_elements(x, op):
    """Elements in order, equal ones as they came, with their places; the first k where asked."""
    rows = np.moveaxis(x, op.axis, -1)
    falls = getattr(op, "descending", None)
    if falls is None:
        falls = not op.smallest
    if falls:  # stable: the order of the reversed row, reversed
        places = rows.shape[-1] - 1 - np.argsort(rows[..., ::-1], -1, kind="stable")[..., ::-1]
    else:
        places = np.argsort(rows, -1, kind="stable")
    if falls and hasattr(op, "descending"):  # a sort has NaN last
        nan = np.take_along_axis(rows != rows, places, -1)
        places = np.take_along_axis(places, np.argsort(nan, -1, kind="stable"), -1)
    places = places[..., : getattr(op, "k", rows.shape[-1])]
    elements = np.take_along_axis(rows, places, -1)
    return np.moveaxis(elements, -1, op.axis), np.moveaxis(places, -1, op.axis)


def pick_elements(x, indices, op):
    """Elements at indices in the order along the axis, with their places."""
    places = np.argsort(x, op.axis, kind="stable")
    inside = np.minimum(np.maximum(indices, 0), x.shape[op.axis] - 1)
    places = np.take_along_axis(places, inside, op.axis)
    return np.take_along_axis(x, places, op.axis), places


def _where(op, taps, windows):
    """A border that is wide enough, and [taps, windows] of indices for each axis, inside of it."""
    indices = [
        s * np.arange(y)[None, :] + d * np.arange(k)[:, None] - b
        for s, d, b, k, y in zip(op.strides, op.dilation, op.before, taps, windows, strict=True)
    ]
    wide = 1 + max(max(abs(a.min(initial=0)), a.max(initial=0)) for a in indices)
    return int(wide), [a + wide for a in indices]


def take_windows(x, op, taps, windows, fill=0):
    """[..., taps..., windows...]: ``fill`` outside of the image."""
    count = len(op.strides)
    wide, where = _where(op, taps, windows)
    width = [(0, 0)] * (x.ndim - count) + [(wide, wide)] * count
    out = np.pad(x, width, constant_values=fill)
    for axis, index in enumerate(where):
        at = x.ndim - count + axis
        out = np.take(out, index, at + axis)  # taps and windows, where the axis was
    lead = x.ndim - count
    order = [lead + 2 * k for k in range(count)] + [lead + 2 * k + 1 for k in range(count)]
    return out.transpose(*range(lead), *order)


def back(z, op, image):
    """[..., taps..., windows...] added up in the image."""
    count = len(op.strides)
    lead = z.ndim - 2 * count
    taps, windows = z.shape[lead : lead + count], z.shape[lead + count :]
    wide, where = _where(op, taps, windows)
    padded_shape = tuple(n + 2 * wide for n in image)
    flat = np.zeros((), int)
    for axis, (index, size) in enumerate(zip(where, padded_shape, strict=True)):
        shape = [1] * (2 * count)
        shape[axis], shape[count + axis] = index.shape
        flat = flat * size + index.reshape(shape)
    out = np.zeros((*z.shape[:lead], int(np.prod(padded_shape))), z.dtype)
    np.add.at(out, (..., flat), z)
    out = out.reshape(*z.shape[:lead], *padded_shape)
    return out[(..., *(slice(wide, wide + n) for n in image))]


def _flat(z, op):
    """The taps as one axis, the first."""
    count = len(op.strides)
    lead = z.ndim - 2 * count
    shape = (*z.shape[:lead], int(np.prod(op.taps)), *z.shape[lead + count :])
    return np.moveaxis(z.reshape(shape), lead, 0)


def window_sum(x, op):
    return _flat(take_windows(x, op, op.taps, op.extents), op).sum(0, dtype=x.dtype)


def window_max(x, op):
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _flat(take_windows(x, op, op.taps, op.extents, least), op).max(0)


def window_place(x, op):
    inside = _flat(take_windows(np.ones(x.shape, bool), op, op.taps, op.extents, False), op)
    values = np.ma.array(_flat(take_windows(x, op, op.taps, op.extents), op), mask=~inside)
    largest = np.ma.getdata(values.max(0))
    nan = np.isnan(values.data)
    first = np.where((nan & inside).any(0), nan, values.data == largest) & inside
    return np.argmax(first, 0).astype(place_dtype(op.taps).numpy)


def window_take(x, places, op):
    z = _flat(take_windows(x, op, op.taps, op.extents), op)
    return np.take_along_axis(z, places[None].astype(int), 0)[0]


def window_put(y, places, op):
    count = len(op.strides)
    number = np.arange(int(np.prod(op.taps))).reshape(op.taps)
    number = number.reshape(*op.taps, *(1,) * count)
    lead = y.ndim - count
    expanded = (slice(None),) * lead + (None,) * count
    z = np.where(places[expanded] == number, y[expanded], y.dtype.type(0))
    return back(z, op, op.extents)


def unfold(x, op):
    return take_windows(x, op, op.taps, op.extents)


def fold(y, op):
    return back(y, op, op.extents)


_AXES = ("", "p", "pq", "pqr")
_TAPS = ("", "k", "kl", "klm")


def _split(a, axis, op):
    shape = a.shape
    parts = (op.groups, shape[axis] // op.groups)
    return a.reshape(*shape[:axis], *parts, *shape[axis + 1 :])


def _wide(a):
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def conv(x, w, op):
    t, y = _TAPS[len(op.strides)], _AXES[len(op.strides)]
    z = _split(take_windows(_wide(x), op, w.shape[2:], op.extents), 1, op)
    products = np.einsum(f"ngc{t}{y},goc{t}->ngo{y}", z, _split(_wide(w), 0, op))
    return products.reshape(x.shape[0], w.shape[0], *op.extents).astype(x.dtype)


def conv_image(y, w, op):
    t, p = _TAPS[len(op.strides)], _AXES[len(op.strides)]
    z = np.einsum(f"ngo{p},goc{t}->ngc{t}{p}", _split(_wide(y), 1, op), _split(_wide(w), 0, op))
    z = z.reshape(y.shape[0], op.groups * w.shape[1], *z.shape[3:])
    return back(z, op, op.extents).astype(y.dtype)


def conv_filter(x, y, op):
    t, p = _TAPS[len(op.strides)], _AXES[len(op.strides)]
    z = _split(take_windows(_wide(x), op, op.extents, y.shape[2:]), 1, op)
    products = np.einsum(f"ngc{t}{p},ngo{p}->goc{t}", z, _split(_wide(y), 1, op))
    return products.reshape(y.shape[1], *products.shape[2:]).astype(x.dtype)


WINDOWS = {
    f.__name__: f
    for f in (
        window_sum, window_max, window_place, window_take, window_put, unfold, fold,
        conv, conv_image, conv_filter,
    )
}  # fmt: skip


HELPERS = {
    "np": np,
    "scipy": scipy,
    "special_function": function,
    **WINDOWS,
    **{
        f.__name__: f
        for f in (
            raise_to_power, flat, inverse, scan_linear, align_axes, keys, pad_zeros, transpose,
            scatter_by_numpy, scattered_along, write_entries, extremes, count_up, betainc, betaln,
            cap_operand, gammaln, halve_tiny, pick_elements, sort_elements, polygamma, zeta,
            recurrence_arrays, while_arrays, branch_arrays,
        )
    },
}  # fmt: skip
