"""Rules of movement on random chains: slices, joins, reshapes, transposes and broadcasts.

Each step is done to NumPy's array as well. Rules may fire or not; the result keeps its bits, also
that of a sum, whose order of additions is a part of its meaning.
"""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.language.ops.movement import Broadcast


def draw_slice(x, a, rng):
    key = []
    for size in a.shape:
        step = int(rng.choice([1, 1, 2, -1, -2]))
        start, stop = sorted(int(bound) for bound in rng.integers(0, size + 1, 2))
        stop = max(stop, min(start + 1, size))
        key.append(
            slice(start, stop, step)
            if step > 0
            else slice(stop - 1, start - 1 if start else None, step)
        )
    return x[tuple(key)], a[tuple(key)]


def draw_concatenation(x, a, rng):
    """Parts of one value along an axis: neighbours, apart from each other, or overlapping."""
    if not a.ndim or not a.size:
        return x, a
    axis = int(rng.integers(a.ndim))
    parts = []
    for _ in range(int(rng.integers(2, 4))):
        start = int(rng.integers(0, a.shape[axis]))
        end = int(rng.integers(start, a.shape[axis])) + 1
        parts.append((start, end))
    if rng.random() < 0.5:  # the second begins where the first ends
        parts[1] = (parts[0][1], max(parts[0][1], a.shape[axis]))
    others = [slice(0, 1 + int(rng.integers(size))) for size in a.shape]
    same = rng.random() < 0.7
    keys = []
    for start, end in parts:
        first = int(rng.integers(2))
        key = [*others] if same else [slice(first, n - 1 + first) for n in a.shape]
        key[axis] = slice(start, end)
        keys.append(tuple(key))
    lengths = {tuple(n for k, n in enumerate(a[key].shape) if k != axis) for key in keys}
    if len(lengths) > 1:
        return x, a
    return sg.concatenate([x[key] for key in keys], axis), np.concatenate(
        [a[k] for k in keys], axis
    )


def beside_another(x, a, rng):
    if not a.ndim:
        return x, a
    axis = int(rng.integers(a.ndim))
    return sg.concatenate([x, x * 3.0 + 1.0], axis), np.concatenate([a, a * 3.0 + 1.0], axis)


def draw_transpose(x, a, rng):
    order = rng.permutation(a.ndim).tolist()
    return sg.transpose(x, order), a.transpose(order)


def draw_reshape(x, a, rng):
    first = int(rng.choice([d for d in range(1, a.size + 1) if a.size % d == 0])) if a.size else 1
    shape = (first, a.size // first) if a.size else (0, 3)
    return sg.reshape(x, shape), a.reshape(shape)


def draw_broadcast(x, a, rng):
    """A broadcast into new axes, anywhere between its own."""
    if a.size > 200 or a.ndim > 3:
        return x, a
    places = sorted(rng.choice(a.ndim + 1, a.ndim, replace=False).tolist())
    shape, own_shape = [2] * (a.ndim + 1), [1] * (a.ndim + 1)
    for place, size in zip(places, a.shape, strict=True):
        shape[place] = own_shape[place] = size
    return Broadcast(tuple(shape), tuple(places))(x), np.broadcast_to(a.reshape(own_shape), shape)


def sum_axis(x, a, rng):
    if a.ndim < 2:
        return x, a
    axis = int(rng.integers(a.ndim))
    return sg.sum(x, axis), a.sum(axis)


def of_one(x, a, rng):
    """A number that is repeated; a row that is repeated looks alike."""
    if a.ndim < 2 or not a.size or a.size > 200:
        return x, a
    first = x[(0,) * (a.ndim - 1)]
    return Broadcast((3, *first.shape), (1,))(first), np.broadcast_to(
        a[(0,) * (a.ndim - 1)], (3, a.shape[-1])
    )


STEPS = (
    draw_slice,
    draw_slice,
    draw_concatenation,
    draw_concatenation,
    beside_another,
    draw_transpose,
    draw_reshape,
    draw_broadcast,
    sum_axis,
    of_one,
)


@pytest.mark.parametrize("block", range(10))
def test_chains_of_movement_keep_every_element(block):
    for seed in range(30 * block, 30 * block + 30):
        rng = np.random.default_rng(seed)
        shape = ((4, 6), (3, 4, 5), (2, 70))[seed % 3]
        a = data = rng.normal(size=shape)
        x = start = sg.input("x", shape, "float64")
        for _ in range(int(rng.integers(2, 7))):
            x, a = rng.choice(STEPS)(x, a, rng)
        graph = sg.Graph({"y": x, "x": start})
        expected, actual = (
            sg.evaluate(variant, {"x": data})["y"]
            for variant in (graph, pipeline("simplify")(graph))
        )
        np.testing.assert_allclose(expected, a, rtol=1e-12, atol=1e-13, err_msg=str(seed))
        np.testing.assert_array_equal(actual, expected, err_msg=str(seed))


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1), (1, 2)])
def test_a_named_size_that_is_to_be_equal_is_not_repeated(axes, rng):
    x = sg.input("x", ("a", "b", "c"), "float64")
    reduced = {"sum": sg.broadcast_to(x, (5, 4, 3)).sum(axes),
               "max": sg.broadcast_to(x, (5, 4, 3)).max(axes)}  # fmt: skip
    array = rng.normal(size=(5, 4, 3))
    results = sg.compile(sg.Graph(reduced)).run({"x": array})
    np.testing.assert_allclose(results["sum"], array.sum(axes), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(results["max"], array.max(axes))
