"""Variables of a kernel as values that are joined where paths meet; nothing is computed twice."""

import re

import numpy as np
import pytest

from staticgrad.native import jit
from staticgrad.native.language import frontend
from tests.native.support import MODES, call

PATHS = """\
def kernel(t, own, begin, end):
    out = ptr_i64(t[0])
    p = ptr_i64(t[1])
    a, b = 1, 0
    level = 5
    for i in range(begin, end):
        kept = a
        for k in range(0, i):
            if k == 3:
                continue
            if k > 5:
                level = level + k
                break
            a, b = b + k, a
            while a > 20:
                a = a - 7
                if a == 17:
                    b = b + 1
                elif a == 15:
                    break
        if word(load1(p, i)) > 0 and kept < a or level > 40:
            level = kept
            seen = a if b > 2 else kept
        else:
            seen = b
        store1(out, i, i64x1(seen * 1000 + level * 10 + a))
        a = a + 0 * b
"""


def paths(p):
    a, b, level, found = 1, 0, 5, []
    for i in range(len(p)):
        kept = a
        for k in range(i):
            if k == 3:
                continue
            if k > 5:
                level = level + k
                break
            a, b = b + k, a
            while a > 20:
                a = a - 7
                if a == 17:
                    b = b + 1
                elif a == 15:
                    break
        if (p[i] > 0 and kept < a) or level > 40:
            level = kept
            seen = a if b > 2 else kept
        else:
            seen = b
        found.append(seen * 1000 + level * 10 + a)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_values_of_all_paths_are_joined(mode):
    p = [0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1]
    out = np.zeros(len(p), np.int64)
    call(PATHS, [out, np.array(p)], [], 0, len(p), mode=mode)
    assert out.tolist() == paths(p)


LATE = """\
def kernel(t, own, begin, end):
    out = ptr_i64(t[0])
    for i in range(begin, end):
        last = i * i
        if i == 2:
            odd = i + 40
    store1(out, 0, i64x1(last))
    if end > 2:
        store1(out, 1, i64x1(odd))
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_name_may_be_read_behind_the_loop_that_alone_assigns_it(mode):
    out = np.zeros(2, np.int64)
    call(LATE, [out], [], 0, 5, mode=mode)
    assert out.tolist() == [16, 42]


ROWS = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    n = t[1]
    for o in range(begin, end):
        m = mask16(16)
        j = 0
        total = f32x16(0.0)
        while j + 16 <= n:
            v = load(p, o * n + j, m)
            total = total + select_mask(m, v, 0.0)
            store(p, o * n + j, v * select(v > 0.5, v, total), m)
            j = j + 16
        if j < n:
            m = mask16(n - j)
            v = load(p, o * n + j, m)
            total = total + select_mask(m, v, 0.0)
            store(p, o * n + j, v * select(v > 0.5, v, total), m)
"""


def test_variables_are_registers_and_nothing_is_computed_twice():
    text = frontend.module_text(ROWS, "k")
    assert "alloca" not in text
    blocks = re.split(r"^\w+:\n", text, flags=re.MULTILINE)
    loop = next(block for block in blocks if "masked" not in block and "fmul" in block)
    assert loop.count("getelementptr") == 1
    assert loop.count("load <16 x float>") == loop.count("store <16 x float>") == 1
    assert "select <16 x i1>" in loop  # of the comparison alone: the mask is on throughout
    assert loop.count("select") == 1
    assert "icmp" not in loop.partition("select")[2].partition("store")[0]
    tail = next(block for block in blocks if "call <16 x float> @llvm.masked.load" in block)
    assert tail.count("getelementptr") == 1


@pytest.mark.parametrize("mode", MODES)
def test_loads_are_never_taken_for_each_other(mode):
    source = """\
def kernel(t, own, begin, end):
    p = ptr_i64(t[0])
    a = word(load1(p, 0))
    store1(p, 0, i64x1(a + 1))
    b = word(load1(p, 0))
    store1(p, 1, i64x1(a * 100 + b + t[1] - t[1]))
"""
    out = np.array([7, 0])
    call(source, [out], [0], 0, 1, mode=mode)
    assert out.tolist() == [8, 708]


