"""What a user sees where another library is not installed."""

import sys

import pytest

import staticgrad as sg
from staticgrad.bridges.programs import Library
from staticgrad.errors import MissingPackageError
from tests.beside import python


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_error_has_the_command_that_installs_it(name, monkeypatch):
    bridge = getattr(sg, name)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(bridge, name, Library(name))
    with pytest.raises(MissingPackageError, match=f"pip install {name}"):
        bridge.function(lambda x: x)(1.0)


@pytest.mark.parametrize("name", ["Classifier", "Regressor"])
def test_an_estimator_without_scikit_learn_is_the_same_error(name):
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import staticgrad as sg\n"
        f"try: sg.sklearn.{name}(epochs=3)\n"
        "except sg.StaticgradError as error: print(error)\n"
    )
    assert "pip install sklearn" not in (said := python("-c", program).stdout)
    assert "[SG506]" in said
    assert "pip install scikit-learn" in said
