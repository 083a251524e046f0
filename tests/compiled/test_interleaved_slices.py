"""Slices of every k-th element and their gradients: one kernel, to the bytes of the evaluator."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.lowering.fuse import fuse
from staticgrad.ops.indexing import Concat, Pad
from staticgrad.preparation.regions import MOST_SINGLE, MOST_STEP, with_joined_pads
from tests.compiled.ways import numbers
from tests.diagonals import diagonals


def differing(graph, feeds):
    """The results whose bytes are not the evaluator's."""
    found, wanted = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    return [name for name, array in wanted.items() if not same_bytes(found[name], array)]


@pytest.mark.thinned(6)
@diagonals(
    2,
    ("length", [1, 40, 133]),
    ("step", [2, 3, 4, 7, MOST_STEP, MOST_STEP + 1]),
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


def test_the_gradient_of_a_difference_of_pairs_is_one_kernel():
    x = sg.input("x", (100_000,), "float32")
    slope = sg.grad(((x[::2] - x[1::2]) ** 2).sum(), x)
    graph = pipeline("O1")(sg.Graph({"slope": slope}))
    assert len(fuse(graph).steps) == 1
    (kernel,) = sg.compile(sg.Graph({"slope": slope})).kernels
    assert "store_strided" not in kernel.source


def test_what_is_split_and_what_is_not():
    x, y = sg.input("x", (10,), "float32"), sg.input("y", (10,), "float32")

    def ops(value):
        return [type(node.op) for node in with_joined_pads(sg.Graph({"z": value})).nodes]

    def strides(value):
        nodes = with_joined_pads(sg.Graph({"z": value})).nodes
        return {step for node in nodes if isinstance(node.op, Pad) for step in node.op.steps}

    assert strides(Pad((30,), (2,), (3,))(x)) == {1}
    assert strides(Pad((29,), (1,), (3,))(x)) == {3}  # the last element has no two behind it
    assert strides(Pad((30,), (29,), (-3,))(x)) == {-3}
    many = MOST_SINGLE + 1
    assert strides(Pad((10 * many,), (0,), (many,))(x)) == {many}
    both = Pad((10 * many,), (0,), (many,))(x) + Pad((10 * many,), (1,), (many,))(y)
    assert Pad not in ops(both)
    assert Concat in ops(both)
    same = Pad((20,), (1,), (2,))(x) + Pad((20,), (1,), (2,))(y)
    assert Concat not in ops(same)


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
