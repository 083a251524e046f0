"""The types that users' checkers see: mypy --strict reads a program, and the program runs."""

import subprocess
import sys
from pathlib import Path

import pytest

import staticgrad as sg
from tests.typing import program

ROOT = Path(__file__).parents[2]


def test_a_strict_checker_sees_the_types_of_operators_derivatives_and_results(tmp_path):
    pytest.importorskip("mypy")
    options = ["--strict", "--config-file=", "--no-incremental", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *options]
    names = tmp_path / "names.py"  # a strict checker finds every public name
    names.write_text("import staticgrad as sg\n" + "".join(f"sg.{n}\n" for n in sg.__all__))
    files = [str(Path(program.__file__).relative_to(ROOT)), str(names)]
    run = subprocess.run([*command, *files], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


PARTS = (
    program.operators,
    program.methods,
    program.derivatives,
    program.programs,
    program.tensors,
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_program_runs(part):
    assert part() is None


@pytest.mark.parametrize("call", program.refused())
def test_what_the_checker_refuses_is_refused_in_a_run(call):
    with pytest.raises(sg.StaticgradError):
        call()
