"""What a test runs beside itself: threads to their end, and Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any


def in_threads(*calls: Callable[[], object], seconds: float = 100.0) -> None:
    """Call each in a thread of its own, and wait until all have ended."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "a thread hangs"


def python(
    *arguments: Any, check: bool = True, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
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
