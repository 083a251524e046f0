"""The merge sort that kernels call: its network, and every length around its blocks and runs."""

import itertools

import numpy as np
import pytest

from staticgrad.codegen.sorting import RUN, merge_sort, network
from tests.native.support import call

LENGTHS = (0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 72, 127, 128, 129, 200, 511, 512, 513, 1000)
NARROW = f"""{merge_sort(wide=False)}


def kernel(t, own, begin, end):
    p = ptr_i64(t[0])
    found = ptr_i64(t[1])
    store1(found, 0, i64x1(merge_sort(p, begin, t[2])))
"""
WIDE = (
    NARROW.replace(merge_sort(wide=False), merge_sort(wide=True))
    .replace("t[2])))", "t[2], 2 * t[2])))")
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_the_network_sorts(size):
    """Knuth's 0-1 principle: what sorts all rows of zeros and ones sorts everything."""
    pairs = list(network(size))
    for bits in itertools.product((0, 1), repeat=size):
        row = list(bits)
        for low, high in pairs:
            if row[high] < row[low]:
                row[low], row[high] = row[high], row[low]
        assert row == sorted(bits)
    assert len(list(network(RUN))) == 19


def rows(length):
    rng = np.random.default_rng(length)
    yield rng.permutation(length)
    yield np.arange(length)
    yield np.arange(length)[::-1]
    yield rng.integers(-3, 3, length)
    yield rng.choice(np.array([-(2**63), 2**63 - 1, 0]), length)
    yield np.roll(np.arange(length), length // 3)


@pytest.mark.parametrize("mode", ["vector", "python"])
def test_distinct_words_are_sorted(mode):
    for length in LENGTHS if mode == "vector" else (0, 3, 64, 75):
        for row in rows(length):
            words = np.zeros(2 * length, np.int64)
            words[:length] = (row % 2**20) * 2**32 + np.arange(length)
            expected, at = np.sort(words[:length]), np.full(1, -1)
            call(NARROW, [words, at], [length], length, 0, mode=mode)
            assert at[0] in (0, length)
            np.testing.assert_array_equal(words[at[0] : at[0] + length], expected)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", ["vector", "numba", "python"])
def test_wide_words_are_sorted_and_keep_their_order(mode):
    for length in LENGTHS if mode == "vector" else (0, 3, 64, 75):
        for row in rows(length):
            words = np.zeros(4 * length, np.int64)
            words[:length], words[2 * length : 3 * length] = row, np.arange(length)
            order, at = np.argsort(row, kind="stable"), np.full(1, -1)
            call(WIDE, [words, at], [length], length, 0, mode=mode)
            found = words[at[0] :][:length], words[2 * length + at[0] :][:length]
            np.testing.assert_array_equal(found[0], row[order])
            np.testing.assert_array_equal(found[1], order)
