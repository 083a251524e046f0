"""Checks of an error in tests of ops: its class, its words, and the line that it names."""

from contextlib import contextmanager

import pytest


@contextmanager
def assert_refused(kind, *words, line=""):
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


def assert_each_refused(*cases):
    """Each case is a class, words of the message and a call, whose own line is blamed."""
    for kind, *words, call in cases:
        with assert_refused(kind, *words, line="lambda"):
            call()


def assert_each_raises(*cases):
    """Each case is a class, a pattern of the message and a call."""
    for kind, pattern, call in cases:
        with pytest.raises(kind, match=pattern):
            call()
