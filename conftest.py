"""What the examples in docstrings find: ``sg`` and ``np``."""

from typing import Any

import numpy as np
import pytest

import staticgrad as sg


@pytest.fixture(autouse=True, scope="session")
def imported(doctest_namespace: dict[str, Any]) -> None:
    """Give every example the names that its reader imports once."""
    doctest_namespace.update(sg=sg, np=np)
