"""More steps of random programs: indexing at run time, scans, draws, composites, whole numbers.

Each step takes what it needs from the builder's pool and gives an entry, or None where nothing
fits. Bounds are those of ``tests/random_graphs.py``: a step keeps its operands in its domain by a
composite (``log(1 + x * x)``), so that every program runs without NaN, infinity and bad indices.
"""

import numpy as np

import staticgrad as sg
from tests.random_graphs import LITERAL_SIZES, Entry

#: Functions of one operand and of its bound, smooth everywhere.
SMOOTH = (
    (lambda x: sg.exp(sg.sin(x)), lambda b: 3.0),
    (lambda x: sg.expm1(sg.cos(x)), lambda b: 2.0),
    (lambda x: sg.exp2(sg.tanh(x)), lambda b: 2.0),
    (lambda x: sg.log1p(x * x), lambda b: b + 1),
    (lambda x: sg.log2(x * x + 1.0), lambda b: b + 1),
    (lambda x: sg.log10(x * x + 0.5), lambda b: b + 1),
    (lambda x: sg.sinh(sg.tanh(x)), lambda b: 2.0),
    (lambda x: sg.cosh(sg.sin(x)), lambda b: 2.0),
    (lambda x: sg.arctan(x), lambda b: 2.0),
    (lambda x: sg.arcsinh(x), lambda b: b),
    (lambda x: sg.arcsin(sg.sin(x) * 0.75), lambda b: 2.0),
    (lambda x: sg.arccos(sg.tanh(x) * 0.75), lambda b: 3.0),
    (lambda x: sg.arctanh(sg.tanh(x) * 0.75), lambda b: 2.0),
    (lambda x: sg.arccosh(x * x + 2.0), lambda b: b + 2),
    (lambda x: sg.erfc(x), lambda b: 2.0),
    (lambda x: sg.tan(sg.tanh(x)), lambda b: 2.0),
    (lambda x: sg.cbrt(sg.tanh(x) + 2.0), lambda b: 2.0),
    (lambda x: sg.reciprocal(x * x + 1.0), lambda b: 1.0),
    (lambda x: sg.nn.softplus(x), lambda b: b + 1),
    (lambda x: sg.nn.gelu(x), lambda b: b),
    (lambda x: sg.nn.silu(x), lambda b: b),
    (lambda x: sg.checkpoint(x * 0.5), lambda b: b),
    (lambda x: (x * x + 1.0) ** -1.5, lambda b: 1.0),
    (lambda x: x.astype("float32") * 0.5, lambda b: b),
)
ROUGH = (
    (lambda x: sg.nn.relu(x), lambda b: b),
    (lambda x: sg.nn.elu(x), lambda b: b + 1),
    (lambda x: sg.clip(x, -1.0, 1.5), lambda b: 1.5),
    (lambda x: sg.remainder(x, 1.5), lambda b: 1.5),
    (lambda x: sg.fmod(x, 0.75), lambda b: 1.0),
    (lambda x: sg.stop_gradient(x), lambda b: b),
    (lambda x: sg.copysign(1.25, x), lambda b: 1.25),
    (lambda x: sg.sqrt(sg.abs(x)), lambda b: b + 1),
    (lambda x: sg.nan_to_num(x / x), lambda b: 1.0),
    (lambda x: sg.where(x > 0.0, sg.log(x), x), lambda b: b + 100),
    (lambda x: x // 0.5, lambda b: 2 * b + 1),
)
#: Functions of two operands that broadcast, and of their bounds.
SMOOTH_PAIRS = (
    (lambda x, y: x / (y * y + 1.0), lambda b, c: b),
    (lambda x, y: sg.hypot(x, sg.cosh(sg.tanh(y))), lambda b, c: b + 2),
    (lambda x, y: sg.arctan2(x, y * y + 1.0), lambda b, c: 2.0),
    (lambda x, y: sg.logaddexp(x, y), lambda b, c: b + c + 1),
    (lambda x, y: sg.xlogy(x * x + 1.0, y * y + 1.0), lambda b, c: (b * b + 1) * (c + 1)),
    (lambda x, y: (x * x + 1.0) ** sg.tanh(y), lambda b, c: b * b + 1),
    (lambda x, y: sg.where(sg.constant(True), x, y), lambda b, c: max(b, c)),
)
ROUGH_PAIRS = (
    (lambda x, y: sg.where(x < y, x, y), lambda b, c: max(b, c)),
    (lambda x, y: sg.maximum(x, y) - sg.minimum(y, x), lambda b, c: b + c),
    (lambda x, y: sg.clip(x, y, 1.0), lambda b, c: max(b, c) + 1),
    (lambda x, y: sg.fmax(x, y), lambda b, c: max(b, c)),
    (lambda x, y: sg.remainder(x, y * y + 0.5), lambda b, c: c * c + 1),
    (lambda x, y: sg.heaviside(x, 0.5) * y, lambda b, c: c),
)
WHOLE = (
    lambda x: sg.remainder(x, 5),
    lambda x: x // 3,
    lambda x: sg.fmod(x, 4),
    lambda x: ~x,
    lambda x: x << 2,
    lambda x: x >> 1,
    lambda x: x ^ 6,
    lambda x: x | 1,
    lambda x: sg.sign(x),
    lambda x: x**2,
    lambda x: sg.abs(x),
    lambda x: -x,
)
COMPARISONS = (sg.less, sg.less_equal, sg.greater, sg.greater_equal, sg.equal, sg.not_equal)
NARROW = ("int32", "int64", "int8", "int16", "uint8", "uint16", "uint32", "uint64")


def _unary(table):
    def step(b):
        entry = b.floating()
        function, bound = b.chooser.choice(table)
        return entry and Entry(function(entry.value), bound(entry.bound))

    return step


def _pair(table):
    def step(b):
        left = b.floating()
        right = left and b.partner(left.value.shape)
        if left is None or right is None or not right.value.dtype.is_float:
            return None
        function, bound = b.chooser.choice(table)
        return Entry(function(left.value, right.value), bound(left.bound, right.bound))

    return step


def _whole(b):
    entry = b.any_of(lambda value: value.dtype.is_integer)
    if entry is None:
        return None
    value = b.chooser.choice(WHOLE)(entry.value)
    return Entry(value, 255.0 + entry.bound**2)


def _narrow(b):
    entry = b.any_of(lambda value: value.dtype.is_integer or value.dtype.is_bool)
    return entry and Entry(entry.value.astype(b.chooser.choice(NARROW)), 255.0 + entry.bound)


def _truth(b):
    left = b.any_of()
    right = left and b.partner(left.value.shape)
    if left is None or right is None:
        return None
    return Entry(b.chooser.choice(COMPARISONS)(left.value, right.value), 1.0)


def _logic(b):
    left = b.any_of(lambda value: value.dtype.is_bool)
    if left is None:
        return None
    right = b.any_of(lambda value: value.dtype.is_bool and value.shape == left.value.shape)
    assert right is not None
    kind = b.chooser.choice((sg.logical_and, sg.logical_or, sg.logical_xor))
    return Entry(kind(~left.value, right.value), 1.0)


def _with_axes(b, floats=True):
    """An entry that has axes and elements."""
    return b.any_of(
        lambda value: (
            value.ndim > 0
            and (value.dtype.is_float if floats else not value.dtype.is_bool)
            and 0 not in b.concrete(value.shape)
        )
    )


def _count(b, entry, axis):
    return b.concrete(entry.value.shape)[axis]


def _axis(b, entry):
    return b.chooser.integer(0, entry.value.ndim - 1)


def _running(b):
    entry = _with_axes(b)
    if entry is None:
        return None
    axis = _axis(b, entry)
    count = _count(b, entry, axis)
    kind = b.chooser.integer(0, 2)
    if kind == 0:
        return Entry(sg.cumsum(entry.value, axis), entry.bound * count)
    if kind == 1:
        return Entry(sg.cumprod(sg.tanh(entry.value), axis), 1.0)
    other = b.any_of(lambda value: value.type == entry.value.type)
    assert other is not None
    return Entry(sg.linear_scan(sg.tanh(other.value), entry.value, axis), entry.bound * count)


def _rows(b):
    """A composite over one axis."""
    entry = _with_axes(b)
    if entry is None:
        return None
    axis, x = _axis(b, entry), entry.value
    functions = (
        (lambda: sg.nn.softmax(x, axis), 1.0),
        (lambda: sg.nn.log_softmax(x, axis), 2 * entry.bound + 9),
        (lambda: sg.nn.logsumexp(x, axis, keepdims=True), entry.bound + 9),
        (lambda: sg.var(x, axis), entry.bound**2),
        (
            lambda: sg.sum(x * x, axis, keepdims=True) * 0.25,
            entry.bound**2 * _count(b, entry, axis),
        ),
        (lambda: sg.nn.layer_norm(x), 99.0),
        (lambda: x - sg.mean(x, axis, keepdims=True), 2 * entry.bound),
        (lambda: sg.prod(sg.tanh(x) + 1.25, axis), 2.25 ** min(_count(b, entry, axis), 99)),
    )
    made, bound = b.chooser.choice(functions)
    return Entry(made(), bound)


def _position(b):
    entry = _with_axes(b, floats=False)
    if entry is None:
        return None
    axis = _axis(b, entry)
    kind = b.chooser.choice((sg.argmax, sg.argmin, sg.count_nonzero))
    return Entry(kind(entry.value, axis), float(_count(b, entry, axis)))


def _ordered(b):
    entry = _with_axes(b, floats=False)
    if entry is None:
        return None
    x, axis = entry.value, _axis(b, entry)
    count = entry.value.shape[axis]
    kind = b.chooser.integer(0, 3)
    if kind == 0:
        return Entry(sg.sort(x, axis), entry.bound)
    if kind == 1:
        return Entry(sg.argsort(x, axis), float(_count(b, entry, axis)))
    if kind == 2 and isinstance(count, int):
        return Entry(sg.topk(x, min(count, 3), axis)[0], entry.bound)
    return Entry(sg.searchsorted(sg.sort(sg.ravel(x)), x), float(np.prod(b.concrete(x.shape))))


def _indices(b, count):
    """Whole numbers of the pool, brought into [-count, count), or constant ones."""
    entry = b.any_of(lambda value: value.dtype.is_integer and value.ndim < 3)
    if entry is None or b.chooser.integer(0, 3) == 0:
        return sg.constant(b.numbers.integers(-count, count, b.chooser.choice(LITERAL_SIZES)))
    inside = sg.remainder(entry.value.astype("int64"), count)
    return inside - count if b.chooser.integer(0, 1) else inside


def _literal(value):
    return [axis for axis, n in enumerate(value.shape) if isinstance(n, int) and n]


def _gather(b):
    entry = b.any_of(lambda value: bool(_literal(value)))
    if entry is None:
        return None
    axis = b.chooser.choice(_literal(entry.value))
    places = _indices(b, entry.value.shape[axis])
    return Entry(sg.take(entry.value, places, axis), entry.bound)


def _along(b):
    entry = b.any_of(lambda value: bool(_literal(value)) and 0 not in b.concrete(value.shape))
    if entry is None:
        return None
    axis = b.chooser.choice(_literal(entry.value))
    if b.chooser.integer(0, 1) or entry.value.dtype.is_bool:
        places = sg.argmax(entry.value, axis, keepdims=True)
    else:
        whole = sg.rint(entry.value).astype("int64")
        places = sg.remainder(whole, entry.value.shape[axis])
    return Entry(sg.take_along_axis(entry.value, places, axis), entry.bound)


def _scatter(b):
    entry = b.any_of(lambda value: bool(_literal(value)) and value.dtype.is_float)
    if entry is None:
        return None
    axis = b.chooser.choice(_literal(entry.value))
    count, room = entry.value.shape[axis], b.chooser.choice((1, 3, 5, 17))
    places = b.numbers.integers(-room, room, count)
    return Entry(sg.scatter_add(entry.value, places, room, axis), entry.bound * count)


def _at(b):
    entry = b.any_of(lambda value: value.dtype.is_float and _literal(value)[:1] == [0])
    if entry is None:
        return None
    x, count = entry.value, entry.value.shape[0]
    kind = b.chooser.integer(0, 3)
    start = b.chooser.integer(0, count - 1)
    if kind == 0:
        whole = x.sum()  # known in a run only: the same places, or 0 where the sum is not a number
        known = sg.equal(whole, whole).astype("int64")
        places = sg.constant(b.numbers.integers(-count, count, 4)) * known
        return Entry(sg.at(x)[places].set(0.75), entry.bound + 1)
    if kind == 1:
        return Entry(sg.at(x)[start:].add(1.25), entry.bound + 2)
    if kind == 2:
        places = sg.constant(b.numbers.integers(-count, count, 4))
        return Entry(sg.at(x)[places].add(x[start]), 5 * entry.bound)
    return Entry(sg.at(x)[start].set(x[count - 1 - start] * 0.5), entry.bound)


def _joined(b):
    """stack, roll, flip, tile, repeat, pad, diff, triangles."""
    entry = b.any_of(lambda value: 0 < value.ndim < b.max_rank and not value.dtype.is_bool)
    if entry is None:
        return None
    x, axis = entry.value, _axis(b, entry)
    functions = (
        lambda: sg.stack([x, x + x], axis) * 0.5,
        lambda: sg.roll(x, b.chooser.integer(-3, 3), axis),
        lambda: sg.flip(x, axis),
        lambda: sg.tile(x, (2,) * x.ndim),
        lambda: sg.repeat(x, 2, axis),
        lambda: sg.pad(x, b.chooser.integer(0, 2)),
        lambda: sg.triu(x, b.chooser.integer(-1, 1)) if x.ndim > 1 else x[::-1],
        lambda: sg.concat([x, sg.flip(x, axis)], axis),
        lambda: x[..., None],
        lambda: x[::2],
        lambda: x[::-1],
        lambda: sg.outer(x, sg.ravel(x)) if x.ndim == 1 else sg.swapaxes(x, 0, -1),
    )
    return Entry(b.chooser.choice(functions)(), entry.bound**2 + 1)


def _contracted(b):
    """A product of a value with itself: a Gram matrix, an einsum, a dot product."""
    entry = b.any_of(lambda value: value.dtype.is_float and value.ndim in (1, 2))
    if entry is None:
        return None
    x = entry.value
    count = float(np.prod(b.concrete(x.shape)))
    if x.ndim == 1:
        return Entry(sg.einsum("i,i->", x, sg.tanh(x)), entry.bound * max(count, 1.0))
    gram = b.chooser.choice((
        lambda: x @ x.T,
        lambda: x.T @ x,
        lambda: sg.einsum("ij,ik->kj", x, x),
        lambda: sg.einsum("ij,ij->i", x, x),
        lambda: sg.nn.relu(x @ x.T) if not b.smooth else x @ x.T,
    ))  # fmt: skip
    return Entry(gram(), entry.bound**2 * max(count, 1.0))


def _drawn(b):
    if getattr(b, "depth", 0):  # draws stand before a loop
        return None
    shape = b.any_shape()
    kind = b.chooser.integer(0, 3)
    dtype = b.chooser.choice(b.dtypes)
    if kind == 0:
        return Entry(b.generator.uniform(-1.0, 1.0, shape, dtype), 1.0)
    if kind == 1:
        return Entry(b.generator.normal(shape=shape, dtype=dtype), 12.0)
    if kind == 2 and b.integers and not b.smooth:
        return Entry(b.generator.integers(-4, 5, shape), 4.0)
    entry = b.floating()
    return entry and Entry(b.generator.dropout(entry.value, 0.25), 1.5 * entry.bound)


#: Name -> (step, how often it stands in the table, whether it is smooth in its floating operands).
STEPS = {
    "unary": (_unary(SMOOTH), 6, True),
    "pair": (_pair(SMOOTH_PAIRS), 3, True),
    "rows": (_rows, 2, True),
    "running": (_running, 2, True),
    "gather": (_gather, 1, True),
    "scatter": (_scatter, 1, True),
    "at": (_at, 1, True),
    "joined": (_joined, 3, True),
    "contracted": (_contracted, 1, True),
    "drawn": (_drawn, 1, True),
    "rough unary": (_unary(ROUGH), 3, False),
    "rough pair": (_pair(ROUGH_PAIRS), 2, False),
    "whole": (_whole, 3, False),
    "narrow": (_narrow, 3, False),
    "truth": (_truth, 2, False),
    "logic": (_logic, 1, False),
    "position": (_position, 1, False),
    "along": (_along, 1, False),
    "ordered": (_ordered, 1, False),
}
