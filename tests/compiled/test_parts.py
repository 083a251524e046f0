"""Slices of every k-th element and their gradients: one kernel, to the bytes of the evaluator."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.compiler.fusion.windows import FEW_ELEMENTS
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from tests.compiled.ways import numbers
from tests.helpers.diagonals import diagonals
from tests.helpers.random_programs import Chooser


def differing(graph, feeds, **options):
    """The results whose bytes are not the evaluator's."""
    actual, expected = sg.compile(graph, **options).run(feeds), sg.evaluate(graph, feeds)
    return [name for name, array in expected.items() if not same_bytes(actual[name], array)]


@pytest.mark.thinned(6)
@diagonals(
    2,
    ("length", [1, 40, 133]),
    ("step", [2, 3, 4, 7, 16, 17]),
    ("dtype", ["float32", "float64", "float16", "int32"]),
)
def test_elements_that_are_put_in_turn(dtype, step, length):
    """All of them, all but the first, one alone, and two at one place, which lie not apart."""
    shape = (step * length,)
    parts = [sg.input(f"x{k}", (length,), dtype) for k in range(step)]
    pads = [Pad(shape, (k,), (step,))(part) for k, part in enumerate(parts)]
    outputs = {"one": pads[-1] * 3, "twice": pads[0] + Pad(shape, (0,), (step,))(parts[1])}
    outputs["all"], outputs["most"] = sum(pads[1:], pads[0]), sum(pads[2:], pads[1])
    feeds = {f"x{k}": numbers((length,), np.dtype(dtype), k) for k in range(step)}
    assert differing(sg.Graph(outputs), feeds) == []


@pytest.mark.thinned(3)
@diagonals(
    2, ("length", [3, 16, 17, 64, 100]), ("dtype", ["float32", "float64"]), ("steps", [0, 3])
)
def test_ends_that_differ_from_the_middle(length, dtype, steps):
    """The first and the last element have formulas of their own, also in a loop."""

    def step(x):
        middle = x[1:-1] + 0.25 * (x[2:] - 2 * x[1:-1] + x[:-2])
        return sg.concatenate([x[:1] * 0.5, middle, -x[-1:]])

    x = sg.input("x", (length,), dtype)
    last = sg.fori_loop(0, steps, lambda _, y: step(y), x) if steps else step(x)
    graph = sg.Graph({"last": last, "slope": sg.grad((last * last).sum(), x)})
    assert differing(graph, {"x": numbers((length,), np.dtype(dtype))}) == []


@pytest.mark.thinned(3)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [2, 3])
def test_gradients_of_slices_along_every_axis(axis, step):
    x = sg.input("x", (6, 12, 18), "float64")
    index = [(slice(None),) * axis + (slice(k, None, step),) for k in range(step)]
    loss = (x[index[0]] * x[index[1]] - x[index[-1]]).sum()
    graph = sg.Graph(
        {"loss": loss, "slope": sg.grad(loss, x), "squares": x[index[1]] * x[index[0]]}
    )
    assert differing(graph, {"x": numbers((6, 12, 18), np.dtype("float64"))}) == []


