"""What the examples in docstrings find: ``sg`` and ``np``."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgrad as sg


@pytest.fixture(autouse=True, scope="session")
def imported(doctest_namespace: dict[str, Any]) -> None:
    """Give every example the names that its reader imports once."""
    doctest_namespace.update(sg=sg, np=np)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> None:
    """Import a module of the package by its name before pytest imports its file as another."""
    root, names = parent.config.rootpath, ("__main__.py", "__init__.py")
    ours = file_path.suffix == ".py" and file_path.is_relative_to(root / "staticgrad")
    if ours and file_path.name not in names:
        import_module(".".join(file_path.relative_to(root).with_suffix("").parts))
