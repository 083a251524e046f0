"""Dtypes for storage: values are computed in the compute dtype, and each is rounded once.

Kernels agree with the oracle and with each other, however they are read and fused; sums, products,
scans and scatters accumulate in the compute dtype; what is stored takes the bytes of the dtype.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.eager import Tensor
from staticgrad.errors import FeedError
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import ALL_DTYPES
from tests.compiled.agreement import assert_same
from tests.compiled.test_programs import with_derivatives
from tests.helpers.diagonals import diagonals
from tests.helpers.random_programs import random_graph
from tests.laws.optimizers import SAMPLES

STORAGE = [dtype for dtype in ALL_DTYPES if dtype.is_storage]
every_storage = pytest.mark.parametrize("dtype", STORAGE, ids=str)


def drawn(rng, shape, dtype):
    return convert_array(rng.normal(size=shape), dtype)


def wide(array):
    return array.astype(np.float64)


def readings(graph, feeds, backends):
    """The results by readers of kernels, fused and not."""
    results = {"unfused": sg.compile(graph, fuse=False).run(feeds)}
    for backend in backends:
        with sg.options(backend=backend):
            results[backend] = sg.compile(graph).run(feeds)
    with sg.options(jit=False):
        results["python"] = sg.compile(graph).run(feeds)
    return results


def chains(dtype):
    """Values in each other's neighbourhood, of every form: elements, rows, columns, products."""
    x, y = sg.input("x", ("n", 40), dtype), sg.input("y", (40, 6), dtype)
    i = sg.input("i", (7,), "int64")
    hidden = sg.tanh(x * 3.0 + 1.0)
    product = hidden @ y
    return {
        "chain": sg.exp(-hidden) * x - hidden / 7.0,
        "rows": sg.nn.softmax(x * hidden, 1),
        "columns": (hidden * hidden).sum(0),
        "all": (x - sg.mean(x)).sum(),
        "epilogue": sg.nn.gelu(product + 0.5),
        "vector": product @ y[0],
        "transposed": (x.T @ hidden)[:3, :5],
        "largest": hidden.max(1),
        "sorted": sg.sort(x, 1)[:, ::7],
        "places": sg.argsort(x, 1),
        "found": sg.searchsorted(sg.sort(y[:, 0]), x[:, 1]),
        "taken": sg.take(x, i, 1),
        "running": sg.cumsum(x, 1),
        "chosen": sg.where(x > 0.0, hidden, x),
        "joined": sg.concatenate([x, hidden * 2.0], 1),
        "slope": sg.grad((sg.take(sg.sin(hidden), i, 1) ** 2).sum(), x),
    }


CHAINS = [*chains(ALL_DTYPES[-1])]


def read_chains():
    """Dtypes and chains, by some readers and by all; daily each chain in one dtype, by some."""
    for place, name in enumerate(CHAINS):
        for turn, dtype in enumerate(STORAGE):
            is_daily = (place // 2 + turn) % len(STORAGE) == 0
            exhaustive = [pytest.mark.exhaustive]
            yield pytest.param(
                dtype, name, False, id=f"{dtype}-{name}-some", marks=exhaustive * (not is_daily)
            )
            yield pytest.param(dtype, name, True, id=f"{dtype}-{name}-all", marks=exhaustive)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "name", "all_backends"), [*read_chains()])
