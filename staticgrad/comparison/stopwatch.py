"""The stop-watch: two ways of doing something, in turns, on one thread each.

What is compared is processor time, for wall time counts whatever else a machine does; the least of
all turns, for nothing makes a program faster than it is. Both are given, with their spread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Final

from staticgrad.comparison.report import Pair, Timing

_FEWEST: Final = 3  # turns, whatever the time
_MOST: Final = 400
_LEAST: Final = 2e-3  # seconds of one measurement: shorter steps are repeated within it
_GROUPS: Final = 5  # of which the range of the ratio is taken
Run = Callable[[], object]
Sample = tuple[float, float]  # seconds of one run: of the processor, of the clock


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, the matrix products of NumPy and SciPy run on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def pools() -> int:
    """The most threads that a library of this process takes now, as far as it can be told."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def timed(at: int, by_run: Run, then_run: Run, seconds: float) -> Pair:
    """Time both in turns until ``seconds`` of wall time are up, ``_FEWEST`` turns at least."""
    runs = (by_run, then_run)
    inner = [_repeats(run) for run in runs]
    samples: list[list[Sample]] = [[], []]
    end = time.perf_counter() + seconds
    for turn in count():
        if turn >= _MOST or (turn >= _FEWEST and time.perf_counter() > end):
            break
        for run, times, own in zip(runs, inner, samples, strict=True):
            own.append(_sample(run, times))
    one, two = samples
    return Pair(at, _timing(one), _timing(two), _range(one, two))


def _repeats(run: Run) -> int:
    """How often to run within one measurement."""
    run()
    return max(1, min(1000, int(_LEAST / max(_sample(run, 1)[1], 1e-6))))


def _sample(run: Run, times: int) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


def _timing(samples: Sequence[Sample]) -> Timing:
    cpu, wall = (sorted(times) for times in zip(*samples, strict=True))
    lower, median, upper = statistics.quantiles(wall, n=4)
    return Timing(cpu[0], wall[0], lower, median, upper, len(samples), sum(wall) / sum(cpu))


def _range(one: Sequence[Sample], two: Sequence[Sample]) -> tuple[float, float]:
    """The least and largest ratio of minima among parts of the measurement."""
    size = -(-len(one) // _GROUPS)
    found = [
        min(one[k : k + size])[0] / min(two[k : k + size])[0] for k in range(0, len(one), size)
    ]
    return min(found), max(found)
