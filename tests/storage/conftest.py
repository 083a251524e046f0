"""What tests of locks ask for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import pytest

from staticgrad.storage import locks
from tests.storage.reserved import Other


@pytest.fixture(autouse=True)
def _locks_of_this_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork looks at every lock that is alive: of other tests' parameters there are thousands."""
    monkeypatch.setattr(locks, "_locks", weakref.WeakSet())


@pytest.fixture
def other() -> Iterator[Other]:
    """One other thread."""
    thread = Other()
    yield thread
    thread.close()
