"""Sums, extremes, running extremes and masks, against NumPy; ties, NaN, zeros and empty axes."""

from contextlib import nullcontext as nothing

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    EmptyReductionError,
    SizeGuardError,
)
from staticgrad.language.ir.summation import tree_sum
from staticgrad.language.ops.reduce import Max, Sum
from staticgrad.language.types.dtype import ALL_DTYPES
from tests.helpers.diagonals import diagonals
from tests.ops.graphs import run
from tests.ops.messages import assert_each_refused, assert_refused

FUNCTIONS = ["sum", "mean", "max", "min", "var", "std", "any", "all"]


@pytest.mark.parametrize("dtype", [d.numpy for d in ALL_DTYPES], ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "any", "all", "argmax", "argmin"])
def test_dtypes_as_numpy(name, dtype):
    array = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    actual = run(getattr(sg, name)(array, 1))
    expected = getattr(np, name)(array, axis=1)
    if name == "sum" and dtype.kind in "bi":
        expected = expected.astype(np.int64)  # NumPy's default integer, 64 bits on every system
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


WHOLE = [d.numpy for d in ALL_DTYPES if d.kind in "biu"]
SHAPES = ((3, 4, 5), (0, 4, 5), (70, 2, 33), (1, 1, 1))
CALLS = [
    (axis, options)
    for axis in (0, 1, -1, (0, 2), (), None)
    for options in ({}, {"keepdims": True}, {"initial": True})
]


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_bits_are_reduced_as_by_numpy(name, dtype, rng):
    ufunc, function = getattr(np, f"bitwise_{name}"), getattr(sg, f"reduce_{name}")
    is_bool = dtype.kind == "b"
    limits = [0, 1] if is_bool else [np.iinfo(dtype).min, np.iinfo(dtype).max]
    x = sg.input("x", ("n", "m", "k"), dtype.name)
    graph = sg.Graph({f"y{i}": function(x, axis, **o) for i, (axis, o) in enumerate(CALLS)})
    backend = "numba" if dtype.name in ("bool", "int64") else "auto"
    f = sg.compile(graph, backend=backend)
    for shape in SHAPES:
        array = rng.choice(np.array([*limits, *limits, 0, 1], dtype), shape)
        if not is_bool:
            array ^= rng.integers(*limits, shape, dtype, endpoint=True) >> dtype.type(1)
        axes = [tuple(range(3)) if axis is None else axis for axis, _ in CALLS]
        expected = [
            ufunc.reduce(array, axis, **options)
            for axis, (_, options) in zip(axes, CALLS, strict=True)
        ]
        for results in (f.run({"x": array}), sg.evaluate(graph, {"x": array})):
            for i, reduced in enumerate(expected):
                np.testing.assert_array_equal(results[f"y{i}"], reduced, strict=True)
        mask = rng.random(shape) < 0.6
        for axis, (asked_axis, options) in zip(axes, CALLS, strict=True):
            for where in (mask, mask[:1]):
                np.testing.assert_array_equal(
                    np.asarray(function(array, asked_axis, where=where, **options)),
                    ufunc.reduce(array, axis, where=where, **options),
                    strict=True,
                )
        np.testing.assert_array_equal(
            function(sg.eager.Tensor(array), 0).numpy(), ufunc.reduce(array, 0)
        )


def test_bits_of_floats_are_refused():
    x = sg.input("x", (3, 4))
    for name in ("reduce_and", "reduce_or", "reduce_xor"):
        with assert_refused(DTypeError, "takes bools or integers", line="getattr(sg, name)(x, 1)"):
            getattr(sg, name)(x, 1)
        with assert_refused(DTypeError, "takes bools or integers", line="getattr(sg, name)(x, ())"):
            getattr(sg, name)(x, ())


def test_a_sum_follows_its_tree(rng):
    array = rng.normal(size=(50, 70)).astype(np.float32)
    for axis in (0, 1, (0, 1)):
        axes = axis if isinstance(axis, tuple) else (axis,)
        assert run(sg.sum(array, axis)).tobytes() == tree_sum(array, axes).tobytes()


def test_dtypes_of_results_and_no_axes():
    x = sg.input("x", ("n", 4))
    for name in ("sum", "mean", "max", "min", "var", "std"):
        for axis in (0, 1, None):
            value = getattr(sg, name)(x, axis)
            assert value.dtype == "float32"
            assert run(value, {"x": np.ones((3, 4))}).dtype == np.float32
    assert run(sg.sum(np.array([200, 100], np.uint8), dtype="uint8")) == 44
    assert run(sg.sum(np.array([0.25, 0.5], np.float32), dtype="float64")).dtype == np.float64
    assert run(sg.mean(np.array([True, False, False, False]))) == 0.25
    x = sg.input("x", (3,))
    assert sg.sum(x, ()) is x
    assert sg.max(x, ()) is x
    scalar = sg.input("s", ())
    assert sg.mean(scalar) is scalar


