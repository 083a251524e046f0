"""Slower beyond noise is caught, noise is not; more planned bytes and lost rows are."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.compare import compare, text
from benchmarks.measure import summary
from benchmarks.schema import Limits, Memory
from tests.benchmarks.made_up import report, row


def compared(old, new):
    return compare(report(old), report(new))


def worse(found):
    return [change.what for change in found.changes if change.worse]


def drawn(center, spread, seed):
    """A row whose samples are drawn from a lognormal distribution, as times are."""
    random = np.random.default_rng(seed)
    base = row("staticgrad", [center] * 3)
    rounds = tuple(
        replace(r, dropped=summary(center * np.exp(random.normal(0, spread, 300))))
        for r in base.rounds
    )
    return replace(base, rounds=rounds)


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.05, 0.2])
def test_the_same_distribution_is_never_slower(spread):
    for seed in range(20):
        found = compared(drawn(1e-3, spread, seed), drawn(1e-3, spread, seed + 100))
        assert worse(found) == []


@pytest.mark.parametrize(("spread", "factor"), [(0.001, 1.06), (0.01, 1.1), (0.05, 1.2)])
def test_a_slower_distribution_is_caught(spread, factor):
    for seed in range(20):
        slow = drawn(1e-3 * factor, spread, seed + 100)
        assert worse(compared(drawn(1e-3, spread, seed), slow)) == ["time per call"]


def test_one_more_planned_byte_is_caught():
    old = row("staticgrad", [1.0])
    found = compared(old, replace(old, memory=Memory(1, 2, 4097)))
    assert worse(found) == ["planned bytes"]
    assert worse(compared(old, replace(old, memory=Memory(9, 9, 4095)))) == []
    old = row("staticgrad", [1.0])
    found = compared(old, replace(old, status="wrong", detail="w is off", rounds=()))
    assert found.worse
    assert "LOST    mlp staticgrad 1: wrong: w is off" in text(found)


def disturbed(found):
    return replace(found, rounds=tuple(replace(r, busy=0.5) for r in found.rounds))


ANOTHER = replace(report().machine, processor="another")
OTHERS = [row(f"peer{number}", [1.0]) for number in range(20)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (report(disturbed(row("a", [1.0])), *OTHERS), report(row("a", [2.0]), *OTHERS)),
        (report(row("a", [1.0]), *OTHERS), report(disturbed(row("a", [2.0])), *OTHERS)),
        # Many of the other rows were disturbed: the run is noisy.
        (report(row("a", [1.0]), *map(disturbed, OTHERS)), report(row("a", [2.0]), *OTHERS)),
        (report(row("a", [1.0])),
         replace(report(row("a", [2.0])), limits=(Limits(1, 5e10, 1, 1),))),
        (report(row("a", [1.0])), replace(report(row("a", [2.0])), machine=ANOTHER)),
    ],
)  # fmt: skip
def test_a_difference_in_a_noisy_run_is_unsure(old, new):
    found = compare(old, new)
    assert not found.worse
    assert "unsure  mlp a 1: time per call 1 s -> 2 s" in text(found)
    assert "measure both again on a quiet machine" in text(found)
