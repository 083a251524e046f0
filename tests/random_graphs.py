"""Random valid graphs with feeds, for properties and differential tests.

``random_graph(source)`` takes a NumPy ``Generator`` or the ``draw`` of a hypothesis strategy. The
graphs mix element types, odd and named sizes, scalars, broadcasting, reductions, movement, matmul,
``where`` and ``take``, as far as the ops are registered. Every value has a known bound on its
magnitude, kept small, so that the feeds meet no overflow, no log of a negative number and no NaN.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

import staticgrad as sg
from staticgrad.building import capture
from staticgrad.functions import linalg
from staticgrad.ir.discovery import load_ops
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Input, Node, Parameter, ParameterLeaf, Symbolic, constant
from staticgrad.storage.parameter import ParameterStore
from staticgrad.types.arrays import TensorType
from staticgrad.types.dim import Dim, dim, evaluate
from staticgrad.types.dtype import F32, F64, DType, as_dtype

load_ops()  # operators on values find their functions only after that

T = TypeVar("T")
LIMIT = 50.0  # a value that may be larger than this is squashed before anything else reads it
MOST_ELEMENTS = 4096
LITERAL_SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 17)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
#: Op functions that are smooth everywhere on bounded operands.
SMOOTH_UNARY = {
    "negative": lambda b: b,
    "tanh": lambda b: 1.0,
    "sin": lambda b: 1.0,
    "cos": lambda b: 1.0,
    "sigmoid": lambda b: 1.0,
    "erf": lambda b: 1.0,
    "square": lambda b: b * b,
}
ROUGH_UNARY = {
    "absolute": lambda b: b,
    "sign": lambda b: 1.0,
    "floor": lambda b: b + 1,
    "ceil": lambda b: b + 1,
    "rint": lambda b: b + 1,
    "trunc": lambda b: b,
}


def input_value(name, tensor_type):
    """A fresh input."""
    return Symbolic(Node(Input(name, tensor_type), (), (tensor_type,), capture()))


def parameter_value(name, array):
    """A fresh parameter."""
    op = ParameterLeaf(ParameterStore(name, array))
    return Parameter(Node(op, (), (op.infer(),), capture()))


@dataclass
class Entry:
    """A value and a bound on the magnitude of its elements."""

    value: Symbolic
    bound: float


class Chooser:
    """Uniform choices from a NumPy generator, from hypothesis, or written down as bytes.

    Bytes that are used up give the lowest choice, so that zeros and a shorter text are simpler.
    """

    def __init__(self, source):
        self.generator = source if isinstance(source, np.random.Generator) else None
        self.written = iter(source) if isinstance(source, bytes) else None
        self.draw = source

    def integer(self, low, high):
        """An integer in [low, high]."""
        if self.written is not None:
            return low + next(self.written, 0) % (high - low + 1)
        if self.generator is not None:
            return int(self.generator.integers(low, high, endpoint=True))
        return int(self.draw(st.integers(low, high)))

    def choice(self, options):
        """One of the options; hypothesis shrinks towards the first."""
        return options[self.integer(0, len(options) - 1)]


def random_graph(
    source,
    *,
    min_ops=1,
    max_ops=40,
    dtypes=("float32", "float64"),
    named_sizes=True,
    integers=True,
    smooth=False,
    parameters=True,
    empty=False,
    max_rank=3,
    varied=False,
):
    """A valid graph and feeds for it.

    Args:
        source: a ``numpy.random.Generator``, or ``draw`` inside a composite strategy.
        min_ops, max_ops: how many times an op is applied (some apply two or three nodes).
        dtypes: floating element types that inputs may have.
        named_sizes: whether some sizes are named; the feeds then bind them.
        integers: whether integer and bool values (and ``where``, ``take``) occur.
        smooth: only ops with a derivative everywhere, for finite differences.
        parameters: whether parameters and updates occur.
        empty: whether a size may be 0.
        max_rank: most axes of a value.
        varied: whether ops of several results and chains of casts over all dtypes occur.
    """
    builder = Builder(
        Chooser(source),
        tuple(map(as_dtype, dtypes)),
        named_sizes,
        integers,
        smooth,
        empty,
        max_rank,
        varied,
    )
    return builder.build(builder.chooser.integer(min_ops, max_ops), parameters)


def with_gradients(graph):
    """The graph with gradients of the sum of its outputs' squares; parameters step against them."""
    floats = [v for v in graph.outputs.values() if v.dtype.is_float]
    leaves = [v for v in (*graph.inputs, *graph.parameters) if v.dtype.is_float]
    if not floats or not leaves:
        return graph
    loss = sum((sg.sum((v * v).astype("float64")) for v in floats[1:]), sg.sum(floats[0] ** 2))
    slopes = dict(zip(leaves, sg.grad(loss, leaves, allow_disconnected=True), strict=True))
    outputs = dict(graph.outputs) | {f"gradient {n}": g for n, g in enumerate(slopes.values())}
    updates = {v: v - 0.1 * g for v, g in slopes.items() if isinstance(v, sg.Parameter)}
    return sg.Graph(outputs, updates, inputs=graph.inputs)


