"""Time per call: medians and quartiles of many samples, a sample being enough calls to be timed.

The clock is a parameter, so that tests measure programs whose cost is known. Nothing here knows
what a call does.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.schema import Steady

Clock = Callable[[], float]
SHORTEST = 50e-6  # seconds of a sample: the clock's own cost is a thousandth of it
MOST_SAMPLES = 5000
KEPT = 8  # results that a caller holds on to in the "kept" measurement


def steady(step: Callable[[], Any], seconds: float, clock: Clock = time.perf_counter,
           keep: bool = False) -> Steady:  # fmt: skip
    """Call ``step`` for about ``seconds`` and summarise; at least three samples.

    With ``keep`` the caller holds the latest ``KEPT`` results, so that a library cannot use their
    memory again; else each result is dropped at once.
    """
    calls = _calls_per_sample(step, clock)
    results: deque[Any] = deque(maxlen=KEPT)
    samples: list[float] = []
    end = clock() + seconds
    while (clock() < end and len(samples) < MOST_SAMPLES) or len(samples) < 3:
        start = clock()
        if keep:
            for _ in range(calls):
                results.append(step())
        else:
            for _ in range(calls):
                step()
        samples.append((clock() - start) / calls)
    return summary(samples)


def _calls_per_sample(step: Callable[[], Any], clock: Clock) -> int:
    """Enough calls for ``SHORTEST``; the calls made here are the warm-up."""
    calls = 1
    while True:
        start = clock()
        for _ in range(calls):
            step()
        spent = clock() - start
        if spent >= SHORTEST:
            return max(1, round(calls * SHORTEST / spent))
        calls *= 4


def summary(samples: Sequence[float]) -> Steady:
    """Median, quartiles, 90th percentile and mean, in seconds."""
    low, middle, high, late = np.percentile(np.asarray(samples), (25, 50, 75, 90)).tolist()
    return Steady(middle, low, high, len(samples), late, float(np.mean(samples)))
