"""Every operation, element type and lane count against NumPy, compiled and interpreted.

One kernel per element type and lane count holds all its operations: each output array takes the
result of one operation over a table of pairs of special values.
"""

import ast
import functools
import itertools
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import staticgrad
import staticgrad.native
from staticgrad.native.language.kinds import ELEMENTS as EVERY_ELEMENT, LANES
from tests.helpers.limits import finfo
from tests.native.support import SOURCES, assert_same, call, number_dtype

#: NumPy does not know bf16: what there is of it is in ``test_stored``.
ELEMENTS = {name: element for name, element in EVERY_ELEMENT.items() if name != "bf16"}
PLAIN = 60  # pairs at most, or a few more, in plain Python


def specials(name):
    """Values around every edge of an element type."""
    element, dtype = ELEMENTS[name], number_dtype(name)
    if element.kind == "b":
        return np.array([0, 1], np.uint8)
    if element.kind in "fs":
        tiny = finfo(dtype).smallest_subnormal
        big = finfo(dtype).max
        values = [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 3.7, -3.7, 127.5, 128, -129, 255.9, 300]
        values += [2.0**31, -(2.0**31), 2.0**31 - 0.5, -(2.0**31) - 0.5, 2.0**32, 2.0**53 + 2]
        values += [2.0**63, -(2.0**63), 2.0**64, 1e30, -1e30, 1e-30, np.inf, -np.inf, np.nan]
        with np.errstate(over="ignore"):
            return np.array([*values, tiny, -tiny, big, -big]).astype(dtype)
    limits = np.iinfo(element.numpy)
    near = [0, 1, 2, 3, 5, 7, 8, 63, 64, 100]
    near += [limits.max, limits.max - 1, limits.min, limits.min + 1]
    near += [-1, -2, -3, -7, 2**24 + 1, 2**53 + 1] if element.is_signed else [2**24 + 1, 2**53 + 1]
    inside = [value for value in near if limits.min <= value <= limits.max]
    return np.array(inside, element.numpy)


def pairs(name):
    operands = np.array(list(itertools.product(specials(name), repeat=2)), number_dtype(name))
    return operands[:, 0].copy(), operands[:, 1].copy()


def maximum(a, b):
    if a.dtype.kind != "f":
        return np.maximum(a, b)
    above = (a > b) | ((a == b) & ~np.signbit(a)) | np.isnan(a)
    return np.where(np.isnan(b), b, np.where(above, a, b))


def minimum(a, b):
    if a.dtype.kind != "f":
        return np.minimum(a, b)
    below = (a < b) | ((a == b) & np.signbit(a)) | np.isnan(a)
    return np.where(np.isnan(b), b, np.where(below, a, b))


def byte(function):
    return lambda *operands: function(*operands).view(np.uint8)


def fma(a, b, c):
    """a*b + c in exact rational arithmetic where finite, rounded once."""
    from fractions import Fraction

    plain = a * b + c
    out = np.where(np.isfinite(a) & np.isfinite(b) & np.isinf(c), c, plain)
    for index in np.flatnonzero(np.isfinite(a) & np.isfinite(b) & np.isfinite(c)):
        exact = Fraction(float(a[index])) * Fraction(float(b[index])) + Fraction(float(c[index]))
        if exact != 0:
            out[index] = _nearest(exact, a.dtype)
    return out


def _nearest(exact, dtype):
    from fractions import Fraction

    value = Fraction(exact)
    single = dtype == np.float32
    bits, least = (24, -149) if single else (53, -1074)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - bits + 1, least)
    significand = round(size / unit)  # ties to even
    limit = Fraction(float(finfo(dtype).max))
    magnitude = significand * unit
    result = np.inf if magnitude > limit else float(magnitude)
    return dtype.type(result if value > 0 else -result)


def shift(function, *, left):
    def oracle(a, b):
        bits = a.dtype.itemsize * 8
        inside = (b >= 0) & (b < bits)
        fill = np.where(a < 0, -1, 0).astype(a.dtype) if a.dtype.kind == "i" and not left else 0
        return np.where(inside, function(a, np.where(inside, b, 0).astype(a.dtype)), fill).astype(
            a.dtype
        )

    return oracle


