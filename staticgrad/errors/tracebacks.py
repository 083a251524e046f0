"""Tracebacks of the user's frames alone, and user files that hide the package ``passes``.

A traceback grows while the interpreter unwinds, so frames can only be left out where an error
crosses from the package into other code. The public functions, methods and operators are these
boundaries: each has an ``except`` clause, which costs a successful call nothing, and calls
``cut_frames`` there. ``STATICGRAD_TRACEBACK=full`` leaves tracebacks whole.

A file of the user called ``passes`` would be imported in the place of the package; it is named.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.util import find_spec
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from staticgrad.errors import ShadowedPackageError, StaticgradError
from staticgrad.exports import FUNCTIONS, LAYERS, OTHERS, homes
from staticgrad.support.building import is_package_file, is_user_file
from staticgrad.support.signatures import ShownSignature
from staticgrad.support.upward import up

P = ParamSpec("P")
T = TypeVar("T")

#: Code of a public function or method -> its name. Methods without one are named by their class.
_NAMES: Final[dict[CodeType, str]] = {}
_NAMED_BY_ARGUMENT: Final[set[CodeType]] = set()
_OF_CLASSES: Final = ("__init__", "__new__", "__post_init__", "__call__", "forward")


def boundary(function: Callable[P, T], call: Callable[..., Any] | None = None) -> Callable[P, T]:
    """Make ``function`` public: errors leave it without the package's frames, and arguments that
    its signature does not take are explained.

    ``call`` runs in its place: it reads the arguments first (``language/calls/arguments.py``).
    """
    if function.__name__ == "__getattr__":
        return _wrap_getattr(function)
    run = call or function
    _NAMES[_innermost(function).__code__] = function.__name__

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        """Call the public function; cut its frames from errors, and explain wrong arguments."""
        try:
            try:
                return run(*args, **kwargs)
            except Exception as error:
                refuse_misfit(error, function, args, kwargs)
                raise
        except Exception as error:
            cut_frames(error)
            raise

    wrapper.__signature__ = ShownSignature(function)  # type: ignore[attr-defined]
    return wrapper


def _innermost(function: Any) -> Any:
    """Return the function that decorators have wrapped."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function if hasattr(function, "__code__") else boundary


def names_messages(function: Callable[P, T]) -> Callable[P, T]:
    """Let messages begin with the argument ``name`` of ``function`` while it runs."""
    _NAMED_BY_ARGUMENT.add(function.__code__)
    return function


