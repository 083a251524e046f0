"""The state of graph building: the user's line, named scope, derivative order, size guards.

One context, ``Building``, holds what is not an argument of the functions that build nodes. The line
is that of ``within(origin)`` (gradients, rewrites and clones are built for a line of their own), or
the one that is running. ``capture()`` is called for every node, so it only stores the code object
and the instruction. A frame belongs to the user when its file lies outside staticgrad and passes,
and outside the folders of installed packages and of the standard library. Of a program that has no
such frame, the innermost installed one counts.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import os
import re
import sys
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, Final

from staticgrad.support.contexts import Decorator
from staticgrad.support.records import NamedTuple
from staticgrad.support.source import NO_LINE, Location, Origin

_ROOT: Final = __file__.rpartition(f"{os.sep}staticgrad{os.sep}")[0]
_LIBRARY_FOLDERS: Final = tuple(
    f"{_ROOT}{os.sep}{package}{separator}"
    for package in ("staticgrad", "passes")
    for separator in "/\\"
)
_COMMANDS: Final = f"{_LIBRARY_FOLDERS[0]}tools{os.sep}commands{os.sep}"
#: Standard modules that only carry a call (a context manager, ``replace``, ``copy``).
_CARRIERS: Final = frozenset(
    str(module.__file__) for module in (contextlib, functools, dataclasses, copy)
)
#: The standard library, and the scripts that start installed programs.
_INSTALLED_FOLDERS: Final = (
    os.path.dirname(os.__file__) + os.sep,  # noqa: PTH120  # pathlib is not loaded for this
    os.path.join(sys.prefix, "Scripts" if os.name == "nt" else "bin", ""),  # noqa: PTH118
)
#: A folder of this name holds what was installed, wherever it stands.
_INSTALLED: Final = re.compile(r"[/\\](?:site|dist)-packages[/\\]")

#: File name of a code object -> whether its frames are passed over where the user has one.
_is_library: Final[dict[str, bool]] = {}


class Building(NamedTuple):
    """The state for everything that is built in one context.

    Attributes:
        scope: the path of named scopes, ``encoder/block3``; empty outside all.
        origin: the line to which nodes are attributed, instead of the one that is running.
        order: the derivative order of nodes: 0 forward, 1 gradients, and so on.
        guards: where shape inference notes the conditions on named sizes that it needs.
        block: the innermost ``within`` block, if any; outer: what holds outside of it.
    """

    scope: str = ""
    origin: Location | None = None
    order: int = 0
    guards: list[Any] | None = None
    block: Any = None
    outer: Any = None


_state: Final[ContextVar[Building]] = ContextVar("staticgrad_building", default=Building())  # noqa: B039  # it is immutable


class within(Decorator):  # noqa: N801 - a context manager, used as a function
    """Let what is built inside the block belong to a scope, a line, an order; collect its guards.

    What is not given stays as it is outside. It can be entered again, also nested, and by several
    threads at once; one that a generator holds takes out itself alone when it ends.
    """

    def __init__(
        self,
        origin: Location | None = None,
        order: int | None = None,
        scope: str = "",
        guards: list[Any] | None = None,
    ) -> None:
        self._origin, self._order, self._name, self._guards = origin, order, scope, guards

    def __enter__(self) -> None:
        outer = _state.get()
        path, origin, order, guards, _, _ = outer
        if self._name:
            path = f"{path}/{self._name}" if path else self._name
        if self._origin is not None:
            origin = self._origin
        if self._order is not None:
            order = self._order
        if self._guards is not None:
            guards = self._guards
        _state.set(Building(path, origin, order, guards, self, outer))

    def __exit__(self, *_exc_info: object) -> None:
        state, inside = _state.get(), []
        while state.block is not self:
            if state.block is None:
                return  # another thread or task has entered it
            inside.append(state.block)
            state = state.outer
        _state.set(state.outer)
        for block in reversed(inside):
            block.__enter__()


def current() -> Building:
    """Return the current state."""
    return _state.get()


def capture(skip: int = 0) -> Location:
    """Return the user's line for a new node: that of ``within(origin)``, or the running one.

    ``skip`` counts frames, the caller's first, that are known to be the library's; each one skipped
    saves a sixth of a microsecond.
    """
    scope, origin, _, _, _, _ = _state.get()
    if origin is not None:
        return origin
    try:
        frame = sys._getframe(1 + skip)
    except ValueError:  # an error of Numba's code, which Python makes when all frames have ended
        return NO_LINE
    return _running_line(frame, scope)


def here(skip: int = 0) -> tuple[Location, int]:
    """The line that counts here, as of ``capture``, and the derivative order: for a new node."""
    scope, origin, order, _, _, _ = _state.get()
    if origin is not None:
        return origin, order
    return _running_line(sys._getframe(1 + skip), scope), order


def _running_line(start: FrameType, scope: str) -> Origin:
    """Return the user's running line: the innermost frame outside the library."""
    frame = start
    try:
        while _is_library[frame.f_code.co_filename]:
            frame = frame.f_back  # type: ignore[assignment]  # None ends in the handler below
    except (KeyError, AttributeError):  # a file not seen before, or no user frame at all
        frame = user_frame()
    return Origin((frame.f_code, frame.f_lasti, scope))


