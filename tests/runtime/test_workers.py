"""Several workers that claim groups in any order give the bytes of one, in the bytes that are
planned."""

import itertools
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
import staticgrad.language.ir.kernels.kernel
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.runtime import cuts as module
from staticgrad.compiler.runtime.cuts import staged_products
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ir.kernels.chain_parts import PART, ChainPart
from staticgrad.language.ir.kernels.stages import Gemm
from staticgrad.language.ir.schedule_text import parse_plan
from staticgrad.language.types.dim import evaluate
from tests.helpers.diagonals import diagonals
from tests.helpers.random_programs import random_graph
from tests.native.support import ENTRY
from tests.runtime.several_workers import ChainedClaims, check_equal_bytes, with_workers


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of few iterations, so that small programs have many."""
    monkeypatch.setattr(staticgrad.language.ir.kernels.kernel, "GRAIN_ELEMENTS", 16)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_have_equal_bytes(seed, small_groups):
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=25)
    check_equal_bytes(sg.compile(graph), feeds, 2 + seed % 3, seed)


def test_the_smallest_failing_position_of_all_workers_is_raised(small_groups):
    table, rows = sg.input("table", (40, 40)), sg.input("rows", (300,), "int64")
    f = sg.compile({"y": sg.take(table, rows, 0), "z": sg.take(table, rows[:40] + 1, 1)})
    places = np.arange(300) % 39
    places[[77, 200, 290]] = 99, 98, 97
    feeds = {"table": np.ones((40, 40), "f4"), "rows": places}
    with pytest.raises(IndexOutOfRange) as alone:
        f.run(feeds)
    for seed in range(8):
        executor = with_workers(f, 3, seed)
        with pytest.raises(IndexOutOfRange) as together:
            executor.run(feeds)
        assert together.value.args == alone.value.args
        assert "99" in str(together.value)
        assert executor.run({**feeds, "rows": np.arange(300) % 39})["y"].shape == (300, 40)


@pytest.mark.parametrize("workers", range(1, 17))
def test_the_peak_counts_scratch_times_workers(workers):
    """300 keys of 32 bits need 300 words twice; two lookups note in two pairs of words each."""
    x, rows = sg.input("x", (7, 300)), sg.input("rows", (7,), "int64")
    f = sg.compile({"y": sg.take(sg.sort(x, axis=1), rows, 0)})
    plan = Planner(f.schedule, workers=workers).plan({})
    verify_plan(plan)
    assert parse_plan(str(plan)) == plan
    scratch = -(-2 * 300 * 8 // 64) * 64
    words = -(-workers * 16 // 64) * 64
    retained_bytes = -(-7 * 300 * 4 // 64) * 64
    assert plan.peak_bytes == words + retained_bytes + workers * scratch
    feeds = {"x": np.random.default_rng(0).normal(size=(7, 300)).astype("f4"), "rows": np.arange(7)}
    check_equal_bytes(f, feeds, workers, workers)


# -- waves -----------------------------------------------------------------------------------------


DTYPES = ["float32", "float64"]


#: Weights of three layers: columns that fill panels, that do not, and a factor of few columns.
SIZES = (90, 300, 257, 5)


@pytest.fixture(autouse=True, scope="module")
def short_waves():
    """Products that take no time are waves, too, of as many blocks as they have iterations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_STAGED", 0.0)
        patch.setattr(module, "BLOCK_SECONDS", 1e-12)
        patch.setattr(module, "FEWEST_TERMS", 8)
        yield


def sgd(parameters, gradients):
    return {p: p - 0.1 * g for p, g in zip(parameters, gradients, strict=True)}


def adam(parameters, gradients):
    return sg.optim.Adam(0.1).apply(dict(zip(parameters, gradients, strict=True)))


