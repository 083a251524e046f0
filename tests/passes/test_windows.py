"""Parts of values and values of parts: read where they are needed, with the bytes of a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.ir.schedule import KernelStep
from staticgrad.ops.indexing import Concat, Pad, Slice
from tests.diagonals import diagonals
from tests.random_graphs import Chooser

DTYPES = ("float32", "float64", "float16", "int32", "uint8", "bool")
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, 3.5, -7.0)


def feed(chooser: Chooser, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array in which zeros of both signs, infinities and NaN occur."""
    random = np.random.default_rng(chooser.integer(0, 1000))
    if dtype.startswith("float"):
        array = random.normal(size=shape)
        places = random.random(shape) < 0.3
        array[places] = random.choice(SPECIAL, shape)[places]
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    return random.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)


def sliced(chooser: Chooser, x: Any) -> Any:
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


def padded(chooser: Chooser, x: Any, shape: tuple[int, ...]) -> Any:
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


def program(chooser: Chooser) -> tuple[sg.Graph, dict[str, np.ndarray]]:
    """Slices, pads, joins and what is computed elementwise of them, of one dtype."""
    dtype = chooser.choice(DTYPES)
    rank = chooser.integer(1, 3)
    shape = tuple(chooser.choice((1, 2, 3, 5, 17, 40)) for _ in range(rank))
    feeds = {name: feed(chooser, shape, dtype) for name in "xy"}
    values: list[Any] = [sg.input(name, shape, dtype) for name in "xy"]
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
def programs(draw: Any) -> tuple[sg.Graph, dict[str, np.ndarray]]:
    return program(Chooser(draw))


@pytest.mark.slow
@given(programs())
@settings(max_examples=32, deadline=None)
def test_parts_have_the_bytes_of_the_evaluator(
    made: tuple[sg.Graph, dict[str, np.ndarray]],
) -> None:
    graph, feeds = made
    wanted = sg.evaluate(graph, feeds)
    for level, fuse in (("O0", True), ("O1", True), ("O1", False)):
        found = sg.compile(graph, pipeline=level, fuse=fuse).run(feeds)
        for name, array in wanted.items():
            assert same_bytes(found[name], array), name


@pytest.mark.parametrize("size", [5, "n"])
def test_a_part_that_is_the_whole_is_read_like_any_other(size: Any) -> None:
    """In steps of two along an axis of one element, which a layout takes for steps of one."""
    x = sg.input("x", (size, 1), "int32")
    part = Pad(x.shape, (0, 0), (1, 2))(x * x)
    behind = Concat(0)(Slice((0, 0), x.shape, (1, 1))(part), Slice((0, 0), (0, 1), (1, 1))(x))
    graph = sg.Graph({"part": part, "read": x + part, "behind": behind})
    found = sg.compile(graph, pipeline="O0").run({"x": np.arange(5, dtype="int32")[:, None]})
    assert found["part"].ravel().tolist() == [0, 1, 4, 9, 16]
    assert found["read"].ravel().tolist() == [0, 2, 6, 12, 20]
    assert found["behind"].ravel().tolist() == [0, 1, 4, 9, 16]


def steps_of(value: Any) -> list[KernelStep]:
    schedule = sg.compile(sg.Graph({"out": value})).schedule
    return [step for step in schedule.steps if isinstance(step, KernelStep)]


def test_the_gradient_of_a_slice_is_one_kernel_of_zeros_and_elements() -> None:
    x = sg.input("x", (40,), "float32")
    y = sg.input("y", (20,), "float32")
    dx = sg.grad((x[10:30] * y).sum(), x)
    assert len(steps_of(dx)) == 1


