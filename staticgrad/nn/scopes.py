"""Modules as named scopes of a program: ``layers.0``, or ``layers.0 Linear`` for who draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from staticgrad.building import within

if TYPE_CHECKING:
    from staticgrad.nn.module import Module

#: Of modules, by identity, the names of their scopes.
_names: Final[ContextVar[Mapping[int, str] | None]] = ContextVar("_names", default=None)
_NO_SCOPE: Final[AbstractContextManager[None]] = nullcontext()


@contextmanager
def as_scopes(*modules: Module, kinds: bool = True) -> Iterator[None]:
    """Inside, what the modules within these build belongs to scopes of their names.

    ``kinds``: with the names of their classes behind.
    """
    names: dict[int, str] = {}
    for module in modules:
        paths: list[str] = []
        for path, found in module.named_modules():
            above = max((p for p in paths if path.startswith(f"{p}.")), key=len, default="")
            own = path[len(above) + 1 :] if above else path
            if path:
                names[id(found)] = f"{own} {type(found).__name__}" if kinds else own
                paths.append(path)
    token = _names.set(names)
    try:
        yield
    finally:
        _names.reset(token)


def scope_of(module: Any) -> AbstractContextManager[None]:
    """The scope of a module, where somebody asked for scopes."""
    names = _names.get()
    name = None if names is None else names.get(id(module))
    return _NO_SCOPE if name is None else within(scope=name)