def test_joins_that_nobody_reads_are_not_written():
    source = """\
def kernel(t, own, begin, end):
    p = ptr_i64(t[0])
    x = 1
    y = 2
    for i in range(begin, end):
        x = i * 2
        y = i * 3
        store1(p, i, i64x1(x + y))
"""
    text = frontend.module_text(source, "k")
    assert text.count(" phi ") == 1  # the counter of the loop


def test_code_that_branches_is_scheduled_less():
    chain = "    v = v * v + 0.5\n" * 100
    source = "def kernel(t, own, begin, end):\n    p = ptr_f32(t[0])\n    v = load16(p, 0)\n"
    text = frontend.module_text(f"{source}{chain}    store16(p, 0, v)\n", "k")
    assert jit.level_of([text]) == 2
    assert jit.level_of([frontend.module_text(ROWS, "k")]) == 1


@pytest.mark.parametrize("mode", MODES)
def test_numbers_of_loops_within_loops_count(mode):
    source = """\
def kernel(t, own, begin, end):
    p = ptr_i64(t[0])
    n = t[1]
    place = 0
    for a in range(begin, end):
        b = 0
        while b < n:
            b = b + 1
            if b == 2:
                continue
            for c in range(n, 0, -1):
                for d in range(0, c):
                    store1(p, place, i64x1(a * 1000 + b * 100 + c * 10 + d))
                    place = place + 1
"""
    wanted = [
        a * 1000 + b * 100 + c * 10 + d
        for a in range(3)
        for b in (1, 3, 4)
        for c in range(4, 0, -1)
        for d in range(c)
    ]
    out = np.zeros(len(wanted), np.int64)
    call(source, [out], [4], 0, 3, mode=mode)
    assert out.tolist() == wanted


PLACES = """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    out = ptr_f32(t[1])
    n = t[2]
    done = 0
    for i in range(begin, end):
        left = n - i
        for k in range(0, n):
            if k > left:
                left = left + 0 * k
                store1(out, 3 + k + i * n + i - i, load1(p, i * n + 1 + k + 2))
            elif k == 2:
                continue
            else:
                store1(out, i * n + k, load1(p, k + left * 2 + k * left))
            for j in range(k, n, 16):
                m = mask16(n - j)
                s = load(p, done + i * n + j + 1, m) + load(p, i * n + j + n, m)
                store(out, 2 * n * n + j + k * n, s, m)
            left = left + 1
        done = done + i
"""


@pytest.mark.parametrize("mode", MODES)
def test_places_are_the_same_wherever_their_terms_are_added(mode):
    n, rng = 9, np.random.default_rng(3)
    p, out, wanted = rng.normal(size=600).astype(np.float32), *np.zeros((2, 600), np.float32)
    done = 0
    for i in range(n):
        left = n - i
        for k in range(n):
            if k > left:
                wanted[3 + k + i * n] = p[i * n + 3 + k]
            elif k == 2:
                continue
            else:
                wanted[i * n + k] = p[k + left * 2 + k * left]
            for j in range(k, n):
                found = p[done + i * n + j + 1] + p[i * n + j + n]
                wanted[2 * n * n + j + k * n] = found
            left += 1
        done += i
    call(PLACES, [p, out], [n], 0, n, mode=mode)
    np.testing.assert_array_equal(out, wanted)


def test_what_a_loop_does_not_change_stands_before_it():
    text = frontend.module_text(
        """\
def kernel(t, own, begin, end):
    p = ptr_f32(t[0])
    n = t[1]
    for i in range(begin, end):
        for j in range(0, n):
            store1(p, i * n + n * n + j, load1(p, i * n + j + 2 * n + 5))
""",
        "k",
    )
    *_, body = text.split("\nb")[1:-2]  # of the inner loop
    assert " mul " not in body
    places = re.findall(r"getelementptr float, ptr (%v\d+), i64 (\S+)", body)
    assert [index for _, index in places if index.isdecimal()] == ["5"]
    assert len(places) == 3  # what is loaded, 5 behind it, and what is stored
