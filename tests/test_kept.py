"""What is kept stays within its bytes, and what was used last stays."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from staticgrad.kept import Kept
from tests.beside import python

ROOT = Path(__file__).parents[1]


@given(
    st.integers(0, 100),
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 6), st.integers(0, 60))
    ),
)
def test_it_is_the_list_of_the_latest_uses_within_the_limit(limit, steps):
    kept = Kept(limit)
    model = []  # (key, bytes), the longest unused first
    for what, key, nbytes in steps:
        found = next((entry for entry in model if entry[0] == key), None)
        model = [entry for entry in model if entry[0] != key]
        if what == "put":
            kept.put(key, f"value {key}", nbytes)
            model.append((key, nbytes))
            while sum(n for _, n in model) > limit and len(model) > 2:
                del model[0]
        elif what == "get":
            assert kept.get(key) == (None if found is None else f"value {key}")
            model += [found] if found else []
        else:
            kept.drop(key)
        assert list(kept.values()) == [f"value {k}" for k, _ in model]
        assert (len(kept), kept.nbytes) == (len(model), sum(n for _, n in model))


def test_to_keep_one_more_takes_no_look_at_all_others():
    """Beyond the limit, too: values are counted anew once for as many as there are."""
    kept = Kept(1000)
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event == "call" and frame.f_code.co_name == "nbytes"

    sys.setprofile(count)
    try:
        for key in range(10_000):
            kept.put(key, "value", 1)
    finally:
        sys.setprofile(None)
    assert len(kept) == 1000
    assert counted <= 20  # the budget's and its member's


@pytest.mark.parametrize("line", range(40))
def test_an_exception_in_the_middle_leaves_nothing_wrong(line):
    """One line of ``put`` and ``get`` is interrupted, by a use of the same object that raises."""
    kept = Kept(10)
    for key in range(4):
        kept.put(key, f"value {key}", 4)
    left = line

    def interrupt(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename.endswith("kept.py") and event == "line":
            left -= 1
            if left == 0:
                kept.put(9, "value 9", 8)
                raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with suppress(KeyboardInterrupt):
            kept.get(3)
            kept.put(7, "value 7", 6)
    finally:
        sys.settrace(before)
    kept.put(8, "value 8", 4)
    assert len(kept) == 2 or kept.nbytes <= 10
    assert all(kept.get(int(value.split()[1])) == value for value in [*kept.values()])


PAUSED = """
import gc, weakref
from staticgrad.kept import collection_paused

class Ring:
    def __init__(self):
        self.me = self

gc.collect()
with collection_paused():
    made = [[number] for number in range(20_000)]
    ring = weakref.ref(Ring())
    assert gc.get_count()[0] > len(made)
assert gc.isenabled()
assert gc.get_count()[0] < len(made) // 2, "the next object would start a walk over all"
assert gc.is_tracked(made[0])
assert not any(each is made[0] for each in gc.get_objects(generation=0))
assert ring() is not None  # an object that only a collection frees
gc.collect()
assert ring() is None
gc.freeze()
frozen = gc.get_freeze_count()
with collection_paused():
    made.extend([number] for number in range(20_000))
assert gc.get_freeze_count() >= frozen - 100
print("done")
"""


def test_a_collection_that_was_paused_walks_nothing_behind_it_and_loses_nothing():
    """What was made meanwhile is old then; cycles among it, and frozen objects, are as before."""
    done = python("-c", PAUSED, cwd=ROOT)  # a process without the objects of all tests
    assert done.stdout == "done\n"
