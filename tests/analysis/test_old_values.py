"""An update may write over an old value after the last read by somebody else."""

import re
from pathlib import Path

from staticgrad.analysis.liveness import OldValues


def test_a_value_is_needed_until_its_last_run_by_another_step():
    reads = [(0, ["v"]), (1, ["v", "w"]), (0, ["v"]), (2, ["v", "w"])]  # step 0 runs twice
    old = OldValues(reads, {"v": {2}, "w": {1, 2}})
    assert old.is_needed("v")
    assert not old.is_needed("w"), "its writers alone read it"
    assert old.ran(0, ["v"]) == []
    assert old.ran(1, ["v", "w"]) == []
    assert old.is_needed("v")
    assert old.ran(0, ["v"]) == ["v"]
    assert not old.is_needed("v")
    assert old.ran(2, ["v", "w"]) == []


def test_those_who_place_updates_ask_one_rule():
    asking = set()
    for path in (*Path("passes").rglob("*.py"), *Path("staticgrad").rglob("*.py")):
        if re.search(r"\bOldValues\(|\bTakingOver\(", path.read_text()):
            asking.add(path.as_posix())
    assert asking == {
        "staticgrad/fusion/updates.py",
        "staticgrad/analysis/liveness.py",
        "staticgrad/analysis/repeats.py",
    }
