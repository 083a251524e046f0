"""Late passes over programs in which operands broadcast: they keep values and gradients.

A pass that takes the shape of an operand for that of a result is right until one of the operands is
repeated. So each late pass runs over nodes whose elementwise neighbours, in front and behind, have
operands with fewer axes, axes of one element, more axes, and named sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, cycle

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import LATE, pipeline
from staticgrad.language.ir.bodies import map_bodies
from staticgrad.language.ops import indexing

OPS = cycle(
    (
        sg.multiply,
        sg.add,
        sg.maximum,
        lambda a, b: sg.where(a > b, a, 0.5 * b),
        sg.subtract,
    )
)


@dataclass(frozen=True)
class Case:
    """A node that a pass rewrites: made of an array of ``shape``, with a first axis of any size.

    ``without_axis``: the array may lack the first axis. ``passes``: the pipeline that applies the
    pass.
    """

    make: Callable
    shape: tuple
    without_axis: bool = True
    passes: str = "O1,late"


def weight(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def pad_last(x, low, high):
    return sg.pad(x, [(0, 0)] * (x.ndim - 1) + [(low, high)])


def pads(x):
    return pad_last(sg.sin(x), 0, 3) + pad_last(sg.cos(x[..., 1:]), 4, 0)


def pads_of_rows(x):
    """Return two pads, or one that is disjoint from those of an array of another shape."""
    is_whole = x.shape[:-1] == (3,)
    return pad_last(sg.sin(x), 0, 8) + pad_last(x, 4, 4) if is_whole else pad_last(x, 8, 0)


def many_pads(x):
    """Return the gradient of many overlapping slices."""
    return sum(
        (pad_last(k * x, 2 * k, 30 - 2 * k) for k in range(1, 16)),
        pad_last(x, 0, 30),
    )


def stencil(x):
    wide = pad_last(x, 1, 1)
    return 2.0 * wide[..., 2:] - wide[..., :-2]


def repeated_stencil(x):
    """Return differences of an array of one row times a number, which is repeated to rows."""
    rows = sg.sin(x[..., :1, :]) * sg.broadcast_to(sg.sum(x), (3, 1))
    differences = pad_last(rows[..., 1:], 0, 1) - pad_last(rows[..., :-1], 1, 0)
    return differences + sg.roll(rows, 1, -1) + stencil(x)


def read_of_sort(x):
    """Return the gradient of a few elements of a sort, with one cotangent for all rows."""
    weights = pad_last(x[:1, :2], 0, 10) + pad_last(sg.cos(x[:, :1]), 1, 10)
    return sg.grad((sg.sort(x) * sg.stop_gradient(weights)).sum(), x)


def neighbours(x):
    """Return the gradient of a sum over differences."""
    return sg.grad(((x[..., 1:] - x[..., :-1]) ** 2).sum(), x)


def deviations(x):
    """Return a norm over rows, whose sums recompute formulas."""
    centered = x - sg.mean(x, 0)
    return centered / sg.sqrt(sg.mean(centered**2, 0) + 0.1)


def turn(x):
    """Return vectors that are stacked of slices of slices of stacks."""
    y = sg.stack([x[..., 1], sg.sin(x[..., 0]), x[..., 2]], -1) * x
    return sg.stack([y[..., 2], y[..., 0] * y[..., 1], y.sum(-1)], -1)


def scan_of(step):
    return lambda x: sg.fori_loop(0, 9, step, x)


def step_with_mark(i, c):
    return sg.checkpoint(sg.sin(c)) * 0.9


def step_with_cases(i, c):
    return sg.cond(i < 3, lambda c: sg.sin(c), lambda c: c * 0.5, c)


def stacked(x):
    """Return the stack of a loop with a product, whose gradient reads it."""
    factor = weight(60, 60) / 8
    return sg.scan(lambda h, k: (sg.tanh(h @ factor.T * k), h), x, np.linspace(0.5, 1, 20))[1]


def rounded_steps(x):
    """Return the last state of a loop that multiplies bfloat16 numbers by one matrix."""
    factor = sg.astype(weight(64, 64) / (8 + sg.cos(0.0 * sg.sum(x))), "bfloat16")

    def step(i, c):
        product = sg.astype(sg.astype(c, "bfloat16"), "float32") @ sg.astype(factor, "float32")
        return sg.astype(sg.tanh(product), "float64")

    return sg.fori_loop(0, 3, step, x)


def entries(x):
    """Return an array of which a loop reads and writes entries."""

    def step(i, c):
        return c.at[..., i].set(sg.sin(c[..., i + 1]) * c[..., i])

    return sg.fori_loop(0, 3, step, x)


CASES = {
    "marks": Case(lambda x: sg.stop_gradient(x) * x, (3, 4), passes="late"),
    "unmarked-loops": Case(scan_of(step_with_mark), (3, 4), passes="late"),
    "few-of-a-sort": Case(lambda x: sg.sort(x)[..., :2], (3, 12)),
    "few-of-a-sort in a gradient": Case(read_of_sort, (3, 12), False),
    "border-taps": Case(
        lambda x: sg.nn.conv2d(x, weight(5, 4, 3, 3), padding=1), (3, 4, 1, 1), False
    ),
    "byte-products": Case(
        lambda x: (
            sg.rint(x * 9).astype("int8").astype("int32")
            @ sg.rint(weight(8, 5) * 9).astype("int32")
        ).astype("float64"),
        (3, 8),
    ),
    "im2col": Case(lambda x: sg.nn.conv2d(x, weight(5, 4, 2, 2), stride=2), (3, 4, 4, 4), False),
    "space-to-depth": Case(
        lambda x: sg.nn.conv2d(x, weight(5, 3, 4, 4), stride=2), (3, 3, 10, 10), False
    ),
    "sums-of-exponentials": Case(lambda x: sg.special.logsumexp(x, -1, keepdims=True), (3, 64)),
    "vector-products": Case(lambda x: x @ weight(4, 1), (3, 4)),
    "wide-totals": Case(lambda x: sg.cumsum(x.astype("float16"), -1), (3, 4)),
    "broadcast-windows": Case(
        lambda x: sg.nn.conv2d(sg.broadcast_to(x, (3, 4, 6, 6)), weight(5, 4, 3, 3)),
        (3, 4, 1, 1),
        False,
    ),
    "winograd": Case(
        lambda x: sg.nn.conv2d(x, weight(16, 16, 3, 3), padding=1), (2, 16, 14, 14), False
    ),
    "paired-factors": Case(rounded_steps, (3, 64), False),
    "split-filter-gradients": Case(
        lambda x: sg.nn.conv2d(weight(5, 3, 8, 8), x, padding=1), (4, 3, 3, 3), False
    ),
    "split-k": Case(lambda x: x @ (weight(8192, 3) / 90), (4, 8192)),
    "split-scatters": Case(
        lambda x: sg.take(x.reshape(-1), np.arange(1200) % x.size, 0).reshape(3, -1), (3, 2)
    ),
    "joined-writes": Case(
        lambda x: x.at[..., sg.argmax(x) % 7].set(x[..., 1]).at[..., sg.argmin(x) % 7].set(3.0),
        (3, 40),
    ),
    "sums-in-place": Case(entries, (3, 40)),
    "short-writes": Case(lambda x: x.at[..., sg.argmax(x) % 4].set(sg.sin(x[..., 0])), (3, 4)),
    "overlapping-pads": Case(many_pads, (3, 8)),
    "if-conversion": Case(scan_of(step_with_cases), (3, 4)),
    "scalarization": Case(turn, (3, 3)),
    "transposed-factors": Case(stacked, (3, 60), False),
    "reshaped-products": Case(lambda x: (x @ weight(4, 6)).reshape(*x.shape[:-1], 2, 3), (3, 4)),
    "disjoint-pads": Case(pads, (3, 4), passes="late"),
    "disjoint-pads of several arrays": Case(pads_of_rows, (3, 4), passes="late"),
    "slices-of-pads": Case(stencil, (3, 6)),
    "slices-of-pads of repeated rows": Case(repeated_stencil, (3, 6), False),
    "shifted-formulas": Case(neighbours, (3, 6)),
    "recomputed-formulas": Case(deviations, (8, 6)),
    "shared-stacks": Case(stacked, (3, 60), False),
    "selected-elements": Case(
        lambda x: sg.take_along_axis(x, np.full((*x.shape[:-1], 1), 7), -1), (3, 12)
    ),
    "known-indices": Case(lambda x: sg.take(x, [0, -1, 2], -1), (3, 4)),
}
#: Sizes from which on passes pay, so low that small programs take every way, and how much is read.
LIMITS = {
    "formula_flops": 10_000,
    "formula_reads": 10_000,
    "stored_formula": 16,
    "exponential_part": 8,
    "long_exponentials": 16,
    "exponential_bytes": 1,
    "exponential_row_bytes": 1,
    "selected_row": 8,
    "partly_sorted_row": 8,
}
#: What NumPy does not compute once it is rewritten: only kernels compute tiles.
TILED = {"winograd"}
#: Late passes without a row, and why.
OTHERS = {
    "chosen-first": "tests/passes/test_chosen.py",
    "one-hot-products": "of gradients: tests/passes/test_one_hot.py",
    "thin-batches": "of products of 16 terms and more: tests/passes/test_batches.py",
    "recomputed-stages": "of vectors: tests/passes/test_stencils.py",
    "row-chunks": "test_chunks_of_products_whose_readers_broadcast",
    "checks-before-writes": "of parameters, which have one shape",
    "strip-mining": "of loops without an end, which have no elementwise neighbour",
    "panels": "of factors in loops: tests/passes/test_panels.py",
    "compact-scatters": "of what no sum reads: tests/passes/test_compact_scatters.py",
}


class Program:
    """Values under construction, with the inputs that they read."""

    def __init__(self):
        self.feeds, self.values, self.numbers = {}, {}, count()
        self.random = np.random.default_rng(0)

    def input(self, *shape):
        name = f"x{next(self.numbers)}"
        self.feeds[name] = self.random.normal(size=[5 if n == "n" else n for n in shape])
        return sg.input(name, shape, "float64")

    def add(self, name, value):
        self.values[name] = value

    def graph(self):
        outputs = dict(self.values)
        for name, value in self.values.items():
            inputs = sg.Graph(value).inputs
            slopes = sg.grad(sg.sin(value.astype("float64")).sum(), inputs, allow_disconnected=True)
            outputs |= {
                f"{name} by {x.name}": slope for x, slope in zip(inputs, slopes, strict=True)
            }
        return sg.Graph(outputs)


def shapes_behind(shape):
    """Return shapes that broadcast with a shape."""
    ones = (1,) * len(shape)
    return {
        "a number": (),
        "fewer axes": shape[1:],
        "no axis but the last": shape[-1:],
        "rows of one": (1, *shape[1:]),
        "columns of one": (*shape[:-1], 1),
        "ones": ones,
        "more axes": (2, *shape),
        "more axes, of one": (2, *ones),
        "one more axis": (1, *shape),
        "a named axis": ("n", *shape),
        "a named axis over ones": ("n", *ones),
    }


def program_of(case):
    """Return a program with the case's node between operands that broadcast."""
    program = Program()
    row_shape = case.shape[1:]
    for name, shape in shapes_behind(case.make(program.input(*case.shape)).shape).items():
        result, operand = case.make(program.input(*case.shape)), program.input(*shape)
        program.add(f"behind, {name}", next(OPS)(result, operand))
    smaller = [(1, *row_shape), *([row_shape] if case.without_axis else [])]
    ways = {
        "beside": next(OPS),
        "plus": sg.add,
        "behind": lambda a, b: b + a,
    }
    for shape in smaller:
        for name, way in ways.items():
            pair = case.make(program.input(*case.shape)), case.make(program.input(*shape))
            program.add(f"{name} another of {shape}", way(*pair))
    for name, shape in shapes_behind(case.shape).items():
        if len(shape) <= len(case.shape):
            operands = program.input(*shape), program.input(*case.shape)
            program.add(f"in front, {name}", case.make(next(OPS)(*operands)))
    program.add(
        "an outer product",
        case.make(
            program.input(case.shape[0], *(1 for _ in row_shape)) * program.input(*row_shape)
        ),
    )
    return program


