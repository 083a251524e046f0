"""A line on the terminal that says what takes long, and is erased when it has ended.

Nothing is written into files, pipes, notebooks, or in continuous integration.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final

_AFTER: Final = 1.0  # seconds: what takes less needs no line
_ERASE: Final = "\r\x1b[K"
_busy: Final = Lock()  # held by the one that has the line


def is_there() -> bool:
    """Return whether standard error is a terminal, and nothing stands in its place."""
    stream = sys.__stderr__
    if stream is None or sys.stderr is not stream or not stream.isatty():
        return False
    return "CI" not in os.environ and os.environ.get("TERM") != "dumb"


def write(line: str) -> None:
    """Write a line in the place of the one before; an empty one erases it."""
    with suppress(OSError, ValueError):  # a terminal that was closed
        sys.stderr.write(_ERASE + line)
        sys.stderr.flush()


class working:  # noqa: N801 - a context manager, used as a function
    """Say after a second what the block does, and for how long: ``compiling step  3 s``.

    Attributes:
        stage: what it does now.
    """

    def __init__(self, what: str) -> None:
        self._what, self.stage = what, ""
        self._ended: Event | None = None

    def __enter__(self) -> working:
        if is_there() and _busy.acquire(blocking=False):
            self._ended = Event()
            self._thread = Thread(target=self._show, args=(self._ended,), daemon=True)
            try:
                self._thread.start()
            except (RuntimeError, MemoryError):  # no more threads
                self._leave()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._ended is not None:
            try:
                self._ended.set()
                if self._thread.ident is not None:
                    self._thread.join()
            finally:
                self._leave()

    def _leave(self) -> None:
        """Let others have the line."""
        self._ended = None
        _busy.release()

    def _show(self, ended: Event) -> None:
        with suppress(Exception):  # the line is worth no traceback
            began, shown = time.perf_counter(), False
            while not ended.wait(_AFTER):
                stage = f": {self.stage}" if self.stage else ""
                seconds = time.perf_counter() - began
                line, room = f"{self._what}{stage}  {seconds:.0f} s", _columns() - 1
                write(line if len(line) <= room else f"{line[: room - 1]}…")
                shown = True
            if shown:
                write("")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
