"""Slower beyond noise is caught, noise is not; more planned bytes and lost rows are."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import __main__ as command, schema
from benchmarks.compare import compare, text
from benchmarks.measure import steady, summary
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


def test_a_difference_within_the_range_over_rounds_is_noise():
    assert worse(compared(row("a", [1.0, 1.2, 1.4]), row("a", [1.3, 1.4, 1.5]))) == []
    assert worse(compared(row("a", [1.2, 1.2, 1.2]), row("a", [1.4, 1.4, 1.4]))) != []
    found = compared(row("a", [1.0]), row("a", [0.5]))
    assert not found.worse
    assert "better  mlp a 1: time per call 1 s -> 500 ms" in text(found)


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


def test_one_disturbed_row_leaves_the_others_sure():
    old = report(row("a", [1.0]), *OTHERS)
    new = report(row("a", [2.0]), disturbed(OTHERS[0]), *OTHERS[1:])
    assert worse(compare(old, new)) == ["time per call"]
    old = disturbed(row("staticgrad", [1.0]))
    found = compared(old, replace(old, memory=Memory(1, 2, 4097)))
    assert worse(found) == ["planned bytes"]


def test_a_first_result_counts_the_import():
    old = row("a", [1.0])
    slow = tuple(replace(r, phases=replace(r.phases, imports=3.0)) for r in old.rounds)
    assert worse(compared(old, replace(old, rounds=slow))) == ["first result, cold"]


def test_a_slowed_kernel_is_caught_by_the_command(tmp_path, capsys):
    """The measuring loop itself runs, on a clock that only the measured program moves."""
    now = [0.0]

    def kernel(cost):
        def step():
            now[0] += cost

        return step

    files = []
    for name, cost in (("old", 1e-3), ("same", 1.01e-3), ("slow", 1.3e-3)):
        base = row("staticgrad", [1.0, 1.0])
        measured = steady(kernel(cost), 0.1, clock=lambda: now[0])
        rounds = tuple(replace(r, dropped=measured) for r in base.rounds)
        files.append(str(tmp_path / name))
        text_of = schema.dump(report(replace(base, rounds=rounds)))
        (tmp_path / name).write_text(text_of, encoding="utf-8")
    old, same, slow = files
    assert command.main(["--compare", old, same]) == 0
    assert command.main(["--compare", old, slow]) == 1
    assert "WORSE" in capsys.readouterr().out
