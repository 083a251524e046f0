"""Deep and wide graphs: no recursion anywhere. How time grows is shown by benchmarks/scaling.py."""

import sys

import numpy as np
import pytest

from benchmarks.scaling import deep, everything, fan, wide
from staticgrad.planning.offsets import Spans, as_they_begin, place


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
@pytest.mark.parametrize(
    "make", [deep, *(pytest.param(m, marks=pytest.mark.exhaustive) for m in (wide, fan))]
)
def test_no_stage_recurses(make):
    """With a recursion limit that a chain of 300 nodes would break at once."""
    limit = sys.getrecursionlimit()
    depth = len(__import__("inspect").stack())
    sys.setrecursionlimit(depth + 250)
    try:
        _, results = everything(make, 300)
    finally:
        sys.setrecursionlimit(limit)
    assert results["same"] == [True] * 3
    for name, array in results["wanted"].items():
        np.testing.assert_allclose(results["found"][name], array, rtol=1e-5, atol=1e-5)


def random_spans(rng):
    count, steps = int(rng.integers(0, 60)), 40
    first = rng.integers(0, steps, count)
    last = np.minimum(first + rng.integers(0, 15, count), steps - 1)
    sizes = [64 * int(size) for size in rng.integers(0, 9, count)]
    return Spans(tuple(first.tolist()), tuple(last.tolist()), steps), sizes


def test_neighbours_are_the_blocks_alive_at_a_step_of_its_life(rng):
    for _ in range(100):
        spans, _ = random_spans(rng)
        lives = [range(f, e + 1) for f, e in zip(spans.first, spans.last, strict=True)]
        for one, others in enumerate(spans.neighbours):
            meeting = [
                two
                for two, life in enumerate(lives)
                if two != one and not set(life).isdisjoint(lives[one])
            ]
            assert sorted(others) == meeting


def test_blocks_placed_as_they_begin_share_no_byte(rng):
    for _ in range(100):
        spans, sizes = random_spans(rng)
        assert spans.pairs == sum(map(len, spans.neighbours)) // 2
        for lives in (spans, spans.reversed()):
            offsets, height = as_they_begin(lives, sizes)
            assert height >= max(lives.load(sizes), default=0)
            assert height <= sum(sizes)
            for one, others in enumerate(spans.neighbours):
                assert 0 <= offsets[one] <= height - sizes[one]
                for two in others:
                    apart = (
                        offsets[one] + sizes[one] <= offsets[two]
                        or offsets[two] + sizes[two] <= offsets[one]
                    )
                    assert apart or not sizes[one] or not sizes[two]


def test_many_blocks_alive_together_are_placed_at_the_bound():
    """A forward pass whose values all wait for the backward pass."""
    count = 3000
    spans = Spans(tuple(range(count)), tuple(range(2 * count - 1, count - 1, -1)), 2 * count)
    sizes = [64] * count
    bound = max(spans.load(sizes))
    assert place(spans, sizes, bound)[1] == bound
