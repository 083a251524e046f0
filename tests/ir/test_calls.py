"""How public functions read their arguments: what a user sees of it, and what stays as it was."""

import inspect
import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, UnknownArgumentError
from staticgrad.ir.calls import public


def test_a_public_function_shows_its_own_signature():
    names = [*inspect.signature(sg.sum).parameters]
    assert names == ["x", "axis", "dtype", "keepdims", "initial", "where"]
    assert "added to every sum" in (sg.sum.__doc__ or "")
    assert inspect.getsource(sg.sum).startswith("def sum(")


@pytest.mark.parametrize("name", ["sum", "exp", "concat", "abs"])
def test_a_public_function_travels_in_a_pickle(name):
    function = getattr(sg, name)
    assert pickle.loads(pickle.dumps(function)) is function


def test_functions_of_nn_travel_too():
    for name in ("softmax", "batch_norm", "attention"):
        function = getattr(sg.nn, name)
        assert pickle.loads(pickle.dumps(function)) is function


def test_other_names_are_the_same_function():
    assert sg.abs is sg.absolute
    assert sg.concat is sg.concatenate


@pytest.mark.parametrize("flag", ["no", 1, 0, 0.0, None, [True], np.int64(1)])
def test_only_bools_are_flags(flag):
    def kept(x: "object", up: "bool" = False) -> object:
        return (x, up)

    called = public(kept, "nowhere")
    for call in (lambda: called(3, up=flag), lambda: called(3, flag)):
        with pytest.raises(ArgumentError, match="kept: up="):
            call()
    assert called(3, np.True_) == (3, True)
    assert type(called(3, up=np.True_)[1]) is bool


def test_a_flag_may_be_left_open_where_it_says_so():
    def kept(x: "object", up: "bool | None" = None) -> object:
        return up

    called = public(kept, "nowhere")
    assert called(3, up=None) is None
    assert called(3, True) is True
    with pytest.raises(ArgumentError):
        called(3, up="up")


def test_a_type_error_from_inside_is_not_the_calls():
    def broken(x: "object") -> object:
        return len(x)

    with pytest.raises(TypeError, match="has no len") as caught:
        public(broken, "nowhere")(3)
    assert not isinstance(caught.value, UnknownArgumentError)


WAYS = {
    "sg": lambda x, **options: sg.sum(x, **options),
    "np": lambda x, **options: np.sum(x, **options),
    "method": lambda x, **options: x.sum(**options),
    "by NumPy's name": lambda x, **options: sg.sum(a=x, **options),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_takes_and_refuses_the_same(way):
    array = np.arange(6.0).reshape(2, 3)
    mask = array % 2 == 0
    options = {"axis": 1, "dtype": "float64", "keepdims": np.True_, "initial": 2, "where": mask}
    for x in (sg.input("x", (2, 3), "float64"), Tensor(array, dtype="float64")):
        out = WAYS[way](x, out=None, **options)
        found = out.data if isinstance(x, Tensor) else sg.evaluate(out, {"x": array})
        wanted = np.sum(array, **{**options, "keepdims": True})
        np.testing.assert_array_equal(found, wanted)
        with pytest.raises(ArgumentError, match=r"\[SG108\] sum: out="):
            WAYS[way](x, out=np.zeros(2))
        with pytest.raises(TypeError, match="'keepdim'") as caught:
            WAYS[way](x, keepdim=True)
        # NumPy's own dispatcher says it before any value is asked.
        assert way == "np" or isinstance(caught.value, UnknownArgumentError)
