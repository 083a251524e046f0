"""``x[...]`` against NumPy on literal sizes, and on named ones for every size that it may have."""

import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, AxisError, IndexOutOfRange, ShapeError, SizeGuardError
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_each_refused, assert_refused

bounds = st.none() | st.integers(-8, 8)
steps = st.none() | st.integers(-4, 4).filter(bool)
slices = st.builds(slice, bounds, bounds, steps)


@st.composite
def keys(draw, shape):
    """An index of an array of ``shape``: integers, slices, None, ..., index arrays that meet."""
    items = []
    rank = draw(st.integers(0, len(shape)))
    count = draw(st.integers(1, 3))
    for size in shape[:rank]:
        kinds = [slices]
        if size:
            kinds.append(st.integers(-size, size - 1))
        if size:
            kinds.append(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
            kinds.append(st.just(np.array([[0], [-1]])))
        items.append(draw(st.one_of(kinds)))
    if draw(st.booleans()):  # the end of the axes, counted from the back
        items.append(Ellipsis)
        if draw(st.booleans()) and rank < len(shape):
            items.append(draw(slices))
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple), data=st.data())
def test_as_numpy(shape, data):
    key = data.draw(keys(shape))
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    expected = array[key]
    found = run(sg.constant(array)[key])
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@given(first=slices, second=slices, sizes=st.lists(st.integers(0, 9), min_size=2, max_size=2))
def test_slices_of_named_sizes(first, second, sizes):
    x = sg.input("x", ("n", "m"), "float64")
    array = np.arange(np.prod(sizes), dtype=np.float64).reshape(sizes)
    part, expected = x[first, second], array[first, second]
    alone = [
        found == 0 for size, found in zip(part.shape, expected.shape, strict=True) if size == 1
    ]
    if any(alone):  # the one place is not there
        with pytest.raises(SizeGuardError):
            run(part, {"x": array})
    else:
        np.testing.assert_array_equal(run(part, {"x": array}), expected)


#: A slice -> the place that it holds alone, and the smallest size that has it.
ALONE = [
    (slice(1), 0, 1), (slice(-1, None), -1, 1), (slice(0, 1), 0, 1), (slice(0, 1, 1), 0, 1),
    (slice(2, 3), 2, 3), (slice(-3, -2), -3, 3), (slice(-1, None, 2), -1, 1),
    (slice(2, 4, 2), 2, 3), (slice(0, None, -1), 0, 1), (slice(None, -2, -1), -1, 1),
    (slice(3, 2, -1), 3, 4),
    (slice(-1, -3, -2), -1, 1), (slice(None, 3, 5), 0, 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "place", "least"), ALONE, ids=lambda item: str(item))
def test_a_slice_of_one_place_of_a_named_size_has_the_literal_size_1(key, place, least, rng):
    x = sg.input("x", ("b", "t"), "float64")
    part = x[:, key]
    assert part.shape == (x.shape[0], 1)
    loss = ((x - part) ** 2).sum()
    graph = sg.Graph({"part": part, "loss": loss, "dx": sg.grad(loss, x)})
    assert sg.same_graph(sg.parse(str(graph)), graph)
    assert sg.same_graph(pickle.loads(pickle.dumps(graph)), graph)
    f = sg.compile(graph)
    for sizes in ((2, least), (0, least), (1, least + 1), (3, least + 4)):
        array = rng.normal(size=sizes)
        found = f.run({"x": array})
        np.testing.assert_array_equal(found["part"], array[:, key])
        away = array - array[:, [place]]
        expected = 2 * away
        expected[:, place] -= 2 * away.sum(1)
        np.testing.assert_allclose(found["dx"], expected, atol=1e-12)
        tape = Tensor(array, requires_grad=True, dtype="float64")
        ((tape - tape[:, key]) ** 2).sum().backward()
        np.testing.assert_allclose(tape.grad, found["dx"], atol=1e-12)
    with assert_refused(
        SizeGuardError, "out of range for axis 1 of size t", f"t = {least - 1}", "x[:1]",
        line="part = x[:, key]",
    ):  # fmt: skip
        f.run({"x": np.ones((2, least - 1))})


