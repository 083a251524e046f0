"""Indices that are views, broadcast or transposed: what is taken, and where its gradient lands."""

from itertools import product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from tests.compiled.agreement import assert_same
from tests.diagonals import diagonals


def spread(x, over, shape):
    """The first elements of x along each axis where ``over``, broadcast back to ``shape``."""
    kept = x[tuple(slice(0, 1) if flag else slice(None) for flag in over)]
    return sg.broadcast_to(kept, shape)


@pytest.mark.thinned(2)
@diagonals(2, ("axis", [0, 1]), ("debug", [False, True]))
def test_along_an_axis(axis, debug):
    shape, rng = (5, 37), np.random.default_rng(axis)
    x, at = sg.input("x", shape, "float64"), sg.input("at", shape, "int64")
    ways = {
        f"{over} {flip}": spread(at, over, shape)[::-1, ::-1] if flip else spread(at, over, shape)
        for over, flip in product(product((False, True), repeat=2), (False, True))
    }
    outputs = {}
    for name, places in ways.items():
        taken = sg.take_along_axis(x, places, axis)
        outputs[name] = taken
        outputs[f"{name} back"] = sg.grad((taken * x).sum(), x)
    graph = sg.Graph(outputs)
    feeds = {
        "x": rng.integers(-9, 9, shape).astype("float64"),  # whole numbers add up exactly
        "at": rng.integers(-shape[axis], shape[axis], shape),
    }
    found = sg.compile(graph, debug=debug).run(feeds)
    assert_same(found, sg.evaluate(graph, feeds))


@pytest.mark.thinned(3)
@diagonals(2, ("axis", [0, 1, 2]), ("debug", [False, True]))
def test_of_whole_slices(axis, debug):
    shape, rng = (4, 6, 5), np.random.default_rng(axis)
    x, at = sg.input("x", shape, "float64"), sg.input("at", (3, 20), "int32")
    outputs = {}
    for name, places in {
        "plain": at,
        "transposed": at.T,
        "rows alike": sg.broadcast_to(at[:1], (3, 20)),
        "columns alike": sg.broadcast_to(at[:, :1], (3, 20)),
        "one": sg.broadcast_to(at[1, 1], (20,)),
    }.items():
        taken = sg.take(x, places, axis)
        outputs[name] = taken
        outputs[f"{name} back"] = sg.grad((taken * taken).sum(), x)
    graph = sg.Graph(outputs)
    feeds = {
        "x": rng.integers(-9, 9, shape).astype("float64"),
        "at": rng.integers(-shape[axis], shape[axis], (3, 20)).astype("int32"),
    }
    found = sg.compile(graph, debug=debug).run(feeds)
    assert_same(found, sg.evaluate(graph, feeds))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_every_width_are_added_in_order_to_few_places(dtype):
    rng = np.random.default_rng(0)
    x, at = sg.input("x", ("n", 2, "d"), dtype), sg.input("at", ("n",), "int64")
    step = sg.compile(sg.Graph({"sums": sg.scatter_add(x, at, 3)}))
    for width in (*range(1, 20), 33):
        rows = (rng.normal(size=(30, 2, width)) * 10.0 ** rng.integers(-4, 5, (30, 1, 1))).astype(
            dtype
        )
        places, expected = rng.integers(-3, 3, 30), np.zeros((3, 2, width), dtype)
        for place, row in zip(places, rows, strict=True):
            expected[place] += row
        found = step.run({"x": rows, "at": places})["sums"]
        assert same_bytes(found, expected), width


@pytest.mark.parametrize("axis", [0, 1])
def test_indices_that_are_repeated_no_times_are_not_looked_at(axis):
    """Out of range, or along an axis without places: nothing is read, forwards or back."""
    x = sg.input("x", ("m", "n"), "float64")
    at = sg.input("at", ("k", 1) if axis == 0 else (1, "k"), "int64")
    shape = (at.shape[0], x.shape[1]) if axis == 0 else (x.shape[0], at.shape[1])
    taken = sg.take_along_axis(x, sg.broadcast_to(at, shape), axis)
    f = sg.compile({"taken": taken, "back": sg.grad((taken * taken).sum(), x)})

    def feeds(m, n, number):
        sizes = (m, n) if axis == 0 else (n, m)
        return {"x": np.ones(sizes), "at": np.full((2, 1) if axis == 0 else (1, 2), number)}

    for m, n, number in [(3, 0, 7), (0, 0, 0), (3, 4, 2), (3, 4, -3)]:
        given = feeds(m, n, number)
        found = f.run(given)
        assert found["taken"].shape == ((2, n) if axis == 0 else (n, 2))
        assert found["back"].shape == given["x"].shape
        assert found["back"].sum() == 4 * n
    for m, n, number in [(3, 4, 3), (0, 4, 0), (3, 1, -4)]:
        with pytest.raises(sg.errors.IndexOutOfRange):
            f.run(feeds(m, n, number))


