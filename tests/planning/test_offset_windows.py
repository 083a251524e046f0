"""Placement by windows: valid, never higher than what it begins with, at the load where first fit
is not."""

import random

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.native import words
from staticgrad.planning.exact_offsets import BRIEF, place_tightly
from staticgrad.planning.offset_search import PlacedWindows, search
from staticgrad.planning.offsets import Spans, best_fit, fit
from tests.planning.test_offset_search import holds


def steps_of_values(rng, count, longest):
    """A block begins at each step, of any size, and lives for a while."""
    first = tuple(range(count))
    last = tuple(min(count - 1, t + rng.randrange(longest)) for t in first)
    return Spans(first, last, count), [64 * rng.randint(0, 4096) for _ in first]


def lowered(spans, sizes, height, effort):
    run = words.compiled(fit)
    best = best_fit(spans, sizes, height, ([], -1), run)
    windows = PlacedWindows(spans, sizes, run, words.compiled(search))
    return best, windows.lowered(height, effort, best), windows


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    longest=st.integers(1, 40),
    share=st.integers(50, 120),
)
def test_whatever_the_height_a_placement_holds(seed, count, longest, share):
    spans, sizes = steps_of_values(random.Random(seed), count, longest)
    load = max(spans.load(sizes))
    best, (offsets, height), _ = lowered(spans, sizes, load * share // 100, 300_000)
    assert load <= height == holds(spans, sizes, offsets) <= best[1]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("seed", "count"), [(1, 1_000), (6, 1_000), (4, 3_000)])
def test_a_thousand_blocks_take_no_more_than_their_load(seed, count):
    spans, sizes = steps_of_values(random.Random(seed), count, 60)
    load = max(spans.load(sizes))
    best, (offsets, height), windows = lowered(spans, sizes, load, BRIEF)
    assert height == load == holds(spans, sizes, offsets) < best[1]
    assert windows.effort < BRIEF
    assert place_tightly(spans, sizes, load)[1] == load


def test_without_effort_nothing_is_searched():
    spans, sizes = steps_of_values(random.Random(1), 1_000, 60)
    best, found, windows = lowered(spans, sizes, max(spans.load(sizes)), 0)
    assert found[1] <= best[1]
    assert windows.effort == 0


def test_blocks_alive_together_with_most_others_are_left_to_the_search_of_all():
    spans, sizes = steps_of_values(random.Random(1), 200, 200)
    best, found, windows = lowered(spans, sizes, max(spans.load(sizes)) - 1, BRIEF)
    assert found[1] <= best[1]
    assert windows.effort == 0
