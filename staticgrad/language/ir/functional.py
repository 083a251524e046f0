"""The public functions, as ``sg`` has them, for code that cannot import them.

Operators and methods of values stand below the ops, and ops of one family use functions of others,
so neither can import what it calls. The package ``staticgrad.language.functions`` registers them
(by the table of ``staticgrad/exports.py``), each at its first use. For type checkers ``functions``
is that package: they report a name that it does not have, and an argument that does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from staticgrad.support.upward import up

if TYPE_CHECKING:
    from staticgrad.language import functions as functions  # the types alone
else:

    class _Functions(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            """The function, whose module is imported now."""
            up("staticgrad.language.functions").load(name)
            return object.__getattribute__(self, name)

    functions = _Functions()

#: Those of them that were asked for so far, by name.
FUNCTIONS: dict[str, Callable[..., Any]] = vars(functions)
#: NumPy function name -> ours, where the spelling differs (``true_divide``: ``divide``).
NUMPY_NAMES: dict[str, str] = {}
#: Name of a special function, as SciPy's ufuncs have it -> ours.
SPECIAL: dict[str, Callable[..., Any]] = {}
#: Functions of NumPy's modules by their names there, ``linalg.solve`` -> ours.
OF_MODULES: dict[str, Callable[..., Any]] = {}
#: NumPy function name -> ours that answers at once and builds no node.
FACTS: dict[str, Callable[..., Any]] = {}


_all_loaded = False


def load_functions() -> None:
    """Import all functions, so that the tables of this module are complete."""
    global _all_loaded
    if not _all_loaded:
        up("staticgrad.language.functions").load_all()
        _all_loaded = True


def numpy_function(name: str) -> Callable[..., Any] | None:
    """Return our function for a NumPy function's name, or None if there is none."""
    load_functions()
    found = OF_MODULES.get(name) or FUNCTIONS.get(NUMPY_NAMES.get(name, name))
    return found or SPECIAL.get(name)
