"""What a user sees where another library is not installed."""

import sys

import pytest

import staticgrad as sg
from staticgrad.bridges.programs import Library
from staticgrad.errors import MissingPackageError


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_error_has_the_command_that_installs_it(name, monkeypatch):
    bridge = getattr(sg, name)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(bridge, name, Library(name))
    with pytest.raises(MissingPackageError, match=f"pip install {name}"):
        bridge.function(lambda x: x)(1.0)
