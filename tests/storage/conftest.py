"""What tests of locks ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.reserved import Other


@pytest.fixture
def other() -> Iterator[Other]:
    """One other thread."""
    thread = Other()
    yield thread
    thread.close()
