"""The meaning of every op for complex values: NumPy, finite differences, eager tensors."""

import math

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff import forward
from staticgrad.eager import Tensor
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.ir.pairs import Complex
from staticgrad.language.ops import complex_readings
from staticgrad.language.ops.linalg import LinearAlgebra

RNG = np.random.default_rng(7)


def numbers(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


Z, W = numbers(3, 4), numbers(3, 4)
REAL = RNG.normal(size=(3, 4))
ROWS = np.array([2, 0, 1, 1])
IMAGE, FILTER = numbers(2, 3, 8), numbers(4, 3, 3)


def write_rows(z, w):
    """Rows of a copy are replaced, one after the other."""
    written = z.copy()
    for row in ROWS:
        written[row] = w[row] * 2
    return written


#: Functions of one operand and of two, by NumPy's names.
ONE = """absolute angle arccos arccosh arcsin arcsinh arctan arctanh conj cos cosh cov cumprod
    cumsum diagonal exp exp2 expm1 imag isfinite log log10 log1p log2 mean negative
    prod ravel real reciprocal rint round sign sin sinh sqrt square std sum tan tanh trace transpose
    var"""
TWO = """add divide equal inner isclose kron logical_and logical_or logical_xor multiply not_equal
    outer power subtract vdot vecdot"""
#: Name -> (function of values, NumPy's function, operands).
CASES = {
    **{name: (getattr(sg, name), getattr(np, name), (Z,)) for name in ONE.split()},
    **{name: (getattr(sg, name), getattr(np, name), (Z, W)) for name in TWO.split()},
    "norm": (sg.norm, np.linalg.norm, (Z,)),
    "by real": (sg.multiply, np.multiply, (Z, REAL)),
    "over real": (sg.divide, np.divide, (Z, REAL)),
    "real over": (sg.divide, np.divide, (REAL, Z)),
    "real base": (sg.power, np.power, (abs(REAL), Z)),
    "cube": (lambda z: z**3, lambda z: z**3, (Z,)),
    "inverse cube": (lambda z: z**-3, lambda z: z**-3, (Z,)),
    "by i": (lambda z: 1j * z - 2j / z, lambda z: 1j * z - 2j / z, (Z,)),
    "over i": (lambda z: z / 2j, lambda z: z / 2j, (Z,)),
    "not": (sg.logical_not, np.logical_not, (Z,)),
    "all": (sg.all, np.all, (Z,)),
    "sigmoid": (sg.sigmoid, lambda z: 1 / (1 + np.exp(-z)), (Z,)),
    "matmul": (sg.matmul, np.matmul, (Z, W.T)),
    "by real matrix": (sg.matmul, np.matmul, (Z, REAL.T)),
    "einsum": (lambda a, b: sg.einsum("ij,kj->ki", a, b),
               lambda a, b: np.einsum("ij,kj->ki", a, b), (Z, W)),
    "stack": (lambda a, b: sg.stack([a, b]), lambda a, b: np.stack([a, b]), (Z, W)),
    "concatenate": (lambda a, b: sg.concatenate([a, b], 1),
                    lambda a, b: np.concatenate([a, b], 1), (Z, REAL)),
    "where": (lambda a, b: sg.where(REAL > 0, a, b), lambda a, b: np.where(REAL > 0, a, b), (Z, W)),
    "pad": (lambda z: sg.pad(z, 2), lambda z: np.pad(z, 2), (Z,)),
    "reshape": (lambda z: sg.reshape(z, (2, 6)), lambda z: np.reshape(z, (2, 6)), (Z,)),
    "slice": (lambda z: z[1:, ::-2], lambda z: z[1:, ::-2], (Z,)),
    "take": (lambda z: z[ROWS], lambda z: z[ROWS], (Z,)),
    "entries": (lambda z, w: z.at[ROWS].set(w[ROWS] * 2), write_rows, (Z, W)),
    "roll": (lambda z: sg.roll(z, 2, 1), lambda z: np.roll(z, 2, 1), (Z,)),
    "tile": (lambda z: sg.tile(z, (2, 1)), lambda z: np.tile(z, (2, 1)), (Z,)),
    "take along": (lambda z: sg.take_along_axis(z, np.tile(ROWS, (3, 1)), 1),
                   lambda z: np.take_along_axis(z, np.tile(ROWS, (3, 1)), 1), (Z,)),
    "scatter": (lambda z: sg.zeros_like(z).at[ROWS[:3]].add(z), lambda z: _sum_rows(z),
                (Z,)),
    "broadcast": (lambda z: sg.broadcast_to(z[:, None], (3, 5, 4)),
                  lambda z: np.broadcast_to(z[:, None], (3, 5, 4)), (Z,)),
    "astype": (lambda z: z.astype("complex64").astype("complex128"),
               lambda z: z.astype("complex64").astype("complex128"), (Z,)),
    "recurrence": (lambda z: sg.linear_scan(np.full((3, 4), 0.5), z, 1), lambda z: _filter_rows(z),
                   (Z,)),
    "checkpoint": (lambda z: sg.checkpoint(sg.exp)(z), np.exp, (Z,)),
    "convolve": (lambda a, b: sg.convolve(a, b), np.convolve, (Z[0], W[1])),
    "conv": (lambda a, b: sg.nn.conv(a, b), lambda a, b: _convolve(a, b), (IMAGE, FILTER)),
}  # fmt: skip
#: Without derivatives, or not compared with them: results are bools, or pieces.
WITHOUT = {
    "equal", "isclose", "not_equal", "logical_and", "logical_or", "logical_xor", "not", "all",
    "isfinite", "rint", "round", "astype",
}  # fmt: skip
#: Of rules and passes alone.
INTERNAL = {
    "again", "checkpoint_name", "conv_filter", "conv_image", "custom_jvp", "custom_vjp", "fold",
    "panel_matmul", "scatter_along", "stop_gradient", "window_sum", "unfold", "recomputed",
    "scatter_add", "checkpoint", "fft",
}  # fmt: skip


def _sum_rows(z):
    sums = np.zeros((3, 4), complex)
    np.add.at(sums, ROWS[:3], z)
    return sums


def _filter_rows(z):
    filtered = z.copy()
    for k in range(1, 4):
        filtered[:, k] += 0.5 * filtered[:, k - 1]
    return filtered


def _convolve(a, b):
    windows = np.lib.stride_tricks.sliding_window_view(a, 3, 2)
    return np.einsum("bcnk,ock->bon", windows, b)


def inputs_and_feeds(operands):
    names = [f"x{k}" for k in range(len(operands))]
    inputs = [sg.input(n, x.shape, x.dtype.name) for n, x in zip(names, operands, strict=True)]
    return inputs, dict(zip(names, operands, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_numpy(name):
    function, expected, operands = CASES[name]
    inputs, feeds = inputs_and_feeds(operands)
    reference = np.asarray(expected(*operands))
    actual = function(*inputs)
    assert (actual.dtype, actual.shape) == (reference.dtype, reference.shape)
    scale = max(1.0, np.max(np.abs(reference)))
    compiled = sg.compile(actual).run(feeds)
    np.testing.assert_allclose(compiled, reference, rtol=1e-13, atol=1e-14 * scale)
    assert sg.compile(actual).run(feeds).dtype == reference.dtype
    np.testing.assert_allclose(
        sg.evaluate(actual, feeds), reference, rtol=1e-13, atol=1e-14 * scale
    )
    eager = function(*[Tensor(x) for x in operands])
    np.testing.assert_allclose(eager.data, reference, rtol=1e-13, atol=1e-14 * scale)


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITHOUT])
def test_derivatives_are_finite_differences(name):
    """Derivatives of a real loss along random directions: reverse, forward mode and tape."""
    function, expected, operands = CASES[name]
    weights = numbers(*np.asarray(expected(*operands)).shape)

    def loss(*xs):
        return sg.sum(sg.real(function(*xs) * np.conj(weights)))

    inputs, feeds = inputs_and_feeds(operands)
    ways = [
        numbers(*x.shape) if x.dtype.kind == "c" else RNG.normal(size=x.shape) for x in operands
    ]
    step = 1e-6
    ends = [
        np.sum((expected(*[x + s * step * w for x, w in zip(operands, ways, strict=True)])
                * weights.conj()).real) for s in (1, -1)
    ]  # fmt: skip
    slope_expected = (ends[0] - ends[1]) / (2 * step)
    tolerance = 1e-6 * max(1.0, abs(slope_expected))
    gradients = dict(zip(feeds, sg.grad(loss(*inputs), inputs), strict=True))
    slopes = sg.compile(sg.Graph(gradients, inputs=inputs)).run(feeds)
    along = sum(np.sum(slopes[n] * w).real for n, w in zip(feeds, ways, strict=True))
    assert along == pytest.approx(slope_expected, abs=tolerance)
    pushed = forward.jvp(loss(*inputs), inputs, ways)
    pushed = sg.evaluate(sg.Graph(pushed, inputs=inputs), feeds)["output"]
    assert pushed == pytest.approx(slope_expected, abs=tolerance)
    tensors = [Tensor(x, requires_grad=True) for x in operands]
    loss(*tensors).backward()
    for tensor, slope in zip(tensors, slopes.values(), strict=True):
        np.testing.assert_allclose(tensor.grad, slope, rtol=1e-10, atol=1e-12)


#: Functions of which one part of the operand or of the result takes no part in a derivative.
ONE_PART = {
    "real": (sg.real, np.real, Z),
    "imag": (sg.imag, np.imag, Z),
    "real as complex": (lambda z: sg.real(z) + 2j, np.real, Z),
    "constant part": (lambda x: x * x + 1j, lambda x: x * x, REAL),
    "rint": (sg.rint, np.zeros_like, Z),
}


@pytest.mark.parametrize("name", ONE_PART)
def test_tangents_where_one_part_has_no_path(name):
    function, expected, at = ONE_PART[name]
    way = REAL + 1 if at is REAL else W
    reference = 2 * at * way if at is REAL else expected(way)
    np.testing.assert_allclose(sg.jvp(function, at, way)[1], reference, rtol=1e-14)
    np.testing.assert_allclose(sg.linearize(function, at)[1](way), reference, rtol=1e-14)
    np.testing.assert_allclose(
        sg.jvp(function, Tensor(at), Tensor(way))[1].data, reference, rtol=1e-14
    )


HOLOMORPHIC = """arccos arccosh arcsin arcsinh arctan arctanh cos cosh exp exp2 expm1 log log10
    log1p log2 reciprocal sigmoid sin sinh sqrt square tan tanh"""


@pytest.mark.parametrize("name", HOLOMORPHIC.split())
@pytest.mark.parametrize("turn", [1.0, 1.0j])
def test_derivatives_on_the_axes(name, turn):
    """No branch for a part that is exactly 0 may lose a derivative."""
    function, expected, _ = CASES[name]
    points = turn * np.array([1.3, 1.7] if name == "arccosh" else [0.3, 0.9])  # not on a cut
    actual = sg.grad(lambda z: sg.sum(function(z)), holomorphic=True)(points + 0j)
    reference = (expected(points + 1e-6 * turn) - expected(points - 1e-6 * turn)) / (2e-6 * turn)
    np.testing.assert_allclose(actual, reference, rtol=1e-7)


def test_every_op_with_a_reading_is_tried(monkeypatch):
    ops_tried = set()

    def record_op(cls, op, args):
        ops_tried.add(op.name)
        return bind.__func__(cls, op, args)

    bind = Complex.__dict__["bind"]
    monkeypatch.setattr(Complex, "bind", classmethod(record_op))
    for function, _, operands in CASES.values():
        function(*inputs_and_feeds(operands)[0])
    table = tuple(complex_readings.Complex.readings)
    ours = {n: op for n, op in registered_ops().items() if op.__module__.startswith("staticgrad.")}
    having = {name for name, op in ours.items() if issubclass(op, table)}
    factors = {name for name, op in ours.items() if issubclass(op, LinearAlgebra)}  # test_linalg.py
    sparse = {n for n, op in ours.items() if op.__module__.endswith(".ops.sparse")}  # tests/sparse
    assert having - ops_tried - factors - sparse <= INTERNAL


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "arcsin", "arctanh", "tanh", "divide"])
def test_single_precision_keeps_its_digits(name):
    operands = [x.astype("complex64") for x in CASES[name][2]]
    inputs, feeds = inputs_and_feeds(operands)
    actual = sg.compile(getattr(sg, name)(*inputs)).run(feeds)
    expected = getattr(np, name)(*[x.astype("complex128") for x in operands])
    assert actual.dtype == np.complex64
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