CORNERS = [slice(None, 5), slice(5, None)]
TURNS = [slice(0, None, 2), slice(1, None, 2)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize(
    "index",
    [
        [*product(TURNS, TURNS)],
        [*product(TURNS, [slice(k, None, 3) for k in range(3)])],
        [*product(CORNERS, TURNS)],
        [*product(CORNERS, CORNERS)],
        [(TURNS[0], TURNS[1]), (TURNS[1], TURNS[0])],  # the others are zeros
        [(CORNERS[0], slice(1, 3)), (CORNERS[0], slice(4, 7)), (slice(6, 9), slice(2, 5))],
        [(CORNERS[0], CORNERS[0]), (CORNERS[1], slice(3, None)), (slice(2, 7), slice(0, 0))],
        [(slice(0, 4), slice(0, 3)), (slice(2, 8), slice(3, 12))],  # disjoint along one only
        [(slice(0, 4), slice(0, 9)), (slice(3, 6), slice(4, 12))],  # one element has two terms
    ],
)
def test_regions_of_two_axes(index, dtype):
    """Elements of each region come from its own slice, all others are zero."""
    x = sg.input("x", (10, 12, 3), dtype)
    parts = [x[cut_pair] * (k + 2) for k, cut_pair in enumerate(index)]
    axes = np.arange(10), np.arange(12)
    pads = []
    for part, cuts in zip(parts, index, strict=True):
        axis_indices = [axis[cut] for axis, cut in zip(axes, cuts, strict=True)]
        starts = tuple(int(at[0]) if len(at) else 0 for at in axis_indices)
        steps = tuple(cut.step or 1 for cut in cuts)
        pads.append(Pad(x.shape, (*starts, 0), (*steps, 1))(part))
    graph = sg.Graph({"sum": sum(pads[1:], pads[0]), "back": sum(pads[:-1][::-1], pads[-1]) * 2})
    assert differing(graph, {"x": numbers((10, 12, 3), np.dtype(dtype))}) == []


def test_a_slope_of_every_second_row_and_column():
    """d/dx of the sum of a b - c d, the four neighbours of a square, is b, a, -d and -c."""
    x = sg.input("x", (4, 6), "float64")
    a, b, c, d = (x[i::2, j::2] for i, j in ((0, 0), (1, 1), (1, 0), (0, 1)))
    array = numbers((4, 6), np.dtype("float64"))
    actual = sg.compile(sg.Graph(sg.grad((a * b - c * d).sum(), x))).run({"x": array})["output"]
    expected = np.zeros((4, 6))
    expected[::2, ::2], expected[1::2, 1::2] = array[1::2, 1::2], array[::2, ::2]
    expected[1::2, ::2], expected[::2, 1::2] = -array[::2, 1::2], -array[1::2, ::2]
    np.testing.assert_array_equal(actual, expected)


def cuts(size):
    """Parts of an axis, and all of it."""
    ends = st.sampled_from([None, 1, -1, size // 2])
    return st.builds(slice, st.sampled_from([None, 1, 2]), ends, st.sampled_from([None, 1, 2, 3]))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.tuples(cuts(6), cuts(8), cuts(9)), st.sampled_from([None, (1, 2), (0, 2), 2, 0]))
def test_sums_of_parts_beside_their_gradients(part, axes):
    """The gradient is stored where the part lies: its rows are not one run, which a sum's are."""
    x = sg.input("x", (6, 8, 9), "float64")
    y = x[part]
    total = sg.sqrt(y * y + 1.0).sum(axis=axes)  # the gradient reads the roots
    graph = sg.Graph({"total": total, "slope": sg.grad(total.sum(), x)})
    assert differing(graph, {"x": numbers((6, 8, 9), np.dtype("float64"))}) == []


WAYS = ({"threads": 1}, {"threads": 3}, {"fuse": False}, {"debug": True})


def check(outputs, feeds, *more):
    """In every way."""
    graph = sg.Graph(outputs)
    assert not {str(way): bad for way in (*WAYS, *more) if (bad := differing(graph, feeds, **way))}


def wave(x, of=sg):
    """Return the Laplacian: the four neighbours less four times the element, periodic."""
    sides = of.roll(x, 1, 0) + of.roll(x, -1, 0) + of.roll(x, 1, 1) + of.roll(x, -1, 1)
    return sides - 4 * x


@pytest.mark.thinned
@diagonals(
    2,
    ("shape", [(130, 131), (33, 520), (5000, 4), (8200, 2), (2, 8200)]),
    ("dtype", ["float32", "float64", "int32"]),
)
def test_neighbours_round_the_ends_are_one_kernel(shape, dtype):
    x = sg.input("x", shape, dtype)
    feeds = {"x": numbers(shape, np.dtype(dtype), 0)}
    check({"y": wave(x)}, feeds)
    actual = sg.compile(sg.Graph({"y": wave(x)}), threads=1)
    assert len(actual.kernels) == 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(actual.run(feeds)["y"], wave(feeds["x"], np))
    assert actual.peak_bytes == 0  # no roll lies in memory


SIZES = st.sampled_from([1, 2, 15, 16, 17, 31, 33, 64, 100, 257])


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(SIZES, min_size=2, max_size=4), st.integers(0, 1), st.booleans(), st.data())
def test_parts_of_any_length(lengths, axis, named, data):
    """The longest may be the first, the last or between; beside a border, and reduced."""
    total_length = sum(lengths)
    other_length = FEW_ELEMENTS // total_length + data.draw(st.integers(1, 40))
    shapes = [(n, other_length) if axis == 0 else (other_length, n) for n in lengths]
    size = "rows" if named else other_length
    parts = [
        sg.input(f"x{k}", (s[0], size) if axis == 0 else (size, s[1]), "float32")
        for k, s in enumerate(shapes)
    ]
    joined = sg.concatenate(parts, axis)
    first = joined[:1] if axis == 0 else joined[:, :1]
    later = joined[1:] if axis == 0 else joined[:, 1:]
    shifted = sg.concatenate([later, first * 2], axis)
    border = sg.pad(later, ((1, 0), (0, 0)) if axis == 0 else ((0, 0), (1, 0)))
    outputs = {"moved": shifted - joined, "border": border + joined, "most": (joined * 2).max(1)}
    feeds = {f"x{k}": numbers(s, np.dtype("float32"), k) for k, s in enumerate(shapes)}
    check(outputs, feeds)


DTYPES = ("float32", "float64", "float16", "int32", "uint8", "bool")
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, 3.5, -7.0)


