"""Modules as named scopes of a program: ``layers.0``, or ``layers.0 Linear`` for who draws it.

A module that no other one calls is a root. What the modules inside of it build belongs to scopes of
their paths from there, and its parameters get their paths as names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from staticgrad.building import within
from staticgrad.functions.random import Generator
from staticgrad.functions.trees import is_module
from staticgrad.ir.nodes import Parameter
from staticgrad.nn.naming import name_by_path
from staticgrad.records import NamedTuple

if TYPE_CHECKING:
    from staticgrad.nn.module import Module


class _Called(NamedTuple):
    """Where the code that runs is, among modules.

    Attributes:
        paths: of the modules inside of the root, by identity; "" is the root itself.
        path: of the module that is called.
        kinds: whether scopes have the names of classes behind.
    """

    paths: dict[int, str]
    path: str = ""
    kinds: bool = False


_called: Final[ContextVar[_Called | None]] = ContextVar("staticgrad_modules", default=None)
_PLAIN: Final = frozenset((int, float, str, bool, type(None)))
_CONTAINERS: Final = (list, tuple, dict, Generator)
_NO_SCOPE: Final[AbstractContextManager[None]] = nullcontext()


@contextmanager
def as_scopes(*roots: Module, kinds: bool = True) -> Iterator[None]:
    """Inside, what the modules within these build belongs to scopes of their paths.

    ``kinds``: with the names of their classes behind.
    """
    paths: dict[int, str] = {}
    for root in roots:
        for each, path in _named(root).items():
            paths.setdefault(each, path)
    token = _called.set(_Called(paths, "", kinds))
    try:
        yield
    finally:
        _called.reset(token)


class scope_of:  # noqa: N801 - a context manager, used as a function
    """The scope of a module that is called: its path from the module that calls it."""

    __slots__ = ("_module", "_scope", "_token")

    def __init__(self, module: Any) -> None:
        self._module = module

    def __enter__(self) -> None:
        module, around = self._module, _called.get()
        path = None if around is None else around.paths.get(id(module))
        if around is None or path is None:
            around, path = _Called(_named(module)), ""
        own = path.removeprefix(f"{around.path}.")
        name = f"{own} {type(module).__name__}" if around.kinds else own
        self._scope = within(scope=name) if path and path != around.path else _NO_SCOPE
        self._token = _called.set(_Called(around.paths, path, around.kinds))
        self._scope.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._scope.__exit__(None, None, None)
        _called.reset(self._token)


def _named(root: Any) -> dict[int, str]:
    """Name the parameters of a root; return the paths of the modules inside of it, by identity."""
    paths: dict[int, str] = {}
    stored: list[tuple[str, Parameter]] = []
    _walk(root, "", paths, stored)
    name_by_path(stored)
    return paths


def _walk(
    found: Any, path: str, paths: dict[int, str], stored: list[tuple[str, Parameter]]
) -> None:
    if is_module(found):
        if id(found) in paths:
            return
        paths[id(found)] = path
        parts: Any = vars(found).items()
    elif isinstance(found, Generator):
        parts = (("key", found.key), ("step", found.step))
    else:
        parts = found.items() if isinstance(found, dict) else enumerate(found)
    for name, part in parts:
        if part.__class__ in _PLAIN:
            continue
        if isinstance(part, Parameter):
            stored.append((f"{path}.{name}" if path else str(name), part))
        elif isinstance(part, _CONTAINERS) or is_module(part):
            _walk(part, f"{path}.{name}" if path else str(name), paths, stored)
