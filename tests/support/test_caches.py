"""A cache stays within its bytes, and the entry that was used last stays."""

import sys
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from staticgrad.support.caches import BoundedCache


@given(
    st.integers(0, 100),
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 6), st.integers(0, 60))
    ),
)
def test_it_is_the_list_of_the_latest_uses_within_the_limit(limit, steps):
    cache = BoundedCache(limit)
    model = []  # (key, bytes), the longest unused first
    for what, key, nbytes in steps:
        actual = next((entry for entry in model if entry[0] == key), None)
        model = [entry for entry in model if entry[0] != key]
        if what == "put":
            cache.store(key, f"value {key}", nbytes)
            model.append((key, nbytes))
            while sum(n for _, n in model) > limit and len(model) > 2:
                del model[0]
        elif what == "get":
            assert cache.get(key) == (None if actual is None else f"value {key}")
            model += [actual] if actual else []
        else:
            cache.drop(key)
        assert list(cache.values()) == [f"value {k}" for k, _ in model]
        assert (len(cache), cache.nbytes) == (len(model), sum(n for _, n in model))


@pytest.mark.parametrize("line", range(40))
def test_an_exception_in_the_middle_leaves_nothing_wrong(line):
    """One line of ``put`` and ``get`` is interrupted, by a use of the same object that raises."""
    cache = BoundedCache(10)
    for key in range(4):
        cache.store(key, f"value {key}", 4)
    left = line

    def interrupt(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename.endswith("kept.py") and event == "line":
            left -= 1
            if left == 0:
                cache.store(9, "value 9", 8)
                raise KeyboardInterrupt
        return interrupt

    tracer = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with suppress(KeyboardInterrupt):
            cache.get(3)
            cache.store(7, "value 7", 6)
    finally:
        sys.settrace(tracer)
    cache.store(8, "value 8", 4)
    assert len(cache) == 2 or cache.nbytes <= 10
    assert all(cache.get(int(value.split()[1])) == value for value in [*cache.values()])
