"""Control flow, helpers, literals and reductions of the kernel language; its error messages."""

import ast
import platform
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad import native
from staticgrad.config import options
from staticgrad.errors import CompileError
from staticgrad.native import jit
from staticgrad.native.language import frontend, operations, statements
from staticgrad.native.language.kinds import ELEMENTS, LANES
from staticgrad.native.plain import control as plain_rows
from tests.native.support import MODES, assert_same, call, number_dtype

EVERY_MODE = pytest.mark.parametrize("mode", MODES)


def test_both_readings_have_the_same_words():
    from staticgrad.native.language import translation

    assert translation.REGISTERED
    assert set(plain_rows.VOCABULARY) == set(operations.FUNCTIONS)


CONTROL = """
def kernel(t, own, begin, end):
    out = ptr_i64(t[0]); n = t[1]
    total = 0
    last = -1
    for i in range(begin, end):
        j = 0
        while j * j <= i:
            j += 1
        if j % 2 == 0 and i != 4:
            total = total + i
        elif not i > 7 or i == 11:
            total -= 1
        else:
            for k in range(i, 0, -3):
                total = total + k * n
            last = i
        if i == 17:
            continue
        if i > 30:
            break
    store1(out, 0, i64x1(total)); store1(out, 1, i64x1(last)); store1(out, 2, i64x1(total // 7))
"""


@EVERY_MODE
def test_control_flow_is_python(mode):
    for end in (0, 1, 5, 12, 20, 50):
        found = np.full(3, 99, np.int64)
        call(CONTROL, [found], [3], 0, end, mode=mode)
        total, last = 0, -1
        for i in range(end):
            j = next(j for j in range(100) if j * j > i)
            if j % 2 == 0 and i != 4:
                total += i
            elif not i > 7 or i == 11:
                total -= 1
            else:
                total += sum(k * 3 for k in range(i, 0, -3))
                last = i
            if i > 30 and i != 17:
                break
        assert found.tolist()[:2] == [total, last]
        if total >= 0:
            assert found[2] == total // 7


CHOICES = """
def twice(x, k):
    if k > 2:
        return x * k
    y = x + 0.5
    return y

def kernel(t, own, begin, end):
    out = ptr_i64(t[0]); p = ptr_i64(t[1]); q = ptr_f64(t[2])
    a, b = begin, end
    for i in range(begin, end):
        a, b = b, a + 1
        inside = 0 < i <= 3 or i == 5
        c = (a if inside else b) + (i or 7)
        if i < 4 and word(load1(p, i)) > 0:
            c = -c
        store1(out, i, i64x1(c) + i64x1(inside))
        store1(q, i, twice(f64x1(i), i) + twice(f64x1(i), 1))
"""


@EVERY_MODE
def test_choices_evaluate_one_side(mode):
    p, out, q = np.array([0, 5, -5, 5]), np.zeros(8, np.int64), np.zeros(8)
    call(CHOICES, [out, p, q], [], 0, 8, mode=mode)
    a, b = 0, 8
    for i in range(8):
        a, b = b, a + 1
        inside = 0 < i <= 3 or i == 5
        c = (a if inside else b) + (i or 7)
        if i < 4 and p[i] > 0:
            c = -c
        assert out[i] == c + inside
        assert q[i] == (i * i if i > 2 else i + 0.5) + i + 0.5


HELPERS = """
def square(x):
    return x * x

def poly(x, y):
    z = square(x) + 0.1
    for k in range(3):
        z = z * y + 1
    return z

def kernel(t, own, begin, end):
    p = ptr_{name}(t[0]); q = ptr_{name}(t[1]); s = ptr_{name}(t[2])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        x = load(p, i, m)
        store(q, i, poly(x, square(x)), m)
        store1(s, i, poly(load1(p, i), {name}x1(2)))
"""


@pytest.mark.thinned
@EVERY_MODE
@pytest.mark.parametrize("name", ["f32", "f64"])
def test_helpers_take_any_lane_count(name, mode, rng):
    dtype = ELEMENTS[name].numpy
    x = rng.normal(size=37).astype(dtype)

    def poly(a, b):
        z = a * a + dtype.type(0.1)
        for _ in range(3):
            z = z * b + dtype.type(1)
        return z

    for lanes in LANES:
        found, single = np.zeros_like(x), np.zeros_like(x)
        call(HELPERS.format(name=name, lanes=lanes), [x, found, single], [], 0, 37, mode=mode)
        assert_same(found, poly(x, x * x), f"{lanes} lanes")
        wanted = np.where(np.arange(37) % lanes == 0, poly(x, np.full_like(x, 2)), 0).astype(dtype)
        assert_same(single, wanted, f"{lanes} lanes, one lane")


