"""Bytes of a step by cause: kept for the backward pass, gradients, updates, temporaries.

One rule for the tape, for PyTorch and for a plan: an array's cause is the part of the step that
makes it and the part that it is read last in.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Final

import numpy as np

from staticgrad.comparison.report import (
    BACKWARD,
    FORWARD,
    GRADIENTS,
    KEPT,
    NARROW,
    RANDOM,
    TEMPORARY,
    UPDATES,
    Causes,
)
from staticgrad.extend.reports import Plan, columns_of_steps, live_bytes
from staticgrad.extend.tapes import TapeSweep

#: Files of the package whose arrays are temporaries of one kind.
_MAKERS: Final = {
    "philox.py": RANDOM, "narrow_floats.py": NARROW, "convert.py": NARROW, "rounded.py": NARROW,
}  # fmt: skip
FRAMES: Final = 12  # of a traceback: from an array of a rule up to the walk back
WALK: Final = TapeSweep.run.__code__


def cause(born: str, dies: str) -> str:
    """Return the cause of an array by two parts of a step: ``f``, ``b`` or ``u`` (the update)."""
    if born == "f" and dies != "f":
        return KEPT
    if born == "b" and dies == "u":
        return GRADIENTS
    return UPDATES if born == "u" else TEMPORARY


def of_plan(name: str, plan: Plan) -> Causes:
    """Count the bytes of a plan's arena at its peak by cause."""
    parts, used = columns_of_steps(plan), live_bytes(plan)
    if not used:
        return Causes(name, 0, 0, 0, 0)
    position = used.index(max(used))
    bytes_by_cause: Counter[str] = Counter()
    by_cause: dict[str, list[tuple[int, int]]] = {}
    for placement in plan.placements:
        if placement.first <= position <= placement.last:
            last = parts[min(placement.last, len(parts) - 1)]
            why = cause(parts[min(placement.first, len(parts) - 1)], last)
            by_cause.setdefault(why, []).append(
                (placement.offset, placement.offset + placement.nbytes)
            )
    covered_spans: list[tuple[int, int]] = []
    for why in (KEPT, GRADIENTS, UPDATES, TEMPORARY):
        covered_before = _count_covered(covered_spans)
        covered_spans += by_cause.get(why, [])
        bytes_by_cause[why] = _count_covered(covered_spans) - covered_before
    return _make_causes(name, bytes_by_cause)


def _count_covered(spans: Sequence[tuple[int, int]]) -> int:
    """Return how many bytes the spans cover."""
    used = reached = 0
    for offset, end in sorted(spans):
        used += max(0, end - max(offset, reached))
        reached = max(reached, end)
    return used


_Array = tuple[int, Any]  # bytes, and where they were allocated


class Moments:
    """The arrays of a step of the tape at its fullest, and at the borders of the walk back.

    An array that is there when the walk back begins is kept for it; one that the walk makes and
    that is there when it ends is a gradient. ``objects``: the bytes of Python's objects at the
    fullest moment.
    """

    def __init__(self) -> None:
        self.objects = 0
        self._fullest: tuple[str, Counter[_Array]] = ("f", Counter())
        self._residuals: Counter[_Array] = Counter()
        self._left: Counter[_Array] = Counter()
        self._part, self._depth = "f", 0

    def see(self, frame: FrameType, event: str, is_fullest: bool) -> None:
        """Record the live arrays where the tape's backward pass begins or ends, and at the peak."""
        if is_fullest:
            self._fullest = self._part, self._look(count=True)
        if frame.f_code is not WALK or event not in ("call", "return"):
            return
        self._depth += 1 if event == "call" else -1
        if event == "call" and self._part == "f":
            self._residuals, self._part = self._look(), "b"
        elif event == "return" and not self._depth:
            self._left, self._part = self._look(), "u"

    def causes(self, name: str) -> Causes:
        """Return the tape's peak bytes by cause: residuals, gradients, updates, temporaries."""
        part, arrays = self._fullest
        bytes_by_cause: Counter[str] = Counter()
        makers: Counter[str] = Counter()
        for allocation, count in arrays.items():
            size, places = allocation
            in_walk = any(place.filename == WALK.co_filename for place in places)
            stays = min(count, self._left[allocation] if in_walk else self._residuals[allocation])
            bytes_by_cause[cause("b", "u") if in_walk else cause("f", "b")] += size * stays
            part_of_temporaries = "u" if part == "u" and not in_walk else "f"
            bytes_by_cause[cause(part_of_temporaries, part_of_temporaries)] += size * (
                count - stays
            )
            files = (place.filename.replace("\\", "/").rpartition("/")[2] for place in places)
            maker = next((_MAKERS[file] for file in files if file in _MAKERS), "")
            makers[maker or (BACKWARD if in_walk else FORWARD)] += size * (count - stays)
        return replace(
            _make_causes(name, bytes_by_cause), of=max(makers, key=makers.__getitem__, default="")
        )

    def _look(self, *, count: bool = False) -> Counter[_Array]:
        domain = np.lib.tracemalloc_domain
        traces = tracemalloc.take_snapshot().traces
        if count:
            self.objects = sum(t.size for t in traces if t.domain != domain)
        return Counter((t.size, t.traceback) for t in traces if t.domain == domain)


def array_bytes() -> int:
    """Return the bytes of the arrays that are there, as tracemalloc sees them."""
    domain = np.lib.tracemalloc_domain
    return sum(t.size for t in tracemalloc.take_snapshot().traces if t.domain == domain)


def of_events(name: str, events: Sequence[tuple[int, int, str]]) -> Causes:
    """Count the bytes at the peak of a list of allocations and frees by cause.

    Bytes below 0 free what was allocated at the address.
    """
    live: dict[int, int] = {}  # address -> number of the allocation
    spans: list[list[Any]] = []  # bytes, event that allocates, event that frees, parts of both
    for k, (address, nbytes, part) in enumerate(events):
        if nbytes > 0:
            live[address] = len(spans)
            spans.append([nbytes, k, len(events), part, "u"])
        elif address in live:
            spans[live[address]][2::2] = [k, part]
            del live[address]
    steps = np.zeros(len(events) + 1, np.int64)
    for nbytes, first, last, *_ in spans:
        steps[first] += nbytes
        steps[last] -= nbytes
    if not spans:
        return Causes(name, 0, 0, 0, 0)
    peak = int(np.argmax(np.cumsum(steps)))
    bytes_by_cause: Counter[str] = Counter()
    for nbytes, first, last, born, dies in spans:
        if first <= peak < last:
            bytes_by_cause[cause(born, dies)] += nbytes
    return _make_causes(name, bytes_by_cause)


def _make_causes(name: str, bytes_by_cause: Mapping[str, int]) -> Causes:
    saved, gradients, updates, temporary = (
        bytes_by_cause.get(why, 0) for why in (KEPT, GRADIENTS, UPDATES, TEMPORARY)
    )
    return Causes(name, saved, gradients, updates, temporary)