def test_no_reader_and_no_fusion_changes_a_byte(dtype, name, all_backends):
    """Numba takes half a second for a kernel, and seconds for a product: it reads every second one
    of the other chains, in dtypes in turn."""
    turn = CHAINS.index(name) % (2 * len(STORAGE)) == 2 * STORAGE.index(dtype)
    turn &= name not in ("epilogue", "vector", "transposed")
    backends = ("vector", "numba") if all_backends or turn else ("vector",)
    rng = np.random.default_rng(5)
    graph = sg.Graph({name: chains(dtype)[name]})
    arrays = {
        "x": drawn(rng, (33, 40), dtype),
        "y": drawn(rng, (40, 6), dtype),
        "i": np.array([3, 0, 3, 3, 39, 1, 0]),
    }
    feeds = {label: arrays[label] for label in (v.node.op.label for v in graph.inputs)}
    actual = readings(graph, feeds, backends)
    for reader, results in actual.items():
        assert_same(results, actual["vector"], f"{reader} {name}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_programs_of_mixed_dtypes_fused_and_not(seed):
    """With their derivatives: the same bytes from one kernel per node, without any pass."""
    dtypes = (*(dtype.name for dtype in STORAGE), "float32")
    rng = np.random.default_rng(seed)
    graph, feeds = random_graph(rng, max_ops=10, dtypes=dtypes, parameters=False)
    graph = with_derivatives(graph)
    try:
        sg.evaluate(graph, feeds)
    except FeedError:
        return
    plain = sg.compile(graph, fuse=False, pipeline="O0").run(feeds)
    assert_same(sg.compile(graph).run(feeds), plain, seed)


@every_storage
def test_every_value_is_rounded_once_stored_or_not(dtype):
    """By hand: x + y, then times x, each rounded to the dtype, in one kernel."""
    rng = np.random.default_rng(0)
    x, y = (drawn(rng, (1000,), dtype) for _ in range(2))
    a, b = sg.input("a", ("n",), dtype), sg.input("b", ("n",), dtype)
    f = sg.compile(sg.Graph({"z": (a + b) * a}))
    assert len(f.kernels) == 1
    added = convert_array(wide(x) + wide(y), dtype)
    expected = convert_array(wide(added) * wide(x), dtype)  # exact in float64: rounded once
    assert same_bytes(f.run({"a": x, "b": y})["z"], expected)
    skipped = convert_array((wide(x) + wide(y)) * wide(x), dtype)
    assert not same_bytes(expected, skipped), "the numbers do not show a rounding that is left out"


@every_storage
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_sums_accumulate_in_the_compute_dtype(dtype, axes):
    """Ones beyond what the dtype counts to: they add up as in the compute dtype, to the bit."""
    shape = (3000, 70)
    x = sg.input("x", ("n", 70), dtype)
    ones = convert_array(np.full(shape, 0.0625), dtype)
    actual = sg.compile(sg.sum(x, axes)).run({"x": ones})
    expected = convert_array(np.full(shape, 0.0625).sum(axes), dtype)
    assert actual.dtype == dtype.numpy
    assert same_bytes(actual, expected)
    assert same_bytes(sg.evaluate(sg.sum(x, axes), {"x": ones}), expected)


@every_storage
def test_running_and_scattered_sums_accumulate_in_the_compute_dtype(dtype):
    x, i = sg.input("x", ("n",), dtype), sg.input("i", ("n",), "int64")
    y = sg.take(sg.input("t", (3,), dtype), i)
    graph = sg.Graph({
        "running": sg.cumsum(x),
        "slope": sg.grad((y * x).sum(), y.node.args[0]),
    })  # fmt: skip
    count = 5000
    feeds = {"x": convert_array(np.full(count, 1.0), dtype), "i": np.zeros(count, np.int64)}
    actual = sg.compile(graph).run(feeds)
    expected = convert_array(np.arange(1.0, count + 1), dtype)
    assert same_bytes(actual["running"], expected)
    assert same_bytes(actual["slope"], convert_array(np.array([float(count), 0.0, 0.0]), dtype))


LAID_OUT = {"as it is": lambda v: v, "transposed": lambda v: v.T, "strided": lambda v: v[::2, ::2]}


@pytest.mark.thinned(6)
@every_storage
@diagonals(2, ("rows", [1, 9, 100]), ("right", LAID_OUT), ("left", LAID_OUT))
def test_products_accumulate_in_the_compute_dtype(dtype, left, right, rows):
    """With integers that float32 adds exactly, the result is the true product, rounded once."""
    rng = np.random.default_rng(rows)
    inner, columns = 300, 37
    shapes = {
        "as it is": ((rows, inner), (inner, columns)),
        "transposed": ((inner, rows), (columns, inner)),
        "strided": ((2 * rows, 2 * inner), (2 * inner, 2 * columns)),
    }
    a = rng.integers(-15, 16, shapes[left][0]).astype(np.float64)
    b = rng.integers(-15, 16, shapes[right][1]).astype(np.float64)
    x, y = sg.input("x", a.shape, dtype), sg.input("y", b.shape, dtype)
    feeds = {"x": convert_array(a, dtype), "y": convert_array(b, dtype)}
    actual = sg.compile(LAID_OUT[left](x) @ LAID_OUT[right](y)).run(feeds)
    product = LAID_OUT[left](a) @ LAID_OUT[right](b)
    assert same_bytes(actual, convert_array(np.asarray(product), dtype))


@pytest.mark.thinned(2)
@every_storage
def test_gradients_are_near_those_of_float64(dtype):
    rng = np.random.default_rng(3)
    x, w = sg.input("x", ("n", 12), dtype), sg.input("w", (12, 5), dtype)
    loss = sg.mean(sg.nn.log_softmax(sg.tanh(x @ w), 1) ** 2)
    graph = sg.Graph({"loss": loss, "dx": sg.grad(loss, x), "dw": sg.grad(loss, w)})
    feeds = {"x": drawn(rng, (20, 12), dtype), "w": drawn(rng, (12, 5), dtype)}
    results, true = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds, dtype="float64")
    for name, array in results.items():
        assert array.dtype == dtype.numpy
        error = np.max(np.abs(wide(array) - true[name]))
        assert error <= 16 * 2.0**-dtype.digits * np.max(np.abs(true[name])), name


