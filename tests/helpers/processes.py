"""Threads that a test runs to their end, and Python in a process of its own."""

import os
import subprocess
import sys
import threading

from staticgrad.extend import ranks as ranks_of_extensions
from staticgrad.support import ranks


def in_threads(*calls, seconds=100.0):
    """Call each in a thread of its own, and wait until all have ended."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "a thread hangs"


def python(*arguments, check=True, env=None, **options):
    """Run ``python ARGUMENTS`` with these variables besides; it succeeds unless ``check=False``."""
    options = {
        "capture_output": True,
        "text": True,
        "env": {**os.environ, **(env or {})},
        **options,
    }
    done = subprocess.run([sys.executable, *map(str, arguments)], check=False, **options)
    assert not check or done.returncode == 0, done.stderr
    return done


def pretend_ranks(monkeypatch, **functions):
    """Replace ``job`` or ``running`` of an MPI job, for the core and for ``staticgrad.extend``."""
    for name, function in functions.items():
        monkeypatch.setattr(ranks, name, function)
        monkeypatch.setattr(ranks_of_extensions, name, function)
