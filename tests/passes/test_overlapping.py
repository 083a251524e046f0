"""Gradients of many slices that overlap: sums of the slices, linear in their elements."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from passes.late.regions import join_disjoint_pads, order_overlapping_pads
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ops.indexing import Pad
from tests.compiled.ways import numbers

#: Of the largest element.
NEAR = {"float64": 1e-13, "float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2, "int32": 0}


def check(value, feeds, expected, near, *ways):
    """Compare a value with float64 in every way."""
    near *= max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1)
    for way in ({"threads": 1}, {"threads": 2}, *ways):
        actual = sg.compile(value, **way).run(feeds).astype("float64")
        np.testing.assert_allclose(actual, expected, rtol=0, atol=near, err_msg=str(way))


@st.composite
def boxes(draw):
    """Boxes anywhere in an array of one to three axes; some are empty, some are equal."""
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    length, step = draw(st.tuples(st.integers(0, 4), st.integers(1, 4)))
    regions = []
    for _ in range(draw(st.integers(12, 40))):
        starts = [step * draw(st.integers(0, (size - 1) // step)) for size in shape]
        region = [slice(k, min(k + length, n)) for k, n in zip(starts, shape, strict=True)]
        regions.append(tuple(region))
    return shape, regions


@settings(max_examples=30, deadline=None)
@given(boxes(), st.sampled_from([*NEAR]), st.booleans())
def test_sums_of_boxes(boxes, dtype, with_another):
    """The order of the terms alone is another one, and no two parts of a class overlap."""
    shape, regions = boxes
    x = sg.input("x", (len(regions), *shape), dtype)
    array = numbers(x.shape, "int32" if dtype == "int32" else "float32").clip(-99, 99)
    array = np.asarray(sg.evaluate(sg.astype(sg.constant(array), dtype)))
    terms, expected, sizes = [x[0]] * with_another, np.zeros(shape), np.ones(shape)
    for k, region in enumerate(regions):
        starts = tuple(cut.start for cut in region)
        terms.append(Pad(shape, starts, (1,) * len(shape))(x[(k, *region)]))
        expected[region] += array[(k, *region)].astype("float64")
        sizes[region] += np.abs(array[(k, *region)].astype("float64"))
    if with_another:
        expected += array[0].astype("float64")
        sizes += np.abs(array[0].astype("float64"))
    graph = sg.Graph(sum(terms[1:], terms[0]))
    ordered = order_overlapping_pads(graph)
    joined = join_disjoint_pads(ordered)
    actual, again = (sg.evaluate(g, {"x": array})["output"] for g in (ordered, joined))
    assert same_bytes(actual, again)
    near = NEAR[dtype] * sizes[np.isfinite(sizes)].max(initial=1)
    np.testing.assert_allclose(actual.astype("float64"), expected, rtol=0, atol=near)


def frames(x, count, length, step):
    return sg.stack([x[k * step : k * step + length] for k in range(count)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("count", "length", "step"), [(40, 32, 8), (30, 5, 2), (70, 9, 1), (13, 3, 4), (24, 1, 1)]
)
def test_gradients_of_frames(count, length, step, dtype):
    """Also with sizes that only a run gives, of all axes but that of the frames."""
    size = (count - 1) * step + length + 3
    # Numba takes a minute for a sum of 40 terms, of which each is a branch; a second for 13.
    ways = [{"fuse": False}, *[{"backend": "numba"}] * (count < 20)]
    for columns in (3, "n"):
        x = sg.input("x", (size, columns), dtype)
        weights = sg.input("w", (count, length, columns), dtype)
        slope = sg.grad((frames(x, count, length, step) * weights).sum(), x)
        arrays = numbers((count, length, 3), dtype)
        expected = np.zeros((size, 3))
        for k, array in enumerate(arrays):
            expected[k * step : k * step + length] += array
        check(slope, {"w": arrays}, expected, NEAR[dtype], *ways)


def test_frames_of_an_open_length_and_step():
    """Frame k begins at 2 k h and has 5 h elements."""
    h = sg.dim("h")
    x, w = sg.input("x", (60 * h,), "float64"), sg.input("w", (16, 5 * h), "float64")
    slope = sg.grad((sg.stack([x[2 * k * h : (2 * k + 5) * h] for k in range(16)]) * w).sum(), x)
    program = sg.compile(slope)
    for size in (1, 7, 0):
        arrays = numbers((16, 5 * size), "float64")
        expected = np.zeros(60 * size)
        for k, array in enumerate(arrays):
            expected[2 * k * size : (2 * k + 5) * size] += array
        np.testing.assert_allclose(program.run({"w": arrays}), expected, atol=1e-9)


def test_steps_and_memory_are_linear_in_the_frames():
    """64 frames of 128 elements with a step of 32 are at every element four arrays."""
    sizes = {}
    for count in (32, 64):
        x = sg.input("x", ((count + 3) * 32,), "float32")
        weights = sg.input("w", (count, 128), "float32")
        plan = sg.compile(sg.grad((frames(x, count, 128, 32) * weights).sum(), x)).plan()
        sizes[count] = len(plan.steps), plan.peak_bytes
        assert len(plan.steps) <= count + 16
        assert plan.peak_bytes <= 1.2 * 4 * 4 * x.shape[0]
    assert sizes[64][1] <= 2.1 * sizes[32][1]


def test_not_a_number_stays_in_its_frame():
    x, w = sg.input("x", (48,), "float32"), sg.input("w", (23, 4), "float32")
    array = np.ones((23, 4), "float32")
    array[5, 1], array[9, 0] = np.nan, np.inf
    slope = sg.compile(sg.grad((frames(x, 23, 4, 2) * w).sum(), x)).run({"w": array})
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(slope)), [11])
    np.testing.assert_array_equal(np.flatnonzero(np.isinf(slope)), [18])
