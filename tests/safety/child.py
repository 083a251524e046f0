"""Runs a script of this folder in a process of its own, so that a crash is one failed test."""

import os
import subprocess
import sys
from pathlib import Path

from staticgrad.native import cache

ROOT = Path(__file__).parents[2]


def run_child(module, *arguments, flags=(), timeout=300, **environment):
    """Return what ``python -m tests.safety.<module>`` printed; fails with its last lines."""
    done = subprocess.run(
        [sys.executable, *flags, "-m", f"tests.safety.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-3:])
        raise AssertionError(f"exit {done.returncode} after\n{last}\n{done.stderr[-4000:]}")
    return done.stdout


def say(*words):
    """One line of a child's output, at once: the next thing it does may be its last."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def entry_at(path):
    """The entry of a file of the cache of kernels; None if it is not whole, or another's."""
    return cache._decode(path.stem.partition("-")[2], path.read_bytes())
