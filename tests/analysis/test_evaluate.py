"""The oracle: its structures, its precision, what it refuses, and that it changes nothing."""

from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.analysis.interpret import interpret
from staticgrad.errors import IndexOutOfRange, OpDefinitionError, OutOfMemory
from staticgrad.language.ir.expr import apply, literal, ref
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F32, F64, I8, I32, U32, U64
from staticgrad.native.plain.lanes import fma as fma_of_lanes
from staticgrad.support import config
from staticgrad.support.primitives import fma
from tests.helpers.chains import sum_chain
from tests.helpers.limits import finfo
from tests.native.support import assert_same


def scalar(name, dtype="float64"):
    return sg.input(name, (), dtype)


def test_feeds_by_name_and_by_value():
    x, y = scalar("x"), scalar("y")
    assert sg.evaluate(x - y, {x: 5.0, "y": 3.0}) == 2.0
    x = sg.input("x", (3,), "float64")
    actual = sg.evaluate(np.log(x) / x, {"x": [-1.0, 0.0, np.inf]})
    assert np.isnan(actual).tolist() == [True, False, True]


def test_parameters_keep_their_value_and_updates_read_the_old_ones():
    a, b = sg.parameter("a", np.array(1.0)), sg.parameter("b", np.array(2.0))
    graph = sg.Graph({"sum": a + b}, updates={a: b, b: a})
    outputs, updates = sg.evaluate(graph, updates=True)
    assert outputs == {"sum": 3.0}
    assert updates == {"a": 2.0, "b": 1.0}
    assert (a.value, b.value) == (1.0, 2.0)


def test_symbolic_sizes_take_the_size_of_the_feeds():
    x = sg.input("x", ("n",), "float64")
    mean = x.sum() / x.mean()
    for n in (1, 2, 7):
        assert sg.evaluate(mean, {"x": np.full(n, 2.0)}) == n


@pytest.mark.slow
def test_30_000_nodes_and_values_are_dropped_after_their_last_use():
    x = sg.input("x", (1000,), "float64")
    y = sum_chain(x, sg.constant(np.ones(1000)), 30_000)
    assert sg.evaluate(y, {"x": np.zeros(1000)})[0] == 30_000.0  # all at once are 240 MB


# In higher precision


def test_float64_runs_a_float32_program_in_float64():
    x = scalar("x", "float32")
    w = sg.parameter("w", np.array(0.1, "float32"))
    y = (x + w).astype("float32") * np.float32(0.3) - 1e-3
    actual = sg.evaluate(y, {"x": np.float32(1.0)}, dtype="float64")
    assert actual.dtype == np.float64
    exact = (1.0 + float(np.float32(0.1))) * float(np.float32(0.3)) - float(np.float32(1e-3))
    assert actual == exact
    assert sg.evaluate(y, {"x": 1.0}).dtype == np.float32


def test_float64_feeds_are_not_rounded_to_the_declared_dtype():
    x = scalar("x", "float32")
    third = np.float64(1) / 3
    assert sg.evaluate(x, {"x": third}, dtype="float64") == third
    assert sg.evaluate(x, {"x": third}) == np.float32(third)
    n, x = scalar("n", "int32"), scalar("x", "float32")
    actual = sg.evaluate([n * 2, x > 0.5, n.astype("float32") + x], {"n": 3, "x": 1.0},
                        dtype="float64")  # fmt: skip
    assert [f.dtype for f in actual] == [np.int32, np.bool_, np.float64]


class Bits(Op):
    """The low byte of each float, as a float of the same dtype."""

    name: ClassVar[str] = "test.bits"
    keeps_dtype: ClassVar[bool] = True

    def infer(self, x):
        return x

    def reference(self, x):
        assert x.dtype == np.float32
        return (x.view(np.uint32) & 255).astype(np.float32)


def test_float64_runs_an_op_whose_bits_depend_on_the_dtype_as_declared():
    x = sg.input("x", (2,), "float32")
    feeds = {"x": np.array([0.1, 0.7], "float32")}
    wide = sg.evaluate(Bits()(x), feeds, dtype="float64")
    assert wide.dtype == np.float64
    assert wide.tolist() == sg.evaluate(Bits()(x), feeds).tolist()


# What it refuses


