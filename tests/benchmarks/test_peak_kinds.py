"""Rows of ``peak_kinds``: without a graph there is no arena, and figures above have reasons."""

import pytest

from benchmarks.memory.peak_kinds import _FOLDERS, line, measure_row

VARYING = sorted(_FOLDERS[1].glob("*.py"))


def test_a_program_on_the_tape_alone_has_no_arena():
    pytest.importorskip("torch")
    (file,) = (path for path in VARYING if path.stem == "python_while")
    row = measure_row(file)
    assert row["arena"] is None
    assert row["reason"] == ""
    assert row["torch"] >= 4 * 256 * 8 * 2  # errors, and what they are the difference of
    assert row["tape"] >= 4 * 256 * 8 * 2
    cells = [cell.strip() for cell in line(row, {"arena": 7}).split("|")]
    assert cells[1:4] == ["python_while", "", "7"]
    assert cells[6:8] == ["", f"{row['tape'] / row['torch']:.2f}"]


def test_programs_that_vary_are_what_they_say():
    assert [file.stem for file in VARYING] == ["growing", "python_if", "python_while"]
