"""The elementwise family: promotion, broadcasting, powers, operators, NumPy protocols, sizes."""

import itertools
import operator
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.language.ops.arithmetic import Add, Mul
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.elementwise import broadcast
from staticgrad.language.ops.selection import Where
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import collecting_guards, dim
from staticgrad.language.types.dtype import ALL_DTYPES, BOOL, F32, F64, I64, as_dtype
from tests.helpers.limits import NUMPY_DTYPES
from tests.laws.elementwise_samples import special
from tests.ops.graphs import call, op_names, run, variable


def numpy_promotion(a, b):
    """NumPy's table but for one row: an integer or bool array takes a floating array's dtype."""
    if a.is_float != b.is_float:
        return (a if a.is_float else b).numpy
    return np.promote_types(a.numpy, b.numpy)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(NUMPY_DTYPES, repeat=2)), ids=str)
def test_arrays_promote_as_in_numpy(a, b):
    x, y = variable("x", a, (2,)), variable("y", b, (2,))
    expected = numpy_promotion(a, b)
    for name in ("add", "multiply", "maximum", "minimum"):
        assert call(name, x, y).dtype.numpy == expected
    assert call("where", x > 0, x, y).dtype.numpy == expected
    for name in ("equal", "less", "greater_equal", "logical_and"):
        assert call(name, x, y).dtype == BOOL
    floating = expected if expected.kind == "f" else np.dtype("float64")
    assert call("divide", x, y).dtype.numpy == floating
    assert (x + np.ones(2, b.numpy)).dtype.numpy == expected
    assert (np.ones(2, b.numpy) + x).dtype.numpy == expected
    assert (x + b.numpy.type(1)).dtype.numpy == expected  # a NumPy scalar is as strong as an array


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=str)
@pytest.mark.parametrize("scalar", [True, 1, 1.5], ids=["bool", "int", "float"])
@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "divide", "equal"])
def test_python_scalars_are_weak_on_both_sides(dtype, scalar, name):
    x = variable("x", dtype, (2,))
    array = np.ones(2, dtype.numpy)
    expected = getattr(np, name)(array, scalar).dtype
    if name == "divide" and not dtype.is_float:
        expected = np.dtype("float64")
    assert call(name, x, scalar).dtype.numpy == expected
    assert call(name, scalar, x).dtype.numpy == expected


def test_numpy_float64_is_strong_and_scalars_alone_take_defaults():
    x = variable("x", F32)
    assert (x * 2.0).dtype == F32
    assert (x * np.float64(2.0)).dtype == F64
    assert (np.float64(2.0) * x).dtype == F64
    assert call("add", 1, 2).dtype == I64
    assert call("add", True, False).dtype == BOOL
    assert call("add", True, 2.0).dtype == F64
    assert call("where", variable("c", BOOL, (3,)), 1, 0).dtype == I64


FLOATING = {
    1: ("exp", "sin", "sqrt", "sigmoid", "erf", "reciprocal", "fabs"),
    2: ("arctan2", "copysign", "divide", "heaviside", "logaddexp2"),
}


@pytest.mark.parametrize(("count", "name"), [(n, name) for n in FLOATING for name in FLOATING[n]])
@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if not d.is_float], ids=str)
def test_floating_functions_of_integers_are_float64(count, name, dtype):
    operands = [variable("xy"[k], dtype, (2,)) for k in range(count)]
    assert call(name, *operands).type == TensorType(F64, (2,))


@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "equal", "bitwise_and"])
def test_a_python_integer_out_of_range_is_an_error(name):
    x = variable("x", as_dtype("uint8"), (2,))
    with pytest.raises(DTypeError, match="the Python integer 256 does not fit uint8"):
        call(name, x, 256)
    with pytest.raises(DTypeError, match="the Python integer -1 does not fit uint8"):
        call(name, -1, x)
    assert call(name, x, 255).node.args[1].dtype == x.dtype


