"""Lanes of several vectors in turn and back, prefetching, and helpers that stay functions."""

from contextlib import closing

import numpy as np
import pytest

from staticgrad import native
from staticgrad.language.types.arrays import aligned_bytes
from staticgrad.native.language.kinds import ELEMENTS, LANES
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import finfo
from tests.native.support import SOURCES, assert_same, call
from tests.native.test_masks import Guarded, target_of

PICKS = ("every0", "every1", "turn0", "turn1")


def pick_lanes(word, a, b):
    """Return the lanes that a word picks from two vectors."""
    concatenated = np.concatenate([a, b])
    if word.startswith("every"):
        return concatenated[int(word[-1]) :: 2]
    zipped = np.stack([a, b], -1).ravel()
    return zipped[: len(a)] if word == "turn0" else zipped[len(a) :]


@pytest.mark.thinned(13)
@pytest.mark.parametrize("name", ELEMENTS)
def test_lanes_are_picked_from_two_vectors(name):
    dtype = ELEMENTS[name].numpy
    elements = (np.arange(32) % 2 if name == "b8" else np.arange(32)).astype(dtype)
    for lanes in LANES[1:]:
        lines = [f"    a = load{lanes}(p, 0)", f"    b = load{lanes}(p, {lanes})"]
        for number, word in enumerate(PICKS):
            lines.append(f"    store{lanes}(q, {number * lanes}, {word}(a, b))")
        head = ["def kernel(t, own, begin, end):", f"    p = ptr_{name}(t[0])"]
        source = "\n".join([*head, f"    q = ptr_{name}(t[1])", *lines]) + "\n"
        a, b = elements[:lanes], elements[lanes : 2 * lanes]
        expected = np.concatenate([pick_lanes(word, a, b) for word in PICKS])
        for mode in SOURCES:
            actual = np.zeros_like(expected)
            call(source, [elements, actual], [], 0, 1, mode=mode)
            assert_same(actual, expected, f"{name}x{lanes} {mode}")


STRIDES = (1, 2, 3, 4, -1, -2, -3, -4)


def moves(name, lanes, stride, head):
    """A kernel that moves the lanes of a mask from places of p to the same places of r, and to q.

    ``head`` makes the mask m and the first lane's place.
    """
    return f"""
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0])
    q = ptr_{name}(t[1])
    r = ptr_{name}(t[2])
    b = ptr_b8(t[3])
    for o in range(begin, end):
{head}
        v = load_strided(p, first, {stride}, m)
        store{lanes}(q, o * {lanes}, v)
        store_strided(r, first, {stride}, v, m)
"""


@pytest.mark.thinned
@diagonals(
    2, ("mode", ["vector", "python"]), ("name", ["b8", "i16", "f16", "f32", "f64"]), daily="vector"
)
def test_lanes_of_any_mask_come_and_go(name, mode):
    check(name, LANES[1:], mode)


def check(name, widths, mode):
    random = np.random.default_rng(5)
    dtype = ELEMENTS[name].numpy
    for lanes in widths:
        on = random.random((6, lanes)) < 0.6
        on[0], on[1] = True, False
        for stride in STRIDES:
            span = abs(stride) * (lanes - 1) + 1
            first = 0 if stride > 0 else span - 1
            head = f"        first = {first}\n        m = mask_of(load{lanes}(b, o * {lanes}))"
            source = moves(name, lanes, stride, head)
            memory = random.integers(1, 2 if name == "b8" else 100, span).astype(dtype)
            for row, bits in enumerate(on):
                actual, target = np.zeros((6, lanes), dtype), np.zeros(span, dtype)
                call(source, [memory, actual, target, on], [], row, row + 1, mode=mode)
                places = first + stride * np.arange(lanes)
                expected = np.where(bits, memory[places], dtype.type(0)).astype(dtype)
                assert_same(actual[row], expected, f"{name}x{lanes} by {stride}, {bits}")
                scattered = np.zeros(span, dtype)
                scattered[places[bits]] = memory[places[bits]]
                assert_same(target, scattered, f"{name}x{lanes} by {stride}, {bits}")


@pytest.mark.thinned(4)
@diagonals(
    2,
    ("target", ["host", "x86-64-v3"]),
    ("name", ["b8", "i16", "f32", "f64"]),
    ("stride", STRIDES),
)
def test_all_lanes_a_stride_apart_leave_what_is_between(target, name, stride):
    dtype = ELEMENTS[name].numpy
    with target_of(target):
        for lanes in LANES[1:]:
            span = abs(stride) * (lanes - 1) + 1
            first = 0 if stride > 0 else span - 1
            source = moves(
                name, lanes, stride, f"        first = {first}; m = mask{lanes}({lanes})"
            )
            memory = (np.arange(span) % 2).astype(dtype)
            actual, stored = np.zeros(lanes, dtype), 1 - memory
            expected, places = stored.copy(), first + stride * np.arange(lanes)
            expected[places] = memory[places]
            call(source, [memory, actual, stored, np.ones(lanes, "b1")], [], 0, 1)
            assert_same(actual, memory[places], f"{name}x{lanes} by {stride}")
            assert_same(stored, expected, f"{name}x{lanes} by {stride}")