def network(rows, dtype, step=sgd, tied=False):
    """A training step of dense layers; ``tied``: two of them have the same weights."""
    random = np.random.default_rng(0)
    sizes = (SIZES[1],) * 3 if tied else SIZES
    h = x = sg.input("x", (rows, sizes[0]), dtype)
    weights = []
    for number, shape in enumerate(pairwise(sizes)):
        if not (tied and weights):
            weights.append(sg.parameter(f"w{number}", random.normal(0, 0.1, shape).astype(dtype)))
        h = sg.nn.relu(h @ weights[-1] + 0.1)
    loss = (h**2).mean() + (x * 0.1).sum()
    return sg.Graph({"loss": loss, "h": h}, step(weights, sg.grad(loss, weights)))


def draw_feeds(graph, rows):
    (x,) = graph.inputs
    shape = (rows, x.shape[1])
    return {"x": np.random.default_rng(rows).normal(size=shape).astype(x.dtype.numpy)}


def run(graph, rows, workers):
    """Count the parts of products that workers run; the bytes are those of one worker."""
    f = sg.compile(graph, threads=1)
    tables = [
        check_equal_bytes(f, draw_feeds(graph, rows), workers, seed, ChainedClaims)
        for seed in range(3)
    ]
    (parts,) = {sum(row.total == PART for row in table.rows) for table in tables}
    return parts


@pytest.mark.thinned
@diagonals(
    2,
    ("dtype", DTYPES),
    ("rows", [1, 2, 3, 8]),
    ("workers", [2, 3, 4]),
    ("step", [sgd, adam]),
    ("named", [False, True]),
)
def test_few_rows_are_waves_of_equal_bytes(named, step, workers, rows, dtype):
    """A single row that is known when a program is compiled is not a product of matrices there."""
    graph = network("batch" if named or rows == 1 else rows, dtype, step)
    assert run(graph, rows, workers) >= 2 * workers


def products(plan):
    """The parts of each product that has stages, in their order."""
    return {
        position: [*filter(None, itertools.chain(*stages))]
        for position, stages in staged_products(plan)[0].items()
    }


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([("float32", "vector"), ("float64", "vector"), ("float32", "numba")]),
    st.integers(1, 8),
    st.lists(st.integers(1, 150), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_a_chain_in_parts_has_the_bytes_of_one(product_options, rows, lengths, middle):
    """Any cut of the inner indices and of the iterations, one part behind the other."""
    terms, columns, dtype = sum(lengths), 300, product_options[0]
    kernel, code = _product(*product_options)
    rng = np.random.default_rng(terms)
    a = rng.normal(size=(rows, terms)).astype(dtype)
    b = rng.normal(size=(terms, columns)).astype(dtype)
    expected, parts = np.zeros((2, rows, columns), dtype)
    words = dict(zip(kernel.arguments, (terms, rows, columns), strict=True))
    total = evaluate(kernel.iterations([*words.values()]), {})
    assert total > 1

    def call(to, *more):
        tail = [0] * (product_options[1] == "numba")  # where it would note that it has no memory
        record = np.array([*(p.ctypes.data for p in (a, b, to)), *words.values(), *tail, *more])
        ENTRY(code.address)(record.ctypes.data, 0, 0, PART if more else total)

    call(expected)
    middle = min(middle, total)
    first = 0
    for length in lengths:
        for begin, end in ((middle, total), (0, middle)):
            call(parts, *ChainPart(first, first + length, begin, end))
        first += length
    assert parts.tobytes() == expected.tobytes()


@cache
def _product(dtype, backend):
    """The kernel of a product of matrices, and its code."""
    a, b = sg.input("a", ("m", "k"), dtype), sg.input("b", ("k", "n"), dtype)
    f = sg.compile(sg.Graph({"y": a @ b}), threads=1, backend=backend)
    ((kernel, code),) = f._executor.program.kernels.items()
    assert [argument_of(kernel, name) for name in "kmn"] == [*kernel.arguments]
    return kernel, code


def argument_of(kernel, loop):
    """The argument that is the extent of a product's loop, m for its rows, n for its columns."""
    (stage,) = kernel.stages
    assert isinstance(stage, Gemm)
    return {"k": stage.k, "m": stage.i, "n": stage.j}[loop][0].extent
