"""Intervals of whole numbers that may be open: what is known of the value of a size."""

from __future__ import annotations

from math import inf

Bounds = tuple[int | None, int | None]  # lowest and highest value; None: unbounded


def product(left: Bounds, right: Bounds) -> Bounds:
    """The interval of a product; an open end counts as infinite, and 0 times infinite is 0."""
    corners = [a * b if a and b else 0 for a in _ends(left) for b in _ends(right)]
    low, high = min(corners), max(corners)
    return (low if isinstance(low, int) else None), (high if isinstance(high, int) else None)


def _ends(interval: Bounds) -> tuple[int | float, int | float]:
    low, high = interval
    return (-inf if low is None else low), (inf if high is None else high)


def quotient(numerator: Bounds, denominator: int | Bounds) -> Bounds:
    """The interval of a quotient, rounded down; a denominator that is a number is positive."""
    low, high = numerator
    if isinstance(denominator, int):
        return (None if low is None else low // denominator), (
            None if high is None else high // denominator
        )
    smallest, _ = denominator
    never_negative = low is not None and low >= 0 and smallest is not None and smallest >= 0
    return (0, high) if never_negative else (None, None)
