"""Programs of these tests get a native entry with their first run."""

from __future__ import annotations

import pytest

from staticgrad.runtime import executor


@pytest.fixture(autouse=True)
def native_entry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_OFTEN", 1)