def user_frame() -> FrameType:
    """Return the innermost frame of the user's own files.

    Where there is none, the innermost one of an installed package or of the standard library that
    does not merely carry the call; else the outermost frame. What calls a command of staticgrad,
    the parser of the command line, is no program of the user's.
    """
    frame = sys._getframe(1)
    installed = None
    while _frame_is_library(frame):
        if installed is None and _is_installed(frame.f_code.co_filename):
            installed = frame
        if frame.f_back is None or frame.f_code.co_filename.startswith(_COMMANDS):
            return installed or frame
        frame = frame.f_back
    return frame


def running_program() -> CodeType:
    """Return the code of the running program: a script, a cell, a module that is imported.

    Where the user's code runs in none of these, as in a test, it is the user's outermost function.
    """
    frame: FrameType | None = user_frame()
    code = frame.f_code  # type: ignore[union-attr]
    while frame is not None and code.co_name != "<module>":
        if not _frame_is_library(frame):
            code = frame.f_code
        frame = frame.f_back
    return code


def count_as_user(file: str) -> None:
    """Let the frames of a file inside the package be user lines: for the programs it ships."""
    _is_library[file] = False


def is_user_file(file: str) -> bool:
    """Return whether frames of a file belong to the user."""
    is_library = _is_library.get(file)
    return not (_file_is_library(file) if is_library is None else is_library)


def is_package_file(file: str) -> bool:
    """Return whether frames of a file are the package's own, or only carry a call of its."""
    if file.startswith("<"):
        return file.startswith(("<staticgrad ", "<__array_function__ "))
    ours = file.startswith(_LIBRARY_FOLDERS) or file in _CARRIERS
    return ours and _is_library.get(file, True)


def _frame_is_library(frame: FrameType) -> bool:
    """Return whether a stack frame is of this package or its dependencies, not the user's."""
    file = frame.f_code.co_filename
    is_library = _is_library.get(file)
    if is_library is not None:
        return is_library
    if file == "<string>":  # a program of ``python -c``, or a method that dataclasses generated
        return frame.f_code.co_qualname.startswith("__create_fn__.")
    is_library = _is_library[file] = _file_is_library(file)
    return is_library


def _file_is_library(file: str) -> bool:
    if file.startswith("<"):
        return file.startswith(("<frozen ", "<staticgrad ", "<__array_function__ "))
    return file.startswith((*_LIBRARY_FOLDERS, *_INSTALLED_FOLDERS)) or bool(
        _INSTALLED.search(file)
    )


def _is_installed(file: str) -> bool:
    """Return whether a skipped file belongs to another package, which called staticgrad."""
    if file.startswith(("<", *_LIBRARY_FOLDERS)) or file in _CARRIERS:
        return False
    numpy_file = getattr(sys.modules.get("numpy"), "__file__", None)
    numpy_folder = (numpy_file or "").rpartition(os.sep)[0]
    return not (numpy_folder and file.startswith(numpy_folder + os.sep))
