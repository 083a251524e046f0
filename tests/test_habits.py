"""What messages say of names of other libraries is true of what there is."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import habits
from staticgrad.ir.functional import numpy_function


@pytest.mark.parametrize("name", [*habits.INSTEAD, *habits.REASONS])
def test_nothing_that_exists_is_said_to_be_missing(name):
    if hasattr(np, name) and name not in habits.INSTEAD:  # what NumPy's function of the name does
        assert numpy_function(name) is None
        return
    assert name not in sg.__all__
    for room in (sg.nn, sg.optim):
        if name in room.__all__:  # sg.Linear is none: what is said of it leads to sg.nn.Linear
            continue
        with pytest.raises(AttributeError, match=name):
            getattr(room, name)


def test_each_name_has_one_reason():
    listed = [name for names in habits.MISSING.values() for name in names.split()]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("table", ["OF_OPTIMIZERS", "OF_COMPILED"])
def test_attributes_that_exist_are_not_explained_away(table):
    owner = sg.optim.SGD(0.1) if table == "OF_OPTIMIZERS" else sg.compile(sg.input("x", ()) * 2)
    there = {"step"} if table == "OF_OPTIMIZERS" else set()  # a method that takes gradients
    assert {n for n in getattr(habits, table) if n in dir(type(owner))} <= there


_NOT_THERE = "solve inv det conv2d vectorize complex64 digamma betainc ndtri remat erfinv sgd"


@pytest.mark.parametrize("name", _NOT_THERE.split())
def test_a_name_that_is_missing_is_not_taken_for_a_slip(name):
    with pytest.raises(AttributeError) as caught:
        getattr(sg, name)
    assert "did you mean" not in str(caught.value)
    assert caught.value.hint
