"""Lists of the modules of a package: a new module of workloads or of a library is one more row."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any


def read_lists(package: ModuleType, name: str) -> Iterator[Any]:
    """Yield the items of the lists that the modules of a package have under ``name``.

    Raises:
        SystemExit: a module has no such list.
    """
    from pkgutil import iter_modules  # a first result does not wait for it

    for module in iter_modules(package.__path__):
        imported = import_module(f"{package.__name__}.{module.name}")
        if not hasattr(imported, name):
            raise SystemExit(
                f"{imported.__file__} has no {name}: add {name} = (...), or move the file"
            )
        yield from getattr(imported, name)