@names_messages
def called_as(name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function; messages begin with ``name``, whoever calls it: a program that traces it,
    or a user who got it from a public function of that name."""
    return function(*args, **kwargs)


def called_name() -> str:
    """Return the name of the running public function or op, to begin error messages with.

    Helpers call it for a message, so nobody passes names to them. Where no public function runs,
    it is the first function of the package.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_argcount and code.co_varnames[0] in ("self", "cls"):
            first = frame.f_locals.get(code.co_varnames[0])
            if getattr(type(first), "names_messages", False):
                return str(first.name)  # type: ignore[union-attr]
            if code.co_name in _OF_CLASSES and code in _NAMES:
                return (first if isinstance(first, type) else type(first)).__name__
        elif code in _NAMED_BY_ARGUMENT:
            return str(frame.f_locals["name"])
        name = _NAMES.get(code) or _public_names().get((frame.f_globals["__name__"], code.co_name))
        if name and (code in _NAMES or code.co_qualname == code.co_name):
            return name
        frame = frame.f_back
    return _called_first()


def _called_first() -> str:
    """Return the name of the outermost public function on the stack."""
    frame: FrameType | None = sys._getframe(2)
    first = ""
    while frame is not None:
        if is_package_file(frame.f_code.co_filename):
            first = frame.f_code.co_name
        frame = frame.f_back
    return first


@cache
def _public_names() -> dict[tuple[str, str], str]:
    """Map (module, name) of a function to its public name."""
    names: dict[tuple[str, str], str] = {}
    for table in (OTHERS, LAYERS, FUNCTIONS):
        for name, home in homes(table).items():
            if names.get(home) != home[1]:  # of several names the function's own
                names[home] = name
    return names


def is_boundary(function: FunctionType) -> bool:
    """Return whether ``boundary`` made the function."""
    return function.__code__ is _CALLED


def _wrap_getattr(function: Callable[P, T]) -> Callable[P, T]:
    """Make a ``__getattr__`` a boundary of tracebacks; a missing attribute stays cheap."""

    @functools.wraps(function)
    def looked_up(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except AttributeError as error:
            error.__traceback__ = None
            raise

    return looked_up


_CALLED: Final = boundary(lambda: None).__code__


def make_boundaries(kind: type[T]) -> type[T]:
    """Make the constructor and every public method, operator and property of a class boundaries."""
    for name, member in [*vars(kind).items()]:
        if name.startswith("_") and not name.endswith("__"):
            continue
        if isinstance(member, property):
            get, put, drop = (
                part and boundary(part) for part in (member.fget, member.fset, member.fdel)
            )
            setattr(kind, name, property(get, put, drop))
        elif isinstance(member, FunctionType) and "cut_frames" not in member.__code__.co_names:
            member.__module__ = (
                member.__module__ or kind.__module__
            )  # of a constructor of a data class
            setattr(kind, name, boundary(member))
    return kind


def cut_frames(error: Exception) -> None:
    """Take the package's frames out of the traceback of an error that leaves the package.

    For the ``except`` clause of a public function, which then re-raises: a bare ``raise`` does not
    add the function's own frame again. Where the caller is the package itself, nothing changes:
    the error passes another boundary. An error of another class keeps its frames unless it was
    raised by code of the user's that the package called: it may be a defect of the package.
    """
    if not _is_called_by_package() and _is_cut(error) and not _shown_whole():
        _cut_chain(error)


def refuse_misfit(
    error: Exception, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]
) -> None:
    """Replace Python's TypeError of a call of ``function`` if its arguments misfit.

    For an ``except`` clause inside of the one that calls ``cut_frames``.
    """
    is_ours = _is_called_by_package()
    if not _is_cut(error) and (not is_ours or isinstance(error, TypeError)):
        from staticgrad.errors import calls  # a call that failed is looked at again

        calls.refuse_misfit(error, function, args, kwargs, only_names=is_ours)


def _is_called_by_package() -> bool:
    """Return whether the package called the function whose ``except`` clause is running."""
    caller = sys._getframe(2).f_back
    return caller is not None and is_package_file(caller.f_code.co_filename)


def _is_cut(error: BaseException) -> bool:
    return isinstance(error, StaticgradError) or _is_of_user_code(error.__traceback__)


def _shown_whole() -> bool:
    try:
        is_full: bool = up("staticgrad.support.config").current().traceback == "full"
    except StaticgradError:  # a setting with a wrong value; the error at hand goes first
        return False
    return is_full


def _cut_chain(error: BaseException) -> None:
    """Cut the package's frames from an error and from its causes and contexts.

    What the package caught and answered with an error of its own says nothing to the user.
    """
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if _is_cut(error):
            # without the package's frames
            traceback = error.__traceback__
            frames = []
            while traceback is not None:
                if not _is_internal(traceback.tb_frame):
                    frames.append(traceback)
                traceback = traceback.tb_next
            shown = None
            for frame in reversed(frames):
                shown = TracebackType(shown, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
            error.__traceback__ = shown
        previous = error.__cause__ or error.__context__
        if previous is None:
            return
        if error.__cause__ is None and not _passed_user_code(previous.__traceback__):
            error.__suppress_context__ = True
        error = previous


def _is_internal(frame: FrameType) -> bool:
    """Return whether a frame is the package's, or an ``__init__`` that ``dataclasses`` wrote."""
    file, name = frame.f_code.co_filename, frame.f_code.co_name
    written = file == "<string>" and name == "__init__"
    return is_package_file(file) or (written and is_dataclass(frame.f_locals.get("self")))


def _is_of_user_code(traceback: TracebackType | None) -> bool:
    """Return whether the package's innermost frame called the user's code, which raised."""
    called: Any = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if is_package_file(file):
            called = None
        elif called is None:
            called = file
        traceback = traceback.tb_next
    return called is not None and is_user_file(called)


def _passed_user_code(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if is_user_file(traceback.tb_frame.f_code.co_filename):
            return True
        traceback = traceback.tb_next
    return False


@cache
def refuse_shadowed_passes() -> None:
    """Refuse a user's file that hides the package ``passes`` of staticgrad.

    Every package that imports ``passes`` calls this before, so that the other one does not run.
    """
    ours = os.path.join(__file__, "..", "..", "..", "passes")  # noqa: PTH118
    spec = find_spec("passes")
    folders = [*((spec and spec.submodule_search_locations) or ())]
    if spec is not None and not folders:  # a single file, passes.py
        folders = [str(spec.origin)]
    if not folders or os.path.realpath(ours) in map(os.path.realpath, folders):
        return
    raise ShadowedPackageError(
        f"{folders[0]} hides the package 'passes' that staticgrad is installed with",
        details=[f"staticgrad's own is {os.path.realpath(ours)}"],
        hint="rename it, or start Python where its folder is not on sys.path",
    )