COMPARE = {
    "a == b": byte(np.equal),
    "a != b": byte(np.not_equal),
    "a < b": byte(np.less),
    "a <= b": byte(np.less_equal),
    "a > b": byte(np.greater),
    "a >= b": byte(np.greater_equal),
}
BITS = {"a & b": np.bitwise_and, "a | b": np.bitwise_or, "a ^ b": np.bitwise_xor}
EXTREMA = {"maximum(a, b)": maximum, "minimum(a, b)": minimum}
ARITHMETIC = {
    "a + b": np.add,
    "a - b": np.subtract,
    "a * b": np.multiply,
    "-a": lambda a, b: np.negative(a),
    "absolute(a)": lambda a, b: np.abs(a),
}


def divide(function):
    def oracle(a, b):
        return np.where(b == 0, 0, function(a, np.where(b == 0, 1, b))).astype(a.dtype)

    return oracle


def operations(name):
    """Expression over a and b -> NumPy."""
    kind = ELEMENTS[name].kind
    if kind == "s":
        return {}
    if kind == "b":
        return {**COMPARE, **BITS, **EXTREMA, "~a": lambda a, b: a ^ 1}
    if kind == "f":
        return {
            **COMPARE,
            **EXTREMA,
            **ARITHMETIC,
            "a / b": np.divide,
            "sqrt(a)": lambda a, b: np.sqrt(a),
            "floor(a)": lambda a, b: np.floor(a),
            "ceil(a)": lambda a, b: np.ceil(a),
            "trunc(a)": lambda a, b: np.trunc(a),
            "rint(a)": lambda a, b: np.rint(a),
            "fmod(a, b)": np.fmod,
            "fma(a, b, a)": lambda a, b: fma(a, b, a),
            "fma(b, b, -a)": lambda a, b: fma(b, b, -a),
            "a * 0.1 + 2": lambda a, b: a * a.dtype.type(0.1) + a.dtype.type(2),
            "1.0 / b": lambda a, b: a.dtype.type(1) / b,
            "like(a, inf) - a": lambda a, b: a.dtype.type(np.inf) - a,
        }
    return {
        **COMPARE,
        **BITS,
        **EXTREMA,
        **ARITHMETIC,
        "~a": lambda a, b: np.invert(a),
        "a << b": shift(np.left_shift, left=True),
        "a >> b": shift(np.right_shift, left=False),
        "floor_divide(a, b)": divide(np.floor_divide),
        "remainder(a, b)": divide(np.remainder),
        "a * 3 - 1": lambda a, b: a * a.dtype.type(3) - a.dtype.type(1),
        "rint(a)": lambda a, b: a,
    }


def conversions(name):
    cases = {}
    for target in ELEMENTS.values():
        expected = np.dtype(np.bool_) if target.kind == "b" else number_dtype(target.name)
        cases[f"cast_{target.name}(a)"] = functools.partial(_astype, dtype=expected)
        if target.bits == ELEMENTS[name].bits and "b" not in (target.kind, ELEMENTS[name].kind):
            cases[f"bitcast_{target.name}(a)"] = functools.partial(_view, dtype=expected)
    return cases


def _astype(a, b, *, dtype):
    if a.dtype.kind == "f" and dtype.kind in "iu":
        return np.array([_truncate(float(value), dtype) for value in a], dtype)
    # one element at a time: NumPy's loops over many may use other instructions
    cast = np.array([value.astype(dtype) for value in a])
    return cast.view(np.uint8) if dtype == np.bool_ else cast


def _truncate(value, dtype):
    """Return a float as an integer, as x86-64 does it: C leaves open what is out of range.

    The instruction gives 32 or 64 bits, the least integer for what does not fit, of which the
    lower bits are taken (Intel's manual of instructions, CVTTSD2SI).
    """
    bits = 32 if dtype.itemsize < 4 or dtype == np.int32 else 64
    half = 2 ** (bits - 1)
    above = dtype == np.uint64 and value >= half
    lower = value - half if above else value
    fits = lower == lower and -half - 1 < lower < half
    number = int(lower) if fits else -half
    number = (number + half * above) % 2 ** (8 * dtype.itemsize)
    return np.array(number, np.uint64).astype(f"u{dtype.itemsize}").view(dtype)[()]


def _view(a, b, *, dtype):
    return a.view(dtype)


