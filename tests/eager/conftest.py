"""For all tests of tensors: the graph's machinery can be made to refuse."""

import pytest

from staticgrad.language.ir import graph


@pytest.fixture
def refuse_nodes(monkeypatch):
    """Call it: from there on it is an error to build a symbolic node."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a symbolic node was built")

    return lambda: monkeypatch.setattr(graph.Node, "__init__", refuse)
