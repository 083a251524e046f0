"""Several index arrays, masks, and ``x.at[key]`` against NumPy's indexing and assignment."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, IndexOutOfRange, ShapeError
from tests.ops.graphs import op_names, run, run_all
from tests.ops.messages import assert_each_refused, assert_refused

A = np.arange(60.0).reshape(3, 4, 5)
ROWS, COLUMNS, APART = np.array([0, 2, -1, 0]), np.array([3, 0, -4, 3]), np.array([[1], [-2]])

#: Keys of an array of shape (3, 4, 5).
KEYS = {
    "integer": 1,
    "slice": slice(1, None),
    "steps": (slice(None, None, -2), slice(1, 4, 2)),
    "integer and slice": (2, slice(None), slice(None, None, 2)),
    "new axis": (None, slice(0, 2)),
    "ellipsis": (Ellipsis, -1),
    "array": ROWS,
    "array of an inner axis": (slice(None), COLUMNS),
    "array and integer apart": (ROWS, slice(1, 3), 2),
    "two arrays": (ROWS, COLUMNS),
    "two arrays apart": (ROWS, slice(None), COLUMNS % 5),
    "two arrays inside": (slice(1, 3), COLUMNS, ROWS),
    "arrays that broadcast": (ROWS, APART),
    "three arrays": (ROWS, COLUMNS, APART),
    "arrays, slices, integers": (slice(None, None, -1), [0, 1], 2),
    "no places": (np.zeros(0, int), slice(None)),
    "mask": A[..., 0] > 30,
    "mask of an axis": (slice(None), np.array([True, False, True, True])),
    "mask of everything": A % 7 == 0,
    "mask and array": (np.array([True, False, True]), [0, 3]),
}


@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_reading_as_numpy(name, shape):
    if "mask" in name and shape != A.shape:
        return
    x = sg.input("x", shape, "float64")
    found = run(x[KEYS[name]], {"x": A})
    np.testing.assert_array_equal(found, A[KEYS[name]])
    np.testing.assert_array_equal(run(x.at[KEYS[name]].get(), {"x": A}), A[KEYS[name]])


@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_setting_and_adding_as_numpy(name, shape, rng):
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    x = sg.input("x", shape, "float64")
    values = rng.normal(size=A[key].shape)
    v = sg.input("v", x[key].shape, "float64")
    feeds = {"x": A, "v": values}
    expected = A.copy()
    expected[key] = values
    found = run(x.at[key].set(v), feeds)
    np.testing.assert_array_equal(found, expected)
    expected = A.copy()
    np.add.at(expected, key, values)
    np.testing.assert_allclose(run(x.at[key].add(v), feeds), expected, rtol=1e-14)


@pytest.mark.parametrize("name", KEYS)
def test_gradients_of_setting_and_adding(name, rng):
    """By x what was kept, by the values what arrived: of duplicates only the last."""
    key = KEYS[name]
    x, v = sg.input("x", A.shape, "float64"), sg.input("v", A[key].shape, "float64")
    weights, values = rng.normal(size=A.shape), rng.normal(size=A[key].shape)
    feeds = {"x": A, "v": values}
    by_x, by_v = (run(g, feeds) for g in grad((x.at[key].set(v) * weights).sum(), [x, v]))
    kept = weights.copy()
    kept[key] = 0.0
    np.testing.assert_array_equal(by_x, kept)
    order = np.zeros(A.shape)
    numbers = np.arange(1.0, values.size + 1).reshape(values.shape)
    order[key] = numbers
    np.testing.assert_array_equal(by_v, np.where(order[key] == numbers, weights[key], 0.0))
    by_x, by_v = (run(g, feeds) for g in grad((x.at[key].add(v) * weights).sum(), [x, v]))
    np.testing.assert_array_equal(by_x, weights)
    np.testing.assert_array_equal(by_v, weights[key])


@pytest.mark.thinned(8)
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_extremes_as_numpy(name, shape, rng):
    """Values that several times meet in one place, with NaN among them; by x what it kept."""
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    x = sg.input("x", shape, "float64")
    values = rng.permutation(np.linspace(-60.3, 120.3, max(A[key].size, 1)))[: A[key].size]
    values = np.where(values > 110.0, np.nan, values).reshape(A[key].shape)
    v = sg.input("v", x[key].shape, "float64")
    for extreme, ufunc in (("max", np.maximum), ("min", np.minimum)):
        expected = A.copy()
        ufunc.at(expected, key, values)
        found = getattr(x.at[key], extreme)(v)
        feeds = {"x": A, "v": values}
        np.testing.assert_array_equal(run(found, feeds), expected)
        clean = {"x": A, "v": np.nan_to_num(values, nan=130.5)}
        by_x, by_v = (run(g, clean) for g in grad(found.sum(), [x, v]))
        kept = run(found, clean) == A
        np.testing.assert_array_equal(by_x[kept], 1.0)
        assert by_v.sum() == (~kept).sum()


def scaled(array, key, values):
    """By NumPy: each element and the product of its values, as JAX defines duplicates."""
    product = np.ones_like(array)
    np.multiply.at(product, key, values)
    return array * product


@pytest.mark.thinned
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")], ids=["literal", "named"])
@pytest.mark.parametrize("name", KEYS)
def test_factors_as_numpy(name, shape, rng):
    """Of one element they multiply; gradients are those of the program that repeats them."""
    if "mask" in name and shape != A.shape:
        return
    key = KEYS[name]
    array, values = rng.uniform(0.5, 2.0, A.shape), rng.uniform(0.5, 2.0, A[key].shape)
    x = sg.input("x", shape, "float64")
    v = sg.input("v", x[key].shape, "float64")
    feeds, step = {"x": array, "v": values}, 1e-6
    found = x.at[key].multiply(v)
    np.testing.assert_allclose(run(found, feeds), scaled(array, key, values), rtol=1e-13)
    weights, along = (
        rng.normal(size=A.shape),
        (rng.normal(size=f.shape) for f in feeds.values()),
    )
    dx, dv = along
    by_x, by_v = run_all(grad((found * weights).sum(), [x, v]), feeds)
    ahead = scaled(array + step * dx, key, values + step * dv)
    behind = scaled(array - step * dx, key, values - step * dv)
    slope = ((ahead - behind) * weights).sum() / (2 * step)
    np.testing.assert_allclose((by_x * dx).sum() + (by_v * dv).sum(), slope, rtol=1e-6)
    eager = Tensor(array, dtype="float64").at[key].multiply(values)
    np.testing.assert_allclose(eager.numpy(), scaled(array, key, values), rtol=1e-13)
    subtracted = array.copy()
    np.subtract.at(subtracted, key, values)
    np.testing.assert_allclose(run(x.at[key].subtract(v), feeds), subtracted, rtol=1e-13)


def test_derivatives_of_factors_at_zeros():
    """The others' product, also where a factor is 0, and of any order."""
    x, v = sg.input("x", (2,), "float64"), sg.input("v", (3,), "float64")
    y = x.at[np.array([0, 0, 0])].multiply(v)[0]
    by_v = grad(y, v)
    feeds = {"x": [2.0, 1.0], "v": [0.0, 3.0, 0.0]}
    np.testing.assert_array_equal(run(by_v, feeds), [0.0, 0.0, 0.0])
    mixed = grad(by_v[0], v)
    np.testing.assert_array_equal(run(mixed, feeds), [0.0, 0.0, 6.0])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("count", [0, 1, 256, 257, 3000, "n"])
