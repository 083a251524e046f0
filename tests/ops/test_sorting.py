"""sort, argsort, topk, searchsorted: against NumPy, in every mode, with their derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.cse import CommonSubexpressions
from passes.fold import Fold
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DisconnectedError,
    DTypeError,
    GradientError,
    RankError,
    ShapeError,
    SizeGuardError,
)
from staticgrad.language.ir.kernels.stages import Sort as SortStage
from staticgrad.language.types.dtype import ALL_DTYPES, I64
from staticgrad.testing import check_gradients
from tests.compiled.agreement import assert_same
from tests.helpers.limits import NUMPY_DTYPES
from tests.laws.array_samples import draw_mixed
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

WHOLE = ("float32", "int64")  # of both widths: a kernel that sorts takes 50 to 100 ms to compile
PROGRAMS = {}


def program(dtype):
    """Sorts of a matrix of named sizes along both axes, and its largest elements; compiled once.

    Of most dtypes only one sort: kernels of equal width differ in how they make words of elements.
    """
    x = sg.input("x", ("m", "n"), dtype)
    if dtype not in PROGRAMS and dtype not in WHOLE:
        PROGRAMS[dtype] = sg.compile({"sort1": sg.sort(x, 1), "argsort1": sg.argsort(x, 1)})
    if dtype not in PROGRAMS:
        outputs = {f"sort{axis}": sg.sort(x, axis) for axis in (0, 1)}
        outputs |= {f"argsort{axis}": sg.argsort(x, axis) for axis in (0, 1)}
        outputs["down"] = sg.argsort(x, descending=True)
        outputs["flat"] = sg.argsort(x, None)
        padded = sg.concatenate([x, sg.zeros((x.shape[0], 2), dtype)], 1)
        for largest in (True, False):
            values, places = sg.topk(padded, 2, largest=largest)
            outputs |= {f"values{largest}": values, f"places{largest}": places}
        PROGRAMS[dtype] = sg.compile(outputs)
    return PROGRAMS[dtype]


def as_numpy(x):
    """Return the results of ``program`` by NumPy."""
    outputs = {}
    for axis in (0, 1):
        outputs[f"argsort{axis}"] = np.argsort(x, axis, kind="stable")
        outputs[f"sort{axis}"] = np.take_along_axis(x, outputs[f"argsort{axis}"], axis)
    outputs["down"] = falling_nan_last(x)
    outputs["flat"] = np.argsort(x, None, kind="stable")
    padded = np.concatenate([x, np.zeros((len(x), 2), x.dtype)], 1)
    for largest in (True, False):
        order = falling(padded) if largest else np.argsort(padded, 1, kind="stable")
        outputs[f"places{largest}"] = order[:, :2]
        outputs[f"values{largest}"] = np.take_along_axis(padded, order[:, :2], 1)
    return outputs


def falling(x):
    """A stable descending argsort of rows."""
    return x.shape[1] - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]


def falling_nan_last(x):
    """The same with NaN at the end, as NumPy 2.5 sorts with ``descending=True``."""
    order = falling(x)
    nan = np.take_along_axis(x != x, order, 1)
    return (
        np.array([[*row[~at], *row[at]] for row, at in zip(order, nan, strict=True)])
        .reshape(order.shape)
        .astype(np.int64)
    )


def test_descending_has_nan_last_and_equal_elements_in_their_order():
    x = np.array([[np.nan, -0.0, 2.0, np.inf, 0.0, np.nan, 2.0, -np.inf]])
    expected = [[3, 2, 6, 1, 4, 7, 0, 5]]
    for dtype in ("float16", "float32", "float64"):
        value = sg.input("x", (1, 8), dtype)
        program = {"places": sg.argsort(value, descending=True)}
        feeds = {"x": x.astype(dtype)}
        for results in (sg.compile(program).run(feeds), sg.evaluate(program, feeds)):
            np.testing.assert_array_equal(results["places"], expected)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.5.0", reason="new in NumPy 2.5")
def test_descending_is_that_of_numpy():
    x = np.random.default_rng(3).choice([np.nan, 0.0, -0.0, 1.5, -2.0, np.inf, -np.inf], (20, 30))
    for axis in (0, 1, None):
        np.testing.assert_array_equal(
            sg.sort(x, axis, descending=True), np.sort(x, axis, descending=True)
        )
        np.testing.assert_array_equal(
            sg.argsort(x, axis, descending=True, stable=True),
            np.argsort(x, axis, descending=True, stable=True),
        )


@pytest.mark.slow
@settings(deadline=None)
@given(
    dtype=st.sampled_from(["float32", "float64", "int64", "uint64", "uint32", "int8", "bool"]),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 40) | st.sampled_from([64, 129, 300])),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["mixed", "random", "ascending", "descending", "two runs"]),
)
def test_compiled_rows_as_numpy(dtype, shape, seed, kind):
    rng = np.random.default_rng(seed)
    x = draw_mixed(rng, shape, next(d for d in ALL_DTYPES if d.numpy == dtype))
    if kind != "mixed":
        numbers = rng.normal(size=shape) * 50
        numbers = {
            "random": numbers,
            "ascending": np.sort(numbers),
            "descending": -np.sort(-numbers),
            "two runs": np.sort(numbers[:, ::-1] if shape[1] < 2 else numbers, axis=1)[:, ::-1],
        }[kind]
        if dtype.startswith("uint"):
            numbers = np.abs(numbers)
        x = numbers.astype(dtype)
    actual = program(dtype).run({"x": x})
    expected = as_numpy(x)
    assert_same(actual, {name: expected[name] for name in actual}, kind)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda x: sg.sort(x, 2), AxisError, ["no axis 2"]),
        (lambda x: sg.sort(x[0, 0]), AxisError, ["a 0-d value has none"]),
        (lambda x: sg.sort(x, kind="bubble"), ArgumentError, ["'bubble'", "'mergesort'"]),
        (lambda x: sg.sort(x, kind="stable", stable=True), ArgumentError, ["one of them"]),
        (lambda x: sg.argsort(x, order="f"), ArgumentError, ["no fields"]),
        (lambda x: sg.topk(x, 4), ShapeError, ["k is 4", "axis 1", "size 3"]),
        (lambda x: sg.topk(x, -1), ShapeError, ["-1"]),
        (lambda x: sg.topk(x, 1.5), ArgumentError, ["1.5"]),
        (lambda x: sg.topk(x, x), ArgumentError, ["is not an integer"]),
        (lambda x: sg.searchsorted(x, x), RankError, ["is not a vector"]),
        (lambda x: sg.searchsorted(x[0], x, "middle"), ArgumentError, ["'middle'"]),
        (lambda x: sg.sort(np.zeros(3, complex)), DTypeError, ["complex"]),
    ],
)
def test_what_is_refused(make, kind, words):
    x = sg.input("x", (2, 3), "float32")
    with assert_refused(kind, *words):
        make(x)


def test_k_may_be_a_size():
    with assert_refused(ShapeError, "too long"):
        sg.sort(sg.input("x", (2**32,), "float32"))
    x = sg.input("x", ("n",), "float32")
    f = sg.compile(sg.topk(x, 3)[0])
    np.testing.assert_array_equal(f.run({"x": np.float32([1, 4, 2, 3])}), [4, 3, 2])
    with pytest.raises(SizeGuardError, match="k is 3, axis 0"):
        f.run({"x": np.float32([1, 2])})
    x = sg.input("x", ("n",), "float64")
    half = sg.dim("n") // 2
    values, places = sg.topk(x, half)
    assert values.shape == (half,)
    f = sg.compile({"values": values, "places": places})
    for n in (0, 1, 2, 9, 400):
        array = np.random.default_rng(n).normal(size=n)
        order = np.argsort(-array, kind="stable")[: n // 2]
        assert_same(f.run({"x": array}), {"values": array[order], "places": order})


def test_equal_sorts_merge_and_constant_ones_fold():
    x = sg.input("x", (4,), "float32")
    graph = sg.Graph({"values": sg.sort(x), "places": sg.argsort(x)})
    assert len(graph.nodes) == 3
    merged = CommonSubexpressions()(graph)
    assert len(merged.nodes) == 2
    assert merged["values"].node is merged["places"].node
    row = sg.constant(np.array([2.0, 1.0, 3.0]))
    folded = Fold()(sg.Graph(dict(zip(("values", "places"), sg.topk(row, 2), strict=True))))
    assert [node.op.name for node in folded.nodes][-2:] == ["constant", "constant"]
    np.testing.assert_array_equal(sg.evaluate(folded)["places"], [2, 0])


def stages_of(program):
    kernels = sg.compile(program).schedule.kernels
    return [stage for k in kernels for stage in k.stages if isinstance(stage, SortStage)]


def test_a_kernel_writes_only_the_results_that_are_read():
    x = sg.input("x", (3, "n"), "float32")
    for expected, count in (
        ({"values": sg.sort(x)}, 1),
        ({"places": sg.argsort(x)}, 1),
        (dict(zip("vp", sg.topk(x, 1), strict=True)), 2),
        ({"total": sg.sort(x)[:, 1:].sum()}, 1),
    ):
        (stage,) = stages_of(expected)
        assert len(stage.stores) == count
    buffers = sg.compile(sg.sort(x)).schedule.buffers
    assert not any(b.dtype == I64 and b.role == "temp" for b in buffers)


def test_cotangents_go_where_the_values_came_from():
    x = sg.input("x", (4,), "float64")
    feeds = {"x": np.array([3.0, 1.0, 2.0, 1.0])}
    values, places = sg.topk(x, 3)
    (actual,) = sg.vjp([values, sg.sort(x)], [x], [[1.0, 10.0, 100.0], np.zeros(4)])
    np.testing.assert_array_equal(run(actual, feeds), [1, 100, 10, 0])
    tangent = sg.jvp(values, x, np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(run(tangent, feeds), [1, 3, 2])
    with pytest.raises(GradientError, match="only floating values"):
        sg.grad(places, x, seed=np.ones(3, int))
    with pytest.raises(DisconnectedError):
        sg.grad(places.astype("float64").sum(), x)
    x = sg.input("x", (3,), "int32")
    with pytest.raises(GradientError):
        sg.grad(sg.sort(x).astype("float64").sum(), x)


def test_derivatives_of_higher_order():
    rng = np.random.default_rng(2)
    x = rng.permutation(12).reshape(3, 4) * 0.3

    def curve(x):
        weights = np.arange(1.0, 5.0)
        values, _ = sg.topk(sg.tanh(x), 2, axis=0)
        return (sg.sort(x * x) * weights).sum() + (values**3).sum()

    check_gradients(curve, [x], order=3)


def test_a_gradient_of_a_sort_compiled():
    x = sg.input("x", ("m", "n"), "float32")
    weights = sg.iota(x.shape, dtype="float32")
    total = (sg.sort(x) * weights).sum() + (sg.sort(x, 0) ** 2).sum()
    graph = sg.Graph({"total": total, "slope": sg.grad(total, x)})
    f = sg.compile(graph)
    for shape in ((1, 1), (3, 40), (0, 4), (20, 2)):
        array = np.random.default_rng(3).normal(size=shape).astype("float32")
        actual = f.run({"x": array})
        place = np.argsort(np.argsort(array, kind="stable"), kind="stable")
        np.testing.assert_allclose(actual["slope"], place + 2 * array, rtol=1e-5, atol=1e-5)


@given(
    size=st.integers(0, 20),
    shape=st.lists(st.integers(0, 4), max_size=2).map(tuple),
    dtype=st.sampled_from([d.numpy for d in NUMPY_DTYPES]),
    side=st.sampled_from(["left", "right"]),
)
def test_searchsorted_as_numpy(size, shape, dtype, side):
    rng = np.random.default_rng(size)
    kind = next(d for d in ALL_DTYPES if d.numpy == dtype)
    a, v = draw_mixed(rng, (size,), kind), draw_mixed(rng, shape, kind)
    order = np.argsort(a, kind="stable")
    expected = np.searchsorted(a[order], v, side)
    np.testing.assert_array_equal(run(sg.searchsorted(a[order], v, side)), expected)
    np.testing.assert_array_equal(run(sg.searchsorted(a, v, side, sorter=order)), expected)


def test_a_search_joins_what_reads_it():
    a, v = sg.input("a", ("n",), "float64"), sg.input("v", (2, "m"), "float64")
    between = sg.searchsorted(a[::-1], v, "right") - sg.searchsorted(a[::-1], v)
    f = sg.compile((between * 2).sum(1))
    assert len(f.schedule.steps) <= 2
    row = np.repeat([3.0, 2.0, 1.0], [1, 4, 2])
    expected = np.array([[2.0, 2.5, 1.0], [3.0, -1.0, np.nan]])
    np.testing.assert_array_equal(f.run({"a": row, "v": expected}), [12, 2])


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 0), 0), ((3, 0), 1), ((2, 3, 0), 1), ((3, 0, 2), 0)]
)
def test_arrays_without_elements_are_sorted_in_kernels_too(shape, axis):
    x = sg.input("x", shape)
    actual = sg.compile({"s": sg.sort(x, axis), "p": sg.argsort(x, axis)}).run(
        {"x": np.zeros(shape)}
    )
    assert actual["s"].shape == actual["p"].shape == shape