def test_what_no_dtype_holds_is_refused():
    x = variable("x", F32)
    assert run(x + 1e300, {"x": np.float32(0)}) == np.inf
    for refused in (lambda: x + 10**400, lambda: x**10**400, lambda: x ** -(10**400)):
        with pytest.raises(DTypeError, match="does not fit float32"):
            refused()
    x = variable("x", F32, (2,))
    for array in (np.ones(2, np.clongdouble), np.array(["a", "b"]), np.ones(2, np.longdouble)):
        with pytest.raises(DTypeError, match="is not a dtype of staticgrad"):
            call("add", x, array)
    with pytest.raises(DTypeError, match=r"astype: .complex256. is not a dtype"):
        x.astype("complex256")
    with pytest.raises(DTypeError, match="add: operands of float32, int64"):
        Add().infer(TensorType(F32), TensorType(I64))
    with pytest.raises(ArgumentError, match="add: takes 2 operands, got 1"):
        Add().infer(TensorType(F32))
    with pytest.raises(ArgumentError, match="where: takes 3 operands, got 0"):
        Where().infer()
    with pytest.raises(DTypeError, match="the condition is int64"):
        Where().infer(TensorType(I64), TensorType(F32), TensorType(F32))


def test_promotion_casts_values_and_converts_constants():
    x, i = variable("x", F32, (2,)), variable("i", I64, (2,))
    assert op_names(x + i) == ["cast", "add"]
    assert op_names(x + np.arange(2)) == ["add"]
    assert op_names(x + 1) == ["add"]


@pytest.mark.parametrize("name", ["subtract", "negative", "sign", "positive"])
def test_bools_have_no_signs(name):
    b = variable("b", BOOL, (2,))
    with pytest.raises(DTypeError, match="takes integer and floating elements, got bool"):
        call(name, *([b, b] if name == "subtract" else [b]))


def test_shape_error_shows_shapes_aligned_and_the_sizes_that_differ():
    with pytest.raises(ShapeError) as caught:
        variable("x", F32, (dim("batch"), 784)) + variable("y", F32, (512,))
    text = str(caught.value)
    assert "add: shapes do not broadcast, 784 != 512" in text
    assert "    batch  784\n           512\n           ^^^" in text
    assert "x  f32[batch, 784]" in text


def test_named_sizes_never_broadcast():
    n, m = dim("n"), dim("m")
    with collecting_guards() as guards:
        assert broadcast("add", [(n, 1), (1, 4)]) == (n, 4)
    assert not guards
    with collecting_guards() as guards:
        assert broadcast("add", [(n,), (m,)]) == (n,)
        assert broadcast("add", [(n,), (3,)]) == (3,)
    assert [(str(g.left), g.relation, str(g.right)) for g in guards] == [
        ("n", "==", "m"),
        ("3", "==", "n"),
    ]
    with pytest.raises(ShapeError, match="n != n \\+ 1"):
        broadcast("add", [(n,), (n + 1,)])


@pytest.mark.parametrize(
    ("dtype", "exponent", "ops", "result"),
    [
        (F32, 2, ["integer_pow"], F32),
        (F32, 3.0, ["integer_pow"], F32),
        (F32, -2, ["integer_pow"], F32),
        (F32, 0.5, ["sqrt"], F32),
        (F32, 1, [], F32),
        (F32, 2.5, ["pow"], F32),
        (F32, 65, ["pow"], F32),
        (F32, np.inf, ["pow"], F32),
        (F32, np.float64(2.0), ["cast", "integer_pow"], F64),
        (F32, np.int64(2), ["integer_pow"], F32),
        (I64, 2, ["integer_pow"], I64),
        (I64, 100, ["integer_pow"], I64),
        (I64, 2.0, ["cast", "integer_pow"], F64),
        (I64, 0.5, ["cast", "sqrt"], F64),
        (BOOL, 2, ["cast", "integer_pow"], I64),
    ],
)
def test_a_literal_exponent_chooses_the_op(dtype, exponent, ops, result):
    power = variable("x", dtype, (3,)) ** exponent
    assert op_names(power) == ops
    assert power.type == TensorType(result, (3,))