def test_the_last_of_equal_places_stays_however_many_there_are(count, rng):
    """Whatever their number, also none; an error names the entry as it was given."""
    x, p = sg.input("x", (50, 2), "float32"), sg.input("p", (count,), "int64")
    v = sg.input("v", (count, 2), "float32")
    y = x.at[p].set(v)
    f = sg.compile({"y": y, "slope": grad((y * sg.arange(100).reshape(50, 2)).sum(), [v])[0]})
    for rows in (0, 700) if count == "n" else (count,):
        feeds = {
            "x": rng.normal(size=(50, 2)).astype("f4"),
            "p": rng.integers(-50, 50, rows),
            "v": rng.normal(size=(rows, 2)).astype("f4"),
        }
        expected, winner = feeds["x"].copy(), np.full(50, -1)
        expected[feeds["p"]], winner[feeds["p"]] = feeds["v"], np.arange(rows)
        wins = (winner[feeds["p"]] == np.arange(rows))[:, None]
        found = f.run(feeds)
        np.testing.assert_array_equal(found["y"], expected)
        np.testing.assert_array_equal(
            found["slope"], np.where(wins, np.arange(100).reshape(50, 2)[feeds["p"]], 0)
        )
        if rows > 7:
            feeds["p"][[7, rows - 1]] = 50, -51
            with pytest.raises(IndexOutOfRange, match="element 7"):
                f.run(feeds)


