"""Random programs over small whole numbers, whose every result is exact in any order.

Sums and products of whole numbers leave no rounding, so a compiled program must give the oracle's
values to the last bit whatever it fuses: each wrong stride, position, mask or order of steps shows.
The programs are DAGs of views, positions, reductions, products, gathers, scatters and sorts over
literal and named sizes; values that grow are squashed.
"""

import numpy as np

import staticgrad as sg
from staticgrad.types.dim import Dim, evaluate

SHAPES = (
    (), (1,), (5,), (16,), (33,), (3, 4), (4, 16), (17, 3), (2, 3, 4), (3, 1, 5), (2, 17, 2),
    (0, 3), (2, 3, 2, 4), ("b",), ("b", 4), (3, "b"), ("b", "c"), ("b", 1, 3), (2, "b", 5),
    ("b", 17), (1, "b"),
)  # fmt: skip
DTYPES = ("float32", "float32", "float64", "float64", "int32", "int64", "int8")
LIMIT = 40
MOST_ELEMENTS = 6000
HINT = {"b": 40, "c": 9}  # above every size that the tests feed


class Maker:
    """One program in the making: a pool of values, and steps that add to it."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.pool = []
        self.inputs = []

    def integer(self, low, high):
        """An integer in [low, high)."""
        return int(self.rng.integers(low, high))

    def one_of(self, options):
        return options[self.integer(0, len(options))]

    def numbers(self, shape, dtype):
        return np.asarray(self.rng.integers(-3, 4, shape)).astype(dtype)

    def build(self, steps):
        for number in range(self.integer(1, 4)):
            value = sg.input(f"x{number}", self.one_of(SHAPES), self.one_of(DTYPES))
            self.inputs.append(value)
            self.pool.append(value)
        outputs = {}
        for number in range(steps):
            value = self.squashed(self.one_of(STEPS)(self, self.moved(self.any_value())))
            if evaluate(value.size, HINT) <= MOST_ELEMENTS:
                self.pool.append(value)
            if self.integer(0, 3) == 0:
                outputs[f"y{number}"] = self.pool[-1]
        outputs["last"] = self.pool[-1]
        return sg.Graph(outputs, inputs=self.inputs)

    def feeds(self, graph, sizes):
        return {
            value.node.op.label: self.numbers(
                tuple(evaluate(n, sizes) for n in value.shape), value.dtype.numpy
            )
            for value in graph.inputs
        }

    def any_value(self):
        """Recent values more often."""
        return self.pool[max(self.integer(0, len(self.pool)), self.integer(0, len(self.pool)))]

    def squashed(self, value):
        if value.dtype.is_bool:
            return value.astype(self.one_of(DTYPES))
        if value.dtype.kind != "u":
            value = sg.where(value < -LIMIT, 3, value)
        return sg.where(value > LIMIT, 3, value)

    def moved(self, value):
        for _ in range(self.integer(0, 4)):
            value = self.one_of(MOVES)(self, value)
        return value

    def axis(self, value):
        return self.integer(0, value.ndim)

    # -- movement -----------------------------------------------------------------------------

    def transpose(self, x):
        return sg.transpose(x, tuple(int(i) for i in self.rng.permutation(x.ndim)))

    def slice(self, x):
        return x[tuple(self.key(n) for n in x.shape)]

    def key(self, n):
        if isinstance(n, Dim) or n < 2:
            return self.one_of((slice(None), slice(None), slice(None, None, -1)))
        start, step = self.integer(0, n), self.integer(1, 4)
        stop = self.integer(start, n) + 1
        return self.one_of(
            (
                slice(None),
                slice(None, None, -1),
                slice(start, None, step),
                slice(start, stop),
                slice(start, None, -step),
            )
        )

    def widen(self, x):
        return sg.broadcast_to(x, (self.one_of((1, 2, 3, 17)), *x.shape)) if x.ndim < 4 else x

    def expand(self, x):
        return sg.expand_dims(x, self.integer(0, x.ndim + 1)) if x.ndim < 4 else x

    def stretch(self, x):
        return sg.broadcast_to(x, tuple(3 if n == 1 else n for n in x.shape))

    def squeeze(self, x):
        single = [axis for axis, n in enumerate(x.shape) if isinstance(n, int) and n == 1]
        return sg.squeeze(x, self.one_of(single)) if single else x

    def reshape(self, x):
        if x.ndim >= 2 and self.integer(0, 2):
            at = self.integer(0, x.ndim - 1)
            return x.reshape((*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :]))
        for axis, n in enumerate(x.shape):
            factor = self.one_of((2, 3, 4))
            if isinstance(n, int) and n and n % factor == 0 and x.ndim < 4:
                return x.reshape((*x.shape[:axis], factor, n // factor, *x.shape[axis + 1 :]))
        return x

    # -- steps --------------------------------------------------------------------------------

    def unary(self, x):
        return self.one_of(
            (
                lambda: x + 1,
                lambda: -x,
                lambda: sg.maximum(x, 1),
                lambda: sg.absolute(x),
                lambda: sg.sign(x),
                lambda: x * 2 - 1,
                lambda: x * x,
            )
        )()

    def binary(self, x):
        fitting = [y for y in map(self.moved, self.pool) if fits(x.shape, y.shape)]
        y = self.one_of(fitting) if fitting else x
        op = self.one_of((sg.add, sg.subtract, sg.multiply, sg.maximum, sg.minimum))
        return op(x, y) if self.integer(0, 4) else sg.where(x > y, y, x)

    def cast(self, x):
        return x.astype(self.one_of((*DTYPES, "uint8", "bool")))

    def reduce(self, x):
        x = self.unary(x) if self.integer(0, 2) else x
        axes = tuple(axis for axis in range(x.ndim) if self.integer(0, 2))
        return sg.sum(x, axes or None, keepdims=bool(self.integer(0, 2)))

    def extreme(self, x):
        axes = [a for a, n in enumerate(x.shape) if isinstance(n, int) and n]
        if not axes:
            return x
        return self.one_of((sg.max, sg.min, sg.argmax))(x, self.one_of(axes))

    def centred(self, x):
        axis = self.axis(x) if x.ndim else None
        return x - sg.sum(x, axis, keepdims=True)

    def product(self, x):
        if x.ndim < 2 or isinstance(x.shape[-1], Dim):
            return x
        w = sg.constant(self.numbers((x.shape[-1], self.one_of((1, 2, 5, 33))), x.dtype.numpy))
        return self.moved(x @ w)

    def gram(self, x):
        if x.ndim < 2:
            return x
        gram = x @ sg.swapaxes(x, -1, -2)
        return gram + sg.take(x, 0, x.ndim - 1)[..., None] if nonempty(x.shape[-1]) else gram

    def take(self, x):
        axes = [a for a, n in enumerate(x.shape) if isinstance(n, int) and n]
        if not axes:
            return x
        axis = self.one_of(axes)
        n = x.shape[axis]
        of = tuple(self.integer(0, 5) for _ in range(self.integer(0, 3)))
        indices = sg.constant(self.rng.integers(-n, n, of))
        return sg.take(x, self.transpose(indices) if indices.ndim else indices, axis)

    def take_along(self, x):
        axes = [a for a, n in enumerate(x.shape) if isinstance(n, int) and n]
        if not axes:
            return x
        axis = self.one_of(axes)
        return sg.take_along_axis(x, sg.argmax(x, axis, keepdims=True), axis)

    def looked_up(self, x):
        """Rows of a table by the values themselves."""
        table = sg.constant(self.numbers((2 * LIMIT + 2, 3), "float32"))
        return sg.take(table, x.astype("int64"), 0) if x.ndim < 4 else x

    def scatter(self, x):
        axes = [a for a, n in enumerate(x.shape) if isinstance(n, int) and n]
        if not axes:
            return x
        axis, size = self.one_of(axes), self.integer(1, 6)
        indices = sg.constant(self.rng.integers(-size, size, x.shape[axis]))
        return sg.scatter_add(x, indices, size, axis)

    def joined(self, x):
        if not x.ndim:
            return sg.stack([x, x + 1, x])
        axis = self.axis(x)
        parts = [x, self.unary(x).astype(x.dtype), sg.flip(x, axis)]
        return sg.concat(parts[: self.integer(1, 4)], axis)

    def ordered(self, x):
        """In order along an axis, the positions of that, the first few, or places among all."""
        if not x.ndim:
            return x
        axis, down = self.axis(x), bool(self.integer(0, 2))
        kind = self.integer(0, 4)
        if kind < 2:
            return (sg.sort, sg.argsort)[kind](x, axis, descending=down)
        if kind == 2:
            return sg.searchsorted(sg.sort(x, None), self.moved(x), self.one_of(("left", "right")))
        size = x.shape[axis]
        count = size // 2 if isinstance(size, Dim) else self.integer(0, size + 1)
        values, places = sg.topk(x, count, axis, largest=down)
        return values * 2 - places if self.integer(0, 2) else self.one_of((values, places))

    def padded(self, x):
        return sg.pad(x, [(self.integer(0, 3), self.integer(0, 3)) for _ in x.shape])

    def triangle(self, x):
        return self.one_of((sg.tril, sg.triu))(x, self.integer(-1, 2)) if x.ndim >= 2 else x

    def positions(self, x):
        if not x.ndim:
            return x
        return x + sg.iota(x.shape, self.axis(x), x.dtype)

    def one_hot(self, x):
        if x.ndim > 2:
            return x
        return sg.one_hot(sg.maximum(sg.minimum(x, 4), 0).astype("int64"), 5, dtype="float64")

    def gradient(self, x):
        """The gradient of a sum by a value of the pool that it depends on."""
        floats = [y for y in self.pool if y.dtype.is_float]
        if not (x.dtype.is_float and floats):
            return x
        y = self.one_of(floats)
        weighted = x * sg.iota(x.shape, self.axis(x), x.dtype) if x.ndim else x
        return sg.grad(sg.sum(weighted), y, allow_disconnected=True)


def fits(shape, other):
    """Whether ``other`` broadcasts to ``shape``."""
    if len(other) > len(shape):
        return False
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return all(one == two or (isinstance(two, int) and two == 1) for one, two in pairs)


def nonempty(extent):
    return isinstance(extent, int) and extent > 0


MOVES = (
    Maker.transpose, Maker.slice, Maker.slice, Maker.widen, Maker.expand, Maker.stretch,
    Maker.squeeze, Maker.reshape,
)  # fmt: skip
STEPS = (
    Maker.unary, Maker.binary, Maker.binary, Maker.binary, Maker.cast, Maker.reduce, Maker.reduce,
    Maker.extreme, Maker.centred, Maker.product, Maker.gram, Maker.take, Maker.take_along,
    Maker.looked_up, Maker.scatter, Maker.joined, Maker.padded, Maker.triangle, Maker.positions,
    Maker.one_hot, Maker.gradient, Maker.ordered, Maker.ordered,
)  # fmt: skip