@pytest.mark.thinned(4)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", ["i8", "f32", "f64"])
def test_nothing_is_read_or_written_beyond_the_lanes(name, stride):
    with closing(Guarded()) as read, closing(Guarded()) as written:
        check_ends(name, stride, (read, written))


def check_ends(name, stride, fences):
    dtype, lanes = ELEMENTS[name].numpy, 8
    head = f"        m = mask{lanes}(t[4])\n        first = t[5]"
    source = moves(name, lanes, stride, head)
    for count in (1, 2, 5, 8):
        span = abs(stride) * (count - 1) + 1
        first = 0 if stride > 0 else span - 1
        for place in ("at_start", "at_end"):
            memory, target = (getattr(fence, place)(dtype, span) for fence in fences)
            memory[:] = np.arange(1, span + 1)
            target[:] = 0
            actual = np.zeros(lanes, dtype)
            on = np.ones(lanes, "b1")
            call(source, [memory, actual, target, on], [count, first], 0, 1)
            expected = np.zeros(lanes, dtype)
            expected[:count] = memory[::stride]
            assert_same(actual, expected, f"{count} lanes by {stride}")
            assert_same(target[::stride], memory[::stride], f"{count} lanes by {stride}")


SOURCE = """
def kernel(t, own, begin, end):
    p = ptr_{name}(t[0])
    q = ptr_{name}(t[1])
    fitting = ptr_i64(t[2])
    for o in range(begin, end):
        m = mask{lanes}(t[3])
        v = load(p, 0, m)
        if fits(q, o, m):
            stream(q, o, v)
            store1(fitting, o, i64x1(1))
        else:
            store(q, o, v, m)
            store1(fitting, o, i64x1(0))
    settle()
"""


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("name", "lanes"), [("f32", 16), ("f64", 8), ("f32", 8), ("i16", 16)])
@pytest.mark.parametrize("mode", SOURCES)
def test_what_is_streamed_is_stored(name, lanes, mode):
    dtype = ELEMENTS[name].numpy
    source = SOURCE.format(name=name, lanes=lanes)
    memory = np.arange(1, lanes + 1).astype(dtype)
    for count in (lanes, lanes - 1, 0):
        for first in range(lanes + 1):
            block = aligned_bytes(3 * lanes * dtype.itemsize).view(dtype)
            block[:] = 0
            fitting = np.full(lanes + 1, -1, np.int64)
            call(source, [memory, block, fitting], [count], first, first + 1, mode=mode)
            expected = np.zeros_like(block)
            expected[first : first + count] = memory[:count]
            assert_same(block, expected, f"{count} of {name}x{lanes} from {first}")
            assert fitting[first] == (count == lanes and first * dtype.itemsize % 32 == 0)


SCALED = """\
def kernel(t, own, begin, end):
    a = ptr_{code}(t[0])
    n = ptr_{code}(t[1])
    c = ptr_{code}(t[2])
    for i in range(begin, end, {lanes}):
        m = mask{lanes}(end - i)
        store(c, i, scale(load(a, i, m), load(n, i, m)), m)
"""


@pytest.mark.thinned(3)
@pytest.mark.skipif(native.vector_bits() < 512, reason="registers are narrower")
@pytest.mark.parametrize("mode", SOURCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_scaled_with_one_rounding(dtype, mode):
    limits = finfo(np.dtype(dtype))
    span = 2 * limits.maxexp
    a = np.random.default_rng(0).uniform(0, 2, 2 * span + 3).astype(dtype)
    a[::9], a[::17] = 0.0, np.nan
    n = np.arange(-span - 1, span + 2).astype(dtype)
    with np.errstate(all="ignore"):
        expected = np.ldexp(a, n.astype(np.int32))
    lanes_of = (1, 2, 4, 8, 16) if mode == "vector" else (16,)
    for lanes in lanes_of:
        c = np.empty_like(a)
        code = "f32" if dtype is np.float32 else "f64"
        call(SCALED.format(code=code, lanes=lanes), [a, n, c], [], 0, a.size, mode=mode)
        is_number = ~np.isnan(a)
        assert_same(c[is_number], expected[is_number], f"{lanes} lanes")
        assert np.isnan(c[~is_number & (n > -100)]).all(), lanes