def test_a_place_found_in_a_row_is_one_of_the_axis_around_it():
    """The look-up has the shape of the rows; its axis, of one element, is none of the row's."""
    x, y = sg.input("x", (3, 1, 2), "float64"), sg.input("y", (3, 1), "float64")
    found = sg.take_along_axis(y, sg.argmax(x, -1), axis=1)
    f = sg.compile({"found": found, "sum": x.sum(-1)})
    rows, data = np.array([[[2.0, 1.0]], [[1.0, 0.0]], [[5.0, 2.0]]]), np.array([[1.0], [2], [3]])
    np.testing.assert_array_equal(f.run({"x": rows, "y": data})["found"], data)
    with pytest.raises(sg.StaticgradError, match="SG407"):
        f.run({"x": rows[:, :, ::-1], "y": data})


@pytest.mark.thinned(2)
@pytest.mark.parametrize("length", [12, 40])
def test_what_is_picked_of_a_row_may_hold_positions(length):
    """Scores behind a length are masked by their position, and the best one is picked."""
    scores, count = sg.input("scores", ("n", length), "float64"), sg.input("count", ("n",), "int64")
    masked = sg.where(sg.arange(length) < count[:, None], scores, -9.0)
    shifted = sg.where(sg.arange(length) == count[:, None], 1.0, 0.0) * scores
    best = sg.expand_dims(sg.argmax(masked, 1), 1)
    at = sg.expand_dims(count, 1)
    outputs = {
        "best": sg.take_along_axis(masked, best, 1),
        "own": scores - sg.take_along_axis(shifted, at, 1),
        "at": sg.take_along_axis(masked * 2.0, at, 1),
    }
    rng = np.random.default_rng(length)
    given = {"scores": rng.normal(size=(23, length)), "count": rng.integers(1, length, 23)}
    each, k = np.arange(23), given["count"]
    picked = np.where(np.arange(length) < k[:, None], given["scores"], -9.0)
    wanted = {
        "best": picked.max(1, keepdims=True),
        "own": given["scores"] - given["scores"][each, k][:, None],
        "at": picked[each, k][:, None] * 2.0,
    }
    for name, value in outputs.items():  # each is one kernel alone
        assert_same(sg.compile({name: value}).run(given), {name: wanted[name]})
    assert_same(sg.compile(outputs).run(given), wanted)


GOOD = np.array([0, -1, 5, 2, -6, 3])


