"""A limit of time for a step that runs on the tape: a loop of Python may never end."""

from __future__ import annotations

import ast
import ctypes
import linecache
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import staticgrad as sg
from staticgrad.errors import ProgramError
from staticgrad.extend.building import Location, SourceLine

#: Seconds that a step may take on the tape: a comparison runs at least twenty.
LIMIT: Final = 30.0
_PACKAGE: Final = str(Path(sg.__file__).parent)


class _OutOfTimeError(BaseException):
    """Raised in a thread whose step takes too long."""


@contextmanager
def limit_time(name: str, at: Location, seconds: float | None = None) -> Iterator[None]:
    """Stop a step of the tape after ``seconds``, by an error at the user's running loop.

    Only Python code is stopped, between two instructions.

    Raises:
        ProgramError: the step has not ended; at the user's loop that was running, else at ``at``.
    """
    most = LIMIT if seconds is None else seconds
    thread, ended, thrown = ctypes.c_ulong(threading.get_ident()), False, False

    def stop() -> None:
        nonlocal thrown
        thrown = True  # before it looks: the step waits for what is thrown
        thrown = not ended
        if thrown:
            throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
            throw(thread, ctypes.py_object(_OutOfTimeError))

    timer = threading.Timer(most, stop)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            ended = True
            while thrown and timer.is_alive():
                if isinstance(sys.exception(), _OutOfTimeError):
                    break
                time.sleep(0.001)  # until the error arrives
    except _OutOfTimeError as error:
        loop = _running_loop(error)
        raise ProgramError(
            f"{name}: a step has not ended in {most:g} s on the tape",
            details=[] if loop is None else [f"the loop that was running: {loop.text.strip()}"],
            hint="bound the loop: for _ in range(1000): ...; if loss <= limit: break",
            at=at if loop is None else loop,
        ) from None
    finally:
        timer.cancel()


def _running_loop(error: BaseException) -> SourceLine | None:
    """Find the innermost loop of the user's code in a traceback, or the innermost line."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_PACKAGE) and frame.line and frame.lineno
    ]  # fmt: skip
    shown: SourceLine | None = None
    for frame in reversed(frames):
        lines = linecache.getlines(frame.filename)
        running = frame.lineno or 1
        shown = shown or _line(frame.filename, running, frame.name)
        try:
            nodes = [*ast.walk(ast.parse("".join(lines)))]
        except SyntaxError:
            continue
        loops = [
            node.lineno for node in nodes
            if isinstance(node, ast.While | ast.For)
            and node.lineno <= running <= (node.end_lineno or node.lineno)
        ]  # fmt: skip
        if loops:
            return _line(frame.filename, max(loops), frame.name)
    return shown


def _line(file: str, line: int, function: str) -> SourceLine:
    return SourceLine(file, line, text=linecache.getline(file, line).rstrip(), function=function)