@pytest.mark.parametrize("size", [40, "n"])
def test_neighbours_differ_in_two_kernels(size: Any) -> None:
    x = sg.input("x", (size,), "float32")
    dx = sg.grad(sg.exp(sg.sin(x[1:] - x[:-1])).sum(), x)
    kernels = steps_of(dx)
    assert len(kernels) == 2, "one for what is padded, one that reads it at two places"
    assert not any(s.operands[0].buffer == s.operands[-1].buffer for s in kernels)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("size", [1000, "n"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_of_neighbours_are_computed_where_they_are_read(size: Any, dtype: str) -> None:
    """No array but the result, at any length: the value and the gradient are one kernel.

    The sum's terms of a long row are added up in pieces, and what those gave by a second one.
    """
    x = sg.input("x", (size,), dtype)
    head, tail = x[:-1], x[1:]
    value = (100.0 * (tail - head * head) ** 2 + (1.0 - head) ** 2).sum()
    graph = sg.Graph({"value": value, "slope": sg.grad(value, x)})
    f = sg.compile(graph)
    assert len(f.schedule.steps) == (1 if size == 1000 else 2)
    for n in (1000,) if size == 1000 else (1, 2, 16, 17, 18, 33, 1000):
        array = np.random.default_rng(n).normal(size=n).astype(dtype)
        wanted, found = sg.evaluate(graph, {"x": array}), f.run({"x": array})
        assert all(same_bytes(found[name], wanted[name]) for name in wanted), n
        assert f.peak_bytes <= 64, "no array between them, but for the sums of pieces"


def test_formulas_of_two_axes_are_computed_where_they_are_read() -> None:
    x = sg.input("x", (30, 40), "float32")
    inner = x[1:-1, 1:-1]
    bent = 4.0 * inner - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]
    graph = sg.Graph({"slope": sg.grad((bent * bent).sum(), x)})
    f = sg.compile(graph)
    array = np.random.default_rng(0).normal(size=(30, 40)).astype("float32")
    assert len(f.schedule.steps) == 2  # one alone computes what it reads five times
    assert same_bytes(f.run({"x": array})["slope"], sg.evaluate(graph, {"x": array})["slope"])


def test_what_is_dear_or_stored_anyway_is_computed_once() -> None:
    x = sg.input("x", (1000,), "float32")
    dear = sg.grad(sg.sin(sg.exp(x[1:] * x[:-1])).sum(), x)
    assert len(steps_of(dear)) == 2
    y = x[1:] * x[:-1]
    both = sg.compile(sg.Graph({"y": y, "pad": Pad((1001,), (1,), (1,))(y)}))
    assert len(both.schedule.steps) == 2


def test_a_shift_is_read_where_its_parts_lie() -> None:
    x = sg.input("x", (40,), "float32")
    assert len(steps_of(sg.roll(x, 3) * x)) == 1
    assert len(steps_of(sg.concatenate([x[:1], x[:-1]]) - x)) == 1


def test_many_parts_are_written_once_each() -> None:
    x = sg.input("x", (6, 40), "float32")
    joined = sg.concatenate([sg.sin(x[k]) for k in range(6)])
    assert all("in n" not in str(s.kernel) for s in steps_of(joined * joined))


@pytest.mark.parametrize("shape", [(3, 1), (1, 4), (1, 1), (4,), (1,)])
def test_what_is_broadcast_in_a_formula_is_not_padded(shape: tuple[int, ...]) -> None:
    """Its axes of one element stand for every position inside of the borders."""
    x, y = sg.input("x", (3, 4), "float32"), sg.input("y", shape, "float32")
    graph = sg.Graph({"whole": sg.pad(x * y + 1.0, ((2, 0), (0, 3))) * 2.0})
    random = np.random.default_rng(0)
    feeds = {
        "x": random.normal(size=(3, 4)).astype("f4"),
        "y": random.normal(size=shape).astype("f4"),
    }
    expected = np.pad(feeds["x"] * feeds["y"] + np.float32(1), ((2, 0), (0, 3))) * 2
    np.testing.assert_array_equal(sg.compile(graph).run(feeds)["whole"], expected)


def slices(count: int) -> sg.Graph:
    """The gradient of a recurrence over slices of one array."""
    x = sg.input("x", (count, 8, 24), "float32")
    h = x[0]
    for k in range(1, count):
        h = sg.tanh(x[k] + h)
    return sg.Graph({"slope": sg.grad((h * h).sum(), x)})


@pytest.mark.thinned(3)
@pytest.mark.parametrize("count", [3, 5, 40])
def test_the_gradient_of_slices_is_written_once_where_it_lies(count: int) -> None:
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
def test_steps_of_slices_grow_with_their_number() -> None:
    few, many = (len(sg.compile(slices(n)).schedule.steps) for n in (40, 80))
    assert many <= 2 * few + 2


@pytest.mark.thinned(3)
@pytest.mark.parametrize("batch", [7, "batch"])
@pytest.mark.parametrize("gap", [0, 3])
def test_gates_are_stored_side_by_side(batch: Any, gap: int) -> None:
    """Parts of a row: each stored between those of its neighbours, zeros where none is."""
    size = 20
    z = sg.input("z", (batch, 3 * (size + gap)), "float32")
    w = sg.input("w", (3 * (size + gap), 9), "float32")
    a, b, c = (z[:, k * (size + gap) : k * (size + gap) + size] for k in range(3))
    y = (sg.tanh(a) * b + sg.exp(c)) * b
    dz = sg.grad((y * y).sum(), z)
    graph = sg.Graph({"dw": dz @ w, "bias": dz.sum(0)})
    f = sg.compile(graph)
    assert sum("concat" in step.label for step in f.schedule.steps) == (3 if gap else 0)
    feeds = {
        "z": np.random.default_rng(0).normal(size=(7, 3 * (size + gap))).astype("float32"),
        "w": np.ones((3 * (size + gap), 9), "float32"),
    }
    found, unfused = f.run(feeds), sg.compile(graph, fuse=False).run(feeds)
    assert all(same_bytes(found[name], unfused[name]) for name in found)


@st.composite
def sums_of_pads(draw: Any) -> tuple[sg.Graph, dict[str, np.ndarray]]:
    """Sums of pads that meet or lie apart, and of others, in any order, of any dtype."""
    chooser = Chooser(draw)
    dtype = chooser.choice(("float32", "float64", "float16", "int32"))
    shape = (chooser.choice((9, 20)), chooser.choice((3, 12)))
    feeds = {name: feed(chooser, shape, dtype) for name in "xy"}
    x, y = (sg.input(name, shape, dtype) for name in "xy")
    axis = chooser.integer(0, 1)
    total: Any = None
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


@pytest.mark.parametrize("shape", [("n", 1), (1, "n"), (1, "n", 1)], ids=str)
def test_parts_that_ask_for_places_have_axes_of_one_element(shape: Any) -> None:
    """Such axes keep loops of their own then."""
    x = sg.input("x", shape)
    part = x + sg.iota(x.shape, len(shape) - 1, "float32")
    graph = sg.Graph({"joined": sg.concatenate([part, part * 2.0, x], 0), "part": part})
    array = np.arange(5.0, dtype="f4").reshape([5 if n == "n" else 1 for n in shape])
    found, wanted = sg.compile(graph).run({"x": array}), sg.evaluate(graph, {"x": array})
    assert all(same_bytes(found[name], each) for name, each in wanted.items())


def test_pads_of_nothing_add_up_to_zeros() -> None:
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
def test_sums_of_pads_have_the_bytes_of_the_evaluator(
    made: tuple[sg.Graph, dict[str, np.ndarray]],
) -> None:
    graph, feeds = made
    wanted = sg.evaluate(graph, feeds)
    for level in ("O0", "O1"):
        found = sg.compile(graph, pipeline=level).run(feeds)
        assert all(same_bytes(found[name], array) for name, array in wanted.items()), level


@pytest.mark.parametrize("lone", [False, True])
@pytest.mark.parametrize("shape", [(17, 3), (17, 17, 17)])
def test_zeros_come_before_the_part_of_a_gradient_that_forward_computes(
    shape: tuple[int, ...], lone: bool
) -> None:
    x, y = sg.input("x", shape, "float64"), sg.input("y", (1,), "float64")
    loss = sg.tanh(x[4:10:2] * 0.5).sum() + (0.0 if lone else sg.tanh(y * 0.5).sum())
    of_x = sg.grad(loss, x)
    graph = sg.Graph({"loss": loss, "of x": of_x, "part": x[4:10:2]}, inputs=[x, y])
    feeds = {"x": np.random.default_rng(0).normal(size=shape), "y": np.ones(1)}
    found = sg.compile(graph).run(feeds)["of x"]
    wanted = np.zeros(shape)
    wanted[4:10:2] = 0.5 - 0.5 * np.tanh(feeds["x"][4:10:2] * 0.5) ** 2
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


OF_PARTS = {
    "squares": lambda x: sg.tanh((x * x)[::2]),
    "twice": lambda x: sg.tanh(sg.tanh((x * x)[1:4]) * 0.5),
    "two parts": lambda x: sg.sin(x[:2]) * sg.exp(x[3:] * x[:2]),
}


@pytest.mark.thinned(3)
@diagonals(2, ("name", OF_PARTS), ("order", [1, 2]))
def test_losses_of_parts_stand_beside_their_gradients(name: str, order: int) -> None:
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
