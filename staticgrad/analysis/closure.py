"""The least set that is closed under a rule."""

from __future__ import annotations

from collections.abc import Callable, Set


def closed_under(more: Callable[[set[int]], Set[int]], start: Set[int]) -> set[int]:
    """The least set with ``start`` and with all that ``more`` finds, given the set itself.

    ``more`` finds no less for a larger set. It is last called with the set that is returned.
    """
    found = set(start)
    while new := more(found) - found:
        found |= new
    return found