class Liar(Op):
    """Infers what its fields say; its reference is the operand."""

    name: ClassVar[str] = "test.liar"
    types: tuple[TensorType, ...]

    def infer(self, x):
        return self.types if len(self.types) > 1 else self.types[0]

    def reference(self, x):
        return x


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ((TensorType(F32, (2,)),), r"float64\[2\], infer float32\[2\]"),
        ((TensorType(F64, (3,)),), r"float64\[2\], infer float64\[3\]"),
        ((TensorType(F64, (2,)), TensorType(F64, ())), "1 results, infer 2"),
    ],
)
def test_a_reference_that_contradicts_infer(types, says):
    x = sg.input("x", (2,), "float64")
    y = Liar(types)(x)  # the liar's line
    y = y[0] if isinstance(y, tuple) else y
    with pytest.raises(OpDefinitionError, match=says) as caught:
        sg.evaluate(y, {"x": np.ones(2)})
    assert "the liar's line" in caught.value.at.resolve().text


class Raises(Op):
    name: ClassVar[str] = "test.raises"

    def infer(self, x):
        return x

    def reference(self, x):
        raise IndexOutOfRange("index 7 is out of range")


def test_an_error_while_running_names_the_line_of_the_node():
    x = scalar("x")
    y = Raises()(x)  # the raising op
    with pytest.raises(IndexOutOfRange) as caught:
        sg.evaluate(y + 1.0, {"x": 1.0})
    assert "the raising op" in caught.value.at.resolve().text


@pytest.mark.parametrize("size", [10**14, 2**60])
@pytest.mark.parametrize("op", ["broadcast", "tanh", "reshape"])
def test_what_no_memory_can_hold_is_one_error(size, op):
    x = sg.input("x", (1,), "float32")
    wide = sg.broadcast_to(x, (size, 2, 2))
    y = {"broadcast": lambda: wide, "tanh": lambda: sg.tanh(wide), "reshape": wide.ravel}[op]()
    with pytest.raises(OutOfMemory, match=r".*: f32\[.*\] does not fit into memory") as caught:
        sg.evaluate(y, {"x": [1.0]})
    assert "wide" in str(caught.value)


# -- interpret -------------------------------------------------------------------------------------


def evaluate(root, **named):
    return interpret([root], lambda node: named[str(node.attribute)])[0]


def binary(op, a, b, dtype):
    x, y = np.array(a, dtype.numpy), np.array(b, dtype.numpy)
    return evaluate(apply(op, ref("x", dtype), ref("y", dtype)), x=x, y=y)


def round_to(exact, dtype):
    """The nearest number of the format, ties to even; exact is not 0."""
    fraction, least = (23, -149) if dtype == F32 else (52, -1074)
    limit = float(finfo(dtype.numpy).max)
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** max(exponent - fraction, least)
    nearest = round(size / unit) * unit
    value = float(nearest) if nearest <= limit else float("inf")
    return value if exact > 0 else -value


def exact_fma(a, b, c, dtype):
    if not np.isfinite([a, b, c]).all():
        with np.errstate(all="ignore"):
            finite = np.isfinite([a, b]).all()
            return float(c if finite else np.float64(a) * np.float64(b) + np.float64(c))
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        return round_to(exact, dtype)
    product = np.copysign(1.0, a) * np.copysign(1.0, b)
    return -0.0 if product < 0 and np.copysign(1.0, c) < 0 and c == 0 else 0.0