def draw_array(chooser, shape, dtype):
    """An array in which zeros of both signs, infinities and NaN occur."""
    random = np.random.default_rng(chooser.integer(0, 1000))
    if dtype.startswith("float"):
        array = random.normal(size=shape)
        places = random.random(shape) < 0.3
        array[places] = random.choice(SPECIAL, shape)[places]
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    return random.integers(0, 2 if dtype == "bool" else 200, shape).astype(dtype)


def draw_slice(chooser, x):
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


def part_along(x, axis, begin, end):
    starts = tuple(begin if k == axis else 0 for k in range(len(x.shape)))
    lengths = tuple(end - begin if k == axis else n for k, n in enumerate(x.shape))
    return Slice(starts, lengths, (1,) * len(x.shape))(x)


def pad_into(chooser, x, shape):
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
    feeds = {name: draw_array(chooser, shape, dtype) for name in "xy"}
    values = [sg.input(name, shape, dtype) for name in "xy"]
    for _ in range(chooser.integer(1, 6)):
        x, y = chooser.choice(values), chooser.choice(values)
        match chooser.integer(0, 4):
            case 0:
                values.append(pad_into(chooser, draw_slice(chooser, x), shape))
            case 1:
                axis = chooser.integer(0, rank - 1)
                cut = chooser.integer(0, shape[axis])
                ends = part_along(x, axis, cut, shape[axis]), part_along(y, axis, 0, cut)
                values.append(Concat(axis)(*ends))
            case 2:
                values.append(sg.maximum(x, y) if dtype == "bool" else x + y)
            case 3:
                values.append(sg.where(x == y, x, y))
            case 4:
                part = draw_slice(chooser, x)
                cheap = part if dtype == "bool" else part * part + part
                values.append(pad_into(chooser, cheap, shape))
    outputs = {f"o{k}": v for k, v in enumerate(values[2:])} | {"both": values[0] == values[1]}
    last = values[-1]
    if dtype.startswith("float"):
        axes = (chooser.integer(0, rank - 1),)
        outputs["total"] = last.sum(axes)
        outputs["all"] = last.sum()
        outputs["transposed"] = sg.transpose(last) + 1.0
    return sg.Graph(outputs), feeds


