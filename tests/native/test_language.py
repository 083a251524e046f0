"""Control flow, helpers, literals and reductions of the kernel language; its error messages."""

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native.language import operations
from staticgrad.native.language.kinds import ELEMENTS, LANES
from staticgrad.native.plain.lanes import VOCABULARY
from tests.native.support import SOURCES, assert_same, call, number_dtype

EVERY_MODE = pytest.mark.parametrize("mode", SOURCES)


def test_both_readings_have_the_same_words():
    from staticgrad.native.language import translation

    assert translation.REGISTERED
    assert set(VOCABULARY) == set(operations.FUNCTIONS)


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


BACKWARDS = """
def kernel(t, own, begin, end):
    out = ptr_i64(t[0])
    room = local_words(end - begin)
    for i in range(begin, end):
        store1(room, i - begin, i64x1(i * i))
    for i in range(begin, end):
        store1(out, i, load1(room, end - 1 - i))
"""


@EVERY_MODE
def test_words_of_scratch_are_as_many_as_a_run_says(mode):
    out = np.zeros(40, np.int64)
    call(BACKWARDS, [out], [], 3, 40, mode=mode)
    assert out.tolist() == [0] * 3 + [(42 - i) ** 2 for i in range(3, 40)]


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
    actual = np.zeros(base, element.numpy)
    call("\n".join(lines), [values, actual], [], 0, 1, mode=mode)
    with np.errstate(over="ignore"):
        expected = [halving(values[:lanes], ufunc)[0] for _, ufunc, lanes in cases]
    assert_same(actual[: len(cases)], np.array(expected, element.numpy), name)
    at = len(cases)
    for lanes in LANES[1:]:
        half = lanes // 2
        assert_same(actual[at : at + half], values[half:lanes], "high")
        assert_same(actual[at + 8 : at + 8 + half], values[:half], "low")
        assert_same(actual[at + 16 : at + 16 + lanes], np.full(lanes, values[3]), "splat")
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
    for element in (element for name, element in ELEMENTS.items() if name != "bf16"):
        literals = LITERALS + (REALS if element.kind in "fs" else [])
        lines = ["def kernel(t, own, begin, end):", f"    q = ptr_{element.name}(t[0])"]
        lines += [
            f"    store{lanes}(q, {16 * at}, {element.name}x{lanes}({text}))"
            for at, text in enumerate(literals)
            for lanes in (16, 1)
        ]
        actual = np.zeros((len(literals), 16), number_dtype(element.name))
        call("\n".join(lines), [actual], [], 0, 1, mode=mode)
        for row, text in zip(actual, literals, strict=True):
            value = eval(text, {"inf": np.inf, "nan": np.nan})
            assert_same(row, np.full(16, _exact(value, element.name)), f"{element.name} {text}")


def _exact(value, name):
    element = ELEMENTS[name]
    if element.kind == "b":
        return np.uint8(bool(value))
    if element.kind in "fs":
        with np.errstate(over="ignore"):
            is_integer = isinstance(value, int)
            source = np.int64(value) if is_integer and value < 2**63 else np.array(value)
            return source.astype(number_dtype(name))[()]
    return np.uint64(int(value) % 2**64).astype(f"u{element.bytes}").view(element.numpy)


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
    with pytest.raises(CompileError):
        native.kernel(source)


@pytest.mark.parametrize("word", ["sqrt", "absolute", "scale", "helper"])
@pytest.mark.parametrize(
    "lines",
    [
        "{word} = f64x1(1)\n    y = {word}(f64x1(2))",
        "for {word} in range(3):\n        y = {word}(f64x1(2))",
        "for k in range(3):\n        y = {word}(f64x1(2))\n        {word} = f64x1(1)",
        "y = helped(f64x1(2))",
    ],
)
def test_variables_do_not_hide_what_is_called(lines, word):
    source = (
        f"def helper(x):\n    return x\n"
        f"def helped({word}):\n    return {word}({word})\n"
        f"def kernel(t, own, begin, end):\n    {lines.format(word=word)}\n"
    )
    with pytest.raises(CompileError, match=f"{word} is called, and is a variable, too"):
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
        actual = np.zeros(lanes, np.uint64)
        call(source, [at, actual], [], 0, 1, mode=mode)
        for lane, position in enumerate(at.tolist()):
            start = min(position // 8, len(content) - 8)
            shifted = int.from_bytes(content[start : start + 8], "big") << position % 8
            expected = (shifted % 2**64 >> 12) + (position > 100)
            assert int(actual[lane]) == expected
