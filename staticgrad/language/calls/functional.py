"""The public functions by name: those of ``staticgrad/exports.py``, each imported at its first use.

Operators and methods of values stand below the functions that they call, and NumPy's functions are
looked up by name. The ops, and everything above them, import what they call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import FunctionType, SimpleNamespace
from typing import Any, Final

from staticgrad import exports
from staticgrad.support.caches import collection_paused

_HOMES: Final = exports.homes(exports.FUNCTIONS)
_PACKAGE: Final = "staticgrad.functions"
_OF_NETWORKS: Final = "staticgrad.nn.functional"


class _Functions(SimpleNamespace):
    def __getattr__(self, name: str) -> Any:
        """The function, whose module is imported now."""
        return load(name)


functions: Final[Any] = _Functions()

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


def register_functions(module: str, functions: Mapping[str, Callable[..., Any]]) -> None:
    """Register our implementations of functions of NumPy's or SciPy's ``module`` by name.

    ``np.linalg.det(x)`` of a value ``x`` then calls ``functions["det"]`` of ``linalg``. SciPy's
    ufuncs do not have the name of their module.
    """
    prefix = "" if module == "special" else f"{module}."
    table = SPECIAL if module == "special" else OF_MODULES
    table.update({f"{prefix}{name}": function for name, function in functions.items()})


def load(name: str) -> Any:
    """Import the public function ``name`` lazily, for calls from inside of the package.

    Raises:
        AttributeError: there is no such function.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    home, attribute = _HOMES[name]
    with collection_paused():  # what modules make stays
        value = getattr(import_module(home), attribute)
    if isinstance(value, FunctionType):
        FUNCTIONS.setdefault(name, value)
    return value


def as_sparse(matrix: Any) -> Any:
    """Return a sparse matrix, of SciPy too, as one of ``sg.sparse``."""
    return namespace_of("sparse").csr(matrix)


def namespace_of(name: str) -> Any:
    """Return the module of functions of a public namespace, as ``sg.nn``."""
    return import_module(exports.NAMESPACES[name])


def load_functions() -> None:
    """Import all public functions, and with them every built-in op that one of them applies.

    The tables of this module are complete then.
    """
    global _all_loaded
    if _all_loaded:
        return
    with collection_paused():
        rooms = [import_module(module) for module in exports.NAMESPACES.values()]
        for home in exports.LAYERS:
            if home.startswith(_OF_NETWORKS):
                import_module(home)
        for room in rooms:
            for name in getattr(room, "__all__", ()):
                getattr(room, name)
        for name in [name for name in _HOMES if name not in FUNCTIONS]:  # the same order each time
            load(name)
    _all_loaded = True


def numpy_function(name: str) -> Callable[..., Any] | None:
    """Return our public function for a NumPy function's name, or None if there is none.

    Imports the module that has it, and all functions where the tables do not say which it is.
    """
    if name not in _HOMES:
        namespace = name.rpartition(".")[0] or "standard"  # which has the facts
        if namespace in exports.NAMESPACES:
            namespace_of(namespace)
    function = _of_tables(name)
    if function is None:
        load_functions()
        function = _of_tables(name)
    return function


def _of_tables(name: str) -> Callable[..., Any] | None:
    """Return the function for a NumPy function's name if a module that is imported says which."""
    spelling = NUMPY_NAMES.get(name, name)
    if name not in OF_MODULES and spelling in _HOMES:
        load(spelling)
    function = OF_MODULES.get(name) or FUNCTIONS.get(spelling)
    return function or SPECIAL.get(name) or FACTS.get(name)
