"""The interpreter's end: what it waits for, and Ctrl-C meanwhile."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress


def at_exit(call: Callable[[], object]) -> None:
    """Register a call for the interpreter's end, the latest first; Ctrl-C ends it silently.

    Python would print a traceback of this package and go on all the same.
    """
    atexit.register(_call_silently, call)


def _call_silently(call: Callable[[], object]) -> None:
    with suppress(KeyboardInterrupt):
        call()
