"""A copy of all that a plan may touch, with red zones, for runs that watch their kernels.

Says what lies where, and what a byte is in terms of buffers. What is wrong with a byte is decided
elsewhere (``runtime.guarded``).
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from staticgrad.ir.plan import Placement, Plan
from staticgrad.runtime.arena import Arena, address_of
from staticgrad.runtime.words import ARENA
from staticgrad.storage.parameter import ALIGNMENT, aligned_bytes

Bytes = npt.NDArray[np.uint8]
#: Bytes of a red zone: more than any vector or tile reaches past an end.
ZONE: Final = 4096


class ByteSpan(NamedTuple):
    """Bytes [begin, end) of a guarded copy."""

    begin: int
    end: int

    @property
    def slice(self) -> slice:
        return slice(self.begin, self.end)


class GuardedCopy:
    """One block: a red zone, the arena as planned, and behind it each other buffer, zones between.

    ``outside`` maps buffers to Spans. Each is aligned as the original is, up to 64 bytes. Nothing
    is copied here: ``original`` is the memory that a buffer outside the arena really has.
    """

    def __init__(self, plan: Plan, originals: Mapping[str, int]) -> None:
        self._plan, self._originals = plan, originals
        self._sizes = dict(plan.buffer_bytes)
        self.outside: dict[str, ByteSpan] = {}
        self.in_arena = ByteSpan(ZONE, ZONE + -(-plan.peak_bytes // ALIGNMENT) * ALIGNMENT)
        end = self.in_arena.end + ZONE
        for name, address in originals.items():
            end += (address - end) % ALIGNMENT
            self.outside[name] = ByteSpan(end, end + self._sizes[name])
            end += self._sizes[name] + ZONE
        self.block = aligned_bytes(-(-end // ALIGNMENT) * ALIGNMENT)
        self.base = address_of(self.block)
        self.arena = Arena.over(self.block[self.in_arena.slice])

    def original(self, buffer: str) -> Bytes:
        """The caller's memory of a buffer outside the arena."""
        return bytes_at(self._originals[buffer], self._sizes[buffer])

    def begin(self, memory: str, at: int) -> int:
        """The byte of the copy that is ``at`` bytes into the arena, or into another buffer."""
        return at + (self.in_arena if memory == ARENA else self.outside[memory]).begin

    def describe(self, byte: int, row: int) -> str:
        """A byte of the copy in terms of the buffers that are there while a row runs."""
        places = sorted(self._places(row))
        before = places[: bisect_right(places, byte, key=lambda place: place[0].begin)]
        for span, name in reversed(before):
            if byte < span.end:
                return f"byte {byte - span.begin} of {name!r}"
        inside = self.in_arena.begin <= byte < self.in_arena.end
        zone = f"byte {byte - ZONE} of the arena" if inside else "a red zone"
        if not before:
            return f"{zone}, {self.in_arena.begin - byte} bytes before the arena"
        span, name = max(before, key=lambda place: place[0].end)
        return f"{zone}, {byte - span.end} bytes behind the end of {name!r}"

    def _places(self, row: int) -> Iterator[tuple[ByteSpan, str]]:
        for place in self._plan.placements:
            if place.first <= row <= place.last:
                yield span_of(place), place.buffer
        for name, span in self.outside.items():
            yield span, name


def span_of(place: Placement) -> ByteSpan:
    """Where an arena buffer is in a copy."""
    return ByteSpan(ZONE + place.offset, ZONE + place.offset + place.nbytes)


def bytes_at(address: int, nbytes: int) -> Bytes:
    """The memory at an address, as it is."""
    there = (ctypes.c_ubyte * nbytes).from_address(address)
    return np.ndarray((nbytes,), np.uint8, memoryview(there).cast("B"))