def halving(values, combine):
    while len(values) > 1:
        half = len(values) // 2
        values = combine(values[:half], values[half:])
    return values


@pytest.mark.thinned
@EVERY_MODE
@pytest.mark.parametrize("name", [e.name for e in ELEMENTS.values() if e.kind != "s"])
def test_horizontal_trees(name, mode, rng):
    element = ELEMENTS[name]
    reductions = {"hmax": np.maximum, "hmin": np.minimum}
    if element.kind != "b":
        reductions |= {"hsum": np.add, "hprod": np.multiply}
    if element.kind != "f":
        reductions |= {"hor": np.bitwise_or, "hand": np.bitwise_and}
    lines = ["def kernel(t, own, begin, end):", f"    p = ptr_{name}(t[0]); q = ptr_{name}(t[1])"]
    cases = [(word, ufunc, lanes) for word, ufunc in reductions.items() for lanes in LANES]
    for at, (word, _, lanes) in enumerate(cases):
        lines.append(f"    store1(q, {at}, {word}(load{lanes}(p, 0)))")
    base = len(cases)
    for lanes in LANES[1:]:
        lines.append(f"    store{lanes // 2}(q, {base}, high(load{lanes}(p, 0)))")
        lines.append(f"    store{lanes // 2}(q, {base + 8}, low(load{lanes}(p, 0)))")
        lines.append(f"    store{lanes}(q, {base + 16}, splat{lanes}(load1(p, 3)))")
        base += 32
    values = (rng.normal(size=16) * 3 if element.kind == "f" else rng.integers(0, 2, 16)).astype(
        element.numpy
    )
    if element.kind in "iu":
        values = (rng.integers(0, 127, 16)).astype(element.numpy)
    found = np.zeros(base, element.numpy)
    call("\n".join(lines), [values, found], [], 0, 1, mode=mode)
    with np.errstate(over="ignore"):
        wanted = [halving(values[:lanes], ufunc)[0] for _, ufunc, lanes in cases]
    assert_same(found[: len(cases)], np.array(wanted, element.numpy), name)
    at = len(cases)
    for lanes in LANES[1:]:
        half = lanes // 2
        assert_same(found[at : at + half], values[half:lanes], "high")
        assert_same(found[at + 8 : at + 8 + half], values[:half], "low")
        assert_same(found[at + 16 : at + 16 + lanes], np.full(lanes, values[3]), "splat")
        at += 32


LITERALS = [
    "0",
    "1",
    "-1",
    "True",
    "255",
    "-129",
    *map(str, (2**53 + 1, 2**63, 2**64 - 1, -(2**63))),
]
REALS = ["0.1", "-0.0", "inf", "-inf", "nan", "1e39", "1e-46", "16777217.0", "3.40282357e38"]


@pytest.mark.thinned(3)
@EVERY_MODE
def test_literals_take_exactly_the_type(mode):
    for element in (each for name, each in ELEMENTS.items() if name != "bf16"):
        literals = LITERALS + (REALS if element.kind in "fs" else [])
        lines = ["def kernel(t, own, begin, end):", f"    q = ptr_{element.name}(t[0])"]
        lines += [
            f"    store{lanes}(q, {16 * at}, {element.name}x{lanes}({text}))"
            for at, text in enumerate(literals)
            for lanes in (16, 1)
        ]
        found = np.zeros((len(literals), 16), number_dtype(element.name))
        call("\n".join(lines), [found], [], 0, 1, mode=mode)
        for row, text in zip(found, literals, strict=True):
            value = eval(text, {"inf": np.inf, "nan": np.nan})
            assert_same(row, np.full(16, _exact(value, element.name)), f"{element.name} {text}")


def _exact(value, name):
    element = ELEMENTS[name]
    if element.kind == "b":
        return np.uint8(bool(value))
    if element.kind in "fs":
        with np.errstate(over="ignore"):
            whole = isinstance(value, int)
            source = np.int64(value) if whole and value < 2**63 else np.array(value)
            return source.astype(number_dtype(name))[()]
    return np.uint64(int(value) % 2**64).astype(f"u{element.bytes}").view(element.numpy)


