"""For all tests of tensors: the graph's machinery can be made to refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from staticgrad.ir import graph


@pytest.fixture
def refuse_nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it: from there on it is an error to build a symbolic node."""

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("a symbolic node was built")

    return lambda: monkeypatch.setattr(graph.Node, "__init__", refuse)
