"""The public functions: those of ``language/ops`` that apply one op, and those composed of ops.

What it offers is the table ``FUNCTIONS`` of ``staticgrad/exports.py``, public as ``sg.<name>``,
beside ``linalg``, ``special``, ``random``, ``standard`` and what ``sg.nn`` has of functions. A
function's module is imported when it is first asked for, because a program calls few of them: all
take as long to import as NumPy takes. Code that finds functions by NumPy's names, and ops by the
names that text has, asks for all (``load_all``). What type checkers read is ``__init__.pyi``.

An argument that does not fit raises an error of ``sg.errors`` at the user's line; docstrings list
the errors that only a run can find.
"""

from importlib import import_module
from types import FunctionType
from typing import Any, Final

from staticgrad import exports
from staticgrad.language.ir.calls import published
from staticgrad.language.ir.functional import FUNCTIONS
from staticgrad.support.caches import collection_paused

_HOMES: Final = exports.homes(exports.FUNCTIONS)
_ROOMS: Final = ("fft", "linalg", "nn", "random", "sparse", "special", "standard")
__all__ = [*_HOMES, "fft", "linalg", "nn", "random", "sparse", "special"]


def load(name: str) -> Any:
    """The public function ``name``, which from now on is an attribute of this package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, attribute = _HOMES[name]
    with collection_paused():  # what modules make stays
        found = getattr(import_module(home), attribute)
    if isinstance(found, FunctionType):
        FUNCTIONS.setdefault(name, found)
        found = published(found, __name__)
    globals()[name] = found
    return found


def load_all() -> None:
    """Import every function, and with them every built-in op that one of them applies."""
    with collection_paused():
        rooms = [import_module(f"{__name__}.{room}") for room in _ROOMS]
        for home in exports.LAYERS:
            if home.startswith(__name__):
                import_module(home)
        for room in rooms:
            for name in getattr(room, "__all__", ()):
                getattr(room, name)
        for name in [name for name in _HOMES if name not in FUNCTIONS]:  # the same order each time
            load(name)


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.{name}") if name in _ROOMS else load(name)
