"""The yardstick: what workloads take in staticgrad and in its peers (``python -m benchmarks``).

A workload is one file of ``workloads/``, written once in the vocabulary of ``operations.py``; a
library is one file of ``implementations/``. Every pair runs in a process of its own, and a row
shows a time only after its results agreed with a float64 truth. Nothing here knows how staticgrad
computes; it is one implementation among the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any


def listed(package: ModuleType, name: str) -> Iterator[Any]:
    """Yield what the modules of a package list under ``name``.

    Raises:
        SystemExit: a module has no such list.
    """
    from pkgutil import iter_modules  # a first result does not wait for it

    for module in iter_modules(package.__path__):
        found = import_module(f"{package.__name__}.{module.name}")
        if not hasattr(found, name):
            raise SystemExit(
                f"{found.__file__} has no {name}: add {name} = (...), or move the file"
            )
        yield from getattr(found, name)
