"""Chains of slices, joins, transposes, repetitions and reductions are NumPy's after every rule."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from tests.helpers.limits import finfo


def _part(rng, size):
    """Some elements of an axis, at least one where there is one, in steps of either direction."""
    step = int(rng.choice([1, 1, 2, 3]))
    start = int(rng.integers(0, max(size, 1)))
    stop = int(rng.integers(start, size + 1))
    return slice(start, stop, step) if rng.random() < 0.7 else slice(stop - 1, None, -step)


def draw_slice(rng, shape):
    parts = tuple(_part(rng, size) for size in shape)
    return lambda xp, x: x[parts]


def draw_concatenation(rng, shape):
    """Slices of one step, of which some go on where the one before ends."""
    axis, step = int(rng.integers(len(shape))), int(rng.choice([1, 2, 3]))
    start, parts = 0, []
    for _ in range(int(rng.integers(2, 4))):
        length = int(rng.integers(1, 4))
        index = (slice(None),) * axis
        parts.append((*index, slice(start, start + step * (length - 1) + 1, step)))
        start += length * int(rng.choice([1, step])) + int(rng.choice([0, 0, 1]))
    return lambda xp, x: xp.concatenate([x[part] for part in parts], axis)


def draw_transpose(rng, shape):
    axes = tuple(map(int, rng.permutation(len(shape))))
    return lambda xp, x: xp.transpose(x, axes)


def draw_reshape(rng, shape):
    size = int(np.prod(shape))
    divisor = int(rng.choice([d for d in range(1, size + 1) if size % d == 0] or [1]))
    return lambda xp, x: xp.reshape(x, (divisor, size // divisor))


def draw_broadcast(rng, shape):
    place, count = int(rng.integers(len(shape) + 1)), int(rng.choice([1, 3, 40]))
    broadcast_shape = (*shape[:place], count, *shape[place:])
    return lambda xp, x: xp.broadcast_to(xp.expand_dims(x, place), broadcast_shape)


def draw_pad(rng, shape):
    widths = [tuple(map(int, rng.integers(0, 2, 2))) for _ in shape]
    return lambda xp, x: xp.pad(x, widths)


def draw_reduction(rng, shape):
    axis, name = int(rng.integers(len(shape))), str(rng.choice(["sum", "max"]))
    if shape[axis] == 0 and name == "max":
        return lambda xp, x: x
    return lambda xp, x: getattr(xp, name)(x, axis)


def elementwise(rng, shape):
    factor = float(rng.choice([1, -1, 2, 3]))
    return lambda xp, x: xp.maximum(x * factor, -x)


STEPS = (
    draw_slice,
    draw_concatenation,
    draw_concatenation,
    draw_transpose,
    draw_reshape,
    draw_broadcast,
    draw_pad,
    draw_reduction,
    elementwise,
)


def chain(seed):
    """A graph, its feed, and what NumPy gives."""
    rng = np.random.default_rng(seed)
    shape = tuple(map(int, rng.integers(3, 9, rng.integers(1, 4))))
    array = rng.integers(-9, 9, shape).astype("float64")
    feeds, value = {"x": array}, sg.input("x", shape, "float64")
    for _ in range(int(rng.integers(2, 7))):
        if not array.ndim or array.size > 4000:
            break
        step = rng.choice(STEPS)(rng, array.shape)
        array, value = step(np, array), step(sg, value)
    return sg.Graph({"y": value + 0.0}), feeds, array + 0.0


@pytest.mark.thinned(2)
@pytest.mark.parametrize("text", ["simplify", "O1"])
def test_elements_lie_where_numpy_has_them(text):
    wrong, changed = [], 0
    for seed in range(300):
        graph, feeds, expected = chain(seed)
        optimized = pipeline(text)(graph)
        changed += len(optimized.nodes) < len(graph.nodes)
        if not np.array_equal(sg.evaluate(optimized, feeds)["y"], expected):
            wrong.append(seed)
    assert wrong == []
    assert changed > 60


def test_exponentials_over_any_of_their_sums_are_numpys():
    """Square matrices, where shapes do not tell rows from columns."""
    for shape, rank in (((4, 4), 2), ((3, 3, 3), 3), ((4,), 1)):
        x = np.random.default_rng(rank).normal(size=shape)
        value = sg.input("x", shape, "float64")
        for axis in (*range(rank), None):
            for keepdims in (False, True):
                total = sg.exp(value).sum(axis, keepdims=keepdims)
                outputs = {"share": sg.exp(value) / total, "log": value - sg.log(total)}
                actual = sg.evaluate(pipeline("stabilize,O1")(sg.Graph(outputs)), {"x": x})
                sums = np.exp(x).sum(axis, keepdims=keepdims)
                np.testing.assert_allclose(actual["share"], np.exp(x) / sums, rtol=1e-13)
                np.testing.assert_allclose(actual["log"], x - np.log(sums), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_division_by_each_power_of_two_is_numpys(dtype):
    limits, kind = finfo(np.dtype(dtype)), np.dtype(dtype).type
    x = np.array([0.0, -0.0, 1.0, -3.0, 7e-5, np.inf, np.nan], dtype)
    x = np.concatenate([x, [limits.max, limits.tiny, -limits.smallest_subnormal]]).astype(dtype)
    least, most = int(np.log2(limits.smallest_subnormal)), int(limits.maxexp)
    powers = [*range(least, least + 30), *range(least + 30, most - 5, 37), *range(most - 5, most)]
    divisors = {f"y{p}": kind(2.0**p) for p in powers}
    value = sg.input("x", x.shape, dtype)
    graph = pipeline("O1")(sg.Graph({name: value / by for name, by in divisors.items()}))
    assert sum(node.op.name == "mul" for node in graph.nodes) > len(powers) // 4
    actual = sg.evaluate(graph, {"x": x})
    with np.errstate(all="ignore"):
        wrong = [name for name, by in divisors.items() if not same_bytes(actual[name], x / by)]
    assert wrong == []
