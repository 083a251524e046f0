"""How the tests of ops look at an error: its class, its words, and the line it blames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from staticgrad.errors import StaticgradError


@contextmanager
def assert_refused(kind: type[StaticgradError], *words: str, line: str = "") -> Iterator[None]:
    """The block raises ``kind``; its message has ``words``, the line it blames has ``line``."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    single_spaced = " ".join(message.split())
    for word in words:
        assert word in single_spaced, message
    assert len(message.splitlines()) <= 12
    place = caught.value.at.resolve()
    assert "/staticgrad/" not in place.file.replace("\\", "/"), place
    assert line in place.text, place
