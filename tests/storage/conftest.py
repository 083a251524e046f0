"""Fixtures of the tests of locks."""

import weakref

import pytest

from staticgrad.language.storage import locks
from tests.storage.reserved import Other


@pytest.fixture(autouse=True)
def _locks_of_this_test_alone(monkeypatch):
    """A fork looks at every lock that is alive: of other tests' parameters there are thousands."""
    monkeypatch.setattr(locks, "_locks", weakref.WeakSet())


@pytest.fixture
def other_thread():
    """One other thread."""
    thread = Other()
    yield thread
    thread.close()
