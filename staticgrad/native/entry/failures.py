"""Errors of calls by C functions: a call returns a status, and its thread may then take the error.

Threads of other languages have no storage of Python's that outlives a call, so errors are kept by
the number of the thread.
"""

from __future__ import annotations

import threading
from typing import Final

from staticgrad.errors import StaticgradError
from staticgrad.native.entry.words import Status

#: What a status says where no error was noted.
TEXTS: Final = {
    Status.GONE: "the compiled program is no more: keep it as long as it is called",
    Status.SIZES: "the sizes of a call are not those of the program",
    Status.INTERRUPTED: "the call was interrupted",
}
_errors: Final[dict[int, BaseException]] = {}


def note_error(error: BaseException) -> None:
    """Keep the error of a call that fails in this thread."""
    _errors[threading.get_ident()] = error


def take_error() -> BaseException | None:
    """Return the error of this thread's latest call that failed, once; None if there is none."""
    return _errors.pop(threading.get_ident(), None)


def take_text(status: int) -> str:
    """Return the message of this thread's latest call that failed, without its code."""
    error = take_error()
    if error is None:
        return TEXTS.get(Status(status), f"the call of a program failed with status {status}")
    text = str(error)
    if isinstance(error, StaticgradError):
        return text.removeprefix(f"[{error.code}] ")
    return f"{type(error).__name__}: {text}"
