"""Variables of a kernel as values that are joined where paths meet; nothing is computed twice."""

import numpy as np
import pytest

from tests.native.support import SOURCES, call

PATHS = """\
def kernel(t, own, begin, end):
    out = ptr_i64(t[0])
    p = ptr_i64(t[1])
    a, b = 1, 0
    level = 5
    for i in range(begin, end):
        initial = a
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
        if word(load1(p, i)) > 0 and initial < a or level > 40:
            level = initial
            seen = a if b > 2 else initial
        else:
            seen = b
        store1(out, i, i64x1(seen * 1000 + level * 10 + a))
        a = a + 0 * b
"""


def paths(p):
    a, b, level, results = 1, 0, 5, []
    for i in range(len(p)):
        initial = a
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
        if (p[i] > 0 and initial < a) or level > 40:
            level = initial
            seen = a if b > 2 else initial
        else:
            seen = b
        results.append(seen * 1000 + level * 10 + a)
    return results


@pytest.mark.parametrize("mode", SOURCES)
def test_values_of_all_paths_are_joined(mode):
    p = [0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1]
    out = np.zeros(len(p), np.int64)
    call(PATHS, [out, np.array(p)], [], 0, len(p), mode=mode)
    assert out.tolist() == paths(p)


@pytest.mark.parametrize("mode", SOURCES)
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


@pytest.mark.parametrize("mode", SOURCES)
def test_places_are_the_same_wherever_their_terms_are_added(mode):
    n, rng = 9, np.random.default_rng(3)
    p, out, expected = rng.normal(size=600).astype(np.float32), *np.zeros((2, 600), np.float32)
    done = 0
    for i in range(n):
        left = n - i
        for k in range(n):
            if k > left:
                expected[3 + k + i * n] = p[i * n + 3 + k]
            elif k == 2:
                continue
            else:
                expected[i * n + k] = p[k + left * 2 + k * left]
            for j in range(k, n):
                pair_sum = p[done + i * n + j + 1] + p[i * n + j + n]
                expected[2 * n * n + j + k * n] = pair_sum
            left += 1
        done += i
    call(PLACES, [p, out], [n], 0, n, mode=mode)
    np.testing.assert_array_equal(out, expected)
