"""Ways of running a step, timed in turns: the least processor time counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from threadpoolctl import threadpool_info, threadpool_limits

from staticgrad.comparison.report import Pair, Timing
from staticgrad.extend.programs import wait

_MOST: Final = 100  # turns of one part
#: Seconds of one measurement: shorter steps are repeated within it. It is far below the time slice
#: of a system, so that some measurements are not interrupted.
_LEAST: Final = 5e-4
_SHORT: Final = 0.02  # seconds of a run that is estimated by several
_BURST: Final = 4  # measurements of a way in its turn: the first finds the caches of the other
#: Seconds of a run -> measurements of it in a turn: of a long one the caches do not matter.
_BURSTS: Final = ((0.25, 1), (0.05, 2))
PARTS: Final = 5  # of a measurement; the range of a ratio is that among them
Run = Callable[[], object]
Sample = tuple[float, float]  # seconds of one run: of the processor, of the clock


def one_thread() -> Any:
    """Return a context in which matrix products of NumPy and SciPy run on one thread."""
    return threadpool_limits(limits=1)


def pools() -> int:
    """Return the largest number of threads that a library of this process uses."""
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


class Race:
    """Ways of doing something, timed in turns, in several parts that may lie far apart.

    A machine that is busy for a second hides the minimum time of whatever is timed in that second;
    so several races take turns, too.
    """

    def __init__(self, at: int, *runs: Run, reset: Run | None = None) -> None:
        """Run each way, to warm up and to estimate its time.

        ``reset`` is called before each run, and does not count; each run is measured by itself.
        """
        self._at, self._runs, self._reset = at, runs, reset
        self._repeats, longest = [], 0.0
        for run in runs:
            self._sample(run, 1)
            wait()  # for full code
            once = self._sample(run, 1)[1]
            if once < _SHORT:  # one run may be interrupted
                once = min(once, *(self._sample(run, 1)[1] for _ in range(_BURST)))
            once = max(once, 1e-6)
            longest = max(longest, once)
            times = 1 if reset is not None else int(_LEAST / once)
            self._repeats.append(max(1, min(1000, times)))
        self._burst = next((n for least, n in _BURSTS if longest >= least), _BURST)
        self._parts: list[list[list[Sample]]] = []  # of each part the samples of all ways

    def run(self, seconds: float) -> None:
        """Time all ways in turns until ``seconds`` of wall time are over, at least once."""
        samples: list[list[Sample]] = [[] for _ in self._runs]
        end = time.perf_counter() + seconds
        with one_thread():  # a library may have been loaded since
            for turn in range(_MOST):
                if turn and time.perf_counter() > end:
                    break
                for run, times, way_samples in zip(self._runs, self._repeats, samples, strict=True):
                    way_samples += [self._sample(run, times) for _ in range(self._burst)]
        self._parts.append(samples)

    def _sample(self, run: Run, times: int) -> Sample:
        if self._reset is not None:
            self._reset()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            run()
        return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times

    def timings(self) -> list[Timing]:
        """Return the measured times of each way; at least two samples must have been taken."""
        ways = zip(*self._parts, strict=True)
        return [_timing([sample for part in parts for sample in part]) for parts in ways]

    def pair(self, first: int = 0, second: int = 1) -> Pair:
        """Return the measured times of two ways, by their numbers."""
        ratios = [min(part[first])[0] / min(part[second])[0] for part in self._parts]
        every = self.timings()
        return Pair(self._at, every[first], every[second], (min(ratios), max(ratios)))


def _timing(samples: Sequence[Sample]) -> Timing:
    cpu, wall = zip(*samples, strict=True)
    return Timing(min(cpu), sum(wall) / sum(cpu))
