"""The public functions: those of ``staticgrad/ops`` that apply one op, and those composed of ops.

Importing this package registers every built-in op, so that text can name them and operators find
their functions. What it offers is the table ``FUNCTIONS`` of ``staticgrad/exports.py``, public as
``sg.<name>``, beside ``nn`` with activations and losses, ``special``, ``random`` and ``standard``.
What type checkers read of it is ``__init__.pyi``.
"""

from importlib import import_module
from types import FunctionType

from staticgrad import exports
from staticgrad.functions import linalg, nn, random, special, standard as standard
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import FUNCTIONS

_found = {
    name: getattr(import_module(home), attribute)
    for name, (home, attribute) in exports.homes(exports.FUNCTIONS).items()
}
globals().update(_found)
__all__ = [*_found, "linalg", "nn", "random", "special"]

_PUBLIC = [name for name, value in _found.items() if isinstance(value, FunctionType)]
FUNCTIONS.update({name: _found[name] for name in _PUBLIC})
# What users call reads NumPy's names, its order and flags; the functions call each other directly.
publish(globals(), __name__, _PUBLIC)