def test_slices_of_one_place_and_sizes_of_others():
    x = sg.input("x", ("t",), "float64")
    assert x[::-1][:1].shape == x[1:][:1].shape == (1,)
    np.testing.assert_array_equal(run(x[::-1][:1], {"x": [1.0, 2.0]}), [2.0])
    k = sg.dim("k")
    assert x[k : k + 1].shape == (1,)
    y = sg.input("y", (sg.dim("n", min=3),), "float64")
    for part in (y[:1], y[-1:], y[2:3], y[-3:-2]):
        assert sg.Graph(part).guards == ()
    assert np.squeeze(y[:1]).shape == ()
    np.testing.assert_array_equal(run(x.at[:1].set(5.0), {"x": [1.0, 2.0]}), [5.0, 2.0])
    n = sg.dim("n", min=1)
    x = sg.input("x", (n, 6))
    assert x[1:].shape == x[:-1].shape == (n - 1, 6)
    assert x[::-1].shape == (n, 6)
    assert x[:, 2:4].shape == (n, 2)
    assert x[::2].shape == ((n + 1) // 2, 6)
    assert sg.input("y", (sg.dim("m", min=5),))[:5].shape == (5,)
    for part in (x[1:] - x[:-1], x[::-1], x[0], x[-1]):
        assert sg.Graph(part).guards == ()
    x = sg.input("x", ("n",), "float64")
    step = x[1:] - x[:-1]
    for size in (0, 1, 2, 7):
        array = np.arange(size, dtype=np.float64) ** 2
        np.testing.assert_array_equal(run(step, {"x": array}), np.diff(array))
    n = sg.dim("n", min=2)
    x = sg.input("x", (n,), "float64")
    array = np.arange(6.0)
    assert run(x[n - 2], {"x": array}) == 4
    np.testing.assert_array_equal(run(x[: n // 2], {"x": array}), array[:3])
    np.testing.assert_array_equal(run(x[n // 2 :], {"x": array}), array[3:])
    x = sg.input("x", ("n", 3))
    assert x[:] is x
    assert x[...] is x
    assert x[:, 0:] is x
    assert x[()] is x


@pytest.mark.parametrize(
    "key", [slice(3), slice(-2, None), slice(2), slice(-1, 5), slice(-2, None, 2)]
)
def test_longer_slices_clip(key):
    x = sg.input("x", ("t",), "float64")
    for size in (0, 1, 2, 5, 9):
        array = np.arange(float(size))
        np.testing.assert_array_equal(run(x[key], {"x": array}), array[key])


@given(key=slices, bound=st.integers(0, 3), more=st.integers(0, 4))
def test_a_promise_about_a_size_is_used_and_kept(key, bound, more):
    x = sg.input("x", (sg.dim("n", min=bound),), "float64")
    array = np.arange(bound + more, dtype=np.float64)
    if x[key].shape == (1,) and not array[key].size:
        with pytest.raises(SizeGuardError):
            run(x[key], {"x": array})
    else:
        np.testing.assert_array_equal(run(x[key], {"x": array}), array[key])


def test_indices_known_in_the_run():
    x = sg.input("x", ("n", 3), "float64")
    at = sg.input("at", ("k",), "int64")
    one = sg.input("one", (), "int32")
    array = np.arange(12.0).reshape(4, 3)
    feeds = {"x": array, "at": [3, -1, 0], "one": -2}
    np.testing.assert_array_equal(run(x[at], feeds), array[[3, -1, 0]])
    np.testing.assert_array_equal(run(x[1:, at - at], feeds), array[1:, [0, 0, 0]])
    np.testing.assert_array_equal(run(x[one], feeds), array[-2])
    np.testing.assert_array_equal(run(x[at, ..., 1], feeds), array[[3, -1, 0], 1])
    with assert_refused(IndexOutOfRange, "index 4", "size 4", line="taken = x[at]"):
        taken = x[at]
        run(taken, feeds | {"at": [0, 4, 9]})


def test_the_gradient_lands_where_the_elements_came_from():
    x = sg.input("x", (5, 4), "float64")
    part = x[-1:0:-2, 1]
    array = np.arange(20.0).reshape(5, 4)
    expected = np.zeros((5, 4))
    expected[[4, 2], 1] = 2 * array[[4, 2], 1]
    derivative = grad((part * part).sum(), x)
    np.testing.assert_array_equal(run(derivative, {"x": array}), expected)
    assert "pad" in op_names(derivative)
    named = sg.input("n", ("n",), "float64")
    second = grad(grad((named[1:] ** 2 * named[:-1]).sum(), named).sum(), named)
    np.testing.assert_array_equal(run(second, {"n": np.ones(4)}), [2, 6, 6, 4])


def test_refusals():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (IndexOutOfRange, "index 3", "axis 0 of size 3", "0 to 2", lambda: x[3]),
        (IndexOutOfRange, "index -5", "axis 1 of size 4", "x f32[3, 4]", lambda: x[:, -5]),
        (IndexOutOfRange, "no elements", lambda: sg.input("e", (0,))[0]),
    )
    with pytest.raises(IndexError):
        x[7]
    assert_each_refused(
        (ArgumentError, "mask", "sg.where", lambda: x[x > 0]),
        (ShapeError, "a mask of size 2 for axis 0 of size 3", lambda: x[np.array([True, False])]),
        (ArgumentError, "sg.where", lambda: x[True]),
        (AxisError, "3 indices for 2 axes: f32[3, 4]", lambda: x[0, 0, 0]),
        (ShapeError, "do not broadcast", lambda: x[[0, 1], [0, 1, 2]]),
        (IndexOutOfRange, "index 4", "size 4", lambda: x[[0, 1], [0, 4]]),
        (ArgumentError, "'...'", lambda: x[..., ...]),
        (ArgumentError, "not an index", "whole numbers: 1", lambda: x[1.0]),
        (ArgumentError, "not an index", lambda: x[x]),
        (ArgumentError, "not an index", lambda: x["row"]),
        (ArgumentError, "step of 0", lambda: x[::0]),
        (ArgumentError, "not an integer", lambda: x[0.5:]),
    )


@pytest.mark.parametrize("index", [3, -4])
def test_indices_outside_a_named_size_are_found_in_the_run(index):
    x = sg.input("x", ("n", 2), "float64")
    row = x[index]
    array = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(run(row, {"x": array}), array[index])
    with assert_refused(
        SizeGuardError,
        f"index {index} is out of range for axis 0 of size n",
        "n = 3",
        line="row = x[index]",
    ):
        run(row, {"x": array[:3]})
    never = sg.input("m", (sg.dim("m", max=3),))
    with assert_refused(IndexOutOfRange, "axis 0 of size m"):
        never[index]