def random_step(seed):
    """A random training step, and feeds for it."""
    rng = np.random.default_rng(seed)
    graph, feeds = random_graph(
        rng, min_ops=20, max_ops=60, dtypes=("float32",), integers=bool(seed % 2)
    )
    return with_gradients(graph), feeds


@st.composite
def graphs(draw, **options):
    """``random_graph`` as a hypothesis strategy."""
    return random_graph(draw, **options)


@dataclass
class Builder:
    """One graph in the making: a pool of values, and steps that add to it."""

    chooser: Chooser
    dtypes: tuple[DType, ...]
    named: bool
    integers: bool
    smooth: bool
    empty: bool
    max_rank: int
    varied: bool = False

    def build(self, ops, parameters):
        pick = self.chooser
        self.numbers = np.random.default_rng(pick.integer(0, 2**31))
        lowest = 0 if self.empty else 1
        self.sizes = {name: pick.integer(lowest, 9) for name in ("batch", "n")}
        self.axes = list(LITERAL_SIZES) + ([0] if self.empty else [])
        if self.named:
            self.axes += [dim("batch"), dim("batch"), dim("n", hint=8)]
        self.pool = []
        self.feeds = {}
        self.inputs = []
        self.parameters = []
        self.shown = []
        base = self.shape()
        for index in range(pick.integer(1, 3)):
            self.add_input(
                f"x{index}", pick.choice(self.dtypes), base if index == 0 else self.near(base)
            )
        if self.integers:
            self.add_input("i", as_dtype(pick.choice(("int64", "int32"))), self.near(base))
        for index in range(pick.integer(0, 2) if parameters else 0):
            self.add_parameter(f"w{index}", self.near(base))
        steps = self.steps()
        for _ in range(ops):
            self.apply(pick.choice(steps))
        return self.finish(), self.feeds

    # leaves

    def shape(self):
        return tuple(
            self.chooser.choice(self.axes) for _ in range(self.chooser.integer(0, self.max_rank))
        )

    def near(self, base):
        """A shape that broadcasts with ``base``, or another one."""
        if self.chooser.integer(0, 3) == 0:
            return self.shape()
        trailing = base[self.chooser.integer(0, len(base)) :]
        return tuple(1 if self.chooser.integer(0, 4) == 0 else extent for extent in trailing)

    def concrete(self, shape):
        return tuple(evaluate(extent, self.sizes) for extent in shape)

    def numbers_of(self, dtype, shape):
        if dtype.is_float:
            return np.asarray(self.numbers.uniform(-2, 2, shape)).astype(dtype.numpy)
        return np.asarray(self.numbers.integers(-3, 4, shape)).astype(dtype.numpy)

    def add_input(self, name, dtype, shape):
        self.feeds[name] = self.numbers_of(dtype, self.concrete(shape))
        self.inputs.append(input_value(name, TensorType(dtype, shape)))
        self.pool.append(Entry(self.inputs[-1], 3.0))

    def add_parameter(self, name, shape):
        literal = tuple(extent for extent in shape if isinstance(extent, int))
        made = parameter_value(name, self.numbers_of(self.chooser.choice(self.dtypes), literal))
        self.parameters.append(made)
        self.pool.append(Entry(made, 2.0))

    # steps: each takes what it needs from the pool, and gives a new entry or None

    def steps(self):
        """More frequent where listed twice."""
        table = [
            *(self.binary, self.binary, self.unary, self.unary, self.scalar, self.guarded),
            *(self.cast, self.reduce, self.transpose, self.reshape, self.broadcast, self.matmul),
            *(self.slice, self.concat, self.power, self.constant),
        ]
        if not self.smooth:
            table += [self.rough, self.extremum]
        if self.integers:
            table += [self.where, self.take, self.bits]
        if self.varied:
            table += [self.several, self.several, self.casts, self.casts]
        return table

    def apply(self, step):
        made = step()
        if made is not None and evaluate(made.value.size, self.sizes) <= MOST_ELEMENTS:
            self.pool.append(self.squashed(made))

    def squashed(self, entry):
        if entry.bound <= LIMIT:
            return entry
        if entry.value.dtype.is_float:
            return Entry(functions.tanh(entry.value), 1.0)
        low = functions.maximum(entry.value, 0 if entry.value.dtype.kind == "u" else -9)
        return Entry(functions.minimum(low, 9), 9.0)

    def any_of(self, accepts=lambda value: True):
        fitting = [entry for entry in self.pool if accepts(entry.value)]
        return self.chooser.choice(fitting[::-1]) if fitting else None

    def floating(self):
        return self.any_of(lambda value: value.dtype.is_float)

    def partner(self, shape):
        """A number that broadcasts with ``shape``."""
        return self.any_of(lambda value: not value.dtype.is_bool and _broadcast(value.shape, shape))

    def binary(self):
        left = self.any_of(lambda value: not value.dtype.is_bool)
        right = left and self.partner(left.value.shape)
        if left is None or right is None:
            return None
        name = self.chooser.choice(("add", "subtract", "multiply"))
        bound = left.bound * right.bound if name == "multiply" else left.bound + right.bound
        return Entry(getattr(functions, name)(left.value, right.value), bound)

    def unary(self, table=SMOOTH_UNARY):
        entry = self.floating()
        name = self.chooser.choice([*table])
        return entry and Entry(getattr(functions, name)(entry.value), table[name](entry.bound))

    def rough(self):
        entry = self.floating()
        if entry is None or self.chooser.integer(0, 1):
            return self.unary(ROUGH_UNARY)
        other = self.partner(entry.value.shape)
        name = self.chooser.choice(("maximum", "minimum"))
        return other and Entry(
            getattr(functions, name)(entry.value, other.value), max(entry.bound, other.bound)
        )

    def scalar(self):
        entry = self.any_of(lambda value: not value.dtype.is_bool)
        if entry is None:
            return None
        number = self.chooser.choice((2, 1, 3, 0))
        if entry.value.dtype.is_float:
            number = self.chooser.choice((0.5, 2, 1.0, 0.1, -0.75, 0))
        if self.chooser.integer(0, 1):
            return Entry(functions.add(entry.value, number), entry.bound + abs(number))
        return Entry(functions.multiply(number, entry.value), entry.bound * abs(number))

    def guarded(self):
        """log, sqrt, exp and quotients where they are tame."""
        entry = self.floating()
        if entry is None:
            return None
        x = entry.value
        one_more = functions.add(functions.multiply(x, x), 1.0)
        kind = self.chooser.choice(("log", "sqrt", "divide", "exp"))
        if kind == "divide":
            other = self.partner(x.shape)
            return other and Entry(functions.divide(other.value, one_more), other.bound)
        if kind == "exp":
            return Entry(functions.exp(functions.tanh(x)), 3.0)
        return Entry(getattr(functions, kind)(one_more), entry.bound + 1)

    def power(self):
        entry = self.floating()
        exponent = self.chooser.choice((2, 3))
        return entry and Entry(functions.power(entry.value, exponent), entry.bound**exponent)

    def cast(self):
        wanted = self.dtypes
        if self.integers and not self.smooth:
            wanted += tuple(map(as_dtype, ("int64", "int32", "bool")))
        entry = self.any_of()
        return entry and Entry(
            functions.astype(entry.value, self.chooser.choice(wanted)), entry.bound + 1
        )

    def constant(self):
        shape = tuple(n for n in self.near(self.any_shape()) if isinstance(n, int))
        return Entry(constant(self.numbers_of(self.chooser.choice(self.dtypes), shape)), 2.0)

    def any_shape(self):
        return self.chooser.choice(self.pool).value.shape

    def reduce(self):
        entry = self.any_of(lambda value: value.dtype.is_float and value.ndim > 0)
        if entry is None:
            return None
        name = self.chooser.choice(("sum", "mean"))
        axes = self.axes_of(entry.value)
        if name == "mean" and 0 in (self.concrete(entry.value.shape)[axis] for axis in axes):
            return None
        keep = bool(self.chooser.integer(0, 1))
        count = float(np.prod([self.concrete(entry.value.shape)[axis] for axis in axes]))
        bound = entry.bound * (max(count, 1.0) if name == "sum" else 1.0)
        return Entry(getattr(functions, name)(entry.value, axes, keepdims=keep), bound)

    def axes_of(self, value):
        chosen = [axis for axis in range(value.ndim) if self.chooser.integer(0, 1)]
        return tuple(chosen) or (self.chooser.integer(0, value.ndim - 1),)

    def extremum(self):
        entry = self.any_of(
            lambda value: (
                value.dtype.is_float and value.ndim > 0 and 0 not in self.concrete(value.shape)
            )
        )
        name = self.chooser.choice(("max", "min"))
        return entry and Entry(
            getattr(functions, name)(entry.value, self.axes_of(entry.value)), entry.bound
        )

    def transpose(self):
        entry = self.any_of(lambda value: value.ndim > 1)
        if entry is None:
            return None
        remaining = list(range(entry.value.ndim))
        axes = tuple(
            remaining.pop(self.chooser.integer(0, len(remaining) - 1)) for _ in tuple(remaining)
        )
        return Entry(functions.transpose(entry.value, axes), entry.bound)

    def reshape(self):
        entry = self.any_of()
        if entry is None:
            return None
        shape = list(entry.value.shape)
        if len(shape) > 1 and self.chooser.integer(0, 1):  # merge two neighbours
            at = self.chooser.integer(0, len(shape) - 2)
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        elif len(shape) < self.max_rank:
            shape.insert(self.chooser.integer(0, len(shape)), 1)
        return Entry(functions.reshape(entry.value, tuple(shape)), entry.bound)

    def broadcast(self):
        entry = self.any_of(lambda value: value.ndim < self.max_rank)
        if entry is None:
            return None
        wider = tuple(
            self.chooser.choice(LITERAL_SIZES) if extent == 1 else extent
            for extent in entry.value.shape
        )
        # A named size must be bound by a feed.
        bound = [extent for value in self.inputs for extent in value.shape]
        shape = (self.chooser.choice([*LITERAL_SIZES, *bound]), *wider)
        return Entry(functions.broadcast_to(entry.value, shape), entry.bound)

    def matmul(self):
        left = self.any_of(lambda value: value.dtype.is_float and value.ndim >= 2)
        if left is None:
            return None
        inner = left.value.shape[-1]
        right = self.any_of(
            lambda value: (
                value.dtype == left.value.dtype and value.ndim == 2 and value.shape[0] == inner
            )
        )
        if right is None:
            if isinstance(inner, Dim):
                return None
            columns = self.chooser.choice(LITERAL_SIZES)
            data = constant(self.numbers_of(left.value.dtype, (inner, columns)))
            right = Entry(data, 2.0)
        bound = left.bound * right.bound * max(self.concrete((inner,))[0], 1)
        return Entry(functions.matmul(left.value, right.value), bound)

    def slice(self):
        entry = self.any_of(lambda value: any(isinstance(n, int) and n > 1 for n in value.shape))
        if entry is None:
            return None
        key = []
        for extent in entry.value.shape:
            if isinstance(extent, int) and extent > 1 and self.chooser.integer(0, 2):
                start = self.chooser.integer(0, extent - 1)
                key.append(
                    slice(
                        start, self.chooser.integer(start + 1, extent), self.chooser.integer(1, 2)
                    )
                )
            else:
                key.append(slice(None))
        return Entry(functions.getitem(entry.value, tuple(key)), entry.bound)

    def concat(self):
        left = self.any_of(lambda value: value.dtype.is_float and value.ndim > 0)
        if left is None:
            return None
        axis = self.chooser.integer(0, left.value.ndim - 1)
        if isinstance(left.value.shape[axis], int) and left.value.shape[axis] > 40:
            return None
        right = self.any_of(lambda value: value.type == left.value.type)
        return right and Entry(
            functions.concat([left.value, right.value], axis), max(left.bound, right.bound)
        )

    def where(self):
        left = self.floating()
        right = left and self.partner(left.value.shape)
        if left is None or right is None or not right.value.dtype.is_float:
            return None
        condition = self.any_of(lambda v: v.dtype.is_bool and v.shape == left.value.shape)
        if condition is None and self.smooth:
            return None
        test = condition.value if condition else functions.less(left.value, 0.25)
        return Entry(functions.where(test, left.value, right.value), max(left.bound, right.bound))

    def take(self):
        entry = self.any_of(
            lambda value: (
                value.dtype.is_float and any(isinstance(n, int) and n for n in value.shape)
            )
        )
        if entry is None:
            return None
        literal = [a for a, n in enumerate(entry.value.shape) if isinstance(n, int) and n]
        axis = self.chooser.choice(literal)
        count = self.chooser.choice(LITERAL_SIZES)
        indices = self.numbers.integers(0, entry.value.shape[axis], count)
        return Entry(functions.take(entry.value, constant(indices), axis), entry.bound)

    def bits(self):
        entry = self.any_of(lambda value: value.dtype.is_integer)
        return entry and Entry(functions.bitwise_and(entry.value, 5), 5.0)

    def several(self):
        """The results of one op: each alone, and one function of each, added up."""
        entry = self.any_of(
            lambda value: (
                value.dtype in (F32, F64)
                and value.ndim >= 2
                and all(isinstance(n, int) and 2 <= n <= 8 for n in value.shape[-2:])
            )
        )
        if entry is None:
            return None
        x = functions.stop_gradient(entry.value)  # their derivatives round with the order of axes
        name = self.chooser.choice(("topk", "qr", "svd", "slogdet"))
        if name == "topk":
            results = functions.topk(x, self.chooser.integer(1, 2))
        else:
            size = min(x.shape[-2:])
            square = functions.tanh(functions.getitem(x, (..., slice(size), slice(size))))
            apart = np.diag(10 * np.arange(1, size + 1)).astype(x.dtype.numpy)
            results = getattr(linalg, name)(square + constant(apart))
        function, total = self.chooser.choice(("sin", "tanh", "cos")), 0.0
        for number, result in enumerate(results):
            floating = functions.astype(result, x.dtype)
            self.pool.append(Entry(functions.tanh(floating), 1.0))
            same = getattr(functions, function)(floating)
            total = total + functions.multiply(same.sum(), number + 1.0)
        self.shown.append(total)
        return Entry(functions.tanh(total), 1.0)

    def casts(self):
        """A chain of conversions: integers of all widths, then floats of all widths.

        Negative numbers wrap around where a dtype has no sign.
        """
        entry = self.any_of(lambda value: not value.dtype.is_bool)
        if entry is None:
            return None
        x, bound = functions.astype(entry.value, "int64"), entry.bound + 1
        for _ in range(self.chooser.integer(0, 3)):
            wanted = as_dtype(self.chooser.choice(INTEGERS))
            limits = np.iinfo(wanted.numpy)
            x = functions.astype(x, wanted)
            if limits.min == 0 or bound > limits.max:
                bound = float(limits.max)
        for _ in range(self.chooser.integer(0, 3)):
            narrow = ["float16", "bfloat16"] * (bound <= LIMIT)
            x = functions.astype(x, self.chooser.choice(["float64", "float32", "bool", *narrow]))
            bound = 1.0 if x.dtype.is_bool else bound
        self.shown.append(functions.astype(x, self.chooser.choice(self.dtypes)))
        return Entry(self.shown[-1], bound * 1.1 + 1)

    # roots

    def finish(self):
        pick = self.chooser
        outputs = {"out": self.pool[-1].value}
        for index in range(pick.integer(0, 2)):
            outputs[f"more {index}"] = pick.choice(self.pool).value
        for index, value in enumerate(self.shown[-3:]):
            outputs[f"varied {index}"] = value
        if not self.smooth and pick.integer(0, 3) == 0:
            outputs["truth"] = functions.less(pick.choice(self.pool).value, 1)
        updates = []
        for parameter in self.parameters:
            entry = self.any_of(lambda value, p=parameter: value.type == p.type)
            new = functions.multiply(entry.value if entry else parameter, 0.5)
            if pick.integer(0, 1):
                updates.append((parameter, new))
        return Graph(outputs, updates, name="random", inputs=self.inputs)


def _broadcast(left, right):
    """Whether two shapes meet in the larger one, without named sizes meeting others."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return all(
        a == b or (isinstance(a, int) and a == 1) or (isinstance(b, int) and b == 1)
        for a, b in pairs
    )