@EVERY_MODE
def test_words_become_vectors(mode):
    source = """
def kernel(t, own, begin, end):
    q = ptr_f32(t[0]); r = ptr_f64(t[1]); s = ptr_i64(t[2]); n = t[3]; b = ptr_b8(t[4])
    v = iota16(n)
    store16(q, 0, f32x16(n)); store16(r, 0, cast_f64(v) * n); store16(s, 0, v + n)
    store1(q, 16, f32x1(1.0) / f32x1(n)); store1(b, 0, b8x1(n > 3))
    store1(s, 16, i64x1(word(i8x1(-5))))
    scratch = local_f32(16)
    store16(scratch, 0, f32x16(n) + 1.0)
    store1(q, 17, load1(scratch, 15))
"""
    n = 2**24 + 1
    q, r, s = np.zeros(18, np.float32), np.zeros(16), np.zeros(17, np.int64)
    b = np.zeros(1, np.uint8)
    call(source, [q, r, s], [n, b.ctypes.data], 0, 1, mode=mode)
    lanes = n + np.arange(16)
    assert q[0] == np.float32(n)
    assert q[16] == np.float32(1) / np.float32(n)
    assert q[17] == np.float32(n) + np.float32(1)
    assert r.tolist() == (lanes.astype(float) * n).tolist()
    assert s.tolist() == [*(lanes + n).tolist(), -5]
    assert b[0] == 1


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.sampled_from([1, 4, 8, 16]))
def test_a_mixed_kernel_has_one_meaning(seed, count, lanes):
    source = f"""
def kernel(t, own, begin, end):
    a = ptr_f32(t[0]); b = ptr_f64(t[1]); c = ptr_i32(t[2])
    out = ptr_f64(t[3]); bits = ptr_i32(t[4])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        x = load(a, i, m); y = load(b, i, m); z = load(c, i, m)
        keep = (x > 0.5) | (y <= x_of(z)) & ~(z == 3)
        h = bitcast_i32(x) ^ (z << 3)
        store(out, i, select(keep, fma(cast_f64(x), y, y), sqrt(absolute(y)) / cast_f64(z)), m)
        store(bits, i, select(keep, h, cast_i32(y * 1e9)) >> 1, m)

""".replace("x_of(z)", "cast_f64(z)")
    random = np.random.default_rng(seed)
    a = random.normal(size=count).astype(np.float32)
    b = random.normal(size=count) * 10.0 ** random.integers(-30, 30, count)
    c = random.integers(-5, 5, count).astype(np.int32)
    results = []
    for mode in MODES:
        out, bits = np.zeros(count), np.zeros(count, np.int32)
        call(source, [a, b, c, out, bits], [], 0, count, mode=mode)
        results.append((out, bits))
    for other in results[1:]:
        for found, wanted in zip(results[0], other, strict=True):
            assert_same(found, wanted, f"{lanes} lanes")


BACKENDS = ("vector", "numba")
WRONG = {
    "add does not take (f32x16, f64x16)": "v = f32x16(1.0) + f64x16(1.0)",
    "add does not take (f32x16, f32x8)": "v = f32x16(1.0) + f32x8(1.0)",
    "add does not take (i32x4, real)": "v = i32x4(1) + 0.5",
    "add does not take (b8x4, b8x4)": "v = b8x4(True) + b8x4(True)",
    "truediv does not take (i32x4, i32x4)": "v = i32x4(1) / i32x4(2)",
    "store does not take (ptr_f32, word, f64x8, mask8)": (
        "store(ptr_f32(t[0]), 0, f64x8(1.0), mask8(3))"
    ),
    "sqrt does not take (i32x4)": "v = sqrt(i32x4(1))",
    "load does not take (ptr_f32, word)": "v = load(ptr_f32(t[0]), 0)",
    "hsum does not take (b8x8)": "v = hsum(b8x8(1))",
    "step must not be zero": "for i in range(0, 5, 0):\n        store1(ptr_f32(t[0]), 0, f32x1(1))",
    "is f32x4 and becomes f64x4": (
        "v = f32x4(1)\n    while end > 0:\n        v = f64x4(1)\n    store4(ptr_f32(t[0]), 0, v)"
    ),
    "needs a literal count": "v = local_f32(end)",
    "bool does not take (b8x4)": "if f32x4(1) > f32x4(0):\n        v = f32x1(1)",
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("message", WRONG)
def test_mistakes_name_the_line_and_the_kinds(message):
    source = f"def kernel(t, own, begin, end):\n    {WRONG[message]}\n"
    for backend in BACKENDS:
        with pytest.raises(CompileError, match=r"source line [2345]:") as error:
            native.kernel(source, backend=backend)
        assert message in str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n",
        "def other(t, begin, end):\n    pass\n",
        "def kernel(t, own, begin, end):\n    return nothing_known(t)\n",
        "def kernel(t, own, begin, end):\n    v = [1, 2]\n",
        "def kernel(t, own, begin, end:\n",
        "def kernel(t):\n    v = f32x1(1)\n",
        "def kernel(t, own, begin, end):\n    store1(q, 0, f32x1(1))\n    q = ptr_f32(t[0])\n",
    ],
)
def test_sources_outside_the_language_are_refused(source):
    for backend in BACKENDS:
        with pytest.raises(CompileError):
            native.kernel(source, backend=backend)


