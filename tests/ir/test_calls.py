"""Arguments of public functions: what a user sees of them, and what stays as it was."""

import inspect

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, UnknownArgumentError
from staticgrad.language.calls.arguments import SIGNATURES_IN_C, public, signature_in_c


def test_a_public_function_shows_its_own_signature():
    names = [*inspect.signature(sg.sum).parameters]
    assert names == ["x", "axis", "dtype", "keepdims", "initial", "where"]
    assert "added to every sum" in (sg.sum.__doc__ or "")
    assert inspect.getsource(sg.sum).startswith("def sum(")
    assert sg.abs is sg.absolute
    assert sg.concat is sg.concatenate


@pytest.mark.parametrize("flag", ["no", 1, 0, 0.0, None, [True], np.int64(1)])
def test_only_bools_are_flags(flag):
    def return_both(x, up: "bool" = False):
        return (x, up)

    called = public(return_both, "nowhere")
    for call in (lambda: called(3, up=flag), lambda: called(3, flag)):
        with pytest.raises(ArgumentError, match="return_both: up="):
            call()
    assert called(3, np.True_) == (3, True)
    assert type(called(3, up=np.True_)[1]) is bool


def test_a_flag_may_be_left_open_where_it_says_so():
    def return_up(x, up: "bool | None" = None):
        return up

    called = public(return_up, "nowhere")
    assert called(3, up=None) is None
    assert called(3, True) is True
    with pytest.raises(ArgumentError):
        called(3, up="up")


def test_a_type_error_from_inside_is_not_the_calls():
    def take_length(x):
        return len(x)

    with pytest.raises(TypeError, match="has no len") as caught:
        public(take_length, "nowhere")(3)
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
        actual = out.data if isinstance(x, Tensor) else sg.evaluate(out, {"x": array})
        expected = np.sum(array, **{**options, "keepdims": True})
        np.testing.assert_array_equal(actual, expected)
        with pytest.raises(ArgumentError, match=r"\[SG108\] sum: out="):
            WAYS[way](x, out=np.zeros(2))
        with pytest.raises(TypeError, match="'keep_dims'") as caught:
            WAYS[way](x, keep_dims=True)
        # NumPy's own dispatcher says it before any value is asked.
        assert way == "np" or isinstance(caught.value, UnknownArgumentError)


A = np.random.default_rng(2).normal(size=(4, 3))
#: Methods of arrays, with arguments in NumPy's places and by its names.
METHODS = {
    "sum": lambda x: x.sum(0, None, None, True),
    "mean": lambda x: x.mean(0, "float64", None, True),
    "std": lambda x: x.std(0, None, None, 1),
    "var": lambda x: x.var(axis=1, ddof=1, out=None),
    "max": lambda x: x.max(0, None, True, 0.5),
    "min": lambda x: x.min(initial=0.25),
    "prod": lambda x: x.prod(1, initial=2.0, where=A > 0),
    "any": lambda x: x.any(0, keepdims=True),
    "argmax": lambda x: x.argmax(axis=0, keepdims=True),
    "cumsum": lambda x: x.cumsum(0, "float32"),
    "clip": lambda x: x.clip(-0.5, max=0.5),
    "take": lambda x: x.take([1, 9, -9], 0, None, "clip"),
    "ravel": lambda x: x.ravel("F"),
    "flatten": lambda x: x.flatten(order="F"),
    "reshape": lambda x: x.reshape(3, 4, order="F", copy=True),
    "trace": lambda x: x.trace(1, dtype="float32", out=None),
    "round": lambda x: x.round(decimals=1, out=None),
    "astype": lambda x: x.astype("float32", order="K", casting="unsafe", subok=False, copy=False),
    "dot": lambda x: x.dot(A.T, out=None),
    "squeeze": lambda x: x[None].squeeze(axis=0),
    "repeat": lambda x: x.repeat(2, axis=1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "diagonal": lambda x: x.diagonal(offset=1, axis1=0, axis2=1),
}


@pytest.mark.parametrize("name", SIGNATURES_IN_C)
def test_written_signatures_are_numpys(name):
    """The same parameters and defaults in order, where NumPy has the signature (from 2.4 on)."""
    function = np
    for part in name.split("."):
        function = getattr(function, part)
    try:
        numpys = inspect.signature(function).parameters
    except ValueError:
        pytest.skip(f"NumPy {np.__version__} has no signature of {name}")
    written = signature_in_c(name)
    assert [str(written[word]) for word in written] == [str(numpys[word]) for word in written]
    assert [word for word in numpys if word in written] == [*written]


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_the_places_of_numpys(name):
    expected = METHODS[name](A)
    x = sg.input("x", A.shape, "float64")
    actual = METHODS[name](Tensor(A, dtype="float64")).data
    for array in (actual, sg.evaluate(METHODS[name](x), {"x": A})):
        np.testing.assert_allclose(array, expected, rtol=1e-6)
        assert array.shape == expected.shape


@pytest.mark.parametrize(
    "make",
    [
        lambda like: np.zeros((2, 3), like=like),
        lambda like: np.ones(3, "int32", like=like),
        lambda like: np.full(3, 2.5, like=like),
        lambda like: np.arange(1, 7, 2, like=like),
        lambda like: np.arange(0.0, 1.0, 0.25, like=like),
        lambda like: np.eye(3, 4, 1, like=like),
        lambda like: np.identity(3, like=like),
    ],
)
def test_like_gives_a_value_of_its_kind(make):
    expected = make(np.ones(2))
    tensor = make(Tensor([1.0]))
    assert type(tensor) is Tensor
    np.testing.assert_array_equal(tensor.data, expected)
    value = make(sg.input("x", ("n",)))
    np.testing.assert_array_equal(sg.evaluate(value, {}), expected)
