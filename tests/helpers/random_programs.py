"""Random programs: one generator, whose choices come from a seed, from hypothesis or from bytes.

``random_graph(source)`` is a graph with feeds. A ``Program`` has gradients, Hessian-vector
products, updates and draws as well; its ``Description`` is a header and a few bytes for each step,
so that hypothesis shrinks a failure: a step left out, or a byte made smaller, is another valid
program, and what no output needs is not in the graph.

``STEPS`` is the table of what is applied. A step takes what it needs from the builder's pool and
gives an ``Entry``, a value with a bound on the magnitude of its elements; composites keep operands
in their domain (``log(1 + x * x)``), so that every program runs without NaN, infinity and bad
indices. Matrices are well conditioned by construction: a Gram matrix of numbers within 1, over
their count, plus a diagonal; where eigenvalues must be apart, the diagonal grows by 3 from row to
row.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.language.ir.discovery import load_ops
from staticgrad.language.ir.graph import Input, Node, Parameter, ParameterLeaf, Symbolic
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Dim, evaluate
from staticgrad.language.types.dtype import F32, F64, as_dtype
from staticgrad.support.building import capture

load_ops()  # operators on values find their functions only after that

LIMIT = 50.0  # a value that may be larger than this is squashed before anything else reads it
MOST_ELEMENTS = 16_000  # at the largest sizes
MOST_STEPS = 3  # of the body of a loop
MOST_DEPTH = 2  # of loops within loops
HEADER = 48  # bytes that choose sizes and leaves
STEP = 8  # bytes of a step: its kind, and its choices
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)  # of named sizes; odd, and round the lanes
LARGEST = {"batch": 40, "n": 40}
LITERALS = (2, 1, 3, 4, 5, 7, 8, 17)
INTEGERS = ("int64", "int32", "int8", "uint8", "int16", "uint16", "uint32", "uint64")


def input_value(name, tensor_type):
    """A fresh input."""
    return Symbolic(Node(Input(name, tensor_type), (), (tensor_type,), capture()))


def parameter_value(name, array):
    """A fresh parameter."""
    op = ParameterLeaf(ParameterStore(name, array))
    return Parameter(Node(op, (), (op.infer(),), capture()))


def label(leaf):
    """The name of an input or parameter."""
    return str(getattr(leaf, "name", None) or leaf.node.op.label)


def numbers(rng, shape, dtype, kind="real"):
    """Numbers that the steps keep tame; "whole" ones also of floats, "halves" with many equal."""
    if np.dtype(dtype).kind in "fV" and kind == "real":
        return np.asarray(rng.uniform(-2, 2, shape)).astype(dtype)
    if kind == "halves":
        return np.asarray(rng.integers(-2, 3, shape) * 0.5).astype(dtype)
    return np.asarray(rng.integers(-3, 4, shape)).astype(dtype)


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


class UnfitError(Exception):
    """No value of the pool fits a step: nothing is added."""


@dataclass
class Entry:
    """A value and a bound on the magnitude of its elements."""

    value: Symbolic
    bound: float


class Builder:
    """One graph in the making: a pool of values, and steps that add to it.

    Args:
        chooser: of sizes, leaves and outputs, and of steps that are not written down.
        tags: of the steps that are applied.
        dtypes: element types that inputs may have.
        kind: which ``numbers``; of "whole" ones every result is exact in any order.
        smooth: only steps with a derivative everywhere, for finite differences.
        integers: whether integer and bool values occur.
        named: whether some sizes are named; the feeds then bind them.
        empty: whether a size may be 0.
        most: largest rank of a value.
    """

    def __init__(
        self, chooser, tags, dtypes=("float64", "float32"), *, kind="real", smooth=False,
        integers=True, named=True, empty=False, most=3,
    ):  # fmt: skip
        self.chooser, self.kind, self.smooth, self.integers = chooser, kind, smooth, integers
        self.dtypes, self.max_rank, self.depth = tuple(map(as_dtype, dtypes)), most, 0
        self.generator = sg.random.Generator(7, name="draws")
        self.numbers = np.random.default_rng(chooser.integer(0, 255))
        lowest = (0,) * empty
        self.sizes = {name: chooser.choice((*SIZES, *lowest)) for name in ("batch", "n")}
        names = (sg.dim("batch"), sg.dim("n", hint=8)) * 2
        self.axes = (*LITERALS, *lowest, *(names if named else ()))
        self.pool, self.feeds, self.inputs, self.parameters, self.shown = [], {}, [], [], []
        self.waiting = deque()
        self.table = [
            step
            for step, times, step_tags in STEPS.values()
            for _ in range(times)
            if {*tags} & {*step_tags}
            and ("s" in step_tags or not smooth)
            and (integers or "i" not in step_tags)
        ]

    def flag(self):
        return bool(self.chooser.integer(0, 1))

    # leaves

    def leaves(self, parameters=True, kinds=INTEGERS[:4]):
        pick = self.chooser
        base = self.shape()
        for index in range(pick.integer(1, 3)):
            shape = base if index == 0 else self.near(base)
            self.add_input(f"x{index}", pick.choice(self.dtypes), shape)
        if self.integers and pick.integer(0, 3):
            self.add_input("i", as_dtype(pick.choice(kinds)), self.near(base))
        for index in range(pick.integer(0, 2) if parameters else 0):
            literal = tuple(extent for extent in self.near(base) if isinstance(extent, int))
            array = self.numbers_of(pick.choice(self.dtypes), literal)
            self.parameters.append(parameter_value(f"w{index}", array))
            self.pool.append(Entry(self.parameters[-1], 3.0))

    def shape(self):
        rank = min(self.max_rank, self.chooser.choice((1, 2, 2, 3, 0)))
        return tuple(self.chooser.choice(self.axes) for _ in range(rank))

    def near(self, base):
        """A shape that broadcasts with ``base``, or another one."""
        if self.chooser.integer(0, 3) == 3:
            return self.shape()
        trailing = base[self.chooser.integer(0, len(base)) :]
        return tuple(1 if self.chooser.integer(0, 4) == 4 else extent for extent in trailing)

    def concrete(self, shape):
        return tuple(evaluate(extent, self.sizes) for extent in shape)

    def numbers_of(self, dtype, shape):
        return numbers(self.numbers, shape, dtype.numpy, self.kind)

    def add_input(self, name, dtype, shape, drawn=True):
        self.feeds[name] = self.numbers_of(dtype, self.concrete(shape))
        self.inputs.append(input_value(name, TensorType(dtype, shape)))
        if drawn:
            self.pool.append(Entry(self.inputs[-1], 3.0))
        return self.inputs[-1]

    # steps

    def run(self, steps):
        """Apply so many steps, or those that are written down."""
        self.waiting = deque([None] * steps if isinstance(steps, int) else steps)
        pick = self.chooser
        while self.waiting:
            self.next_steps(1)
        self.chooser = pick

    def next_steps(self, most):
        """Up to so many steps, each into the pool; bodies take some, too."""
        while most and self.waiting:
            most, text = most - 1, self.waiting.popleft()
            if text is not None:
                self.chooser = Chooser(text)
                self.numbers = np.random.default_rng(list(text))
            self.attempt(self.chooser.choice(self.table))

    def attempt(self, step):
        """Add what the step gives, if it is not too large."""
        try:
            entry = step(self)
        except UnfitError:
            return
        if (
            entry.value.ndim <= self.max_rank
            and evaluate(entry.value.size, LARGEST) < MOST_ELEMENTS
        ):
            self.pool.append(self.squash(entry))

    def squash(self, entry):
        if entry.bound <= LIMIT:
            return entry
        x = entry.value
        if self.kind == "whole":
            low = x if x.dtype.kind == "u" else sg.where(x < -LIMIT, 3, x)
            return Entry(sg.where(low > LIMIT, 3, low), LIMIT)
        if x.dtype.is_float:
            return Entry(sg.tanh(x), 1.0)
        return Entry(sg.minimum(sg.maximum(x, 0 if x.dtype.kind == "u" else -9), 9), 9.0)

    def any_of(self, accepts=lambda value: True):
        """One of the latest three that fit, or else any: so that programs grow deep."""
        fitting = [entry for entry in self.pool if accepts(entry.value)][::-1]
        if not fitting:
            raise UnfitError
        reach = 3 if self.chooser.integer(0, 2) else len(fitting)
        return self.chooser.choice(fitting[:reach])

    def floating(self):
        return self.any_of(is_float)

    def partner(self, shape, accepts=lambda value: not value.dtype.is_bool):
        """A number that broadcasts with ``shape``, without named sizes meeting others."""

        def meets(extents):
            pairs = zip(reversed(shape), reversed(extents), strict=False)
            return all(a == b or is_one(a) or is_one(b) for a, b in pairs)

        return self.any_of(lambda value: accepts(value) and meets(value.shape))

    def elements(self, accepts=lambda value: not value.dtype.is_bool):
        """An entry that has axes and elements, and one of its axes."""
        entry = self.any_of(lambda v: v.ndim > 0 and accepts(v) and 0 not in self.concrete(v.shape))
        return entry, self.chooser.integer(0, entry.value.ndim - 1)

    def count(self, entry, axis):
        return self.concrete(entry.value.shape)[axis]

    def axes_of(self, value):
        chosen = tuple(axis for axis in range(value.ndim) if self.flag())
        return chosen or (self.chooser.integer(0, value.ndim - 1),)

    def indices(self, count):
        """Whole numbers of the pool, brought into [-count, count), or constant ones."""
        if self.chooser.integer(0, 2):
            shape = tuple(self.chooser.choice(LITERALS) for _ in range(self.chooser.integer(0, 2)))
            return sg.constant(self.numbers.integers(-count, count, shape))
        entry = self.any_of(lambda value: value.dtype.is_integer and value.ndim < 3)
        inside = sg.remainder(entry.value.astype("int64"), count)
        return inside - count if self.flag() else inside

    # roots

    def outputs(self):
        """The latest value, and some of the others."""
        outputs = {"out": self.pool[-1].value}
        for index in range(self.chooser.integer(0, 3)):
            place = self.chooser.integer(0, len(self.pool) - 1)
            outputs[f"more {index}"] = self.pool[-1 - place].value
        return outputs | {f"shown {index}": value for index, value in enumerate(self.shown[-3:])}

    def updates(self, gradients):
        """New values of some parameters."""
        updates = {}
        for parameter in self.parameters:
            if parameter in gradients and self.chooser.integer(0, 2):
                updates[parameter] = parameter - gradients[parameter] * 0.125
            elif self.flag():
                updates[parameter] = sg.tanh(parameter) * 0.5
        return updates

    def graph(self, outputs, updates):
        graph = sg.Graph(outputs, updates, name="random", inputs=self.inputs)
        if any(parameter is self.generator.step for parameter in graph.parameters):
            updates |= self.generator.updates
            graph = sg.Graph(outputs, updates, name="random", inputs=self.inputs)
        return graph


def is_float(value):
    return value.dtype.is_float


def is_integer(value):
    return value.dtype.is_integer


def is_number(value):
    return not value.dtype.is_bool


def is_one(extent):
    return isinstance(extent, int) and extent == 1


def literal_axes(value, least=1):
    return [axis for axis, n in enumerate(value.shape) if isinstance(n, int) and n >= least]


def has_literal(value):
    return bool(literal_axes(value))


# -- the table -------------------------------------------------------------------------------------

#: Name -> a step, how often it is in the table, its tags: "b" of ``random_graph``, "p" of programs
#: that are described, "w" of those over whole numbers, "v" of varied graphs, "k" of kinked ones;
#: "s": smooth in its floating operands, "i": of integers or bools.
STEPS = {}


def step(tags, times=1):
    def register(function):
        STEPS[function.__name__] = function, times, tags
        return function

    return register


#: Functions of one operand and of its bound, smooth everywhere; basic ones first.
SMOOTH = (
    (lambda x: -x, lambda b: b),
    (lambda x: sg.tanh(x), lambda b: 1.0),
    (lambda x: sg.sin(x), lambda b: 1.0),
    (lambda x: sg.cos(x), lambda b: 1.0),
    (lambda x: sg.sigmoid(x), lambda b: 1.0),
    (lambda x: sg.special.erf(x), lambda b: 1.0),
    (lambda x: sg.square(x), lambda b: b * b),
    (lambda x: x**3, lambda b: b**3),
    (lambda x: sg.log(x * x + 1.0), lambda b: b + 1),
    (lambda x: sg.sqrt(x * x + 1.0), lambda b: b + 1),
    (lambda x: sg.exp(sg.tanh(x)), lambda b: 3.0),
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
    (lambda x: sg.abs(x), lambda b: b),
    (lambda x: sg.sign(x), lambda b: 1.0),
    (lambda x: sg.floor(x), lambda b: b + 1),
    (lambda x: sg.ceil(x), lambda b: b + 1),
    (lambda x: sg.rint(x), lambda b: b + 1),
    (lambda x: sg.trunc(x), lambda b: b),
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
#: Of numbers of any dtype.
SIMPLE = (
    (lambda x: x + 1, lambda b: b + 1),
    (lambda x: x * 2 - 1, lambda b: 2 * b + 1),
    (lambda x: 3 * x, lambda b: 3 * b),
    (lambda x: x * 0, lambda b: 0.0),
    (lambda x: x * x, lambda b: b * b),
)
SCALED = ((lambda x: x * 0.5, lambda b: b), (lambda x: 0.1 + x * -0.75, lambda b: b + 1))
WHOLE = (
    (lambda x: sg.remainder(x, 5), lambda b: 255.0),
    (lambda x: x // 3, lambda b: 255.0 + b),
    (lambda x: sg.fmod(x, 4), lambda b: 4.0),
    (lambda x: ~x, lambda b: 255.0 + b),
    (lambda x: x & 5, lambda b: 5.0),
    (lambda x: x << 2, lambda b: 255.0 + 4 * b),
    (lambda x: x >> 1, lambda b: 255.0 + b),
    (lambda x: x ^ 6, lambda b: 255.0 + b),
    (lambda x: x | 1, lambda b: 255.0 + b),
    (lambda x: sg.sign(x), lambda b: 1.0),
    (lambda x: x**2, lambda b: 255.0 + b * b),
    (lambda x: sg.abs(x), lambda b: 255.0 + b),
    (lambda x: -x, lambda b: 255.0 + b),
)
SPECIAL = (
    (lambda x: sg.special.gammaln(x * x + 2.5), lambda b: 100.0),
    (lambda x: sg.special.digamma(x * x + 2.0), lambda b: 10.0),
    (lambda x: sg.special.polygamma(1, x * x + 1.0), lambda b: 2.0),
    (lambda x: sg.special.ndtr(x), lambda b: 1.0),
    (lambda x: sg.special.log_ndtr(sg.tanh(x)), lambda b: 3.0),
    (lambda x: sg.special.ndtri(sg.sigmoid(sg.tanh(x))), lambda b: 1.0),
    (lambda x: sg.special.erfinv(sg.tanh(x) * 0.75), lambda b: 1.0),
    (lambda x: sg.special.erfcx(sg.tanh(x)), lambda b: 6.0),
    (lambda x: sg.special.i0e(x), lambda b: 1.0),
    (lambda x: sg.special.i1e(x), lambda b: 1.0),
    (lambda x: sg.special.entr(x * x + 0.5), lambda b: 100.0),
    (lambda x: sg.special.logit(sg.sigmoid(sg.tanh(x)) * 0.75), lambda b: 3.0),
    (lambda x: sg.special.expit(x), lambda b: 1.0),
    (lambda x: sg.special.gammainc(1.5, x * x + 0.25), lambda b: 1.0),
    (lambda x: sg.special.gammaincc(2.5, x * x + 0.25), lambda b: 1.0),
    (lambda x: sg.special.betainc(1.5, 2.5, sg.sigmoid(sg.tanh(x))), lambda b: 1.0),
    (lambda x: sg.special.zeta(2.5, x * x + 1.0), lambda b: 2.0),
    (lambda x: sg.special.xlog1py(sg.tanh(x), x * x + 0.5), lambda b: 20.0),
)
#: Functions of two operands that broadcast, and of their bounds.
SUMS = (
    (lambda x, y: x + y, lambda b, c: b + c),
    (lambda x, y: x - y, lambda b, c: b + c),
    (lambda x, y: x * y, lambda b, c: b * c),
)
EXTREMA = (
    (lambda x, y: sg.maximum(x, y), lambda b, c: max(b, c)),
    (lambda x, y: sg.minimum(x, y), lambda b, c: max(b, c)),
    (lambda x, y: sg.where(x > y, y, x), lambda b, c: max(b, c)),
)
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
    (lambda x, y: sg.maximum(x, y) - sg.minimum(y, x), lambda b, c: b + c),
    (lambda x, y: sg.clip(x, y, 1.0), lambda b, c: max(b, c) + 1),
    (lambda x, y: sg.remainder(x, y * y + 0.5), lambda b, c: c * c + 1),
)
WHOLE_PAIRS = (
    (lambda x, y: x & y, lambda b, c: 255.0 + min(b, c)),
    (lambda x, y: x | y, lambda b, c: 255.0 + b + c),
    (lambda x, y: x ^ y, lambda b, c: 255.0 + b + c),
    (lambda x, y: (x & 3) ** (y & 3), lambda b, c: 27.0),
)
COMPARISONS = (sg.less, sg.less_equal, sg.greater, sg.greater_equal, sg.equal, sg.not_equal)


def of_one(table, accepts=is_float):
    def build(b):
        entry = b.any_of(accepts)
        function, bound = b.chooser.choice(table)
        return Entry(function(entry.value), bound(entry.bound))

    return build


def of_two(table, accepts=is_float):
    def build(b):
        left = b.any_of(accepts)
        right = b.partner(left.value.shape, accepts)
        function, bound = b.chooser.choice(table)
        return Entry(function(left.value, right.value), bound(left.bound, right.bound))

    return build


STEPS |= {
    "basic": (of_one(SMOOTH[:11]), 3, "bs"),
    "basic rough": (of_one(ROUGH[:6]), 1, "b"),
    "simple": (of_one(SIMPLE, is_number), 1, "bpws"),
    "scaled": (of_one(SCALED), 1, "bps"),
    "sums": (of_two(SUMS, is_number), 2, "bpws"),
    "extrema": (of_two(EXTREMA, is_number), 1, "bpw"),
    "bits": (of_one(WHOLE[4:5], is_integer), 1, "bi"),
    "smooth": (of_one(SMOOTH), 10, "ps"),
    "smooth pairs": (of_two(SMOOTH_PAIRS), 4, "ps"),
    "special": (of_one(SPECIAL), 2, "ps"),
    "quotient": (of_two(SMOOTH_PAIRS[:1]), 1, "bs"),
    "rough": (of_one(ROUGH), 5, "p"),
    "rough pairs": (of_two(ROUGH_PAIRS), 3, "p"),
    "whole": (of_one(WHOLE, is_integer), 3, "p"),
}


@step("bps")
def cast(b):
    entry = b.any_of()
    expected = (*b.dtypes, *(("int64", "int32", "bool") if b.integers and not b.smooth else ()))
    return Entry(entry.value.astype(b.chooser.choice(expected)), entry.bound + 1)


@step("pw", 2)
def narrow(b):
    floats = ("float32", "float64", "bool") if b.kind == "whole" else ()
    entry = b.any_of(lambda value: bool(floats) or not value.dtype.is_float)
    return Entry(entry.value.astype(b.chooser.choice((*INTEGERS, *floats))), 255.0 + entry.bound)


@step("p", 2)
def whole_pairs(b):
    left = b.any_of(is_integer)
    right = b.partner(left.value.shape, lambda value: value.dtype == left.value.dtype)
    function, bound = b.chooser.choice(WHOLE_PAIRS)
    return Entry(function(left.value, right.value), bound(left.bound, right.bound))


@step("p")
def whole_rows(b):
    entry, axis = b.elements(is_integer)
    kind = b.chooser.choice((sg.reduce_and, sg.reduce_or, sg.reduce_xor))
    return Entry(kind(entry.value, axis), 255.0 + entry.bound * b.count(entry, axis))


@step("pwi", 2)
def truth(b):
    left = b.any_of()
    right = b.partner(left.value.shape)
    return Entry(b.chooser.choice(COMPARISONS)(left.value, right.value), 1.0)


@step("p")
def logic(b):
    left = b.any_of(lambda value: value.dtype.is_bool)
    right = b.any_of(lambda value: value.dtype.is_bool and value.shape == left.value.shape)
    kind = b.chooser.choice((sg.logical_and, sg.logical_or, sg.logical_xor))
    return Entry(kind(~left.value, right.value), 1.0)


@step("bi")
def select(b):
    left = b.floating()
    right = b.partner(left.value.shape, is_float)
    truths = [e.value for e in b.pool if e.value.dtype.is_bool]
    fitting = [value for value in truths if value.shape == left.value.shape]
    test = b.chooser.choice([left.value < 0.25, *fitting])
    return Entry(sg.where(test, left.value, right.value), max(left.bound, right.bound))


@step("bpws")
def constant(b):
    shape = tuple(n for n in b.near(b.any_of().value.shape) if isinstance(n, int))
    return Entry(sg.constant(b.numbers_of(b.chooser.choice(b.dtypes), shape)), 3.0)


# -- reductions ------------------------------------------------------------------------------------


@step("bpws", 2)
def reduce_axes(b):
    accepts = is_number if b.kind == "whole" else is_float
    entry = b.any_of(lambda value: accepts(value) and value.ndim > 0)
    axes, keep = b.axes_of(entry.value), b.flag()
    count = float(np.prod([b.count(entry, axis) for axis in axes]))
    if b.kind != "whole" and count and b.flag():
        return Entry(sg.mean(entry.value, axes, keepdims=keep), entry.bound)
    return Entry(sg.sum(entry.value, axes, keepdims=keep), entry.bound * max(count, 1.0))


@step("bpw")
def extremum(b):
    x, bound = (entry := b.elements()[0]).value, entry.bound
    if b.kind == "whole" and len(literal_axes(x)) < x.ndim:  # these run at empty sizes, too
        raise UnfitError
    return Entry(b.chooser.choice((sg.max, sg.min))(x, b.axes_of(x)), bound)


@step("pw")
def subtract_sum(b):
    entry, axis = b.elements(is_number if b.kind == "whole" else is_float)
    away = entry.value - sg.sum(entry.value, axis, keepdims=True)
    return Entry(away, (b.count(entry, axis) + 1) * entry.bound)


@step("ps", 2)
def running(b):
    entry, axis = b.elements(is_float)
    count, kind = b.count(entry, axis), b.chooser.integer(0, 2)
    if kind == 0:
        return Entry(sg.cumsum(entry.value, axis), entry.bound * count)
    if kind == 1:
        return Entry(sg.cumprod(sg.tanh(entry.value), axis), 1.0)
    factor = b.any_of(lambda value: value.type == entry.value.type)
    return Entry(sg.linear_scan(sg.tanh(factor.value), entry.value, axis), entry.bound * count)


@step("ps", 2)
def rows(b):
    """A composite over one axis."""
    entry, axis = b.elements(is_float)
    x, count = entry.value, b.count(entry, axis)
    function, bound = b.chooser.choice((
        (lambda: sg.nn.softmax(x, axis), 1.0),
        (lambda: sg.nn.log_softmax(x, axis), 2 * entry.bound + 9),
        (lambda: sg.nn.logsumexp(x, axis, keepdims=True), entry.bound + 9),
        (lambda: sg.var(x, axis), entry.bound**2),
        (lambda: sg.sum(x * x, axis, keepdims=True) * 0.25, entry.bound**2 * count),
        (lambda: sg.nn.layer_norm(x), 99.0),
        (lambda: x - sg.mean(x, axis, keepdims=True), 2 * entry.bound),
        (lambda: sg.prod(sg.tanh(x) + 1.25, axis), 2.25 ** min(count, 99)),
    ))  # fmt: skip
    return Entry(function(), bound)


@step("pi")
def position(b):
    entry, axis = b.elements()
    kind = b.chooser.choice((sg.argmax, sg.argmin, sg.count_nonzero))
    return Entry(kind(entry.value, axis), float(b.count(entry, axis)))


@step("pwi", 3)
def sort_axis(b):
    """In order along an axis, the positions of that, the first few, or places among all."""
    entry, axis = b.elements()
    x, count, down = entry.value, entry.value.shape[axis], b.flag()
    kind = b.chooser.integer(0, 3)
    if kind < 2:
        sort = (sg.sort, sg.argsort)[kind](x, axis, descending=down)
        return Entry(sort, (entry.bound, float(b.count(entry, axis)))[kind])
    if kind == 2:
        most = min(count, b.chooser.integer(0, 3)) if isinstance(count, int) else count // 2
        values, places = sg.topk(x, most, axis, largest=down)
        return Entry(values if b.flag() else places, 99.0 + entry.bound)
    places = sg.searchsorted(sg.sort(sg.ravel(x)), x, b.chooser.choice(("left", "right")))
    return Entry(places, float(np.prod(b.concrete(x.shape))))


# -- movement --------------------------------------------------------------------------------------


@step("bpws")
def transpose(b):
    entry = b.any_of(lambda value: value.ndim > 1)
    left = list(range(entry.value.ndim))
    axes = tuple(left.pop(b.chooser.integer(0, len(left) - 1)) for _ in tuple(left))
    return Entry(sg.transpose(entry.value, axes), entry.bound)


@step("bpws")
def reshape(b):
    """Two neighbours as one axis, one axis as two, or one more of size 1."""
    entry = b.any_of()
    shape, kind = list(entry.value.shape), b.chooser.integer(0, 2)
    even = [a for a in literal_axes(entry.value, 2) if not shape[a] % 2]
    if kind == 0 and len(shape) > 1:
        at = b.chooser.integer(0, len(shape) - 2)
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    elif kind == 1 and even:
        at = b.chooser.choice(even)
        shape[at : at + 1] = [2, shape[at] // 2]
    else:
        shape.insert(b.chooser.integer(0, len(shape)), 1)
    return Entry(sg.reshape(entry.value, tuple(shape)), entry.bound)


@step("bpws")
def broadcast(b):
    """Over a further axis, and where the size is 1; a named size must be bound by a feed."""
    entry = b.any_of()
    wider = [b.chooser.choice(LITERALS) if is_one(n) else n for n in entry.value.shape]
    bound = [extent for value in b.inputs for extent in value.shape]
    first = [b.chooser.choice([*LITERALS, *bound])] * b.flag()
    return Entry(sg.broadcast_to(entry.value, (*first, *wider)), entry.bound)


@step("bpws", 2)
def slice_axes(b):
    entry = b.any_of(lambda value: value.ndim > 0)
    key = []
    for extent in entry.value.shape:
        index = slice(None, None, b.chooser.choice((1, 1, -1)))
        if isinstance(extent, int) and extent > 1 and b.chooser.integer(0, 2):
            start, sign = b.chooser.integer(0, extent - 1), b.chooser.choice((1, 1, -1))
            stop = b.chooser.integer(start + 1, extent) if sign > 0 else None
            index = slice(start, stop, sign * b.chooser.integer(1, 3))
        key.append(index)
    return Entry(entry.value[tuple(key)], entry.bound)


@step("bps")
def concatenate(b):
    left, axis = b.elements(is_float)
    if isinstance(left.value.shape[axis], int) and left.value.shape[axis] > 40:
        raise UnfitError
    right = b.any_of(lambda value: value.type == left.value.type)
    return Entry(sg.concat([left.value, right.value], axis), max(left.bound, right.bound))


@step("pws", 3)
def rearrange(b):
    """stack, roll, flip, tile, repeat, pad, triangles, positions."""
    entry = b.any_of(lambda value: value.ndim > 0 and is_number(value))
    x = entry.value
    axis = b.chooser.integer(0, x.ndim - 1)
    function = b.chooser.choice((
        lambda: sg.stack([x, x + x], axis),
        lambda: sg.roll(x, b.chooser.integer(-3, 3), axis),
        lambda: sg.flip(x, axis),
        lambda: sg.tile(x, (2,) * x.ndim),
        lambda: sg.repeat(x, 2, axis),
        lambda: sg.pad(x, [(b.chooser.integer(0, 2), b.chooser.integer(0, 2)) for _ in x.shape]),
        lambda: sg.triu(x, b.chooser.integer(-1, 1)) if x.ndim > 1 else x[::-1],
        lambda: sg.tril(x, b.chooser.integer(-1, 1)) if x.ndim > 1 else x[::2],
        lambda: sg.concat([x, sg.flip(x, axis), x * x][: b.chooser.integer(2, 3)], axis),
        lambda: x + sg.iota(x.shape, axis, x.dtype),
        lambda: sg.squeeze(x[..., :1], -1) if isinstance(x.shape[-1], int) else x[..., None],
        lambda: sg.outer(x, sg.ravel(x)) if x.ndim == 1 else sg.swapaxes(x, 0, -1),
    ))  # fmt: skip
    return Entry(function(), entry.bound**2 + 2 * entry.bound + 40)


# -- products --------------------------------------------------------------------------------------


@step("bpws")
def product(b):
    accepts = is_number if b.kind == "whole" else is_float
    left = b.any_of(lambda value: accepts(value) and value.ndim >= 2)
    inner, dtype = left.value.shape[-1], left.value.dtype
    fitting = [e for e in b.pool if (e.value.dtype, e.value.shape[:-1]) == (dtype, (inner,))]
    if not isinstance(inner, Dim):
        data = b.numbers_of(dtype, (inner, b.chooser.choice(LITERALS)))
        fitting = fitting or [Entry(sg.constant(data), 3.0)]
    elif not fitting:
        raise UnfitError
    right = b.chooser.choice(fitting)
    bound = left.bound * right.bound * max(b.concrete((inner,))[0], 1)
    return Entry(left.value @ right.value, bound)


@step("pws")
def contract(b):
    """A product of a value with itself: a Gram matrix, an einsum, a dot product."""
    accepts = is_number if b.kind == "whole" else is_float
    entry = b.any_of(lambda value: accepts(value) and value.ndim in (1, 2))
    x = entry.value
    bound = entry.bound**2 * max(float(np.prod(b.concrete(x.shape))), 1.0)
    if x.ndim == 1:
        return Entry(sg.einsum("i,i->", x, x), bound)
    gram = b.chooser.choice((
        lambda: x @ x.T,
        lambda: x.T @ x,
        lambda: sg.einsum("ij,ik->kj", x, x),
        lambda: sg.einsum("ij,ij->i", x, x),
        lambda: sg.maximum(x @ x.T, 0) if not b.smooth else x @ x.T,
    ))  # fmt: skip
    return Entry(gram(), bound)


# -- indices ---------------------------------------------------------------------------------------


@step("bpws")
def gather(b):
    entry = b.any_of(has_literal)
    axis = b.chooser.choice(literal_axes(entry.value))
    return Entry(sg.take(entry.value, b.indices(entry.value.shape[axis]), axis), entry.bound)


@step("pw", 2)
def along(b):
    entry = b.any_of(lambda value: has_literal(value) and 0 not in b.concrete(value.shape))
    axis = b.chooser.choice(literal_axes(entry.value))
    if b.flag() or entry.value.dtype.is_bool:
        places = sg.argmax(entry.value, axis, keepdims=True)
    else:
        integers = sg.rint(entry.value).astype("int64")
        places = sg.remainder(integers, entry.value.shape[axis])
    return Entry(sg.take_along_axis(entry.value, places, axis), entry.bound)


@step("w")
def looked_up(b):
    """Rows of a table by the values themselves; which of five classes they are."""
    entry = b.any_of()
    places = sg.clip(entry.value.astype("int64"), -20, 20)
    if b.flag():
        return Entry(sg.one_hot(places, 5, dtype="float64"), 1.0)
    return Entry(sg.take(sg.constant(b.numbers_of(F32, (41, 3))), places, 0), 3.0)


@step("pws")
def scatter(b):
    accepts = is_number if b.kind == "whole" else is_float
    entry = b.any_of(lambda value: has_literal(value) and accepts(value))
    axis = b.chooser.choice(literal_axes(entry.value))
    count, size = entry.value.shape[axis], b.chooser.choice((1, 3, 5, 17))
    places = b.numbers.integers(-size, size, count)
    return Entry(sg.scatter_add(entry.value, places, size, axis), entry.bound * count)


@step("ps")
def at(b):
    entry = b.any_of(lambda value: is_float(value) and literal_axes(value)[:1] == [0])
    x, count = entry.value, entry.value.shape[0]
    kind = b.chooser.integer(0, 3)
    start = b.chooser.integer(0, count - 1)
    if kind == 0:
        total = x.sum()  # known in a run only: the same places, or 0 where the sum is not a number
        one_in_runs = sg.equal(total, total).astype("int64")
        places = sg.constant(b.numbers.integers(-count, count, 4)) * one_in_runs
        return Entry(x.at[places].set(0.75), entry.bound + 1)
    if kind == 1:
        return Entry(x.at[start:].add(1.25), entry.bound + 2)
    if kind == 2:
        places = sg.constant(b.numbers.integers(-count, count, 4))
        return Entry(x.at[places].add(x[start]), 5 * entry.bound)
    return Entry(x.at[start].set(x[count - 1 - start] * 0.5), entry.bound)


@step("w")
def gradient(b):
    """The gradient of a weighted sum by a value of the pool."""
    entry, by = b.floating(), b.floating()
    x = entry.value
    weighted = x * sg.iota(x.shape, x.ndim - 1, x.dtype) if x.ndim else x
    return Entry(sg.grad(sg.sum(weighted), by.value, allow_disconnected=True), np.inf)


@step("ps")
def drawn(b):
    if b.depth:  # draws stand before a loop
        raise UnfitError
    shape, dtype = b.any_of().value.shape, b.chooser.choice(b.dtypes)
    kind = b.chooser.integer(0, 3)
    if kind == 0:
        return Entry(b.generator.uniform(-1.0, 1.0, shape, dtype), 1.0)
    if kind == 1:
        return Entry(b.generator.normal(shape=shape, dtype=dtype), 12.0)
    if kind == 2 and b.integers and not b.smooth:
        return Entry(b.generator.integers(-4, 5, shape), 4.0)
    entry = b.floating()
    return Entry(b.generator.dropout(entry.value, 0.25), 1.5 * entry.bound)


# -- windows and matrices --------------------------------------------------------------------------


def image(b):
    """Numbers within 1 as [n, c, places] or [n, c, places, places]."""
    x = sg.tanh(b.any_of(lambda value: is_float(value) and value.ndim > 0).value)
    if x.ndim == 1:
        return x[None, None]
    return x if x.ndim > 2 and isinstance(x.shape[1], int) and b.flag() else x[:, None]


def taps_of(b, x, shape):
    """A filter that depends on the program, so that gradients go through it."""
    drawn = sg.constant(b.numbers.uniform(-1, 1, shape)).astype(x.dtype.name)
    return drawn * sg.sin(b.floating().value).sum().astype(x.dtype.name)


@step("ps")
def convolve(b):
    x, pick = image(b), b.chooser
    channels = int(x.shape[1])
    groups = channels if pick.integer(0, 2) == 2 else 1
    taps = tuple(pick.choice((3, 1, 2, 5)) for _ in range(x.ndim - 2))
    stride, dilation = pick.choice((1, 1, 2, 3)), pick.choice((1, 1, 2))
    w = taps_of(b, x, (groups * pick.choice((1, 2, 3)), channels // groups, *taps))
    y = sg.nn.conv(x, w, stride=stride, dilation=dilation, padding="same", groups=groups)
    return Entry(sg.sum(y, 1) * 0.125, 99.0)


@step("ps")
def spread(b):
    x = image(b)
    taps = (b.chooser.choice((2, 3, 1)),) * (x.ndim - 2)
    w = taps_of(b, x, (int(x.shape[1]), b.chooser.choice((1, 2)), *taps))
    y = sg.nn.conv_transpose(x, w, stride=b.chooser.choice((1, 2, 3)))
    return Entry(sg.sum(y, 1) * 0.125, 99.0)


@step("ps", 2)
def pool_windows(b):
    x, size = image(b), b.chooser.choice((2, 3, 1))
    options = {"stride": b.chooser.choice((1, 2, 3)), "padding": "same"}
    kinds = (
        lambda: sg.nn.avg_pool(x, size, count_include_pad=False, **options),
        lambda: sg.nn.unfold(x, size, **options)[..., 0],
        lambda: sg.nn.max_pool(x, size, **options),
        lambda: sg.nn.lp_pool(x, 2, size, **options),
    )
    return Entry(sg.sum(b.chooser.choice(kinds[:1] if b.smooth else kinds)(), 1) * 0.125, 99.0)


@step("ps")
def factorize(b):
    """Factorize or solve symmetric positive definite matrices of a literal size."""
    entry = b.any_of(lambda v: is_float(v) and v.ndim > 1 and isinstance(v.shape[-2], int))
    x = sg.tanh(entry.value)
    diagonal = sg.diag(sg.arange(float(x.shape[-2])) * 3.0 + 2.0).astype(x.dtype.name)
    a, linalg = x @ sg.swapaxes(x, -1, -2) * 0.0625 + diagonal, sg.linalg
    function = b.chooser.choice((
        lambda: linalg.cholesky(a) * 0.125,
        lambda: linalg.inv(a),
        lambda: linalg.solve(a, sg.sin(a)),
        lambda: linalg.slogdet(a)[1],
        lambda: linalg.eigvalsh(a) * 0.125,
        lambda: linalg.eigh(a)[1] ** 2,
        lambda: linalg.svdvals(a) * 0.125,
        lambda: linalg.qr(a)[0] ** 2,
        lambda: linalg.solve_triangular(linalg.cholesky(a), a, lower=True) * 0.125,
        lambda: linalg.expm(a * -0.25),
        lambda: linalg.matrix_power(a * 0.125, 3) * 0.125,
        lambda: linalg.norm(a, axis=(-2, -1)) * 0.125,
    ))  # fmt: skip
    return Entry(function(), 50.0)


# -- loops and branches ----------------------------------------------------------------------------
#
# Their bodies are the next steps of the description: a step left out makes a body shorter, and a
# body that is left empty still moves its carry. Every carry stays within 1 in magnitude, so that
# any number of iterations is tame. A body reads the carry, the slice, the iteration's number, and
# whatever the program had before.


def first_carry(b):
    if b.depth >= MOST_DEPTH:
        raise UnfitError
    return sg.tanh(b.any_of(lambda value: is_float(value) and value.ndim < b.max_rank).value)


def within(b, entries, end):
    """Apply ``end`` to the latest value of a body whose pool has these entries, too."""
    chooser, pool, numbers = b.chooser, b.pool, b.numbers
    b.pool, b.depth = [*pool, *entries], b.depth + 1
    try:
        b.next_steps(chooser.integer(0, MOST_STEPS))
        latest = b.pool[-1]
        b.chooser = chooser
        return end(latest.value)
    finally:
        b.chooser, b.pool, b.numbers, b.depth = chooser, pool, numbers, b.depth - 1


def next_carry(carry, value):
    """The next carry: of the type of the carry, within 1, and dependent on the value."""
    number = value if value.dtype.is_float else value.astype("float32")
    if number.shape != carry.shape:
        number = sg.tanh(number).sum() * 0.125  # a mean of no elements would be NaN
    return sg.tanh(carry * 0.5 + number.astype(carry.dtype.name) * 0.75)


@step("ps", 2)
def scan_rows(b):
    xs, first = b.any_of(lambda value: value.ndim > 0 and is_number(value)).value, first_carry(b)
    reverse, expected = b.flag(), b.chooser.integer(0, 3)
    xs = xs[0:0] if b.chooser.integer(0, 9) == 9 else xs

    def iteration(carry, row):
        def end(value):
            state = next_carry(carry[0], value)
            return (state, carry[1] + 1), (sg.tanh(value * 1.0), state * carry[0])

        return within(b, [Entry(carry[0], 1.0), Entry(carry[1], 99.0), Entry(row, 50.0)], end)

    (last, count), (outs, states) = sg.scan(iteration, (first, 0), xs, reverse=reverse)
    return (Entry(last, 1.0), Entry(outs, 1.0), Entry(states, 1.0), Entry(count, 99.0))[expected]


@step("ps")
def repeat_body(b):
    first = first_carry(b)
    named = [n for value in b.inputs for n in value.shape if n in (sg.dim("batch"), sg.dim("n"))]
    iterations = b.chooser.choice((2, 3, 1, 0, 5, *dict.fromkeys(named)))

    def iteration(i, carry):
        entries = [Entry(i, 99.0), Entry(carry, 1.0)]
        return within(b, entries, lambda value: next_carry(carry, value))

    return Entry(sg.fori_loop(b.chooser.choice((0, 1)), iterations, iteration, first), 1.0)


def whole_number(b, below):
    """A number in [0, below) that only a run computes."""
    try:
        return sg.remainder(b.any_of(is_integer).value.astype("int64").sum(), below)
    except UnfitError:
        return sg.constant(b.chooser.integer(0, below - 1))


@step("ps")
def while_loop(b):
    first, iterations = first_carry(b), whole_number(b, 5)

    def iteration(state):
        entries = [Entry(state[0], 9.0), Entry(state[1], 1.0)]
        return state[0] + 1, within(b, entries, lambda value: next_carry(state[1], value))

    most = b.chooser.choice((4, 3, 1, 6))
    last = sg.while_loop(lambda s: s[0] < iterations, iteration, (0, first), max_steps=most)
    return Entry(last[1], 1.0)


@step("ps")
def branch(b):
    like, cases = first_carry(b), b.chooser.choice((2, 3))
    number = whole_number(b, cases + 1)

    def case():
        return within(b, [Entry(like, 1.0)], lambda value: next_carry(like, value))

    if cases == 2:
        return Entry(sg.cond(number > 0, case, lambda: like), 1.0)
    return Entry(sg.switch(number, [case, lambda: like * 0.5, case]), 1.0)


@step("ps")
def map_rows(b):
    if b.depth >= MOST_DEPTH:
        raise UnfitError
    entry = b.any_of(lambda value: value.ndim > 0 and is_float(value))

    def map_row(row):
        return within(b, [Entry(row, entry.bound)], lambda value: sg.tanh(value * 0.5))

    return Entry(sg.map(map_row, entry.value), 1.0)


@step("ps")
def associative(b):
    x = sg.tanh(b.any_of(lambda v: is_float(v) and 0 in literal_axes(v)).value) * 0.5
    pairs = sg.associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (x, x * x))
    return Entry(pairs[1], 2.0)


# -- varied graphs ---------------------------------------------------------------------------------


@step("v", 3)
def results_of_one_op(b):
    """The results of one op: each alone, and one function of each, added up."""
    entry = b.any_of(
        lambda value: (
            value.dtype in (F32, F64)
            and value.ndim >= 2
            and all(isinstance(n, int) and 2 <= n <= 8 for n in value.shape[-2:])
        )
    )
    x = sg.stop_gradient(entry.value)  # their derivatives round with the order of axes
    name = b.chooser.choice(("topk", "qr", "svd", "slogdet"))
    if name == "topk":
        results = sg.topk(x, b.chooser.integer(1, 2))
    else:
        size = min(x.shape[-2:])
        diagonal = np.diag(10 * np.arange(1, size + 1)).astype(x.dtype.numpy)
        results = getattr(sg.linalg, name)(sg.tanh(x[..., :size, :size]) + diagonal)
    function, total = b.chooser.choice((sg.sin, sg.tanh, sg.cos)), 0.0
    for number, result in enumerate(results):
        floating = result.astype(x.dtype)
        b.pool.append(Entry(sg.tanh(floating), 1.0))
        total = total + function(floating).sum() * (number + 1.0)
    b.shown.append(total)
    return Entry(sg.tanh(total), 1.0)


@step("v", 2)
def casts(b):
    """A chain of conversions: integers of all widths, then floats of all widths.

    Negative numbers wrap around where a dtype has no sign.
    """
    entry = b.any_of(is_number)
    x, bound = entry.value.astype("int64"), entry.bound + 1
    for _ in range(b.chooser.integer(0, 3)):
        expected = as_dtype(b.chooser.choice(INTEGERS))
        limits = np.iinfo(expected.numpy)
        x = x.astype(expected)
        if limits.min == 0 or bound > limits.max:
            bound = float(limits.max)
    for _ in range(b.chooser.integer(0, 3)):
        small = ["float16", "bfloat16"] * (bound <= LIMIT)
        x = x.astype(b.chooser.choice(["float64", "float32", "bool", *small]))
        bound = 1.0 if x.dtype.is_bool else bound
    b.shown.append(x.astype(b.chooser.choice(b.dtypes)))
    return Entry(b.shown[-1], bound * 1.1 + 1)


# -- derivatives that are easy to lose: marks, kinks, ties -----------------------------------------


@sg.custom_vjp(name="tests.straight")
def straight(x):
    return sg.rint(x)


straight.rule(lambda ct, out, x: (ct * 3.0,))


@sg.custom_vjp(name="tests.apart")
def apart(x, y):
    """Its rule has shares of operands that its value does not depend on."""
    return x * 1.0 + 0.0 * y.sum()


apart.rule(lambda ct, out, x, y: (ct * x, sg.broadcast_to(ct.sum(), y.shape) * 2.0))


@step("k", 4)
def stop_gradients(b):
    """A value times, plus, or against itself without gradient."""
    entry = b.floating()
    x, constant_x = entry.value, sg.stop_gradient(entry.value)
    value = b.chooser.choice(
        (constant_x, x * constant_x, x + constant_x, sg.maximum(x, constant_x))
    )
    return Entry(value, max(2 * entry.bound, entry.bound**2))


@step("k", 2)
def custom(b):
    entry, second = b.floating(), b.any_of(lambda value: value.dtype == F64)
    value = straight(entry.value) if b.flag() else apart(entry.value, second.value)
    return Entry(value, entry.bound + 1)


@step("k", 4)
def again(b):
    """An extremum of what has one of its operands already: ties wherever that one won."""
    entry = b.floating()
    operand = b.partner(entry.value.shape)
    extreme, then = (b.chooser.choice((sg.maximum, sg.minimum)) for _ in range(2))
    once = extreme(entry.value, operand.value)
    twice = then(once, b.chooser.choice((operand.value, entry.value)))
    return Entry(twice, max(entry.bound, operand.bound))


@step("k", 2)
def itself(b):
    """Functions at a kink of their own: abs of abs, where on equal branches, a sign twice."""
    entry = b.floating()
    x = entry.value
    function = b.chooser.choice((
        lambda: abs(abs(x)),
        lambda: abs(-x),
        lambda: sg.where(x > 0.0, x, sg.where(x > 0.0, 0.0, x * x)),
        lambda: sg.maximum(x, x),
        lambda: sg.nn.relu(sg.nn.relu(x)),
        lambda: sg.sign(sg.sign(x)) * x,
    ))  # fmt: skip
    return Entry(function(), max(entry.bound, entry.bound**2))


# -- graphs with feeds -----------------------------------------------------------------------------


def random_graph(
    source, *, min_ops=1, max_ops=40, dtypes=("float32", "float64"), named_sizes=True,
    integers=True, smooth=False, parameters=True, empty=False, varied=False,
):  # fmt: skip
    """A valid graph and feeds for it: ``min_ops`` to ``max_ops`` steps, the rest as ``Builder``.

    ``source`` is a NumPy ``Generator``, or ``draw`` inside a composite strategy; ``parameters``:
    whether these and updates occur; ``varied``: whether ops of several results and chains of casts
    over all dtypes occur.
    """
    pick = Chooser(source)
    builder = Builder(
        pick, "bv" if varied else "b", dtypes, smooth=smooth, integers=integers, named=named_sizes,
        empty=empty,
    )  # fmt: skip
    builder.leaves(parameters, ("int64", "int32"))
    builder.run(pick.integer(min_ops, max_ops))
    return builder.graph(builder.outputs(), builder.updates({})), builder.feeds


@st.composite
def graphs(draw, **options):
    """``random_graph`` as a hypothesis strategy."""
    return random_graph(draw, **options)


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


def kinked_graph(seed, ops=25):
    """A graph in float64 and feeds: few distinct numbers, so that elements are equal and at kinks.

    Every third floating value is returned, the last one first.
    """
    builder = Builder(Chooser(np.random.default_rng(seed)), "bk", ("float64",), kind="halves")
    builder.leaves(kinds=("int64", "int32"))
    builder.run(ops)
    floats = [entry.value for entry in builder.pool if entry.value.dtype.is_float]
    return builder.graph({f"out{k}": v for k, v in enumerate(floats[::-3])}, {}), builder.feeds


def whole_graph(seed, steps):
    """A graph over small whole numbers, which leave no rounding: results are exact in any order.

    So a compiled program must give the evaluator's values to the last bit whatever it fuses: each
    wrong stride, position, mask or order of steps shows.
    """
    pick = Chooser(np.random.default_rng(seed))
    builder = Builder(
        pick, "w", ("float32", "float64", "int32", "int64", "int8"), kind="whole", most=4
    )
    builder.sizes = LARGEST
    builder.leaves(parameters=False)
    builder.run(pick.integer(3, steps))
    return builder.graph(builder.outputs(), {})


def feeds_at(graph, rng, sizes, kind="real"):
    """Feeds of a graph at these named sizes."""
    feeds = {}
    for value in graph.inputs:
        shape = tuple(evaluate(n, sizes) for n in value.shape)
        feeds[label(value)] = numbers(rng, shape, value.dtype.numpy, kind)
    return feeds


# -- programs that are described -------------------------------------------------------------------


@dataclass(frozen=True)
class Description:
    """A program, written down: bytes for its leaves, for every step, and for its outputs."""

    smooth: bool
    order: int
    header: bytes
    steps: tuple[bytes, ...]

    def __str__(self):
        steps = ", ".join(f'"{step.hex()}"' for step in self.steps)
        return f'read_description({self.smooth}, {self.order}, "{self.header.hex()}", [{steps}])'


def read_description(smooth, order, header, steps):
    """The description that was printed."""
    return Description(smooth, order, bytes.fromhex(header), tuple(map(bytes.fromhex, steps)))


@st.composite
def descriptions(draw, min_steps=10, max_steps=40, smooth=None):
    """Programs; a failure shrinks by losing steps, then by simpler choices."""
    steps = st.lists(
        st.binary(min_size=STEP, max_size=STEP), min_size=min_steps, max_size=max_steps
    )
    return Description(
        draw(st.booleans()) if smooth is None else smooth,
        draw(st.integers(0, 2)),
        draw(st.binary(min_size=HEADER, max_size=HEADER)),
        tuple(draw(steps)),
    )


def random_description(rng, steps, smooth):
    """A program drawn without hypothesis."""
    bytes_of_steps = tuple(rng.bytes(STEP) for _ in range(steps))
    return Description(smooth, int(rng.integers(0, 3)), rng.bytes(HEADER), bytes_of_steps)


class Program:
    """The program that a description describes.

    Attributes:
        graph: outputs, gradients, curvatures and updates.
        stable: the same after ``stabilize``, which compiling does first at every level.
        feeds: arrays by input, at the sizes of the description.
        start: values of the parameters before a run.
        loss: one number that depends on every floating output, bounded in value and slope.
        directions: inputs by leaf, along which curvatures are.
    """

    def __init__(self, description):
        self.description, smooth = description, description.smooth
        b = Builder(Chooser(description.header[4:]), "p", smooth=smooth, integers=not smooth)
        b.leaves()
        b.run(description.steps)
        outputs, self.directions = b.outputs(), {}
        parts = [sg.tanh(v * 0.5).astype("float64").sum() for v in outputs.values() if is_float(v)]
        self.loss = sum(parts[1:], parts[0]) if parts else None
        gradients = self.derive(b, outputs) if self.loss is not None and description.order else {}
        self.graph = b.graph(outputs, b.updates(gradients))
        self.stable = pipeline("O0")(self.graph)
        self.nodes = None  # compiled apart, by whoever compares nodes
        self.feeds, self.sizes = dict(b.feeds), b.sizes
        self.parameters = self.graph.parameters
        self.start = [p.value for p in self.parameters]

    def derive(self, b, outputs):
        """Gradients of the loss and Hessian-vector products, put into ``outputs``."""
        leaves = [v for v in (*b.inputs, *b.parameters) if v.dtype.is_float]
        gradients = sg.grad(self.loss, {leaf: leaf for leaf in leaves}, allow_disconnected=True)
        outputs["loss"] = self.loss
        outputs |= {f"gradient of {label(leaf)}": value for leaf, value in gradients.items()}
        if self.description.order == 1:
            return gradients
        slopes = []
        for leaf, value in gradients.items():
            along = b.add_input(f"along {label(leaf)}", leaf.dtype, leaf.shape, drawn=False)
            self.directions[leaf] = along
            slopes.append((value * along).astype("float64").sum())
        slope = outputs["slope"] = sum(slopes[1:], slopes[0])
        second = sg.grad(slope, leaves, allow_disconnected=True)
        names = [f"curvature by {label(leaf)}" for leaf in leaves]
        outputs |= dict(zip(names, second, strict=True))
        return gradients

    def reset(self):
        """Give the parameters of the graph the values that they began with."""
        for parameter, value in zip(self.parameters, self.start, strict=True):
            parameter.value = value

    def at_sizes(self, **sizes):
        """Feeds at other named sizes."""
        rng = np.random.default_rng(list(self.description.header[:4]))
        return feeds_at(self.graph, rng, {**self.sizes, **sizes})

    def script(self):
        """A program that needs no tests: the graph as text, and its feeds."""
        lines = ["import numpy as np", "import staticgrad as sg", "from numpy import *", ""]
        lines += [f'text = """{self.graph}"""']
        constants = self.graph.constants
        with np.printoptions(threshold=10**9, floatmode="unique"):
            lines += [f"constants = {constants!r}"]
            values = dict(zip((p.name for p in self.parameters), self.start, strict=True))
            lines += [f"parameters = {values!r}", f"feeds = {self.feeds!r}"]
        lines += [
            "graph = sg.parse(text, parameters=parameters, constants=constants)",
            "expected = sg.evaluate(graph, feeds)",
            "for name, array in sg.compile(graph).run(feeds).items():",
            "    print(name, abs(array - expected[name]).max() if array.size else 'empty')",
        ]
        return "\n".join(lines)

    def describe(self):
        """The program as a failing test shows it."""
        return f"{self.description}\n{self.graph}\n\n{self.script()}"