def test_integer_powers_that_could_be_fractions_are_refused():
    i = variable("i", I64, (2,))
    with pytest.raises(DTypeError, match="no negative powers"):
        i**-1
    for exponents in ([1, -1], np.array([-2, 3]), np.int8(-1)):
        with pytest.raises(DTypeError, match="no negative powers"):
            i**exponents
    with pytest.raises(DTypeError, match="does not fit int8"):
        variable("i", as_dtype("int8")) ** 300
    assert (i.astype("float64") ** i).dtype == F64
    assert call("reciprocal", i).dtype == F64


def whole_power(x, y, dtype):
    """x ** y in Python's integers, wrapped; 1 / x ** -y without its fraction."""
    exact = (x**-y if abs(x) == 1 else 0) if y < 0 else pow(x, y, 2**64)
    return int(np.array(exact % 2**64, np.uint64).astype(dtype))


@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if d.is_integer], ids=str)
def test_arrays_of_integer_exponents(dtype):
    bases, exponents = (a.ravel() for a in np.meshgrid(special(dtype), special(dtype)))
    x, y = (variable(name, dtype, (dim("n"),)) for name in "xy")
    power = x**y
    assert power.type == x.type
    expected = [whole_power(int(a), int(b), dtype.numpy) for a, b in zip(bases, exponents)]  # noqa: B905
    feeds = {"x": bases, "y": exponents}
    np.testing.assert_array_equal(run(power, feeds), np.array(expected, dtype.numpy))
    np.testing.assert_array_equal(sg.compile(power).run(feeds), np.array(expected, dtype.numpy))
    nonnegative = exponents >= 0
    with np.errstate(all="ignore"):
        as_numpys = np.power(bases[nonnegative], exponents[nonnegative])
    np.testing.assert_array_equal(np.array(expected, dtype.numpy)[nonnegative], as_numpys)


def test_integer_exponents_promote_and_broadcast():
    x, k = variable("x", I64, (3, 1)), variable("k", as_dtype("int8"), (2,))
    assert (x**k).type == TensorType(I64, (3, 2))
    feeds = {"x": np.array([[2], [-3], [5]]), "k": np.array([0, 3], np.int8)}
    np.testing.assert_array_equal(run(x**k, feeds), feeds["x"] ** feeds["k"])
    np.testing.assert_array_equal(run(2**k, feeds), [1, 8])
    np.testing.assert_array_equal(run(x ** np.array([1, 2]), feeds), feeds["x"] ** [1, 2])


@given(st.floats(0.5, 2.0), st.integers(-64, 64))
def test_multiplied_powers_are_close_to_the_true_one(x, exponent):
    actual = run(variable("x") ** exponent, {"x": x})
    assert actual == pytest.approx(x**exponent, rel=64 * 2.0**-52)


@pytest.mark.parametrize(
    "operation", [operator.and_, operator.or_, operator.xor], ids=lambda f: f.__name__
)
def test_logic_operators_follow_numpy(operation):
    for dtype in (BOOL, I64, as_dtype("uint8")):
        values = special(dtype)
        x = variable("x", dtype, values.shape)
        for operand in (values[::-1].copy(), True if dtype.is_bool else 3):
            expected = operation(values, operand)
            for value in (operation(x, operand), operation(operand, x)):
                array = run(value, {"x": values})
                np.testing.assert_array_equal(array, expected)
                assert array.dtype == expected.dtype
    for refused in (lambda x: operation(x, x), operator.invert):
        with pytest.raises(DTypeError, match="compare first"):
            refused(variable("x", F32))


METHODS = "add subtract multiply divide maximum minimum power logaddexp hypot arctan2"


