"""What the ops on windows are in NumPy's words: every tap by fancy indexing of a bordered image."""

import numpy as np

from staticgrad.ops.windows import place_dtype


def _where(op, taps, windows):
    """A border that is wide enough, and [taps, windows] of indices for each axis, inside of it."""
    found = [
        s * np.arange(y)[None, :] + d * np.arange(k)[:, None] - b
        for s, d, b, k, y in zip(op.strides, op.dilation, op.before, taps, windows, strict=True)
    ]
    wide = 1 + max(max(abs(a.min(initial=0)), a.max(initial=0)) for a in found)
    return int(wide), [a + wide for a in found]


def seen(x, op, taps, windows, fill=0):
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
    whole = tuple(n + 2 * wide for n in image)
    flat = np.zeros((), int)
    for axis, (index, size) in enumerate(zip(where, whole, strict=True)):
        shape = [1] * (2 * count)
        shape[axis], shape[count + axis] = index.shape
        flat = flat * size + index.reshape(shape)
    out = np.zeros((*z.shape[:lead], int(np.prod(whole))), z.dtype)
    np.add.at(out, (..., flat), z)
    out = out.reshape(*z.shape[:lead], *whole)
    return out[(..., *(slice(wide, wide + n) for n in image))]


def _flat(z, op):
    """The taps as one axis, the first."""
    count = len(op.strides)
    lead = z.ndim - 2 * count
    shape = (*z.shape[:lead], int(np.prod(op.taps)), *z.shape[lead + count :])
    return np.moveaxis(z.reshape(shape), lead, 0)


def _image(x, op):
    return x.shape[x.ndim - len(op.strides) :]


def window_sum(x, op):
    return _flat(seen(x, op, op.taps, op.extents), op).sum(0, dtype=x.dtype)


def window_max(x, op):
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _flat(seen(x, op, op.taps, op.extents, least), op).max(0)


def window_place(x, op):
    inside = _flat(seen(np.ones(x.shape, bool), op, op.taps, op.extents, False), op)
    found = np.ma.array(_flat(seen(x, op, op.taps, op.extents), op), mask=~inside)
    largest = np.ma.getdata(found.max(0))
    nan = np.isnan(found.data)
    first = np.where((nan & inside).any(0), nan, found.data == largest) & inside
    return np.argmax(first, 0).astype(place_dtype(op.taps).numpy)


def window_take(x, places, op):
    z = _flat(seen(x, op, op.taps, op.extents), op)
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
    return seen(x, op, op.taps, op.extents)


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
    z = _split(seen(_wide(x), op, w.shape[2:], op.extents), 1, op)
    found = np.einsum(f"ngc{t}{y},goc{t}->ngo{y}", z, _split(_wide(w), 0, op))
    return found.reshape(x.shape[0], w.shape[0], *op.extents).astype(x.dtype)


def conv_image(y, w, op):
    t, p = _TAPS[len(op.strides)], _AXES[len(op.strides)]
    z = np.einsum(f"ngo{p},goc{t}->ngc{t}{p}", _split(_wide(y), 1, op), _split(_wide(w), 0, op))
    z = z.reshape(y.shape[0], op.groups * w.shape[1], *z.shape[3:])
    return back(z, op, op.extents).astype(y.dtype)


def conv_filter(x, y, op):
    t, p = _TAPS[len(op.strides)], _AXES[len(op.strides)]
    z = _split(seen(_wide(x), op, op.extents, y.shape[2:]), 1, op)
    found = np.einsum(f"ngc{t}{p},ngo{p}->goc{t}", z, _split(_wide(y), 1, op))
    return found.reshape(y.shape[1], *found.shape[2:]).astype(x.dtype)


HELPERS = {
    f.__name__: f
    for f in (
        window_sum, window_max, window_place, window_take, window_put, unfold, fold,
        conv, conv_image, conv_filter,
    )
}  # fmt: skip