def close_calls(width):
    """Random operands, few-bit ones that make ties, and summands that nearly cancel the product."""
    any_float = st.floats(width=width)
    few_bits = st.builds(
        lambda m, e: float(np.ldexp(m, e)),
        st.integers(-(2 ** (width // 2 - 3)), 2 ** (width // 2 - 3)),
        st.integers(-75, 20) if width == 32 else st.integers(-560, 60),
    )
    operand = any_float | few_bits
    power = st.builds(
        lambda s, e: s * 2.0**e,
        st.sampled_from([-1, 1]),
        st.integers(-149, 60) if width == 32 else st.integers(-1074, 200),
    )
    cancelling = st.tuples(few_bits, few_bits, st.integers(-2, 2)).map(
        lambda t: (t[0], t[1], _next_to(-t[0] * t[1], t[2], width))
    )
    return st.tuples(operand, operand, operand | power) | cancelling


def _next_to(value, steps, width):
    kind = np.float32 if width == 32 else np.float64
    x = kind(value)
    for _ in range(abs(steps)):
        x = np.nextafter(x, kind(np.inf if steps > 0 else -np.inf))
    return float(x)


def assert_fma(cases, dtype):
    a, b, c = (np.array(column, dtype.numpy) for column in zip(*cases, strict=True))
    expected = np.array([exact_fma(*case, dtype) for case in cases], dtype.numpy)
    with np.errstate(all="ignore"):
        assert_same(fma(a, b, c), expected, "of expressions")
        assert_same(fma_of_lanes(a, b, c), expected, "of lanes")


@given(st.lists(close_calls(32), min_size=1, max_size=20))
def test_fma_f32_rounds_once(cases):
    assert_fma(cases, F32)


@given(st.lists(close_calls(64), min_size=1, max_size=20))
def test_fma_f64_rounds_once(cases):
    assert_fma(cases, F64)


@pytest.mark.parametrize(("dtype", "step"), [(F32, 2.0**-12), (F64, 2.0**-27)])
def test_fma_breaks_ties_by_what_lies_far_below(dtype, step):
    """The product (1 + step)(1 + n step) ends in half a unit; the summand is far smaller."""
    scale = 1 if dtype == F32 else 2
    ties = [(s * (1 + step), 1 + n * scale * step) for s in (1, -1) for n in (1, 3)]
    assert_fma([(a, b, c) for a, b in ties for c in (-(2.0**-100), 0.0, 2.0**-100)], dtype)


def test_fma_f32_rounds_once_among_denormals():
    """A product just below half of the smallest number, added to odd and even multiples of it."""
    a, b = 2.0**-75 * (1 + 2.0**-23), 2.0**-75 * (1 - 2.0**-23)
    multiples = [n * 2.0**-149 for n in (2**22, 2**22 + 1, -(2**22), -(2**22) - 1)]
    assert_fma([(s * a, b, c) for s in (1, -1) for c in multiples], F32)
    assert fma(np.float64(2), np.array([3.0, 4.0]), np.float64(1)).tolist() == [7, 9]
    assert evaluate(literal(2.0, F32).fma(3.0, 4.0)).shape == ()
    rng = np.random.default_rng(5)
    a, b = rng.uniform(1, 2, 400), rng.uniform(0.5, 1, 400) * 2.0**-500
    exponents = rng.choice([2.0**-525, 2.0**-522, 2.0**-540], 400)
    c = rng.uniform(-1, 1, 400) * 2.0**-1022 * rng.choice([0, 1, 2.0**-30], 400)
    assert_fma(list(zip((a * exponents).tolist(), b.tolist(), c.tolist(), strict=True)), F64)


def test_shifts_beyond_the_width_fill():
    counts = [0, 1, 31, 32, 1000, -1]
    assert binary("shl", [3] * 6, counts, I32).tolist() == [3, 6, -(2**31), 0, 0, 0]
    assert binary("shr", [-8] * 6, counts, I32).tolist() == [-8, -4, -1, -1, -1, -1]
    assert binary("shr", [0x80000000] * 4, [0, 31, 32, 255], U32).tolist() == [2**31, 1, 0, 0]
    assert binary("shl", [1, 1], [63, 64], U64).tolist() == [2**63, 0]
    assert binary("shr", [-128, 127], [7, 9], I8).tolist() == [-1, 0]


def test_settings_are_read_once_for_all_matrices(monkeypatch):
    """They take as long as the routine of a small matrix."""
    readings = []

    def read(**arguments):
        readings.append(None)
        return config_settings(**arguments)

    config_settings = config.settings
    monkeypatch.setattr(config, "settings", read)
    x = sg.input("x", (2, 2), "float64")
    power = sg.fori_loop(0, 5, lambda _, a: sg.linalg.inv(a), x)
    expected = np.array([[0.5, 0.0], [0.0, 0.25]])
    np.testing.assert_allclose(sg.evaluate(power, {"x": np.diag([2.0, 4.0])}), expected)
    assert len(readings) == 1
    sg.evaluate(x + x, {"x": expected})
    assert len(readings) == 1
