"""The measuring loop, on a clock that only the measured program moves."""

import numpy as np
import pytest

from benchmarks.measure import SHORTEST, steady


class Program:
    """Takes these times, one after the other and over again; counts its results alive."""

    def __init__(self, *costs):
        self.costs, self.now, self.calls, self.alive = costs, 0.0, 0, []

    def __call__(self):
        self.now += self.costs[self.calls % len(self.costs)]
        self.calls += 1
        return np.zeros(1)

    def clock(self):
        return self.now


@pytest.mark.parametrize("cost", [1e-7, 3e-5, 1e-3, 7.0])
def test_the_median_is_the_cost(cost):
    program = Program(cost)
    found = steady(program, 0.05, program.clock)
    assert found.median == pytest.approx(cost, rel=1e-6)
    assert found.samples >= 3


def test_quick_calls_are_timed_many_at_a_time():
    program = Program(1e-7)
    found = steady(program, 0.05, program.clock)
    assert program.calls / found.samples == pytest.approx(SHORTEST / 1e-7, rel=0.3)
    program = Program(1.0, 2.0, 3.0, 4.0, 5.0)
    found = steady(program, 1000.0, program.clock)
    assert (found.low, found.median, found.high) == pytest.approx((2, 3, 4), abs=0.01)
    assert found.late == pytest.approx(5, abs=0.01)