EDGES = np.array([0, 1, -1, 1j, -1j, 1e300 + 1e300j, 1e-300j, -4, complex(-4, -0.0), 1e-9 - 1j])


@pytest.mark.parametrize("name", ["sqrt", "log", "absolute", "angle", "exp", "arcsin", "arccos"])
def test_cuts_and_extremes_are_those_of_numpy(name):
    z = sg.input("z", EDGES.shape, "complex128")
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(EDGES)
    actual = sg.compile(getattr(sg, name)(z)).run({"z": EDGES})
    is_finite = np.isfinite(expected)
    np.testing.assert_allclose(actual[is_finite], expected[is_finite], rtol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("complex64", 1e-30), ("complex64", 1e30), ("complex128", 1e-300), ("complex128", 1e300)],
)
@pytest.mark.parametrize("name", ["log", "log2", "log10", "log1p"])
def test_derivatives_of_logarithms_are_in_range(name, dtype, size):
    z = (np.array([1j, 1 + 1j, -2 + 1j, -1j, 2 - 3j]) * size).astype(dtype)
    actual = sg.grad(lambda z: sg.sum(getattr(sg, name)(z)), holomorphic=True)(z)
    expected = {"log2": 1 / np.log(2), "log10": 1 / np.log(10)}.get(name, 1.0) / z
    if name == "log1p" and size < 1:
        expected = np.ones_like(z)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-5 if dtype == "complex64" else 1e-14)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("complex64", 1e10), ("complex64", 1e30), *[("complex128", s) for s in (1e20, 1e100, 1e300)]],
)
@pytest.mark.parametrize(("name", "sign"), [("arctan", 1.0), ("arctanh", -1.0)])
def test_inverse_tangents_of_large_numbers(name, sign, dtype, size):
    z = (np.array([1j, 1 + 1j, -2 + 1j, -1j, 2 - 3j, 1, -1]) * size).astype(dtype)
    limits = {"rtol": 1e-6 if dtype == "complex64" else 1e-15}
    function = getattr(sg, name)
    np.testing.assert_allclose(sg.function(function)(z), getattr(np, name)(z), **limits)
    actual = sg.grad(lambda z: sg.sum(function(z)), holomorphic=True)(z)
    np.testing.assert_allclose(actual, sign * (1 / z) ** 2, **limits, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", ["arctanh", "arctan"])
def test_inverse_tangents_near_the_poles_keep_their_digits(name):
    z = np.array([-0.992 - 0.0241j, 0.992 + 0.0241j, -0.9999 + 1e-3j, -1.001 - 1e-4j])
    z = (z if name == "arctanh" else 1j * z).astype("complex64")
    actual, expected = sg.function(getattr(sg, name))(z), getattr(np, name)(z.astype("complex128"))
    np.testing.assert_allclose(actual.real, expected.real, rtol=5e-7)
    np.testing.assert_allclose(actual.imag, expected.imag, rtol=5e-7)


def test_division_is_scaled():
    x, y = sg.input("x", (), "complex128"), sg.input("y", (), "complex128")
    f = sg.compile(x / y)
    for a, b in ((1e300 + 1e300j, 2e300 - 1e300j), (1e-300j, 1e-300 + 1e-300j), (1j, 0j)):
        with np.errstate(all="ignore"):
            expected = np.complex128(a) / np.complex128(b)
        np.testing.assert_allclose(f.run({"x": a, "y": b}), expected, rtol=1e-14)


def test_cancellation_keeps_digits():
    z = np.exp(1j * np.linspace(0, math.pi, 9)) * (1 + 1e-10)
    x = sg.input("z", z.shape, "complex128")
    np.testing.assert_allclose(sg.compile(sg.log(x).real).run({"z": z}), np.log(z).real, rtol=1e-6)


MISUSES = {
    "maximum": lambda z: sg.maximum(z, 0.0),
    "floor": sg.floor,
    "sort": sg.sort,
    "argmax": sg.argmax,
    "less": lambda z: z < 1,
    "clip": lambda z: z.clip(0, 1),
    "arctan2": lambda z: sg.arctan2(z, z),
    "remainder": lambda z: z % 2,
    "erf": sg.erf,
    "relu": sg.nn.relu,
}


@pytest.mark.parametrize("name", MISUSES)
def test_what_has_no_meaning_is_refused_at_the_line(name):
    z = sg.input("z", (3,), "complex64")
    with pytest.raises(sg.errors.DTypeError, match="complex64") as caught:
        MISUSES[name](z)
    assert caught.value.at.resolve().file == __file__
    assert isinstance(caught.value, TypeError)


def test_conversion_to_real_is_refused():
    with pytest.raises(sg.errors.DTypeError, match="imaginary part would be lost"):
        sg.input("z", (3,), "complex64").astype("float32")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_signs_of_infinite_numbers():
    parts = [np.inf, -np.inf, np.nan, 0.0, -3.0]
    numbers = np.array([complex(re, im) for re in parts for im in parts])
    np.testing.assert_array_equal(sg.sign(numbers), np.sign(numbers))
    np.testing.assert_array_equal(sg.isclose(numbers, numbers), np.isclose(numbers, numbers))