def sum_of_pads(chooser):
    """A sum of pads that meet or lie apart, and of others, in any order, of any dtype."""
    dtype = chooser.choice(("float32", "float64", "float16", "int32"))
    shape = (chooser.choice((9, 20)), chooser.choice((3, 12)))
    feeds = {name: draw_array(chooser, shape, dtype) for name in "xy"}
    x, y = (sg.input(name, shape, dtype) for name in "xy")
    axis = chooser.integer(0, 1)
    terms = []
    for _ in range(chooser.integer(2, 7)):
        array = chooser.choice((x, y))
        begin = chooser.integer(0, shape[axis])
        value = part_along(array, axis, 0, chooser.integer(0, shape[axis] - begin))
        value = chooser.choice((value, value * value, -value, sg.maximum(value, value * 3)))
        starts = tuple(begin if k == axis else 0 for k in range(2))
        terms.append(array if chooser.integer(0, 5) == 0 else Pad(shape, starts, (1, 1))(value))
    total = sum(terms[1:], terms[0])
    return sg.Graph({"total": total, "transposed": total.T, "both": x == y}), feeds


def sum_of_lattices(chooser):
    """A sum of pads of regions or of every k-th element along each of two axes."""
    shape = (12, chooser.choice((6, 12)))
    x = sg.input("x", shape, "float32")
    steps = [chooser.choice((1, 2, 3)) for _ in shape]
    terms = []
    for _ in range(chooser.integer(2, 7)):
        starts, cut = [], []
        for size, step in zip(shape, steps, strict=True):
            begin = chooser.integer(0, size // 2 if step == 1 else step - 1)
            length = chooser.integer(0, size - begin) if step == 1 else size // step
            starts.append(begin)
            cut.append(slice(0, length))
        value = x[tuple(cut)]
        value = chooser.choice((value, value * value, -value))
        terms.append(Pad(shape, tuple(starts), tuple(steps))(value))
    total = sum(terms[1:], terms[0])
    return sg.Graph({"total": total}), {"x": draw_array(chooser, shape, "float32")}


@pytest.mark.slow
@pytest.mark.parametrize("make", [program, sum_of_pads, sum_of_lattices])
@settings(max_examples=32, deadline=None)
@given(data=st.data())
def test_parts_have_the_bytes_of_the_evaluator(make, data):
    graph, feeds = make(Chooser(data.draw))
    for level, merge in (("O0", True), ("O1", True), ("O1", False)):
        assert differing(graph, feeds, pipeline=level, fuse=merge) == [], level


def stencil(x, taps, scale=1.0):
    """A sum of slices of a padded array that begin at ``taps``."""
    around = sg.pad(scale * x, [(1, 2), (2, 1)])
    (rows, columns), total = x.shape, 0.0
    for k, (down, across) in enumerate(taps):
        total = total + (k + 2.0) * around[down : down + rows, across : across + columns]
    return total


@pytest.mark.thinned(3)
@pytest.mark.parametrize("taps", [[(1, 2)], [(0, 2), (3, 2), (1, 0)], [*np.ndindex(4, 4)][5:]])
@pytest.mark.parametrize("shape", [(21, 133), (1, 40), (3, 2), ("n", 40), ("n", "m")])
def test_slices_of_a_padded_array_and_their_gradient(shape, taps):
    x = sg.input("x", shape, "float32")
    y = stencil(x, taps, 0.1)
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y * y).sum(), x)})
    sizes = [{"n": 5, "m": 7}.get(size, size) for size in shape]
    assert differing(graph, {"x": numbers(sizes, np.dtype("float32"))}) == []


