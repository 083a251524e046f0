"""Mistakes that users make are reported in their terms, at the line at fault."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from staticgrad.errors import CODES
from tests.mistakes.cases import CASES, problem, read

ROOT = Path(__file__).parents[2]

#: Codes that no small program provokes: they take a broken installation, machine or library.
ELSEWHERE = {
    "SG100", "SG203", "SG204", "SG410", "SG411", "SG501", "SG502", "SG504", "SG505",
    "SG208", "SG209", "SG413", "SG414", "SG416", "SG506", "SG507", "SG900", "SG906", "SG907",
    "SG210", "SG908", "SG912", "SG913", "SG914",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_reported_where_it_is(case, tmp_path):
    assert problem(case, tmp_path) == ""


def test_the_list_is_long_and_provokes_every_code():
    names = Counter(str(case) for case in CASES)
    assert [name for name, count in names.items() if count > 1] == []
    assert sum(case.line > 0 for case in CASES) >= 400
    assert len({case.family for case in CASES}) >= 12
    provoked = {case.expected for case in CASES}
    assert set(CODES) - provoked - ELSEWHERE == set()
    assert provoked & ELSEWHERE == set()


@pytest.mark.slow
def test_all_the_same_without_assert_statements():
    command = [sys.executable, "-O", "-m", "tests.mistakes.cases"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{len(CASES)} programs, 0 problems\n"


WRONG = {
    "no error": "x = sg.input('x', ())  # <- SG101",
    "another code": "x = sg.input('', ())  # <- SG101",
    "another line": "x = sg.input('x', ())  # <- SG108\ny = sg.input('', ())",
    "another word": "x = sg.input('', ())  # <- SG108 full",
    "another class": "x = {}['x']  # <- ValueError",
    "an error that nobody expects": "x = 1 / 0",
    "a warning": "import warnings\nwarnings.warn('no')",
    "a result": "check(1, 2)",
    "an error behind another": "try:\n    1 / 0\nexcept ZeroDivisionError:\n"
    "    sg.input('', ())  # <- SG108",
    "a parameter that changes": "w = sg.parameter('w', 1.0)\ndef f():\n    w.value = 2\n"
    "    sg.input('', ())  # <- SG108\nf()",
    "a program that runs no more": "x = sg.input('x', ())\nf = sg.compile(x * 2)\n"
    "good = {'x': 1.0}\nf.run = lambda feeds: 3.0\nsg.input('', ())  # <- SG108",
}


@pytest.mark.parametrize("name", WRONG)
def test_the_judge_finds(name, tmp_path):
    (case,) = read(f"=== {name}\n{WRONG[name]}\n", "wrong")
    assert problem(case, tmp_path) != ""


def run_python(*arguments, program=""):
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, input=program, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr


PROGRAM = 'import staticgrad as sg\nx = sg.input("x", (3,))\ny = x.sum(axis=4)\n'


def test_programs_without_a_file_have_lines_too():
    assert "[SG103] sum: no axis 4 in f32[3]\n  <string>:3\n" in run_python("-c", PROGRAM)
    assert "[SG103] sum: no axis 4 in f32[3]\n  <stdin>:3\n" in run_python("-", program=PROGRAM)


@pytest.mark.slow
def test_what_python_prints_at_the_end_is_the_message(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    printed = run_python(str(script))
    assert printed.count("Traceback") == 1
    assert "another exception" not in printed
    message = printed[printed.index("staticgrad.errors.AxisError: [SG103]") :]
    assert "train.py:3\n      y = x.sum(axis=4)\n          ^^^^^^^^^^^^^\n" in message
    assert len(message.splitlines()) <= 12