def test_indices_of_the_run():
    x = sg.input("x", ("n", "m"), "float64")
    i, j = sg.input("i", ("k",), "int64"), sg.input("j", ("k",), "int32")
    array = A[0]
    feeds = {"x": array, "i": [0, -1, 0], "j": [4, 2, -1]}
    f = sg.compile({"get": x[i, j], "set": x.at[i, j].set(7.0), "add": x.at[i, j].add(1.0)})
    found = f.run(feeds)
    np.testing.assert_array_equal(found["get"], array[[0, -1, 0], [4, 2, -1]])
    expected = array.copy()
    expected[[0, -1], [4, 2]] = 7.0
    np.testing.assert_array_equal(found["set"], expected)
    expected = array.copy()
    np.add.at(expected, ([0, -1, 0], [4, 2, -1]), 1.0)
    np.testing.assert_array_equal(found["add"], expected)
    with assert_refused(IndexOutOfRange, "index 5", "size 5", line="x[i, j]"):
        f.run(feeds | {"j": np.array([0, 5, 0], np.int32)})


@pytest.mark.thinned
@pytest.mark.parametrize("shape", [(3, 4, 5), ("a", 4, "c")], ids=["literal", "named"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_masks_of_the_run(rank, shape, rng):
    """One value for all places, -0.0 and NaN kept elsewhere, as NumPy's assignment by the mask."""
    x, mask = sg.input("x", shape, "float64"), sg.input("mask", shape[:rank], "bool")
    array, held = rng.normal(size=A.shape), rng.random(A.shape[:rank]) < 0.5
    array[0, 0, 0], array[0, 0, 1], held[0] = -0.0, np.nan, False
    values = rng.normal(size=A.shape[2:] if rank < 3 else ())
    values = np.abs(values) + 0.5
    of = {
        "multiply": lambda old: old * values,
        "subtract": lambda old: old - values,
        "set": lambda old: np.broadcast_to(values, old.shape),
        "add": lambda old: old + values,
        "max": lambda old: np.maximum(old, values),
        "min": lambda old: np.minimum(old, values),
    }
    made = {name: getattr(x.at[mask], name)(values) for name in of}
    found = sg.compile(made).run({"x": array, "mask": held})
    for name, update in of.items():
        expected = array.copy()
        expected[held] = update(array[held])
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        assert np.signbit(found[name][0, 0, 0])
    by_x = run(grad((x.at[(mask,)].set(7.0) * x).sum(), x), {"x": array, "mask": held})
    expected = 2.0 * array
    expected[held] = 7.0
    np.testing.assert_array_equal(by_x, expected)


def test_an_index_beyond_its_own_axis_is_found_though_the_place_exists():
    x = sg.input("x", (3, 4), "float64")
    with assert_refused(IndexOutOfRange, "index 4", "axis of size 4", line="x[[0], [4]]"):
        x[[0], [4]]
    j = sg.input("j", (1,), "int64")
    with assert_refused(IndexOutOfRange, "index 4", "axis of size 4", line="taken = x[[0], j]"):
        taken = x[[0], j]
        run(taken, {"x": np.zeros((3, 4)), "j": [4]})


def test_dtypes_of_values_and_keys_without_index_arrays():
    x = sg.input("x", (3,), "int32")
    feeds = {"x": np.array([1, 2, 3], np.int32)}
    found = run(x.at[1].set(7.9), feeds)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [1, 7, 3])
    mask = sg.input("m", (3,), "bool")
    np.testing.assert_array_equal(run(mask.at[:2].set(True), {"m": np.zeros(3, bool)}), [1, 1, 0])
    x = sg.input("x", (4, 5))
    assert not {"take", "scatter_add"} & set(op_names(x.at[1:3, ::2].set(0.0)))
    assert op_names(x.at[1:3].add(1.0)) == ["constant", "broadcast", "pad", "add"][1:]


def test_refusals():
    x = sg.input("x", (3, 4))
    with assert_refused(ShapeError, "[3]", line="x.at[0].set"):
        x.at[0].set(np.zeros(3))
    with assert_refused(ShapeError, "a mask of size 3 for axis 0 of size n", line="named["):
        named = sg.input("y", ("n",))
        named[np.array([True, False, True])]
    assert_each_refused(
        (ArgumentError, "only known in a run", lambda: x.at[x[:, 0] > 0, 1].set(0.0)),
        (ArgumentError, "only known in a run", lambda: x.at[x > 0].get()),
        (ShapeError, "a mask [4] for axes [3]", lambda: x.at[x[0] > 0].set(0.0)),
        (ShapeError, "values [3, 4] for the true elements", lambda: x.at[x > 0].set(x)),
        (ShapeError, "[3] does not fit [4]", lambda: x.at[x[:, 0] > 0].add(np.zeros(3))),
    )
    with assert_refused(ArgumentError, "is only known in a run", line="x[i : i + 2]"):
        i = sg.input("i", (), "int64")
        x[i : i + 2]