@pytest.mark.parametrize("tensor", [False, True], ids=["symbolic", "tensor"])
@pytest.mark.parametrize("name", METHODS.split())
def test_methods_of_numpys_ufuncs(name, tensor):
    """outer, reduce and accumulate, whatever stands to the left, along any axis."""
    ufunc = getattr(np, name)
    a, b = np.linspace(0.3, 2.9, 12).reshape(3, 4)[::-1], np.array([[2.0], [0.5]])
    x = Tensor(a, dtype="float64") if tensor else sg.input("x", ("n", 4), "float64")

    def compare(actual, expected):
        array = actual.numpy() if tensor else run(actual, {"x": a})
        np.testing.assert_allclose(array, expected, rtol=1e-13)

    compare(ufunc.outer(x, b), ufunc.outer(a, b))
    compare(ufunc.outer(b, x), ufunc.outer(b, a))
    compare(ufunc.outer(2.0, x), ufunc.outer(2.0, a))
    # One by one: with AVX-512, NumPy 2.4's reductions of power and arctan2 take the last element.
    for axis in (0, -1):
        steps = np.stack([*itertools.accumulate(np.moveaxis(a, axis, 0), ufunc)], axis)
        last = np.take(steps, -1, axis)
        compare(ufunc.reduce(x, axis), last)
        compare(ufunc.reduce(x, axis, keepdims=True), np.expand_dims(last, axis))
        compare(ufunc.accumulate(x, axis), steps)
    compare(np.add.reduce(x, None), np.add.reduce(a, None))
    compare(np.bitwise_xor.reduce(x > 1, None), np.bitwise_xor.reduce(a > 1, None))


def test_gradients_of_methods_of_ufuncs():
    x, y = sg.input("x", (3,), "float64"), sg.input("y", (2,), "float64")
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0])
    by_x = sg.grad((np.multiply.outer(x, y) ** 2).sum(), x)
    np.testing.assert_allclose(run(by_x, {"x": a, "y": b}), 2 * a * (b**2).sum())
    by_x = sg.grad(np.divide.reduce(x), x)
    np.testing.assert_allclose(run(by_x, {"x": a}), [1 / 8, -1 / 16, -1 / 32])


def test_size_values_and_casts_to_the_same_dtype():
    n = dim("n")
    x = variable("x", F32, (n, 3))
    mean = call("sum", x, (0, 1)) / size_value(n * 3, "float32")
    assert mean.dtype == F32
    assert run(mean, {"x": np.full((4, 3), 2.0, np.float32)}) == 2.0
    literal = size_value(12, "float32")
    assert isinstance(literal, np.float32)
    assert (x / literal).dtype == F32
    assert Mul()(variable("i", I64), size_value(5, "int64")).dtype == I64
    x = variable("x", F32)
    assert x.astype("float32") is x
    assert call("astype", 3, "float32").type == TensorType(F32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("places", [1, 2, 5, 22, 38, 39, 308, 309, 10**20, -2, -5, -39, -(10**20)])
def test_rounding_to_places_that_the_dtype_does_not_hold(dtype, places):
    """Beside decimal arithmetic: no product with a power of ten over- or underflows on the way."""
    x = sg.input("x", ("n",), dtype)
    largest = float(sg.finfo(dtype).max)
    feed = np.array(
        [0.0, -0.0, 12.0, 700.0, -25e3, 3e4, largest / 4, -largest / 4, np.inf, -np.inf, np.nan]
    )
    feed = feed.astype(x.dtype.numpy)
    actual = run(sg.round(x, places), {"x": feed})
    with localcontext() as context:
        context.prec = 800
        grid = Decimal(10) ** -max(-400, min(places, 400))
        exact = [
            float((Decimal(float(v)) / grid).to_integral_value() * grid) if np.isfinite(v) else v
            for v in feed
        ]
    error = float(sg.finfo(dtype).eps)
    with np.errstate(over="ignore"):
        expected = np.asarray(exact).astype(feed.dtype)
    np.testing.assert_allclose(actual.astype("f8"), expected.astype("f8"), rtol=2 * error)
    assert np.array_equal(np.signbit(actual), np.signbit(feed) & ~np.isnan(feed))


@pytest.mark.parametrize("places", [2, 39, -2, -39])
def test_rounding_carries_no_gradient_where_it_keeps_a_number(places):
    x = sg.input("x", (3,), "float32")
    slope = sg.grad(sg.round(x, places).sum(), x, allow_disconnected=True)
    assert run(slope, {"x": np.array([1.25, 3e38, -1e-3], "f4")}).tolist() == [0.0, 0.0, 0.0]
