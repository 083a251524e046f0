"""Every other lane and its inverse, prefetching, and helpers that stay functions."""

from itertools import product

import numpy as np
import pytest

from staticgrad import native
from staticgrad.errors import CompileError
from staticgrad.native.by_numba import frontend as numba_frontend
from staticgrad.native.language import frontend
from staticgrad.native.language.kinds import ELEMENTS, LANES
from tests.native.support import MODES, assert_same, call

PICKS = ("even", "odd", "zip_low", "zip_high")


def picked(word, a, b):
    """What a word makes of two vectors."""
    both = np.concatenate([a, b])
    if word in ("even", "odd"):
        return both[word == "odd" :: 2]
    zipped = np.stack([a, b], -1).ravel()
    return zipped[: len(a)] if word == "zip_low" else zipped[len(a) :]


@pytest.mark.thinned(13)
@pytest.mark.parametrize("name", ELEMENTS)
def test_lanes_are_picked_from_two_vectors(name):
    dtype = ELEMENTS[name].numpy
    both = (np.arange(32) % 2 if name == "b8" else np.arange(32)).astype(dtype)
    for lanes in LANES[1:]:
        lines = [f"    a = load{lanes}(p, 0)", f"    b = load{lanes}(p, {lanes})"]
        for number, word in enumerate(PICKS):
            lines.append(f"    store{lanes}(q, {number * lanes}, {word}(a, b))")
        head = ["def kernel(t, own, begin, end):", f"    p = ptr_{name}(t[0])"]
        source = "\n".join([*head, f"    q = ptr_{name}(t[1])", *lines]) + "\n"
        a, b = both[:lanes], both[lanes : 2 * lanes]
        wanted = np.concatenate([picked(word, a, b) for word in PICKS])
        modes = MODES if lanes in (2, 16) else ("vector", "python")
        for mode in modes:
            found = np.zeros_like(wanted)
            call(source, [both, found], [], 0, 1, mode=mode)
            assert_same(found, wanted, f"{name}x{lanes} {mode}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["f32", "i64", "b8"])
def test_lanes_of_several_vectors_are_dealt_out_and_taken_in_turn(name):
    random = np.random.default_rng(0)
    for count, lanes in product(range(2, 8), LANES[1:]):
        rows = random.integers(0, 2 if name == "b8" else 99, (count, lanes))
        a = rows.astype(ELEMENTS[name].numpy)
        head = ["def kernel(t, own, begin, end):", f"    p = ptr_{name}(t[0])"]
        lines = [*head, f"    q = ptr_{name}(t[1])"]
        lines += [f"    v{n} = load{lanes}(p, {n * lanes})" for n in range(count)]
        every = ", ".join(f"v{n}" for n in range(count))
        for n, word in product(range(count), ("every", "turn")):
            to = (n + count * (word == "turn")) * lanes
            lines.append(f"    store{lanes}(q, {to}, {word}{n}({every}))")
        wanted = np.array([a.reshape(lanes, count).T, a.T.reshape(count, lanes)], order="C")
        modes = MODES if (count, lanes) == (5, 16) else ("vector", "python")
        for mode in modes:
            found = np.zeros_like(wanted)
            call("\n".join(lines) + "\n", [a, found], [], 0, 1, mode=mode)
            assert_same(found, wanted, f"{name}x{lanes} of {count} {mode}")


@pytest.mark.parametrize(
    "text",
    [
        "every2(f32x4(0), f32x4(1))",
        "turn0(f32x4(0))",
        "turn1(f32x4(0), f64x4(0))",
        "even(f32x1(0), f32x1(1))",
        "odd(f32x4(0), f32x8(0))",
    ],
)
def test_lanes_of_one_kind_and_more_than_one_are_picked(text):
    source = f"def kernel(t, own, begin, end):\n    v = {text}\n"
    for backend in ("vector", "numba"):
        with pytest.raises(CompileError, match="does not take"):
            native.kernel(source, backend=backend)
    with pytest.raises(TypeError):
        call(source, [], [], 0, 1, mode="python")


@pytest.mark.parametrize("mode", MODES)
def test_prefetching_changes_nothing_wherever_it_points(mode):
    source = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    q = ptr_f32(t[1])
    for j in range(begin, end, 16):
        m = mask16(end - j)
        prefetch(p, j + 512)
        prefetch_write(q, j - 1000000000000)
        store(q, j, load(p, j, m) + 1.0, m)
"""
    x = np.arange(37, dtype="f4")
    found = np.zeros_like(x)
    call(source, [x, found], [], 0, 37, mode=mode)
    assert_same(found, x + 1, mode)


def test_prefetching_is_an_instruction_of_its_own():
    source = "def kernel(t, own, begin, end):\n    prefetch_write(t, begin)\n    prefetch(t, end)\n"
    text = frontend.module_text(source, "k")
    assert "call void @llvm.prefetch.p0(ptr" in text
    assert ", i32 1, i32 3, i32 1)" in text
    assert ", i32 0, i32 3, i32 1)" in text


OUTLINED = """\
def outlined_finish(p, i, v):
    store16(p, i, v * v + 1.0)


def plain(v):
    return v + v


def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    for i in range(begin, end, 16):
        outlined_finish(p, i, plain(load16(p, i)))
"""


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", MODES)
def test_outlined_helpers_compute_what_they_say(mode):
    x = np.arange(64, dtype="f4")
    wanted = (x + x) * (x + x) + 1
    call(OUTLINED, [x], [], 0, 64, mode=mode)
    assert_same(x, wanted, mode)


def test_outlined_helpers_stay_functions_in_both_backends():
    for text in (frontend.module_text(OUTLINED, "k"), *numba_frontend.modules(OUTLINED, "k")):
        for line in text.splitlines():
            if line.startswith("define ") and "outlined_finish" in line:
                assert "noinline" in line
                assert "alwaysinline" not in line
            elif line.startswith("define ") and "plain" in line:
                assert "alwaysinline" in line