def elementwise(name, lanes):
    """A kernel that stores every operation's result, and what NumPy says."""
    x, y = ("cast_f32(a)", "cast_f32(b)") if ELEMENTS[name].kind == "s" else ("a", "b")
    below, differs = f"mask_of({x} < {y})", f"mask_of({y} != {x})"
    cases = {
        **operations(name),
        **conversions(name),
        f"select({x} < {y}, a, b)": lambda a, b: np.where(a < b, a, b),
        f"select_mask({below}, b, a)": lambda a, b: np.where(a < b, b, a),
        f"select_mask({below} & {differs}, b, a)": lambda a, b: np.where(a < b, b, a),
    }
    lines = ["def kernel(t, own, begin, end):", f"    pa = ptr_{name}(t[0]); pb = ptr_{name}(t[1])"]
    body = [f"    for i in range(begin, end, {lanes}):", f"        m = mask{lanes}(end - i)"]
    body += ["        a = load(pa, i, m); b = load(pb, i, m)"]
    for index, (expression, oracle) in enumerate(cases.items()):
        a, b = (side[:1] for side in pairs(name))
        with np.errstate(all="ignore"):
            out = element_name(expression, oracle(a, b))
        lines.append(f"    p{index} = ptr_{out}(t[{index + 2}])")
        body.append(f"        store(p{index}, i, {expression}, m)")
    return "\n".join([*lines, *body]), cases


def element_name(expression, out):
    if expression in COMPARE or expression.startswith("cast_b8"):
        return "b8"
    return next(e for e in ELEMENTS if number_dtype(e) == out.dtype and e != "b8")


@functools.cache
def results(name):
    """Return NumPy's result of every operation on every pair."""
    _, cases = elementwise(name, 1)
    with np.errstate(all="ignore"):
        return {text: oracle(*pairs(name)) for text, oracle in cases.items()}


def spread(count, lanes):
    """Places of the pairs for plain Python, which is slow: others for every number of lanes."""
    step = max(1, count // PLAIN)
    return np.arange(LANES.index(lanes) * step // len(LANES), count, step)


@pytest.mark.thinned
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", ELEMENTS)
def test_operations_equal_numpy(name, lanes):
    source, cases = elementwise(name, lanes)
    a, b = pairs(name)
    for mode in SOURCES:
        at = spread(len(a), lanes) if mode == "python" else np.arange(len(a))
        left, right, count = a[at], b[at], len(at)
        expected = {text: array[at] for text, array in results(name).items()}
        actual = {text: np.full(count + 1, 77, array.dtype) for text, array in expected.items()}
        call(
            _declare_booleans(source, name, cases),
            [left, right, *actual.values()],
            [],
            0,
            count,
            mode=mode,
        )
        for text, array in actual.items():
            assert_same(array[:count], expected[text], f"{name}x{lanes} {mode} {text}")
            assert array[count] == 77, f"{name}x{lanes} {mode} {text} wrote past the end"


def _declare_booleans(source, name, cases):
    """b8 results of &, | and select are b8, which NumPy holds in the same dtype as u8."""
    if name != "b8":
        return source
    for index, text in enumerate(cases):
        if not text.startswith(("cast_", "bitcast_")):
            source = source.replace(f"p{index} = ptr_u8(", f"p{index} = ptr_b8(")
    return source


def _imports_of(*places):
    """The objects that modules import from what describes kernels, by name."""
    package = Path(staticgrad.__file__).parent
    files = [f for place in places for f in sorted((package / place).rglob("*.py"))]
    files += [package / place for place in places if place.endswith(".py")]
    return {
        alias.name: getattr(import_module(node.module), alias.name)
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("staticgrad.language.ir.kernels.")
        for alias in node.names
    }


def test_what_a_run_hands_to_kernels_is_described():
    """Numbers of rows and records that the runtime writes, and compilers read, are in the entry."""
    read = _imports_of("compiler/by_numba", "compiler/nest")
    rows = {
        n for n, value in _imports_of("compiler/runtime/words.py").items() if type(value) is int
    }
    records = {n: v for n, v in _imports_of("compiler/runtime").items() if hasattr(v, "_fields")}
    assert "PART" in rows & read.keys()
    assert "ChainPart" in records.keys() & read.keys()
    names = {*(rows & read.keys()), *(records.keys() & read.keys())}
    names |= {field for n in records.keys() & read.keys() for field in records[n]._fields}
    text = Path(staticgrad.native.__file__).with_name("vocabulary.md").read_text("utf-8")
    assert {name for name in names if f"`{name}`" not in text} == set()