@pytest.mark.parametrize("cut", [np.s_[:2, :], np.s_[:3, 4:], np.s_[2:, 1:9], np.s_[::-1, 2:3]])
def test_a_slice_of_what_is_computed_of_pads(cut):
    """Slices of a border alone, of border and array, and of sums with other arrays."""
    x, y = sg.input("x", (5, 6), "float32"), sg.input("y", (11, 12), "float32")
    pad = sg.pad(x, 3)
    outputs = {"pad": pad[cut] * 2.0, "sum": (pad * 3.0 + y)[cut], "whole": (1.0 - pad) * y}
    feeds = {"x": numbers((5, 6), np.dtype("float32")), "y": numbers((11, 12), np.dtype("float32"))}
    for names in (["pad", "sum", "whole"], ["pad", "sum"], ["sum"]):
        assert differing(sg.Graph({name: outputs[name] for name in names}), feeds) == []


@pytest.mark.parametrize("scale", [0.1, "k"])
@pytest.mark.parametrize("shape", [(21, 133), (3, 2), ("n", 40)])
def test_what_is_scaled_is_read_rolled(shape, scale):
    """Nothing is stored for it where sizes are literal: one kernel forward, and one backward."""
    x, g = sg.input("x", shape, "float32"), sg.input("g", shape, "float32")
    scale = sg.input("k", (), "float32") if scale == "k" else scale
    y = -(scale * x)
    y = sg.roll(y, 1, 0) - sg.roll(y, -1, 1) + y
    graphs = sg.Graph({"y": y}), sg.Graph({"slope": sg.grad((y * g).sum(), x)})
    sizes = [{"n": 5}.get(size, size) for size in shape]
    feeds = {name: numbers(sizes, np.dtype("float32"), k) for k, name in enumerate("xg")}
    feeds["k"] = np.float32(0.25)
    for graph in graphs:
        graph_feeds = {value.node.label: feeds[value.node.label] for value in graph.inputs}
        assert differing(graph, graph_feeds) == []
        assert "n" in shape or len(sg.compile(graph).kernels) == 1


def test_a_stencil_of_a_padded_array_stores_no_pad():
    """Neither forward nor backward; a product reads slices of a pad that is stored once."""
    x, w = sg.input("x", (64, 48), "float32"), sg.input("w", (3, 48, 8), "float32")
    y = stencil(x, [(0, 2), (3, 2), (1, 0)])
    back = sg.compile(sg.Graph({"slope": sg.grad((y * sg.input("g", (64, 48))).sum(), x)}))
    assert [len(sg.compile(y).kernels), len(back.kernels)] == [1, 1]
    around = sg.pad(x, [(1, 1), (0, 0)])
    rows = sg.compile(sum(around[k : k + 64] @ w[k] for k in range(3)))
    feeds = {"x": numbers((64, 48), np.dtype("float32")), "w": np.ones((3, 48, 8), "float32")}
    assert sum("pad" in step.computes for step in rows.profile(feeds, runs=1).steps) == 1


def slices(count):
    """The gradient of a recurrence over slices of one array."""
    x = sg.input("x", (count, 8, 24), "float32")
    h = x[0]
    for k in range(1, count):
        h = sg.tanh(x[k] + h)
    return sg.Graph({"slope": sg.grad((h * h).sum(), x)})


def test_pads_of_nothing_add_up_to_zeros():
    """Three parts without elements, two of them at one place."""
    x = sg.input("x", (9, 3))
    part = Slice((0, 0), (0, 3), (1, 1))(x)
    part = part * part
    first, second, third = (Pad((9, 3), (start, 0), (1, 1))(part) for start in (0, 0, 1))
    graph, feeds = sg.Graph(first + second + third), {"x": np.ones((9, 3), "f4")}
    actual = sg.compile(graph, pipeline="O0").run(feeds)["output"]
    assert same_bytes(actual, np.zeros((9, 3), "f4"))
