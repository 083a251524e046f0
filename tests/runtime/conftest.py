"""Programs of these tests get a native entry with their first run."""

import pytest

from staticgrad.compiler.runtime import executor


@pytest.fixture(autouse=True)
def native_entry_at_once(monkeypatch):
    monkeypatch.setattr(executor, "_OFTEN", 1)
