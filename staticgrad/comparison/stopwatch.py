"""Processor time of two ways in turns, on one thread.

What is timed is processor time, for wall time counts whatever else a machine does; the least of all
turns is given, with their spread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from staticgrad.comparison.report import Pair, Timing

_MOST: Final = 100  # turns of one part
#: Seconds of one measurement: shorter steps are repeated within it. Far below the time that a
#: system gives a process at a stretch, so that some are not interrupted.
_LEAST: Final = 2e-4
_BURST: Final = 4  # measurements of a way in its turn: the first finds the caches of the other
PARTS: Final = 5  # of a measurement; the range of a ratio is that among them
Run = Callable[[], object]
Sample = tuple[float, float]  # seconds of one run: of the processor, of the clock


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, the matrix products of NumPy and SciPy run on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def pools() -> int:
    """The most threads that a library of this process takes, as far as it can be told."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def pools_while_timed() -> int:
    """The same while steps are timed: a library that was loaded since is limited there, too."""
    with one_thread():
        return pools()


class Race:
    """Two ways of doing something, timed in turns, in several parts that may lie far apart.

    A machine that is busy for a second hides the least time of whatever is timed in that second; so
    several races take turns, too.
    """

    def __init__(self, at: int, by_run: Run, then_run: Run) -> None:
        """Run each way twice, to warm up and to estimate its time."""
        self._at, self._runs = at, (by_run, then_run)
        self._repeats = [_repeats(run) for run in self._runs]
        self._parts: list[list[list[Sample]]] = []  # of each part the samples of both ways

    def run(self, seconds: float) -> None:
        """Run one part: turns until ``seconds`` of wall time are over, at least one."""
        with one_thread():  # a library may have been loaded since
            self._run(seconds)

    def _run(self, seconds: float) -> None:
        samples: list[list[Sample]] = [[], []]
        end = time.perf_counter() + seconds
        for turn in range(_MOST):
            if turn and time.perf_counter() > end:
                break
            for run, times, own in zip(self._runs, self._repeats, samples, strict=True):
                own += [_sample(run, times) for _ in range(_BURST)]
        self._parts.append(samples)

    def pair(self) -> Pair:
        """Return the measured times; at least two parts must have been measured."""
        ratios = [min(one)[0] / min(two)[0] for one, two in self._parts]
        one, two = ([s for part in self._parts for s in part[way]] for way in (0, 1))
        return Pair(self._at, _timing(one), _timing(two), (min(ratios), max(ratios)))


def _repeats(run: Run) -> int:
    """Return the number of repetitions within one measurement."""
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