def check(graph, run, feeds, close=1e-9):
    expected, results = sg.evaluate(graph, feeds), run(feeds)
    for name, array in expected.items():
        close = 2e-3 if array.dtype == np.float16 else close
        np.testing.assert_allclose(results[name], array, rtol=close, atol=close, err_msg=name)


@pytest.fixture(autouse=True)
def lower_limits(monkeypatch):
    monkeypatch.setattr(indexing, "_LEAST_CUT", 16)  # of the op, which the evaluator follows
    with sg.options(limits=LIMITS):
        yield


@pytest.mark.thinned(5, budgeted=True)  # 5 s together
@pytest.mark.parametrize("name", sorted(CASES.keys() - TILED))
def test_a_late_pass_keeps_values_where_operands_broadcast(name):
    program = program_of(CASES[name])
    graph = program.graph()
    changed = set()

    def rewrite(graph, passes="late"):
        rewritten, reports = pipeline(passes).run(graph)
        changed.update(report.name for report in reports if report.changed)
        return map_bodies(rewritten, rewrite)

    rewritten = rewrite(graph, CASES[name].passes)
    assert name.split(" ")[0] in changed
    feeds = {value.name: program.feeds[value.name] for value in graph.inputs}
    check(graph, lambda feeds: sg.evaluate(rewritten, feeds), feeds)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in TILED else pytest.mark.exhaustive) for name in CASES],
)
def test_a_compiled_program_keeps_values_where_operands_broadcast(name):
    program = program_of(CASES[name])
    graph = program.graph()
    feeds = {value.name: program.feeds[value.name] for value in graph.inputs}
    # Sums of products in another order: a carry may be rounded to the next bfloat16 number.
    check(graph, sg.compile(graph).run, feeds, 4e-3 if name == "paired-factors" else 1e-9)


def test_each_late_pass_has_a_case_or_a_reason():
    assert {name.split(" ")[0] for name in CASES} | OTHERS.keys() == LATE.keys()
