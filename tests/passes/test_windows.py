"""Parts of values and values of parts: read where they are needed, with the bytes of a copy."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ops.indexing import Concat, Pad, Slice
from tests.diagonals import diagonals
from tests.random_graphs import Chooser

DTYPES = ("float32", "float64", "float16", "int32", "uint8", "bool")
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, 3.5, -7.0)


def feed(chooser, shape, dtype):
    """An array in which zeros of both signs, infinities and NaN occur."""
    random = np.random.default_rng(chooser.integer(0, 1000))
    if dtype.startswith("float"):
        array = random.normal(size=shape)
        places = random.random(shape) < 0.3
        array[places] = random.choice(SPECIAL, shape)[places]
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    return random.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)


def sliced(chooser, x):
    """Some slice of x, steps of both signs."""
    starts, lengths, steps = [], [], []
    for size in x.shape:
        step = chooser.choice((1, 1, 1, -1, 2, -3))
        length = chooser.integer(0, -(-size // abs(step)))
        room = size - 1 - abs(step) * (length - 1) if length else size - 1
        low = chooser.integer(0, max(room, 0))
        last = low + abs(step) * max(length - 1, 0)
        starts.append(low if step > 0 else last)
        lengths.append(length)
        steps.append(step)
    return Slice(tuple(starts), tuple(lengths), tuple(steps))(x)


def padded(chooser, x, shape):
    """x somewhere inside zeros of a shape that is no smaller."""
    starts, steps = [], []
    for size, room in zip(x.shape, shape, strict=True):
        step = chooser.choice((1, 1, 1, -1, 2))
        if size and abs(step) * (size - 1) >= room:
            step = step // abs(step)
        low = chooser.integer(0, max(0, room - 1 - abs(step) * max(size - 1, 0)))
        starts.append(low if step > 0 else low + abs(step) * max(size - 1, 0))
        steps.append(step)
    return Pad(shape, tuple(starts), tuple(steps))(x)


def program(chooser):
    """Slices, pads, joins and what is computed elementwise of them, of one dtype."""
    dtype = chooser.choice(DTYPES)
    rank = chooser.integer(1, 3)
    shape = tuple(chooser.choice((1, 2, 3, 5, 17, 40)) for _ in range(rank))
    feeds = {name: feed(chooser, shape, dtype) for name in "xy"}
    values = [sg.input(name, shape, dtype) for name in "xy"]
    for _ in range(chooser.integer(1, 6)):
        x, y = chooser.choice(values), chooser.choice(values)
        match chooser.integer(0, 4):
            case 0:
                values.append(padded(chooser, sliced(chooser, x), shape))
            case 1:
                axis = chooser.integer(0, rank - 1)
                cut = chooser.integer(0, shape[axis])
                before = Slice(
                    tuple(cut if k == axis else 0 for k in range(rank)),
                    tuple(n - cut if k == axis else n for k, n in enumerate(shape)),
                    (1,) * rank,
                )(x)
                behind = Slice(
                    (0,) * rank,
                    tuple(cut if k == axis else n for k, n in enumerate(shape)),
                    (1,) * rank,
                )(y)
                values.append(Concat(axis)(before, behind))
            case 2:
                values.append(sg.maximum(x, y) if dtype == "bool" else x + y)
            case 3:
                values.append(sg.where(x == y, x, y))
            case 4:
                part = sliced(chooser, x)
                cheap = part if dtype == "bool" else part * part + part
                values.append(padded(chooser, cheap, shape))
    outputs = {f"o{k}": v for k, v in enumerate(values[2:])} | {"both": values[0] == values[1]}
    last = values[-1]
    if dtype.startswith("float"):
        axes = (chooser.integer(0, rank - 1),)
        outputs["total"] = last.sum(axes)
        outputs["all"] = last.sum()
        outputs["transposed"] = sg.transpose(last) + 1.0
    return sg.Graph(outputs), feeds


@st.composite
def programs(draw):
    return program(Chooser(draw))


@pytest.mark.slow
@given(programs())
@settings(max_examples=32, deadline=None)
def test_parts_have_the_bytes_of_the_evaluator(made):
    graph, feeds = made
    wanted = sg.evaluate(graph, feeds)
    for level, fuse in (("O0", True), ("O1", True), ("O1", False)):
        found = sg.compile(graph, pipeline=level, fuse=fuse).run(feeds)
        for name, array in wanted.items():
            assert same_bytes(found[name], array), name


@pytest.mark.parametrize("size", [5, "n"])
def test_a_part_that_is_the_whole_is_read_like_any_other(size):
    """In steps of two along an axis of one element, which a layout takes for steps of one."""
    x = sg.input("x", (size, 1), "int32")
    part = Pad(x.shape, (0, 0), (1, 2))(x * x)
    behind = Concat(0)(Slice((0, 0), x.shape, (1, 1))(part), Slice((0, 0), (0, 1), (1, 1))(x))
    graph = sg.Graph({"part": part, "read": x + part, "behind": behind})
    found = sg.compile(graph, pipeline="O0").run({"x": np.arange(5, dtype="int32")[:, None]})
    assert found["part"].ravel().tolist() == [0, 1, 4, 9, 16]
    assert found["read"].ravel().tolist() == [0, 2, 6, 12, 20]
    assert found["behind"].ravel().tolist() == [0, 1, 4, 9, 16]


def slices(count):
    """The gradient of a recurrence over slices of one array."""
    x = sg.input("x", (count, 8, 24), "float32")
    h = x[0]
    for k in range(1, count):
        h = sg.tanh(x[k] + h)
    return sg.Graph({"slope": sg.grad((h * h).sum(), x)})


@pytest.mark.thinned(3)
@pytest.mark.parametrize("count", [3, 5, 40])
def test_the_gradient_of_slices_is_written_once_where_it_lies(count):
    """No zeros, no copies, and no more than the result and what the recurrence keeps."""
    f = sg.compile(slices(count))
    labels = [step.label for step in f.schedule.steps]
    assert not any("pad" in label or "concat" in label for label in labels)
    array = np.random.default_rng(0).normal(size=(count, 8, 24)).astype("float32")
    array[1] = -0.0
    found = f.run({"x": array})["slope"]
    unfused = sg.compile(slices(count), fuse=False).run({"x": array})["slope"]
    assert same_bytes(found, unfused)


@pytest.mark.slow
def test_steps_of_slices_grow_with_their_number():
    few, many = (len(sg.compile(slices(n)).schedule.steps) for n in (40, 80))
    assert many <= 2 * few + 2


@st.composite
def sums_of_pads(draw):
    """Sums of pads that meet or lie apart, and of others, in any order, of any dtype."""
    chooser = Chooser(draw)
    dtype = chooser.choice(("float32", "float64", "float16", "int32"))
    shape = (chooser.choice((9, 20)), chooser.choice((3, 12)))
    feeds = {name: feed(chooser, shape, dtype) for name in "xy"}
    x, y = (sg.input(name, shape, dtype) for name in "xy")
    axis = chooser.integer(0, 1)
    total = None
    for _ in range(chooser.integer(2, 7)):
        whole = chooser.choice((x, y))
        begin = chooser.integer(0, shape[axis])
        length = chooser.integer(0, shape[axis] - begin)
        starts = tuple(begin if k == axis else 0 for k in range(2))
        lengths = tuple(length if k == axis else n for k, n in enumerate(shape))
        value = Slice((0, 0), lengths, (1, 1))(whole)
        value = chooser.choice((value, value * value, -value, sg.maximum(value, value * 3)))
        term = whole if chooser.integer(0, 5) == 0 else Pad(shape, starts, (1, 1))(value)
        total = term if total is None else total + term
    return sg.Graph({"total": total, "transposed": total.T, "both": x == y}), feeds


def test_pads_of_nothing_add_up_to_zeros():
    """Three parts without elements, two of them at one place."""
    x = sg.input("x", (9, 3))
    part = Slice((0, 0), (0, 3), (1, 1))(x)
    part = part * part
    first, second, third = (Pad((9, 3), (start, 0), (1, 1))(part) for start in (0, 0, 1))
    found = sg.compile(sg.Graph(first + second + third), pipeline="O0").run(
        {"x": np.ones((9, 3), "f4")}
    )
    assert same_bytes(found["output"], np.zeros((9, 3), "f4"))


@pytest.mark.slow
@given(sums_of_pads())
@settings(max_examples=24, deadline=None)
def test_sums_of_pads_have_the_bytes_of_the_evaluator(made):
    graph, feeds = made
    wanted = sg.evaluate(graph, feeds)
    for level in ("O0", "O1"):
        found = sg.compile(graph, pipeline=level).run(feeds)
        assert all(same_bytes(found[name], array) for name, array in wanted.items()), level


OF_PARTS = {
    "squares": lambda x: sg.tanh((x * x)[::2]),
    "twice": lambda x: sg.tanh(sg.tanh((x * x)[1:4]) * 0.5),
    "two parts": lambda x: sg.sin(x[:2]) * sg.exp(x[3:] * x[:2]),
}


@pytest.mark.thinned(3)
@diagonals(2, ("name", OF_PARTS), ("order", [1, 2]))
def test_losses_of_parts_stand_beside_their_gradients(name, order):
    x = sg.input("x", (5,), "float64")
    loss = sg.tanh(OF_PARTS[name](x) * 0.5).sum()
    outputs = {"loss": loss, "part": (x * x)[::2], "slope": sg.grad(loss, x)}
    if order == 2:
        outputs["bend"] = sg.grad((outputs["slope"] ** 2).sum(), x)
    graph, feeds = sg.Graph(outputs), {"x": np.linspace(-1.0, 1.5, 5)}
    with sg.options(check=True):
        found = sg.compile(graph).run(feeds)
    for key, array in sg.evaluate(graph, feeds).items():
        np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-14)
