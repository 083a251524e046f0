"""The public functions: those of ``language/ops`` that apply one op, and those composed of ops.

What it offers is the table ``FUNCTIONS`` of ``staticgrad/exports.py``, public as ``sg.<name>``.
Functions of a namespace, ``sg.linalg`` say, stand in the folder of its name. A function's module is
imported when it is first asked for, because a program calls few of them: all take as long to import
as NumPy takes. Code that finds functions by NumPy's names, and ops by the
names that text has, asks for all (``functional.load_functions``). What type checkers read is
``__init__.pyi``.

An argument that does not fit raises an error of ``sg.errors`` at the user's line; docstrings list
the errors that only a run can find.
"""

from types import FunctionType
from typing import Any, Final

from staticgrad import exports
from staticgrad.language.calls import functional
from staticgrad.language.calls.arguments import public_form, register_computed
from staticgrad.support.upward import up

_HOMES: Final = exports.homes(exports.FUNCTIONS)
__all__ = [*_HOMES]


def _as_arrays(result: Any) -> Any:
    """Return the result of a function of arrays alone, which few programs call, as arrays."""
    return up("staticgrad.analysis.known").compute_known(result)


register_computed(_as_arrays)


def load(name: str) -> Any:
    """The public function ``name``, which from now on is an attribute of this package."""
    value = functional.load(name)
    if isinstance(value, FunctionType):
        value = public_form(value, __name__)
    globals()[name] = value
    return value


def __getattr__(name: str) -> Any:
    return load(name)
