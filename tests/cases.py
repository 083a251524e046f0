"""One test over many small cases, which names all that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def check_all(check: Callable[..., object], cases: Iterable[tuple[Any, ...]]) -> None:
    """Call ``check`` with each case; the message lists every one that fails, with its error."""
    wrong = []
    for case in cases:
        try:
            check(*case)
        except (Exception, pytest.fail.Exception) as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} cases fail\n" + "\n".join(wrong)
