"""A long compilation shows a line on a terminal after a second, and nothing anywhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

#: Compiles a program, which takes as many seconds longer as the first argument says.
PROGRAM = """
import sys, time
import numpy as np, staticgrad as sg
from staticgrad.compiler.compiling.artifacts import Kernels

def slowly(*args, begin=Kernels.begin, **kwargs):
    time.sleep(float(sys.argv[1]))
    return begin(*args, **kwargs)

Kernels.begin = slowly

@sg.function
def step(x):
    return sg.exp(x) + 1.0

step(np.ones(3))
print("done")
"""


def run(seconds, *, on_terminal=True, **variables):
    """Return the output of the program to standard error."""
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "TERM")}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", **variables}
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=env,
    ) as process:
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 4096):
                output += part
        except OSError:  # the other end of a terminal was closed
            pass
        assert process.stdout is not None
        assert process.stdout.read() == b"done\n"
    os.close(ours)
    return output.decode()


@pytest.mark.slow
def test_a_long_compilation_shows_a_line_that_is_erased():
    output = run(2.5)
    assert "compiling step: machine code of 1 steps  " in output
    assert output.endswith("\r\x1b[K")
    assert "\n" not in output


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"on_terminal": False}, {"CI": "true"}, {"TERM": "dumb"}])
def test_nothing_is_written_elsewhere(how):
    assert run(1.5, **how) == ""