def test_empty_axes():
    empty = np.zeros((0, 3), np.float32)
    np.testing.assert_array_equal(run(sg.sum(empty, 0)), np.zeros(3))
    assert np.isnan(run(sg.mean(empty, 0))).all()
    assert run(sg.mean(empty, 1)).shape == (0,)
    x = sg.input("x", ("n", 3))
    assert np.isnan(run(x.mean(), {"x": empty}))
    top = x.max(0)
    np.testing.assert_array_equal(run(top, {"x": np.ones((1, 3))}), np.ones(3))
    with assert_refused(SizeGuardError, "the largest of no elements", "n = 0", line="x.max(0)"):
        run(top, {"x": np.ones((0, 3))})
    assert run(x.max(1), {"x": np.ones((0, 3))}).shape == (0,)
    x = sg.input("x", (sg.dim("n", min=1), 3))
    assert sg.Graph(x.max(0)).guards == ()
    assert len(sg.Graph(sg.input("x", ("n", 3)).max(0)).guards) == 1


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_nothing_has_no_extreme(name):
    x = sg.input("x", (3, 0))
    with assert_refused(
        EmptyReductionError, "no elements", "f32[3, 0]", line="getattr(sg, name)(x, 1)"
    ):
        getattr(sg, name)(x, 1)
    assert run(getattr(sg, name)(x, 0), {"x": np.ones((3, 0))}).shape == (0,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_wins_and_zeros_have_signs(dtype):
    rows = [
        [1.0, np.nan, 3.0], [np.nan] * 3, [-np.inf, np.inf, 0], [0.0, -0.0, -0.0],
        [-0.0, -0.0, 0.0], [-0.0, -0.0, -0.0], [-1.0, -0.0, -0.0], [1.0, 0.0, 0.0], [-np.inf] * 3,
    ]  # fmt: skip
    array = np.array(rows, dtype)
    top, bottom = run(sg.max(array, 1)), run(sg.min(array, 1))
    expected_top = [np.nan, np.nan, np.inf, 0.0, 0.0, -0.0, -0.0, 1.0, -np.inf]
    expected_bottom = [np.nan, np.nan, -np.inf, -0.0, -0.0, -0.0, -1.0, 0.0, -np.inf]
    for actual, expected in ((top, expected_top), (bottom, expected_bottom)):
        np.testing.assert_array_equal(actual, expected)
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(actual)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1.0, 3.0, 2.0], [0, 1, 0]),
        ([3.0, 3.0, 2.0], [0.5, 0.5, 0]),
        ([4.0, 4.0, 4.0], [1 / 3, 1 / 3, 1 / 3]),
        ([0.0, -0.0, -1.0], [0.5, 0.5, 0]),
        ([np.inf, 1.0, 2.0], [1, 0, 0]),
        ([-np.inf, -np.inf, -np.inf], [1 / 3, 1 / 3, 1 / 3]),
        ([1.0, np.nan, 2.0], [np.nan] * 3),
    ],
)
def test_equal_elements_share_the_gradient(row, expected):
    x = sg.input("x", (3,), "float64")
    np.testing.assert_allclose(run(grad(x.max(), x), {"x": row}), expected)
    mirrored = run(grad((-x).min(), x), {"x": row})
    np.testing.assert_allclose(mirrored, -np.array(expected))


def test_refusals():
    x = sg.input("x", (3, "n"))
    for name in [*FUNCTIONS, "argmax"]:
        with assert_refused(
            AxisError, "no axis 2", "f32[3, n]", "0 to 1", line="getattr(sg, name)(x, 2)"
        ):
            getattr(sg, name)(x, 2)
    assert_each_refused(
        (AxisError, "no axis -3", "x f32[3, n]", lambda: x.sum(-3)),
        (AxisError, "axis 1 is named twice", lambda: x.sum((1, -1))),
        (AxisError, "a 0-d value has none", lambda: sg.sum(1.0, 1)),
    )
    with pytest.raises(IndexError):
        x.sum(5)
    for axis in (1.5, "rows", x, sg.dim("n")):
        with assert_refused(ArgumentError, "is not an integer"):
            x.sum(axis)
    x = sg.input("x", (3, 4))
    with assert_refused(DTypeError, "bools", line="Sum((0,))"):
        Sum((0,))(np.array([True]))
    for axes in ((), (1, 0), (0, 0), (2,), (-1,)):
        with assert_refused(AxisError, "ascending axes", line="Max(axes)"):
            Max(axes)(x)