@pytest.mark.parametrize(
    "source", ["def kernel(t, own, begin, end:\n", "def other(t):\n    pass\n"]
)
def test_plain_python_refuses_the_same(source):
    with options(jit=False), pytest.raises(CompileError):
        native.kernel(source)


@pytest.mark.thinned
@EVERY_MODE
@pytest.mark.parametrize("lanes", LANES)
def test_some_and_window(mode, lanes):
    """A branch on any lane; bits of a constant from a position, past the end from the last word."""
    words = (0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x0F1E2D3C4B5A6978)
    source = f"""
def kernel(t, own, begin, end):
    p = ptr_u64(t[0]); out = ptr_u64(t[1])
    at = load{lanes}(p, 0)
    v = window(at, {", ".join(map(hex, words))})
    if some(at > 100):
        v = select(at > 100, v + 1, v)
    store{lanes}(out, 0, v)
"""
    content = b"".join(word.to_bytes(8, "big") for word in words)
    for first in (0, 5, 60, 96, 120, 1 << 40):
        at = np.arange(first, first + lanes, dtype=np.uint64)
        found = np.zeros(lanes, np.uint64)
        call(source, [at, found], [], 0, 1, mode=mode)
        for lane, position in enumerate(at.tolist()):
            start = min(position // 8, len(content) - 8)
            shifted = int.from_bytes(content[start : start + 8], "big") << position % 8
            wanted = (shifted % 2**64 >> 12) + (position > 100)
            assert int(found[lane]) == wanted


HELPER = """def twice(v):
    w = v + v
    return w


"""
#: Sources whose parts by lines that begin with "def " are not each one function.
ODD = (
    'def twice(v):\n    """\ndef not_one(v):\n    """\n    return v\n\n',
    "def twice(v):\n    return (v\n+\nv)\n# def\n",
    "def twice(v): return v + \\\nv\n",
    "def twice(v):\n    return v\r\n\ndef thrice(v):\n    return v\r",
    "\n\n# at the top\ndef twice(v):\n    return v\n# behind\n\n",
)


@pytest.mark.parametrize("above", [HELPER, *ODD])
def test_parts_of_a_source_are_its_functions(above):
    source = f"{above}\ndef kernel(t, own, begin, end):\n    v = twice(f32x4(1))\n"
    whole = frontend._functions(source)
    for _ in range(2):
        parts = frontend.split_source(source).values()
        assert [f.name for f in parts] == [f.name for f in whole]
        assert [f.body for f in parts] == [f.body for f in whole]
        assert [ast.dump(f.tree) for f in parts] == [ast.dump(f.tree) for f in whole]
        lines = [f.above + f.tree.lineno for f in parts]
        assert lines == [f.above + f.tree.lineno for f in whole]
        assert [source.splitlines()[line - 1][:4] for line in lines] == ["def "] * len(lines)


def test_a_helper_is_read_once(monkeypatch):
    found = []

    def read(text):
        found.append(text)
        return statements.read(text)

    monkeypatch.setattr(frontend, "statements", SimpleNamespace(read=read))
    helper = HELPER.replace("twice", "twice_of_this_test")
    for constant in ("1", "2", "3"):
        kernel = f"def kernel(t, own, begin, end):\n    v = twice_of_this_test(f32x4({constant}))\n"
        frontend.module_text(helper + kernel, "entry")
        assert found.pop() == kernel
    assert found == [helper.rstrip("\n") + "\n\n"]  # up to the blank line in front of the next


@pytest.mark.parametrize("lines", [0, 1, 4])
def test_lines_count_from_the_top_of_the_source(lines):
    above = "\n" * lines + HELPER
    for mistake in ("v = hsum(b8x8(1))", "raise t"):
        source = f"{above}def kernel(t, own, begin, end):\n    p = t\n    {mistake}\n"
        line = source[: source.index(mistake)].count("\n") + 1
        for backend in BACKENDS:
            with pytest.raises(CompileError, match=f"source line {line}:"):
                native.kernel(source, backend=backend)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for an instruction of x86-64")
def test_vectors_on_the_stack_lie_within_lines():
    vectors = range(40)  # more than registers
    loads = "".join(f"    v{n} = sqrt(load16(p, {16 * n}))\n" for n in vectors)
    stores = "".join(f"    store16(q, {16 * n}, v{39 - n} + v{n // 2})\n" for n in vectors)
    places = "    p = ptr_f32(t[0])\n    q = ptr_f32(t[1])\n"
    source = f"def kernel(t, own, begin, end):\n{places}{loads}{stores}"
    aligned = {64: "4883e4c0", 32: "4883e4e0"}[native.vector_bits() // 8]  # and rsp, -64 or -32
    assert bytes.fromhex(aligned) in jit.compile_source(source).elf
