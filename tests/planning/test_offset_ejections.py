"""Placement by ejections: valid, never above the height, near the load where first fit is not."""

import random

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.native import words
from staticgrad.planning.exact_offsets import BRIEF, place_tightly
from staticgrad.planning.offset_search import Ejections, placed_by_ejections
from staticgrad.planning.offsets import Spans, swept
from tests.planning.test_offset_search import holds


def steps_of_values(rng, count, longest):
    """A block begins at each step, of any size, and lives for a while."""
    first = tuple(range(count))
    last = tuple(min(count - 1, t + rng.randrange(longest)) for t in first)
    return Spans(first, last, count), [64 * rng.randint(0, 4096) for _ in first]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    longest=st.integers(1, 40),
    share=st.integers(90, 140),
)
def test_what_is_found_holds_and_keeps_the_height_and_its_machine_code_finds_the_same(
    seed, count, longest, share
):
    spans, sizes = steps_of_values(random.Random(seed), count, longest)
    load = max(spans.load(sizes))
    limit, found = max(load * share // 100, max(sizes)), []
    for run in (placed_by_ejections, words.compiled(placed_by_ejections)):
        ejections = Ejections(spans, sizes, run)
        found.append((ejections.lowered(limit, 20_000), ejections.effort))
    assert found[0] == found[1]
    if found[0][0] is not None:
        offsets, height = found[0][0]
        assert not any(at % 64 for at in offsets)
        assert load <= height == holds(spans, sizes, offsets) <= limit


def test_a_block_that_fits_nowhere_takes_the_place_of_others():
    """Blocks by load come as 1, 0, 2: the first two lie as they come, so that the third, three of
    four bytes at the step of block 0, ejects what is in its way, and all find a place."""
    spans, sizes = Spans((1, 0, 1), (2, 1, 3), 4), [1, 2, 3]
    height = max(spans.load(sizes))
    assert height == 6
    for limit in (6, 7):
        placed = Ejections(spans, sizes, placed_by_ejections).lowered(limit, 1_000)
        assert placed is not None
        assert placed[1] == 6 == holds(spans, sizes, placed[0])
    assert Ejections(spans, sizes, placed_by_ejections).lowered(5, 1_000) is None


def test_first_fit_of_blocks_as_they_begin_is_mended_by_ejections():
    """First fit as they begin needs 5 bytes: a (2) below b (1), then c (2) above b, since what a
    left and what is above b are 2 and 1; one of them is moved for 4."""
    spans, sizes = Spans((0, 0, 1, 2), (0, 2, 2, 2), 3), [2, 1, 1, 2]
    assert max(spans.load(sizes)) == 4
    placed = Ejections(spans, sizes, placed_by_ejections).lowered(4, 1_000)
    assert placed is not None
    assert placed[1] == 4 == holds(spans, sizes, placed[0])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "hundredths"), [(1_000, 103), (10_000, 103)])
def test_thousands_of_blocks_take_little_more_than_their_load(count, hundredths):
    spans, sizes = steps_of_values(random.Random(1), count, 60)
    load = max(spans.load(sizes))
    bound = load * hundredths // 100
    assert min(height for _, height in swept(spans, sizes)) > 1.1 * load
    offsets, height = place_tightly(spans, sizes, bound, BRIEF)
    assert load <= height == holds(spans, sizes, offsets) <= bound
    assert place_tightly(spans, sizes, bound, BRIEF) == (offsets, height)


def test_a_height_below_the_load_is_not_met_and_ends_with_the_effort():
    spans, sizes = steps_of_values(random.Random(1), 200, 30)
    ejections = Ejections(spans, sizes, words.compiled(placed_by_ejections))
    assert ejections.lowered(max(spans.load(sizes)) - 1, 100_000) is None
    assert 100_000 <= ejections.effort < 110_000


def test_steps_at_which_no_block_begins_change_nothing():
    spans, sizes = steps_of_values(random.Random(3), 200, 30)
    apart = (tuple(1_000 * at for at in ends) for ends in (spans.first, spans.last))
    limit = max(spans.load(sizes)) * 11 // 10
    found = []
    for each in (spans, Spans(*apart, 1_000 * spans.steps)):
        ejections = Ejections(each, sizes, words.compiled(placed_by_ejections))
        found.append((ejections.lowered(limit, 1_000_000), ejections.effort))
    assert found[0] == found[1]
    assert found[0][0] is not None
