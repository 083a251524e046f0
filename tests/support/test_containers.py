"""Parts of dicts, lists and tuples, and the same container of other parts."""

from collections import OrderedDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

from staticgrad.support.containers import fill_container, first_part, items_of, parts_in

Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("container", "items", "expected"),
    [
        ({"a": 1, "b": 2}, [("a", 1), ("b", 2)], {"a": 3, "b": 4}),
        (OrderedDict(b=1, a=2), [("b", 1), ("a", 2)], {"b": 3, "a": 4}),
        (MappingProxyType({"a": 1, "b": 2}), [("a", 1), ("b", 2)], {"a": 3, "b": 4}),
        ([1, 2], [(0, 1), (1, 2)], [3, 4]),
        ((1, 2), [(0, 1), (1, 2)], (3, 4)),
        (Point(1, 2), [(0, 1), (1, 2)], Point(3, 4)),
    ],
)
def test_a_container_has_items_and_is_filled_again(container, items, expected):
    assert items_of(container) == items
    assert parts_in(container) == [part for _, part in items]
    actual = fill_container(container, iter([3, 4]))
    assert actual == expected
    assert type(actual) is type(expected)


@pytest.mark.parametrize("leaf", [None, 1.5, "ab", b"ab", {1, 2}, range(2), np.ones(2), iter("ab")])
def test_anything_else_is_none(leaf):
    assert items_of(leaf) is None
    assert parts_in(leaf) is None
    assert first_part([{"a": (leaf, 1)}, 2]) is leaf


def test_an_empty_container_is_its_own_first_part():
    assert items_of(()) == []
    assert first_part([]) == []
    assert first_part(({}, 1)) == {}
