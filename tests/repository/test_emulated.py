"""Slices of the tests on an emulated processor: what is chosen, and what is recorded."""

import sys

from click.testing import CliRunner

from tests import emulated


def test_slices_that_have_not_run_for_longest_come_first(tmp_path):
    record = tmp_path / "record.txt"
    record.write_text("b | passed | 1 | x\na | FAILED | 2 | y\ngone | passed | 1 | z\n", "utf-8")
    assert emulated.order(["a", "b", "c"], emulated.read(record)) == ["c", "b", "a"]
    assert emulated.read(tmp_path / "none.txt") == {}


def test_slices_are_files_of_tests_and_all_digests():
    chosen = emulated.slices()
    assert "tests/native/test_pool.py" in chosen
    assert "tests/repository/test_emulated.py" not in chosen
    digests = [arguments for name, arguments in chosen.items() if name.startswith("golden_bits")]
    assert [arguments[-1] for arguments in digests] == [str(k) for k in range(emulated.DIGESTS)]


def test_a_run_records_how_each_slice_ended_and_fails_if_one_does(tmp_path, monkeypatch):
    record = tmp_path / "record.txt"
    programs = {"good": "print('2 passed')", "bad": "print('1 failed'); raise SystemExit(1)"}
    chosen = {name: ["-c", program] for name, program in programs.items()}
    monkeypatch.setattr(emulated, "slices", lambda: chosen)
    arguments = ["run", "--python", sys.executable, "--record", str(record)]
    result = CliRunner().invoke(emulated.main, arguments)
    assert result.exit_code == 1
    ended = {name: line.split(" | ")[1::2] for name, line in emulated.read(record).items()}
    assert ended == {"good": ["passed", "2 passed"], "bad": ["FAILED", "1 failed"]}
    monkeypatch.setattr(emulated, "slices", lambda: {"good": chosen["good"]})
    assert CliRunner().invoke(emulated.main, arguments).exit_code == 0
    assert [*emulated.read(record)] == ["bad", "good"]


def test_requirements_are_those_of_the_package_and_of_most_tests():
    printed = CliRunner().invoke(emulated.main, ["requirements"]).stdout.splitlines()
    assert {line.split(">")[0] for line in printed} >= {"numpy", "llvmlite", *emulated.TEST}
