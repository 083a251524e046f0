"""What the examples in docstrings find: ``sg`` and ``np``."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import staticgrad as sg


@pytest.fixture(autouse=True, scope="session")
def imported(doctest_namespace: dict[str, Any]) -> None:
    """Give every example the names that its reader imports once."""
    doctest_namespace.update(sg=sg, np=np)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import a module of the package by its name before pytest imports its file as another.

    Files that only name another module are left out: their examples are those of that module. So
    are files without examples: to look through their docstrings takes a tenth of collecting.
    """
    root, names = config.rootpath, ("__main__.py", "__init__.py")
    is_ours = collection_path.suffix == ".py" and collection_path.is_relative_to(
        root / "staticgrad"
    )
    if not is_ours or collection_path.name in names:
        return None
    name = ".".join(collection_path.relative_to(root).with_suffix("").parts)
    module = import_module(name)
    names_another = module.__file__ is not None and Path(module.__file__) != collection_path
    return names_another or not has_examples(module, collection_path) or None


def has_examples(module: ModuleType, path: Path) -> bool:
    """Return whether a file has an example, or a docstring with one that was generated."""
    docstrings = (getattr(value, "__doc__", None) for value in [*vars(module).values()])
    return ">>>" in path.read_text("utf-8") or any(">>>" in str(text) for text in docstrings)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the examples of a function once: a package that publishes it has them a second time."""
    copies: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            key = (item.dtest.docstring or "", item.name.rpartition(".")[2])
            copies.setdefault(key, []).append(item)
    repeated = {
        copy
        for group in copies.values()
        for copy in sorted(group, key=lambda item: item.path.name == "__init__.py")[1:]
    }
    items[:] = [item for item in items if item not in repeated]
