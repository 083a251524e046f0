"""The search for offsets: what it proves and finds, and that its machine code does the same."""

import random
from functools import cache

import pytest
from hypothesis import given, settings, strategies as st

from staticgrad.native import words
from staticgrad.planning import exact_offsets
from staticgrad.planning.exact_offsets import BRIEF, lowered_briefly, place_tightly
from staticgrad.planning.offset_search import (
    Ejections,
    PlacedWindows,
    Restarts,
    placed_by_ejections,
    search,
)
from staticgrad.planning.offsets import (
    IMPOSSIBLE,
    ORDERS,
    PLACED,
    Spans,
    best_fit,
    first_fit,
    fit,
    place,
    swept,
)


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
    for run in (search, words.compiled(search)):
        assert Restarts(spans, sizes, run).tried(least - 1, 100_000) == IMPOSSIBLE
        restarts = Restarts(spans, sizes, run)
        assert restarts.tried(least, 100_000) == PLACED
        offsets, height = restarts.placed()
        assert height == least == holds(spans, sizes, offsets)


def test_machine_code_goes_the_same_way():
    for seed in range(6):
        blocks = cut_rectangle(random.Random(seed), 40, 200, 40)
        spans, sizes = spans_of(blocks), [block[2] for block in blocks]
        found = []
        for run in (search, words.compiled(search)):
            restarts = Restarts(spans, sizes, run)
            state = restarts.tried(200, 60_000)
            again = restarts.tried(201, 20_000)  # a new height forgets what it knew
            found.append((state, again, restarts.effort, restarts.search.base.tolist()))
        assert found[0] == found[1]


@pytest.mark.parametrize(("seed", "count"), [(1, 60), (2, 120)])
def test_a_rectangle_is_put_together_again(seed, count):
    blocks = cut_rectangle(random.Random(seed), 80, 2_000, count)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    assert place(spans, sizes, 2_000)[1] > 2_000
    offsets, height = place_tightly(spans, sizes, 2_000)
    assert height == 2_000 == holds(spans, sizes, offsets)
    assert place_tightly(spans, sizes, 2_000) == (offsets, height)


@pytest.mark.parametrize("seed", [7, 14])
def test_a_few_blocks_reach_their_load_though_nothing_is_compiled(seed, monkeypatch):
    def refused(function):
        raise AssertionError("a search of a millisecond compiles nothing")

    blocks = cut_rectangle(random.Random(seed), 40, 1_000, 30)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    first = place(spans, sizes, 1_000)
    monkeypatch.setattr(exact_offsets, "machine_code", refused)
    offsets, height = lowered_briefly(spans, sizes, 1_000, first)
    assert height == 1_000 == holds(spans, sizes, offsets) < first[1]


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


def test_heights_between_are_tried_where_the_bound_cannot_be_met():
    blocks = cut_rectangle(random.Random(3), 80, 2_000, 100)
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    first = place(spans, sizes, 1_999)[1]
    offsets, height = place_tightly(spans, sizes, 1_999)
    assert 2_000 <= height <= 2_000 + 1_999 // 200 < first
    assert height == holds(spans, sizes, offsets)


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


def test_groups_that_live_one_after_another_are_placed_apart():
    """The height is that of the highest group by itself, although one cannot meet the bound."""
    groups = [cut_rectangle(random.Random(seed), 80, 2_000, 60) for seed in (1, 4, 5)]
    groups[1] = [(first, last, size + 1, at) for first, last, size, at in groups[1]]
    alone = [
        place_tightly(spans_of(blocks), [block[2] for block in blocks], 2_000)[1]
        for blocks in groups
    ]
    assert alone[0] == alone[2] == 2_000 < alone[1]
    blocks = [
        (first + 80 * k, last + 80 * k, size)
        for k, group in enumerate(groups)
        for first, last, size, _ in group
    ]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    first = place(spans, sizes, 2_000)[1]
    offsets, height = place_tightly(spans, sizes, 2_000)
    assert 2_000 < height == holds(spans, sizes, offsets) <= max(alone) + 2_000 // 100 < first


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), flush=st.integers(0, 1), tight=st.integers(0, 2))
def test_every_way_of_trying_proves_the_same(seed, flush, tight):
    """What sleeps is counted as lifted: no placement is lost by it, in whatever order."""
    rng = random.Random(seed)
    blocks = [(f := rng.randrange(6), f + rng.randrange(4), rng.randint(1, 7)) for _ in range(6)]
    spans, sizes = spans_of(blocks), [block[2] for block in blocks]
    least = least_height(spans, sizes)
    order = rng.sample(range(6), 6)
    for height, state in ((least - 1, IMPOSSIBLE), (least, PLACED)):
        restarts = Restarts(spans, sizes, words.compiled(search))
        restarts.height = height
        found = restarts.searched(order, 100_000, 100_000, flush * 6, tight)
        assert found == state


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