def lookups():
    """Each way to look up ``rows`` in ``table`` [6, 3], with the text of its line."""
    table, rows = sg.input("table", (6, 3), "float32"), sg.input("rows", ("n",), "int64")
    bias = sg.input("bias", ("n", 3), "float32")
    other = sg.parameter("other", np.ones((3, 3), np.float32))
    return {
        "alone": (sg.take(table, rows, 0), "sg.take(table, rows, 0)"),
        "of a transpose": (sg.take(table.T, rows, 1), "sg.take(table.T, rows, 1)"),
        "with a row sum": (sg.take(table, rows, 0).sum(1), "sg.take(table, rows, 0).sum(1)"),
        "with a column sum": (sg.take(table, rows, 0).max(0), "sg.take(table, rows, 0).max(0)"),
        "beside a product": (bias @ other + sg.take(table, rows, 0), "bias @ other + sg.take("),
        "as a scatter": (sg.scatter_add(bias, rows, 6, 0), "sg.scatter_add(bias, rows, 6, 0)"),
        "as a subscript": (table[rows], "table[rows]"),
        "of words": (sg.take(table[:, 0], rows), "sg.take(table[:, 0], rows)"),
    }


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", lookups())
@pytest.mark.parametrize("fuse", [True, False])
def test_the_smallest_failing_position_is_named(name, fuse):
    value, line = lookups()[name]
    w = sg.parameter("w", np.zeros(4, np.float32))
    graph = sg.Graph({"y": value}, updates={w: w + 1.0 + 0.0 * sg.sum(value)})
    f = sg.compile(graph, fuse=fuse)
    rng = np.random.default_rng(1)
    feeds = {"table": rng.integers(0, 9, (6, 3)), "bias": rng.integers(0, 9, (100, 3))}
    feeds = {k: v for k, v in feeds.items() if k in {i.node.op.label for i in graph.inputs}}
    rows = np.resize(GOOD, 100)
    for failing in ((99,), (0,), (41, 17, 63), (16, 15), tuple(range(100))):
        bad = rows.copy()
        bad[list(failing)] = np.resize([6, -7, 2**62, -(2**63)], len(failing))
        first = min(failing)
        with pytest.raises(IndexOutOfRange) as error:
            f.run({**feeds, "rows": bad})
        text = str(error.value)
        assert f"index {bad[first]} is out of range for an axis of size 6" in text
        assert f"element {first} of the indices" in text
        assert line in text
        assert "test_indices.py" in text
        feed, run = error.value.related
        assert feed[0] == "feed 'rows'"
        assert feed[2] is not None
        assert 'sg.input("rows"' in feed[2].resolve().text
        assert run[0] == "run"
        assert run[2] is not None
        assert run[2].resolve().text.strip() == 'f.run({**feeds, "rows": bad})'
        assert not w.value.any()
    good = {**feeds, "rows": rows}
    assert_same(f.run(good), sg.evaluate(graph, good))
    assert w.value.all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "int32"])
def test_indices_of_any_width_are_checked_in_full(dtype):
    table, rows = sg.input("table", (6,), "float32"), sg.input("rows", ("n",), dtype)
    f = sg.compile(sg.take(table, rows) * 1.0)
    info = np.iinfo(dtype)
    feeds = {"table": np.arange(6, dtype=np.float32)}
    assert f.run({**feeds, "rows": np.array([5, 0], dtype)}).tolist() == [5, 0]
    for wrong in {6, info.max, info.min or 7}:
        with pytest.raises(IndexOutOfRange):
            f.run({**feeds, "rows": np.array([0, 1, wrong], dtype)})


def test_class_labels_do_not_wrap():
    x, labels = sg.input("x", ("n", 3), "float32"), sg.input("labels", ("n",), "int64")
    loss = sg.nn.cross_entropy(x, labels)
    w = sg.parameter("w", np.zeros(3, np.float32))
    slope = sg.grad(loss, x)
    f = sg.compile(sg.Graph({"loss": loss}, updates={w: w - slope.sum(0)}))
    data = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32)
    for position, wrong in ((19, 3), (0, -1), (7, 2**40), (7, -(2**63))):
        bad = np.arange(20) % 3
        bad[position] = wrong
        with pytest.raises(IndexOutOfRange) as error:
            f.run({"x": data, "labels": bad})
        assert f"{wrong}" in str(error.value)
        assert f"element {position} " in str(error.value)
        assert "cross_entropy(x, labels)" in str(error.value)
        assert not w.value.any()
    assert np.isfinite(f.run({"x": data, "labels": np.arange(20) % 3})["loss"])
    assert w.value.any()


def test_of_two_failing_lookups_the_first_step_is_named():
    table = sg.input("table", (6,), "float32")
    one, two = sg.input("one", (3,), "int64"), sg.input("two", (3,), "int64")
    f = sg.compile({"a": sg.take(table, one), "b": sg.take(table, two)})
    feeds = {
        "table": np.zeros(6, np.float32),
        "one": np.array([0, 0, 9]),
        "two": np.array([8, 0, 0]),
    }
    with pytest.raises(IndexOutOfRange, match="index 9"):
        f.run(feeds)


def test_an_empty_axis_takes_no_index():
    table, rows = sg.input("table", (0, 3), "float32"), sg.input("rows", ("n",), "int64")
    f = sg.compile(sg.take(table, rows, 0))
    none = np.zeros((0, 3), np.float32)
    assert f.run({"table": none, "rows": np.zeros(0, np.int64)}).shape == (0, 3)
    with pytest.raises(IndexOutOfRange, match="the axis is empty"):
        f.run({"table": none, "rows": np.array([0])})
