"""Values of parts side by side, read where the parts lie: bytes, kernels, and loops from end to
end."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.fusion.windows import FEW_ELEMENTS
from staticgrad.ops.indexing import Concat, Pad
from staticgrad.preparation.regions import with_joined_pads
from tests.compiled.ways import numbers
from tests.diagonals import diagonals

WAYS = (
    {"threads": 1},
    {"threads": 3},
    {"fuse": False},
    {"debug": True},
)


def check(outputs, feeds, *more):
    """Compile in every way, compare bytes with the evaluator; the kernels of the first way."""
    graph = sg.Graph(outputs)
    wanted = sg.evaluate(graph, feeds)
    compiled = [sg.compile(graph, **way) for way in (*WAYS, *more)]
    for f in compiled:
        found = f.run(feeds)
        for name, array in wanted.items():
            assert same_bytes(found[name], array), name
    return len(compiled[0].kernels)


def wave(x):
    """What a place has less than its four neighbours, round the ends."""
    sides = sg.roll(x, 1, 0) + sg.roll(x, -1, 0) + sg.roll(x, 1, 1) + sg.roll(x, -1, 1)
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
    assert check({"y": wave(x)}, feeds) == 1
    found, each = sg.compile(sg.Graph({"y": wave(x)})), feeds["x"]
    moved = [np.roll(each, by, axis) for axis in (0, 1) for by in (1, -1)]
    with np.errstate(invalid="ignore"):
        expected = sum(moved[1:], moved[0]) - 4 * each
    np.testing.assert_array_equal(found.run(feeds)["y"], expected)
    assert found.peak_bytes == 0  # no roll lies in memory


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vector", pytest.param("numba", marks=pytest.mark.exhaustive)])
def test_the_gradient_round_the_ends_reads_what_it_adds(backend):
    """Its pads lie apart two by two, although all four of an axis do not."""
    x = sg.input("x", (150, 151), "float64")
    loss = (wave(x) ** 2).sum()
    slope = sg.grad(loss, x)
    joined = with_joined_pads(sg.Graph({"slope": slope})).nodes
    assert not [node for node in joined if isinstance(node.op, Pad)]
    assert len([node for node in joined if isinstance(node.op, Concat)]) == 8
    shape = (150, 151)
    whole = np.random.default_rng(0).integers(-9, 9, shape).astype("float64")
    for each in (whole, numbers(shape, whole.dtype)):  # no sum of whole numbers is rounded
        check({"slope": slope}, {"x": each}, {"backend": backend})
    both = sg.Graph({"loss": loss, "slope": slope})
    assert len(sg.compile(both).kernels) <= 4  # two of them the loss's
    found = sg.compile(both).run({"x": whole})
    laplacian = [np.roll(whole, by, axis) for axis in (0, 1) for by in (1, -1)]
    residual = sum(laplacian) - 4 * whole
    back = sum(np.roll(residual, by, axis) for axis in (0, 1) for by in (1, -1)) - 4 * residual
    np.testing.assert_array_equal(found["slope"], 2 * back)
    assert found["loss"] == (residual**2).sum()


SIZES = st.sampled_from([1, 2, 15, 16, 17, 31, 33, 64, 100, 257])


@pytest.mark.slow
@settings(max_examples=10)
@given(st.lists(SIZES, min_size=2, max_size=4), st.integers(0, 1), st.booleans(), st.data())
def test_parts_of_any_length(lengths, axis, named, data):
    """The longest may be the first, the last or between; beside a border, and reduced."""
    whole = sum(lengths)
    other = FEW_ELEMENTS // whole + data.draw(st.integers(1, 40))
    shapes = [(n, other) if axis == 0 else (other, n) for n in lengths]
    size = "rows" if named else other
    parts = [
        sg.input(f"x{k}", (s[0], size) if axis == 0 else (size, s[1]), "float32")
        for k, s in enumerate(shapes)
    ]
    joined = sg.concatenate(parts, axis)
    first = joined[:1] if axis == 0 else joined[:, :1]
    rest = joined[1:] if axis == 0 else joined[:, 1:]
    shifted = sg.concatenate([rest, first * 2], axis)
    border = sg.pad(rest, ((1, 0), (0, 0)) if axis == 0 else ((0, 0), (1, 0)))
    outputs = {"moved": shifted - joined, "border": border + joined, "most": (joined * 2).max(1)}
    feeds = {f"x{k}": numbers(s, np.dtype("float32"), k) for k, s in enumerate(shapes)}
    check(outputs, feeds)


def test_rows_of_few_elements_are_reduced_in_lanes():
    """A stack of coordinates has no memory: its squares are summed where the coordinates lie."""
    parts = [sg.input(name, (20_000,), "float32") for name in "abc"]
    lengths = (sg.stack(parts, -1) ** 2).sum(-1)
    f = sg.compile(sg.Graph({"lengths": lengths}))
    assert (len(f.kernels), f.peak_bytes) == (1, 0)
    feeds = {name: numbers((20_000,), np.dtype("float32"), k) for k, name in enumerate("abc")}
    wanted = sum(array.astype("f8") ** 2 for array in feeds.values())
    np.testing.assert_allclose(f.run(feeds)["lengths"], wanted, rtol=1e-6)


@pytest.mark.parametrize(("shape", "axis"), [((2000, 24), 1), ((2000, 24), 0)], ids=str)
def test_parts_of_short_rows_are_copied(shape, axis):
    """Most of their vectors cross an end; so do those of what is summed across rows."""
    x, y = sg.input("x", shape, "float32"), sg.input("y", shape, "float32")
    joined = sg.concatenate([x, y], axis)
    assert len(sg.compile(sg.Graph({"z": joined * 2})).kernels) > 1
    wide = sg.concatenate([sg.input(n, (200, 300), "float32") for n in "ab"], axis)
    assert len(sg.compile(sg.Graph({"z": (wide * 2).sum(0)})).kernels) > 1
    assert len(sg.compile(sg.Graph({"z": (wide * 2).sum(1)})).kernels) == 1
