"""What the Op base gives for nothing, to ops with and without fields of their own."""

import copy
import dataclasses
import pickle

import pytest

from staticgrad.ops.arithmetic import Add, Sub
from staticgrad.ops.reduce import Sum

OPS = [Add(), Sum((0, 2))]


@pytest.mark.parametrize("op", OPS, ids=str)
def test_an_op_cannot_be_changed(op):
    for name in ("axes", "name", "another"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(op, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(op, name)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_a_copy_is_equal_and_hashes_alike(op):
    for twin in (copy.deepcopy(op), pickle.loads(pickle.dumps(op)), dataclasses.replace(op)):
        assert twin == op
        assert hash(twin) == hash(op)


def test_ops_without_fields_are_told_apart_by_their_type_and_take_no_argument():
    assert Add() != Sub()
    assert dataclasses.fields(Add()) == ()
    with pytest.raises(TypeError):
        Add(1)


def test_a_class_without_fields_inherits_those_of_its_base():
    class Total(Sum):
        """A sum by another type."""

    assert Total((1,)).axes == (1,)
    assert Total((1,)) != Sum((1,))
    assert dict(Total((1,)).attributes()) == {"axes": (1,)}


def test_a_class_that_only_adds_a_check_is_checked():
    class Narrow(Sum):
        """A sum over one axis."""

        def __post_init__(self):
            if len(self.axes) != 1:
                raise ValueError("one axis")

    assert Narrow((1,)).axes == (1,)
    with pytest.raises(ValueError, match="one axis"):
        Narrow((0, 1))
