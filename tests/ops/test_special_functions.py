"""Angles, hyperbolics, division, divisors, signs, borders: values, kinks, errors in last places."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.interpret import interpret
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import DTypeError
from staticgrad.ir.expr import ref
from staticgrad.ir.op import registered_ops
from staticgrad.types.dtype import F32, F64
from tests.ir.test_vecmath import needs_extended, ulps
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_refused


@needs_extended
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize(
    ("name", "function", "bound"), [("atan2", np.arctan2, 1.7), ("hypot", np.hypot, 4.0)]
)
def test_angle_and_length_stay_within_their_stated_error(name, function, bound, dtype):
    rng = np.random.default_rng(6)
    size = np.exp(rng.uniform(-40, 40, (2, 20_000))) * rng.choice([-1, 1], (2, 20_000))
    beside = np.stack([0.5 + rng.normal(size=20_000) / 1e3, np.ones(20_000)])  # other reductions
    drawn = [rng.normal(size=(2, 20_000)), size, beside, beside[::-1]]
    y, x = np.concatenate(drawn, axis=1).astype(dtype.numpy)
    root = registered_ops()[name]().scalar(ref("y", dtype), ref("x", dtype))
    (found,) = interpret([root], lambda leaf: {"y": y, "x": x}[leaf.attribute])
    wide = np.float64 if dtype == F32 else np.longdouble
    assert np.max(ulps(found, function(y.astype(wide), x.astype(wide)))) <= bound


def test_powers_of_two_are_exact():
    powers = np.arange(-1074, 1024).astype(np.float64)
    scalar = {name: registered_ops()[name]().scalar(ref("x", F64)) for name in ("exp2", "log2")}
    (raised,) = interpret([scalar["exp2"]], lambda leaf: powers)
    np.testing.assert_array_equal(raised, np.ldexp(1.0, powers.astype(int)))
    (back,) = interpret([scalar["log2"]], lambda leaf: raised)
    np.testing.assert_array_equal(back, powers)


def slope(function, x, *, order=1):
    """The derivative of a function of one variable at the points ``x``."""
    v = sg.input("v", np.shape(x), "float64")
    value = function(v)
    for _ in range(order):
        value = grad(value.sum(), v, allow_disconnected=True)
    return run(value, {"v": x})


def test_clip_and_its_slopes():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 3.0, np.nan])
    for low, high in ((-1.0, 1.0), (None, 1.0), (-1.0, None), (1.0, -1.0), (np.nan, 1.0)):
        np.testing.assert_array_equal(run(sg.clip(x, low, high)), np.clip(x, low, high))
    v = sg.input("v", (6,), "float64")
    np.testing.assert_array_equal(run(np.clip(v, -1, 1), {"v": x}), np.clip(x, -1, 1))
    assert sg.clip(np.array([1, 200], np.uint8), 3, 100).dtype == "uint8"
    np.testing.assert_array_equal(run(sg.clip(np.arange(5), 1, 3)), [1, 1, 2, 3, 3])
    x = np.array([-2.0, -1.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(slope(lambda v: sg.clip(v, -1.0, 1.0), x), [0, 1, 1, 1, 0])
    low, high = np.full(5, -1.0), np.full(5, 1.0)
    by_low = slope(lambda v: sg.clip(x, v, high), low)
    by_high = slope(lambda v: sg.clip(x, low, v), high)
    np.testing.assert_array_equal(by_low, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(by_high, [0, 0, 0, 0, 1])
    x = np.array([-1.0, 0.25])
    found = slope(lambda v: sg.log(sg.clip(v, 0.0, 1.0)).sum() + sg.sqrt(sg.clip(v, 0.0, 1.0)), x)
    assert np.isfinite(found[1])
    masked = slope(lambda v: sg.clip(sg.sqrt(v), 0.5, 9.0), np.array([0.0, 4.0]))
    np.testing.assert_array_equal(masked, [0, 0.25])


# What mpmath gives with 60 digits, rounded: places where terms of a derivative cancel, or overflow.
DERIVATIVES = {
    "erfcx of 1": (sg.special.erfcx, 1, [1e5, 1e200], [-5.641895834631278e-11, 0.0]),
    "erfcx of 2": (
        sg.special.erfcx,
        2,
        [50.0, 1e3],
        [9.016217115157223e-06, 1.1283757819707055e-09],
    ),
    "erfcx of 3": (sg.special.erfcx, 3, [50.0], [-5.4054102557325253e-07]),
    "log_ndtr of 2": (sg.special.log_ndtr, 2, [-1e5, 40.0, 1e200], [-0.9999999999, 0.0, 0.0]),
    "log_ndtr of 3": (sg.special.log_ndtr, 3, [-50.0], [1.5923581891197386e-05]),
    "i1 of 2": (sg.special.i1, 2, [1e-300, 1e-8], [3.75e-301, 3.75e-09]),
    "i1 of 3": (sg.special.i1, 3, [0.0, 1e-10, 0.1], [0.375, 0.375, 0.3765636396647695]),
    "i1e of 2": (sg.special.i1e, 2, [1e-8, -0.1], [-0.99999998125000017, 0.828955917831943]),
    "digamma of 2": (sg.special.digamma, 2, [-1e-20, -1e-5], [2e60, 1999999999999997.1]),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_keep_their_digits(name):
    function, order, places, expected = DERIVATIVES[name]
    found = slope(function, np.array(places), order=order)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_operators_from_the_right():
    x = sg.input("x", (3,), "int32")
    feeds = {"x": np.array([1, 2, 3], np.int32)}
    for value, expected in (
        (7 // x, [7, 3, 2]),
        (7 % x, [0, 1, 1]),
        (1 << x, [2, 4, 8]),
        (9 >> x, [4, 2, 1]),
    ):
        np.testing.assert_array_equal(run(value, feeds), expected)
    quotient, rest = divmod(7, x)
    np.testing.assert_array_equal(run(quotient * x + rest, feeds), 7)


def test_refusals_and_needless_nodes():
    with assert_refused(DTypeError, "shifts take integers", line="sg.left_shift"):
        sg.left_shift(1.0, 2)
    with assert_refused(DTypeError, "bool", line="sg.floor_divide"):
        sg.floor_divide(np.array([True]), np.array([True]))
    x = sg.input("x", (3,), "float64")
    assert op_names(sg.isnan(x)) == ["ne"]
    assert op_names(sg.clip(x, 0.0)) == ["at_least"]
    assert sg.clip(x) is x
