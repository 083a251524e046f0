"""Kinds of convolutions that are timed: what their results are compared with, and the table."""

import json

import numpy as np
import pytest

from benchmarks import convolutions
from benchmarks.convolutions import PARTS, Kind, calls, check

KINDS = [
    Kind(2, (4, 6), (5, 7), (3, 2), stride=2, padding=1, dilation=2, groups=2),
    Kind(2, (4, 6), (5, 4), (3, 3), stride=2, padding=1, groups=2, transposed=True),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_results_are_compared_with_direct_sums(kind):
    given, made = calls("staticgrad", kind, 1)
    found = {part: np.array(call()) for part, call in made.items()}
    check(kind, given, found)
    for part in PARTS:
        wrong = found | {part: found[part] * 1.01}
        with pytest.raises(RuntimeError, match="instead of" if part == "result" else part):
            check(kind, given, wrong)


def test_times_go_into_a_file_and_a_table(tmp_path, monkeypatch, capsys):
    file = tmp_path / "found.json"
    monkeypatch.setattr(convolutions, "KINDS", KINDS[:1])
    convolutions.main(["--threads", "1", "--into", str(file), "--each", "0"])
    (name,) = found = json.loads(file.read_text())
    assert name == "staticgrad 1"
    times = found[name][str(KINDS[0])]
    assert [*times] == [*PARTS]
    assert min(times.values()) > 0
    found["torch 1"] = {str(KINDS[0]): {part: 2 * ms for part, ms in times.items()}}
    file.write_text(json.dumps(found))
    convolutions.main(["--report", str(file)])
    table = capsys.readouterr().out
    assert table.count("| 0.5") >= 3
    assert "| 3x2/2, dilation 2, 2 groups | 2, 4 to 6 at 5x7 |" in table
    assert "1 thread\n" in table


def test_kinds_have_names_of_their_own():
    assert len({str(kind) for kind in convolutions.KINDS}) == len(convolutions.KINDS)
