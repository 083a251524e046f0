"""The search for offsets: what it proves and finds, and that its machine code does the same."""

import random
from functools import cache

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.native import words
from staticgrad.planning.offset_search import (
    IMPOSSIBLE,
    PLACED,
    Ejections,
    Restarts,
    place_tightly,
    placed_by_ejections,
)
from staticgrad.planning.offsets import ORDERS, Spans, best_fit, first_fit, fit, place


def spans_of(blocks):
    first, last = ([block[k] for block in blocks] for k in (0, 1))
    return Spans(tuple(first), tuple(last), max(last) + 1)


def holds(spans, sizes, offsets):
    """No two blocks that live together share a byte; the height."""
    for b, around in enumerate(spans.neighbours):
        for c in around:
            apart = offsets[b] + sizes[b] <= offsets[c] or offsets[c] + sizes[c] <= offsets[b]
            assert apart or not sizes[b] * sizes[c]
    return max(at + size for at, size in zip(offsets, sizes, strict=True))


def least_height(spans, sizes):
    """The height of the best placement: blocks one on another, in every order of placing."""

    @cache
    def best(placed):
        done = {b for b, _ in placed}
        if len(done) == len(sizes):
            return max(at + sizes[b] for b, at in placed)
        return min(
            best(tuple(sorted((*placed, (b, at)))))
            for b in range(len(sizes))
            if b not in done
            for at in [
                max((o + sizes[c] for c, o in placed if c in spans.neighbours[b]), default=0)
            ]
        )

    return best(())


def cut_rectangle(rng, steps, height, count):
    """Blocks that fill a rectangle of steps and bytes, cut across and along by turns."""
    pieces = [(0, steps, 0, height)]
    while len(pieces) < count:
        begin, end, low, high = pieces.pop(rng.randrange(len(pieces)))
        if rng.random() < 0.5 and end - begin > 1:
            at = rng.randrange(begin + 1, end)
            pieces += [(begin, at, low, high), (at, end, low, high)]
        elif high - low > 1:
            at = rng.randrange(low + 1, high)
            pieces += [(begin, end, low, at), (begin, end, at, high)]
        else:
            pieces.append((begin, end, low, high))
    return [(begin, end - 1, high - low, low) for begin, end, low, high in pieces]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_search_proves_what_does_not_fit_and_finds_what_does(seed):
    rng = random.Random(seed)
    blocks = [(f := rng.randrange(6), f + rng.randrange(4), rng.randint(1, 7)) for _ in range(6)]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    least = least_height(spans, sizes)
    assert Restarts(spans, sizes, least - 1).tried(100_000) == IMPOSSIBLE
    restarts = Restarts(spans, sizes, least)
    assert restarts.tried(100_000) == PLACED
    offsets, height = restarts.placed()
    assert height == least == holds(spans, sizes, offsets)


@pytest.mark.parametrize(("seed", "count"), [(1, 60), (2, 120)])
def test_a_rectangle_is_put_together_again(seed, count):
    blocks = cut_rectangle(random.Random(seed), 80, 2_000, count)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    assert place(spans, sizes, 2_000)[1] > 2_000
    offsets, height = place_tightly(spans, sizes, 2_000)
    assert height == 2_000 == holds(spans, sizes, offsets)
    assert place_tightly(spans, sizes, 2_000) == (offsets, height)


@pytest.mark.parametrize("count", [60, 300])
def test_an_order_that_is_given_places_what_first_fit_alone_does_not(count):
    blocks = cut_rectangle(random.Random(5), 160, 9_000, count)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    by_offset = sorted(range(count), key=lambda b: blocks[b][3])
    without = place_tightly(spans, sizes, 9_000, 0)
    asked = []

    def order():
        asked.append(1)
        return by_offset

    offsets, height = place_tightly(spans, sizes, 9_000, 0, order)
    assert height == 9_000 == holds(spans, sizes, offsets) < without[1]
    assert len(asked) == 1
    assert place_tightly(spans, sizes, without[1], 0, order) == without
    assert len(asked) == 1  # what first fit places by itself needs none


def test_first_fit_of_many_blocks_is_first_fit():
    rng = random.Random(4)
    blocks = [(f := rng.randrange(60), f + rng.randrange(9), rng.randrange(9)) for _ in range(120)]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    sized = [b for b in range(len(sizes)) if sizes[b]]
    heights = []
    for key in ORDERS:
        order = sorted(sized, key=lambda b: (*key(sizes[b], spans.first[b], spans.last[b]), b))
        zero = [b for b in range(len(sizes)) if not sizes[b]]
        heights.append(first_fit([*order, *zero], spans, sizes)[1])
    for run in (fit, words.compiled(fit)):
        offsets, height = best_fit(spans, sizes, 0, ([], 1 << 60), run)
        assert height == min(heights) == holds(spans, sizes, offsets)


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
    bound = load * share // 100
    first = place(spans, sizes, bound)[1]
    offsets, height = place_tightly(spans, sizes, bound, 300_000)
    assert load <= height == holds(spans, sizes, offsets) <= first


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("seed", "count"), [(1, 1_000), (6, 1_000), (4, 3_000)])
def test_a_thousand_blocks_take_little_more_than_their_load(seed, count):
    spans, sizes = steps_of_values(random.Random(seed), count, 60)
    load = max(spans.load(sizes))
    offsets, height = place_tightly(spans, sizes, load)
    assert load <= height == holds(spans, sizes, offsets) <= load * 102 // 100
