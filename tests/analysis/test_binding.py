"""Feeds, named sizes and guards: what binds, and one error for each way not to fit."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.analysis.binding import bind_feeds, bind_sizes


def graph_of(*values):
    return sg.Graph({str(i): value for i, value in enumerate(values)})


def graph_of_one_input(shape, dtype="float32", name="x"):
    return graph_of(sg.input(name, shape, dtype))


# Feeds


@pytest.mark.parametrize(
    ("dtype", "feed"),
    [
        ("float32", np.ones(2)),
        ("float32", np.ones(2, ">f4")),
        ("float32", np.ones(2, "int64")),
        ("float64", [1, True]),
        ("uint8", [0, 255]),
        ("int64", np.ones(2, "uint8")),
        ("bool", [True, False]),
        ("float32", (1.0, 2.0)),
    ],
)
def test_dtypes_that_convert(dtype, feed):
    array = bind_feeds(graph_of_one_input((2,), dtype), {"x": feed})["x"]
    assert array.dtype == np.dtype(dtype)
    assert array.tolist() == list(feed)


@pytest.mark.parametrize(
    ("dtype", "feed"),
    [
        ("int64", np.ones(2)),
        ("int64", [1.5, 2.0]),
        ("bool", np.ones(2, "int8")),
        ("uint8", [0, 256]),
        ("float32", np.ones(2, "complex64")),
        ("float32", ["a", "b"]),
        ("float32", [[1.0], [1.0, 2.0]]),
    ],
)
def test_dtypes_that_do_not(dtype, feed):
    with pytest.raises(sg.errors.FeedDTypeError, match="feed 'x' is"):
        bind_feeds(graph_of_one_input((2,), dtype), {"x": feed})


def test_an_array_of_the_right_dtype_is_not_copied():
    array = np.ones(3, "float32")
    assert bind_feeds(graph_of_one_input((3,)), {"x": array})["x"] is array


def test_missing_and_unknown_feeds():
    x, labels = sg.input("x", (), "float32"), sg.input("labels", (), "float32")
    graph = graph_of(x + labels)
    with pytest.raises(sg.errors.MissingFeedError, match="no feed for input 'labels'"):
        bind_feeds(graph, {"x": 1.0})
    with pytest.raises(sg.errors.UnknownFeedError, match="no input 'lables'") as caught:
        bind_feeds(graph, {"x": 1.0, "lables": 1.0})
    assert "did you mean 'labels'?" in str(caught.value)
    with pytest.raises(sg.errors.UnknownFeedError, match="fed twice"):
        bind_feeds(graph, {"x": 1.0, x: 1.0, "labels": 1.0})
    with pytest.raises(sg.errors.UnknownFeedError, match="does not read input 'other'"):
        bind_feeds(graph, {sg.input("other", (), "float32"): 1.0})
    with pytest.raises(sg.errors.UnknownFeedError, match="does not read input 'x'"):
        bind_feeds(graph, {sg.input("x", (), "float32"): 1.0})
    with pytest.raises(sg.errors.UnknownFeedError, match="keyed by input"):
        bind_feeds(graph, {0: 1.0})


# Sizes


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"x": (2, 3), "y": (4,)}, "has 2 axes, the input has 3"),
        ({"x": (2, 1, 4), "y": (4,)}, "axis 1 of feed 'x' is 1, the input says 3"),
        ({"x": (2, 3, 4), "y": (5,)}, "size 'm' is 4 in 'x' and 5 in 'y'"),
        ({"x": (2, 3, 4), "y": (1,)}, "size 'm' is 4 in 'x' and 1 in 'y'"),
    ],
)
def test_shapes_that_do_not_fit(shapes, says):
    graph = graph_of(sg.input("x", ("n", 3, "m"), "float32"), sg.input("y", ("m",), "float32"))
    with pytest.raises(sg.errors.FeedShapeError, match=says) as caught:
        bind_sizes(graph, shapes)
    assert "sg.input" in str(caught.value)


@given(st.integers(0, 50), st.integers(0, 50))
def test_expressions_are_solved_for_their_names(n, m):
    a, b = sg.dim("a"), sg.dim("b")
    graph = graph_of(
        sg.input("sum", (2 * a + b + 1,), "float32"), sg.input("a3", (3 * a,), "float32")
    )
    assert bind_sizes(graph, {"sum": (2 * n + m + 1,), "a3": (3 * n,)}) == {"b": m, "a": n}


@pytest.mark.parametrize(
    ("size", "extent", "says"),
    [
        (2 * sg.dim("n") + 1, 4, r"is 4, which is 2\*n \+ 1 for no n"),
        (sg.dim("n") + 3, 2, r"is 2, which is n \+ 3 for no n"),
        (sg.dim("n") * sg.dim("n"), 9, "no feed determines the size 'n'"),
        (sg.dim("n") // 2, 4, "no feed determines the size 'n'"),
    ],
)
def test_expressions_without_a_solution(size, extent, says):
    with pytest.raises(sg.errors.FeedShapeError, match=says):
        bind_sizes(graph_of_one_input((size,)), {"x": (extent,)})


def test_an_expression_is_checked_when_its_names_are_known_from_elsewhere():
    n = sg.dim("n")
    graph = graph_of(sg.input("x", (n // 2,), "float32"), sg.input("y", (n,), "float32"))
    assert bind_sizes(graph, {"x": (3,), "y": (7,)}) == {"n": 7}
    with pytest.raises(
        sg.errors.FeedShapeError, match="axis 0 of feed 'x' is 4, the input says n//2 = 3"
    ):
        bind_sizes(graph, {"x": (4,), "y": (7,)})


def test_sizes_told_beforehand():
    graph = graph_of_one_input(("n", "m"))
    assert bind_sizes(graph, {}, {"n": 2, "m": 3}) == {"n": 2, "m": 3}
    with pytest.raises(sg.errors.FeedShapeError, match="size 'n' is 2 in 'sizes' and 4 in 'x'"):
        bind_sizes(graph, {"x": (4, 3)}, {"n": 2})
    with pytest.raises(sg.errors.FeedShapeError, match="no feed determines the size 'n', 'm'"):
        bind_sizes(graph, {})
    graph = graph_of(sg.input("x", ("n", 3, "m"), "float32"), sg.input("y", ("m",), "float32"))
    assert bind_sizes(graph, {"x": (2, 3, 0), "y": (0,)}) == {"n": 2, "m": 0}


@pytest.mark.parametrize(
    ("options", "value", "says"),
    [
        ({"min": 2}, 1, "'n' is 1, declared with min=2"),
        ({"max": 8}, 9, "'n' is 9, declared with max=8"),
        ({"multiple_of": 4}, 6, "'n' is 6, declared with multiple_of=4"),
    ],
)
def test_promises_about_a_size(options, value, says):
    with pytest.raises(sg.errors.SizeGuardError, match=says):
        bind_sizes(graph_of_one_input((sg.dim("n", **options),)), {"x": (value,)})


def test_a_guard_is_reported_with_the_build_times_text_and_line():
    x, y = sg.input("x", ("n",), "float32"), sg.input("y", ("m",), "float32")
    graph = graph_of(x + y)  # where they meet
    assert bind_sizes(graph, {"x": (3,), "y": (3,)}) == {"n": 3, "m": 3}
    with pytest.raises(sg.errors.SizeGuardError) as caught:
        bind_sizes(graph, {"x": (3,), "y": (1,)})
    message = str(caught.value)
    assert "must agree" in message
    assert "n = 3 in this run" in message
    assert "m = 1 in this run" in message
    with pytest.raises(sg.errors.SizeGuardError):
        sg.evaluate(graph, {"x": np.ones(3, "float32"), "y": np.ones(1, "float32")})