STARTS = {"sum": 3, "prod": 2, "max": 1, "min": 1}


@diagonals(2, ("dtype", ["float32", "float64", "int32", "uint8"]), ("name", STARTS))
def test_named_sizes_down_to_none(name, dtype):
    x = sg.input("x", ("n", 3), dtype)
    mask = sg.input("mask", ("n", 3), "bool")
    options = {"initial": STARTS[name], "where": mask}
    out = {str(axis): getattr(sg, name)(x, axis, **options) for axis in (None, 0, 1, (0, 1))}
    f = sg.compile(sg.Graph({**out, "kept": getattr(sg, name)(x, 0, keepdims=True, **options)}))
    random = np.random.default_rng(5)
    for n in (0, 1, 5):
        array = random.integers(0, 9, (n, 3)).astype(dtype)
        which = random.random((n, 3)) < 0.5
        actual = f.run({"x": array, "mask": which})
        for axis in (None, 0, 1, (0, 1)):
            expected = getattr(np, name)(array, axis, initial=STARTS[name], where=which)
            np.testing.assert_array_equal(actual[str(axis)], expected)
            assert actual[str(axis)].dtype == expected.dtype
        assert actual["kept"].shape == (1, 3)


def test_what_does_not_count_takes_no_gradient_whatever_it_is():
    array = np.array([1.0, np.nan, 3.0, -np.inf])
    mask = np.isfinite(array)
    x = sg.input("x", (4,), "float64")
    for name, slope in (("sum", [1, 0, 1, 0]), ("mean", [0.5, 0, 0.5, 0]), ("prod", [3, 0, 1, 0]),
                        ("var", [-1, 0, 1, 0])):  # fmt: skip
        slopes = sg.Graph({"slope": sg.grad(getattr(sg, name)(x, where=mask), x)}, inputs=[x])
        np.testing.assert_allclose(sg.compile(slopes).run({"x": array})["slope"], slope)


def test_a_start_takes_its_share_of_the_gradient():
    x, start = sg.input("x", (3,), "float64"), sg.input("start", (), "float64")
    feeds = {"x": np.array([1.0, 2.0, 0.5]), "start": 4.0}
    by_max = sg.grad(sg.max(x, initial=start), [x, start])
    by_prod = sg.grad(sg.prod(x, initial=start), [x, start])
    slopes = dict(zip("abcd", [*by_max, *by_prod], strict=True))
    actual = sg.compile(sg.Graph(slopes, inputs=[x, start])).run(feeds)
    expected = {"a": [0.0, 0.0, 0.0], "b": 1.0, "c": [4.0, 2.0, 8.0], "d": 1.0}
    assert {name: array.tolist() for name, array in actual.items()} == expected


@pytest.mark.parametrize("less", [0, 2, 0.5])
def test_no_freedom_is_numpys(less):
    x = sg.input("x", ("n",), "float64")
    f = sg.compile(sg.var(x, correction=less))
    for n in (1, 2, 4):
        array = np.arange(n, dtype=float)
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning) if n <= less else nothing():
            expected = np.var(array, ddof=less)
        np.testing.assert_allclose(f.run({"x": array}), expected)


def test_slopes_of_logaddexp_at_infinities_and_twice():
    x = sg.input("x", (4,), "float64")
    for answer in (sg.evaluate, lambda graph, feeds: sg.compile(graph).run(feeds)):
        for limit, slope in ((-np.inf, 0.0), (np.inf, 0.5)):
            gradient = sg.grad(sg.logaddexp(x[:2], x[2:]).sum(), x)
            feeds = {"x": np.array([limit, 1.0, limit, 1.0])}
            np.testing.assert_array_equal(answer(gradient, feeds), [slope, 0.5, slope, 0.5])
        curved = sg.grad(sg.grad(sg.logaddexp(x[0], x[1]), x)[0], x)
        slopes = answer(curved, {"x": np.array([2.0, 2.0, 0.0, 0.0])})
        np.testing.assert_array_equal(slopes, [0.25, -0.25, 0.0, 0.0])


@pytest.mark.parametrize("size", [0, 1, 2, 20])
def test_sums_of_negative_zeros_have_one_sign_everywhere(size):
    """-0.0 as IEEE adds, 0.0 if there are none: evaluated, compiled and on the tape."""
    array = np.full((size, 3), -0.0)
    x = sg.input("x", ("n", 3), "float64")
    for axis in (0, 1, None):
        y = sg.sum(x, axis)
        totals = [
            sg.evaluate(y, {"x": array}),
            sg.compile(y).run({"x": array}),
            sg.eager.Tensor(array, dtype="float64").sum(axis).data,
        ]
        for total in totals:
            np.testing.assert_array_equal(np.signbit(total), size > 0)
