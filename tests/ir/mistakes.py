"""What holds of every text form: mistakes are shown where they are, damage is one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st

from staticgrad.errors import ParseError


def check_mistake(
    parse: Callable[..., Any], text: str, old: str, new: str, message: str, hint: str = ""
) -> None:
    """``new`` has § before what is to blame: the error names that place, within 12 lines."""
    assert old in text
    marked = text.replace(old, new, 1)
    before = marked.partition("§")[0].split("\n")
    with pytest.raises(ParseError) as caught:
        parse(marked.replace("§", ""), file="model.sg")
    error = caught.value
    assert message in error.headline
    assert hint in error.hint
    assert (error.line, error.column) == (len(before), len(before[-1]) + 1)
    shown = str(error).splitlines()
    assert len(shown) <= 12
    assert f"model.sg:{error.line}" in shown[1]
    assert "^" in shown[3]


def check_damaged(
    parse: Callable[[str], Any],
    text: str,
    extras: Sequence[str],
    data: st.DataObject,
    first: int = 0,
) -> None:
    """Up to three places behind ``first`` are overwritten: one error, or what reads back."""
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(min(first, len(text)), len(text)))
        end = data.draw(st.integers(at, min(at + 4, len(text))))
        text = text[:at] + data.draw(st.sampled_from(extras)) + text[end:]
    found, error = attempt(parse, text)
    if error is None:
        assert str(parse(str(found))) == str(found)
        return
    assert 1 <= error.line <= len(text.splitlines()) + 1
    assert len(str(error).splitlines()) <= 12


def attempt(parse: Callable[[str], Any], text: str) -> tuple[Any, ParseError | None]:
    """What a text means, or the error."""
    try:
        return parse(text), None
    except ParseError as error:
        return None, error
