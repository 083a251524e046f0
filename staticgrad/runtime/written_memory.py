"""The memory that a program writes beside its results: that of the parameters it updates."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import numpy.typing as npt

from staticgrad.errors import FeedError
from staticgrad.runtime.arena import address_of


class WrittenMemory:
    """Ranges of bytes that no feed may lie in."""

    def __init__(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """``arrays`` do not overlap."""
        ranges = sorted((address_of(a), address_of(a) + a.nbytes) for a in arrays if a.nbytes)
        self._starts = [start for start, _ in ranges]
        self._ends = [end for _, end in ranges]

    def __bool__(self) -> bool:
        return bool(self._ends)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(address, end) of each range, in order."""
        return zip(self._starts, self._ends, strict=True)

    def refuse(self, name: str, first: int, end: int) -> None:
        """Raise where the feed of that name, at these addresses, lies in it.

        Raises:
            FeedError: it does.
        """
        at = bisect_left(self._starts, end) - 1
        if at >= 0 and self._ends[at] > first < end:
            raise FeedError(
                f"feed {name!r} shares memory with a parameter that the step updates",
                hint="feed a copy: parameter.value is one",
            )
