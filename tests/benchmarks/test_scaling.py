"""The growth of stages, at sizes that take no time."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import scaling


def test_every_stage_has_its_row(capsys, monkeypatch):
    collect = SimpleNamespace(collect=lambda: 0)  # of all that a test process has
    monkeypatch.setattr(scaling, "gc", collect)
    monkeypatch.setattr(
        "sys.argv", ["scaling", "--few", "40", "--nodes", "80", "--json", "--only", "wide"]
    )
    assert scaling.main() in (0, 1)
    table = json.loads(capsys.readouterr().out)
    assert [*table] == ["control", "wide"]
    assert {"passes", "fuse", "first plan", "verify plan"} <= {*table["wide"]}
    rows = [row for stages in table.values() for row in stages.values()]
    assert all([*row] == [*scaling.COLUMNS] for row in rows)


def test_what_grows_is_named():
    def row(ratio, calls, us=5.0):
        return dict(zip(scaling.COLUMNS, (us, us * ratio, ratio, 1.0, calls, calls), strict=True))

    table = {
        "control": {"walk": row(1.3, 1.0)},
        "chain": {
            "even": row(1.5, 1.1),
            "slow": row(1.6, 1.0),
            "many": row(1.3, 1.3),
            "fewer, longer": row(1.0, 1.3),
        },
        "wide": {"short": row(2.0, 2.0, 0.1)},
    }
    assert scaling.late(table) == ["chain: slow", "chain: many"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"), [("blocks", (6, 18)), ("chain", (450, 1350)), ("recurrence", (6, 18))]
)
def test_calls_per_node_stay(name, sizes):
    """Counts, not times: what is super-linear at these sizes is at any.

    Both sizes are decided alike: residuals leaves a chain as it is from some 400 nodes on, where
    its two clones would spare less than a hundredth of what is stored.
    """
    make = scaling.PROGRAMS[name]
    counts = []
    for size in sizes:
        nodes, calls = scaling.stages(make, size, calls=True)
        counts.append({stage: number / nodes for stage, number in calls.items()})
    few, many = counts
    grown = {stage: many[stage] / few[stage] for stage in few if many[stage] > 2}
    assert max(grown.values()) < 1.2, grown
