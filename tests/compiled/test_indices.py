"""Indices that are views, broadcast or transposed: what is taken, and where its gradient lands."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from tests.compiled.agreement import assert_same


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
        actual = step.run({"x": rows, "at": places})["sums"]
        assert same_bytes(actual, expected), width


@pytest.mark.parametrize("row", [(), (3,), (2, 5)])
def test_many_rows_for_few_places_are_added_in_parts_that_threads_do_not_change(row):
    rng, count, size = np.random.default_rng(0), 20_001, 50
    x, at = sg.input("x", (count, *row), "float64"), sg.input("at", (count,), "int64")
    sums = sg.Graph({"sums": sg.scatter_add(x, at, size)})
    feeds = {"x": rng.normal(size=x.shape), "at": rng.integers(-size, size, count)}
    single, threaded = (sg.compile(sums, threads=n) for n in (1, 2))
    actual = single.run(feeds)["sums"]
    expected = np.zeros((size, *row), np.longdouble)
    np.add.at(expected, feeds["at"], feeds["x"].astype(np.longdouble))
    np.testing.assert_allclose(actual, expected.astype("float64"), rtol=0, atol=2e-13)
    assert same_bytes(threaded.run(feeds)["sums"], actual)
    assert same_bytes(sg.evaluate(sums, feeds)["sums"], actual)
    for failing in (0, 1251, 20_000):
        wrong = feeds["at"].copy()
        wrong[[failing, -1]] = size
        with pytest.raises(IndexOutOfRange, match=f"element {failing} of the indices"):
            threaded.run(feeds | {"at": wrong})


def test_rows_that_are_scattered_apart_are_added_by_several_threads_alike():
    rng = np.random.default_rng(0)
    x, at = sg.input("x", (60, 700), "float32"), sg.input("at", (60, 900), "int64")
    picked = sg.take_along_axis(x, at, 1)
    slope = sg.grad((picked * picked).sum(), x)
    feeds = {
        "x": rng.normal(size=(60, 700)).astype("float32"),
        "at": rng.integers(0, 700, (60, 900)),
    }
    single, threaded = (
        sg.compile(sg.Graph({"slope": slope}), threads=n).run(feeds)["slope"] for n in (1, 2)
    )
    counts = np.zeros((60, 700))
    np.add.at(counts, (np.arange(60)[:, None], feeds["at"]), 1.0)
    np.testing.assert_allclose(single, 2.0 * counts * feeds["x"], rtol=2e-6)
    assert same_bytes(single, threaded)


GOOD = np.array([0, -1, 5, 2, -6, 3])


def lookups():
    """Each way to look up ``rows`` in ``table`` [6, 3], with the text of its line."""
    table, rows = sg.input("table", (6, 3), "float32"), sg.input("rows", ("n",), "int64")
    bias = sg.input("bias", ("n", 3), "float32")
    matrix = sg.parameter("other", np.ones((3, 3), np.float32))
    return {
        "alone": (sg.take(table, rows, 0), "sg.take(table, rows, 0)"),
        "of a transpose": (sg.take(table.T, rows, 1), "sg.take(table.T, rows, 1)"),
        "with a row sum": (sg.take(table, rows, 0).sum(1), "sg.take(table, rows, 0).sum(1)"),
        "with a column sum": (sg.take(table, rows, 0).max(0), "sg.take(table, rows, 0).max(0)"),
        "beside a product": (bias @ matrix + sg.take(table, rows, 0), "bias @ other + sg.take("),
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
    first, second = sg.input("one", (3,), "int64"), sg.input("two", (3,), "int64")
    f = sg.compile({"a": sg.take(table, first), "b": sg.take(table, second)})
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
    empty = np.zeros((0, 3), np.float32)
    assert f.run({"table": empty, "rows": np.zeros(0, np.int64)}).shape == (0, 3)
    with pytest.raises(IndexOutOfRange, match="the axis is empty"):
        f.run({"table": empty, "rows": np.array([0])})