@pytest.mark.thinned(10)
@diagonals(
    2,
    ("dtype", STORAGE),
    (
        "optimizer,options",
        [(cls, sample) for cls, samples in SAMPLES.items() for sample in samples],
    ),
)
def test_every_optimizer_trains_and_keeps_the_dtype(dtype, optimizer, options):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(8, 1))
    rows = rng.normal(size=(64, 8))
    feeds = {"x": convert_array(rows, dtype), "y": convert_array(rows @ truth, dtype)}
    x, y = sg.input("x", ("n", 8), dtype), sg.input("y", ("n", 1), dtype)
    w = sg.parameter("w", convert_array(np.zeros((8, 1)), dtype))
    loss = sg.mean((x @ w - y) ** 2)
    updates = optimizer(**options).updates(loss, [w])
    f = sg.compile(sg.Graph({"loss": loss}, updates=updates))
    for _ in range(40):
        f.run(feeds)
    assert w.value.dtype == dtype.numpy
    left = wide(feeds["y"]) - wide(feeds["x"]) @ wide(w.value)  # eight bits show no small step
    assert np.mean(left**2) < np.mean(wide(feeds["y"]) ** 2)
    state = {p.dtype for p in updates if p is not w and p.ndim and p.dtype.is_float}
    assert state <= {dtype.compute}, "moments have the dtype of the step"


@every_storage
def test_feeds_are_converted_within_their_kind(dtype):
    x = sg.input("x", (3,), dtype)
    f = sg.compile(x * 2.0)
    array_fed = np.array([1.0, 70000.0, 1e-9])
    expected = convert_array(wide(convert_array(array_fed, dtype)) * 2.0, dtype)
    for array in (array_fed, array_fed.astype("f4"), convert_array(array_fed, dtype)):
        assert same_bytes(f.run({"x": array}), expected)
    assert same_bytes(f.run({"x": np.array([1, 2, 3])}), convert_array(np.array([2, 4, 6]), dtype))
    with pytest.raises(FeedError):
        sg.compile(sg.input("i", (3,), "int32") + 1).run({"i": convert_array(array_fed, dtype)})
    up = sg.compile(sg.input("x", (3,), "float64") + 0.0)
    assert same_bytes(
        up.run({"x": convert_array(array_fed, dtype)}), wide(convert_array(array_fed, dtype))
    )


@every_storage
def test_numbers_beyond_the_dtype_are_infinite(dtype):
    x = sg.input("x", (2,), dtype)
    ones = convert_array(np.ones(2), dtype)
    beyond = dtype.largest * 2
    actual = sg.compile(sg.Graph({"up": x * beyond, "down": x - beyond})).run({"x": ones})
    assert wide(actual["up"]).tolist() == [np.inf, np.inf]
    assert wide(actual["down"]).tolist() == [-np.inf, -np.inf]


@pytest.mark.thinned(2)
@every_storage
def test_tensors_round_as_graphs_do(dtype):
    """Define-by-run: exact operations to the byte, gradients in the dtype."""
    rng = np.random.default_rng(4)
    array, addend = drawn(rng, (30, 8), dtype), drawn(rng, (30, 8), dtype)
    x = Tensor(array, requires_grad=True, dtype=dtype)
    y = Tensor(addend, dtype=dtype)
    a, b = sg.input("a", (30, 8), dtype), sg.input("b", (30, 8), dtype)

    def program(p, q):
        return ((p + q) * p / (q * q + 1.0) - sg.sqrt(sg.abs(p))) * 3.0

    out = program(x, y)
    graph = sg.Graph({"out": program(a, b), "slope": sg.grad(program(a, b).sum(), a)})
    expected = sg.compile(graph).run({"a": array, "b": addend})
    assert same_bytes(out.numpy(), expected["out"])
    out.sum().backward()
    assert x.grad is not None
    assert same_bytes(x.grad, expected["slope"])
