"""Results of a size that the caller gives, and slices at places that a run gives, as NumPy."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import errors

MASKS = ([0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1])


def of(value, **feeds):
    return sg.evaluate(value, feeds)


def pad_rows(rows, size, fill):
    padded = np.full((size, *rows.shape[1:]), fill, rows.dtype)
    count = min(size, len(rows))
    padded[:count] = rows[:count]
    return padded


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", [0, 2, 6, 8])
def test_what_a_mask_chooses_is_padded_to_a_size(mask, size):
    holds, rows = np.array(mask, bool), np.arange(12.0).reshape(6, 2)
    m, x = sg.input("m", (6,), "bool"), sg.input("x", (6, 2), "float64")
    actual = of(sg.compress(m, x, 0, size=size, fill_value=-1.0), m=holds, x=rows)
    np.testing.assert_array_equal(actual, pad_rows(rows[holds], size, -1.0))
    np.testing.assert_array_equal(
        of(sg.flatnonzero(m, size=size, fill_value=9), m=holds),
        pad_rows(np.flatnonzero(holds), size, 9),
    )
    grid = np.multiply.outer(holds, [1, 0, 1])
    g = sg.input("g", (6, 3), "int64")
    for axis, (indices, reference) in enumerate(
        zip(of(sg.nonzero(g, size=size, fill_value=-1), g=grid), np.nonzero(grid), strict=True)
    ):
        np.testing.assert_array_equal(indices, pad_rows(reference, size, -1), err_msg=str(axis))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_unique_elements_of_a_size(size, rng):
    numbers = rng.integers(0, 4, (3, 4))
    x = sg.input("x", (3, 4), "int64")
    parts = of(sg.unique(x, True, True, True, size=size), x=numbers)
    expected = np.unique(numbers, True, True, True)
    for part, reference, fill in zip(
        parts[:2], expected[:2], (expected[0][0], expected[1][0]), strict=True
    ):
        np.testing.assert_array_equal(part, pad_rows(reference, size, fill))
    np.testing.assert_array_equal(parts[2].ravel(), expected[2].ravel())
    np.testing.assert_array_equal(parts[3], pad_rows(expected[3], size, 0))


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_size_may_be_a_named_size(count, rng):
    numbers = rng.integers(0, 3, 6)
    x, like = sg.input("x", ("n",), "int64"), sg.input("like", ("m",), "bool")
    values = {
        "unique": sg.unique(x, size=like.shape[0]),
        "nonzero": sg.nonzero(x, size=like.shape[0], fill_value=-1)[0],
        "compress": sg.compress(x > 0, x, size=like.shape[0], fill_value=-1),
        "segments": sg.segment_sum(x, x, like.shape[0] + 3),
    }
    f = sg.compile(sg.Graph(values, inputs=[x, like]))
    results = f.run({"x": numbers, "like": np.zeros(count, bool)})
    expected = {
        "unique": pad_rows(np.unique(numbers), count, np.min(numbers)),
        "nonzero": pad_rows(np.nonzero(numbers)[0], count, -1),
        "compress": pad_rows(numbers[numbers > 0], count, -1),
        "segments": pad_rows(np.bincount(numbers, numbers).astype("int64"), count + 3, 0),
    }
    for name, result in results.items():
        np.testing.assert_array_equal(result, expected[name], err_msg=name)


def test_unique_elements_of_arrays_with_nan_and_none():
    x = np.array([np.nan, 1.0, np.nan, 1.0])
    np.testing.assert_array_equal(sg.unique(x), np.unique(x))
    np.testing.assert_array_equal(sg.unique(x, equal_nan=False), np.unique(x, equal_nan=False))
    assert sg.unique(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("start", [0, 2, 4, -3])
def test_a_slice_at_a_value_is_numpys(start):
    array = np.arange(12.0).reshape(6, 2)
    x, i = sg.input("x", (6, 2), "float64"), sg.input("i", (), "int64")
    rows = array[start:][:2]
    for part in (x[i : i + 2], x[i - 0 : 2 + i], x[2 * i - i : 1 + i + 1], x[i : i + 2, :]):
        np.testing.assert_array_equal(of(part, x=array, i=start), rows)
    (slope,) = sg.grad((x[i : i + 2] ** 2).sum(), [x])
    expected = np.zeros_like(array)
    expected[start:][:2] = 2.0 * rows
    np.testing.assert_array_equal(of(slope, x=array, i=start), expected)
    changed = array.copy()
    changed[start:][:2, 1] = 7.0
    np.testing.assert_array_equal(of(x.at[i : i + 2, 1].set(7.0), x=array, i=start), changed)


def test_slices_at_values_in_compiled_loops(rng):
    array = rng.standard_normal((8, 3))

    @sg.function
    def windows(x):
        return sg.fori_loop(
            0, 4, lambda k, c: c + x[2 * k : 2 * k + 2] ** 2, sg.zeros((2, 3), x.dtype)
        )

    np.testing.assert_allclose(windows(array), (array.reshape(4, 2, 3) ** 2).sum(0), rtol=1e-13)


def test_slices_without_a_known_size_and_outside_are_errors():
    x, i = sg.input("x", (6,), "float64"), sg.input("i", (), "int64")
    j = sg.input("j", (), "int64")
    for key in (slice(i, None), slice(None, i), slice(i, j), slice(i, 2 * i)):
        with pytest.raises(errors.ArgumentError, match="only known in a run"):
            x[key]
    with pytest.raises(errors.IndexOutOfRange):
        of(x[i : i + 3], x=np.zeros(6), i=4)


def test_blocks_are_moved_inside_as_in_jax():
    x, i = sg.input("x", (5, 4), "float64"), sg.input("i", (), "int64")
    array = np.arange(20.0).reshape(5, 4)
    for start in (-9, -2, 0, 1, 3, 9):
        first = min(max(start + 5 if start < 0 else start, 0), 3)
        block = array[first : first + 2, 1:4]
        np.testing.assert_array_equal(
            of(sg.dynamic_slice(x, [i, 1], [2, 3]), x=array, i=start), block
        )
        changed = array.copy()
        changed[first : first + 2, 1:4] = 0.0
        actual = of(sg.dynamic_update_slice(x, np.zeros((2, 3)), [i, 1]), x=array, i=start)
        np.testing.assert_array_equal(actual, changed)


@pytest.mark.parametrize("sizes", [(5, 4), (1, 4), (5, 1), (1, 1), (2, 4), (4, 3), (0, 2)])
def test_blocks_of_all_sizes_are_written(sizes, rng):
    x, y = sg.input("x", (5, 4), "float64"), sg.input("y", sizes, "float64")
    i, j = sg.input("i", (), "int64"), sg.input("j", (), "int64")
    array, block = rng.standard_normal((5, 4)), rng.standard_normal(sizes)
    weights = rng.standard_normal((5, 4))
    written = sg.dynamic_update_slice(x, y, [i, j])
    slopes = sg.grad((written * weights).sum(), [x, y], allow_disconnected=True)
    outputs = {"written": written, "x": slopes[0], "y": slopes[1]}
    graph = sg.Graph(outputs, inputs=[x, y, i, j])
    for start in ((0, 0), (3, 1), (-1, -2), (9, 9)):
        rows, columns = (
            slice(first := min(max(s + n if s < 0 else s, 0), n - k), first + k)
            for s, n, k in zip(start, (5, 4), sizes, strict=True)
        )
        feeds = {"x": array, "y": block, "i": start[0], "j": start[1]}
        expected, slope = array.copy(), weights.copy()
        expected[rows, columns] = block
        slope[rows, columns] = 0.0
        results = of(graph, **feeds)
        np.testing.assert_array_equal(results["written"], expected)
        np.testing.assert_array_equal(results["x"], slope)
        np.testing.assert_array_equal(results["y"], weights[rows, columns])


def test_a_block_that_is_larger_is_refused():
    x = sg.input("x", (5, 4), "float64")
    with pytest.raises(errors.ShapeError, match="6 entries do not fit axis 0 of size 5"):
        sg.dynamic_update_slice(x, np.zeros((6, 1)), [0, 0])


def test_segments_are_reduced(rng):
    data, ids = rng.standard_normal((6, 2)), np.array([0, 3, 0, 1, 3, 3])
    for function, reduce, empty in (
        (sg.segment_sum, np.sum, 0.0), (sg.segment_prod, np.prod, 1.0),
        (sg.segment_max, np.max, -np.inf), (sg.segment_min, np.min, np.inf),
    ):  # fmt: skip
        expected = [reduce(data[ids == k], 0) if k != 2 else [empty] * 2 for k in range(4)]
        np.testing.assert_allclose(function(data, ids), expected, rtol=1e-14)
    x, i = sg.input("x", (6, 2), "float64"), sg.input("i", (6,), "int64")
    for outside in (-1, 4):
        with pytest.raises(errors.IndexOutOfRange):
            of(sg.segment_sum(x, i, 4), x=data, i=np.full(6, outside))
    with pytest.raises(errors.DTypeError, match="segment_sum: takes integers, not float64"):
        sg.segment_sum(x, data[:, 0], 4)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint64"])
def test_there_may_be_more_segments_than_a_narrow_integer_counts(dtype):
    ids, expected = np.array([0, 127, 0], dtype), np.zeros(300)
    expected[[0, 127]] = 2.0, 1.0
    for function in (sg.segment_sum, sg.segment_max, sg.segment_min, sg.segment_prod):
        assert function(np.ones(3), ids, 300).shape == (300,)
    np.testing.assert_array_equal(sg.segment_sum(np.ones(3), ids, 300), expected)
    counts = sg.bincount(sg.input("i", (3,), dtype), minlength=300)
    np.testing.assert_array_equal(of(counts, i=ids), expected)


def test_a_size_is_needed_of_values():
    m = sg.input("m", (6,), "bool")
    for call in (
        lambda: sg.nonzero(m), lambda: sg.flatnonzero(m), lambda: sg.argwhere(m),
        lambda: sg.unique(m), lambda: sg.compress(m, m), lambda: sg.extract(m, m),
        lambda: sg.segment_sum(np.ones(6), sg.astype(m, "int64")),
    ):  # fmt: skip
        with pytest.raises(errors.ArgumentError, match="only known in a run"):
            call()


def test_places_of_arrays_are_set_in_values():
    np.testing.assert_array_equal(sg.evaluate(sg.at([1, 2, 3])[1:].set(0)), [1, 0, 0])
