"""Calls that do not fit a public function are one error, with a code and the user's line."""

import inspect
import pickle
from importlib import import_module

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import StaticgradError, UnknownArgumentError, UnknownSettingError
from staticgrad.errors.hints import _ROOMS

#: What programs get, and do not make; and what takes any keywords, to hand them on.
GIVEN = {
    "BudgetInfeasible", "CheckError", "Compiled", "Epoch", "History", "Module", "Parameter",
    "Sequential", "StaticgradError", "StaticgradWarning", "Value", "function",
}  # fmt: skip
ROOMS = {"sg": "staticgrad", "sg.ode": "staticgrad.functions.loops.ode",
         "sg.implicit": "staticgrad.programs.implicit", **_ROOMS}  # fmt: skip


def callables():
    for room, home in ROOMS.items():
        module = import_module(home)
        for name in module.__all__ if room != "sg.checkpoint_policies" else ():
            found = getattr(module, name)
            if callable(found) and not inspect.ismodule(found) and name not in GIVEN:
                yield f"{home}:{name}"


def at(path):
    home, _, name = path.partition(":")
    return getattr(import_module(home), name)


def answer(function):
    """What a call with an argument that nothing has is answered."""
    try:
        function(no_such_argument=1)
    except (UnknownArgumentError, UnknownSettingError) as error:
        return str(error)
    except Exception as error:  # the test shows it
        return repr(error.__class__)
    return "no error"


def test_an_argument_that_a_function_does_not_have_is_named():
    answers = {path: answer(at(path)) for path in callables()}
    assert len(answers) > 500
    assert {p: said for p, said in answers.items() if "no_such_argument" not in said} == {}


def test_the_hint_says_what_a_function_takes():
    for function, takes in ((sg.show_config, "it takes no arguments"), (sg.scope, "it takes name")):
        with pytest.raises(UnknownArgumentError) as caught:
            function("a", "b")
        assert takes in str(caught.value)


def survives_pickling(function):
    try:
        return pickle.loads(pickle.dumps(function)) is function
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def test_a_public_function_is_itself_after_pickling():
    assert [path for path in callables() if not survives_pickling(at(path))] == []


@pytest.mark.parametrize("dtype", ["float8", "complex64", 3])
def test_an_unknown_dtype_is_one_error(dtype):
    x = sg.input("x", ("n",), "float32")
    for make in (
        lambda: sg.astype(x, dtype),
        lambda: sg.size_value(x.shape[0], dtype),
        lambda: sg.size_value(3, dtype),
        lambda: sg.zeros((2,), dtype),
        lambda: sg.one_hot(np.arange(2), 3, dtype),
        lambda: sg.input("y", (), dtype),
        lambda: sg.precision(sg.Graph({"y": sg.exp(x)}), dtype=dtype),
    ):
        with pytest.raises(StaticgradError) as caught:
            make()
        assert repr(dtype) in str(caught.value)


X = sg.input("x", (3,), "float32")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sg.hstack(None), "hstack: takes a list"),
        (lambda: sg.vstack(2.0), "vstack: takes a list"),
        (lambda: sg.dstack([]), "dstack: no values"),
        (lambda: sg.column_stack({}), "column_stack: takes a list"),
        (lambda: sg.concatenate(X, X), "concatenate: takes a list"),
        (lambda: sg.switch(0, None), "switch: branches is None"),
        (lambda: sg.associative_scan(None, X), "fn is None, not a function"),
        (lambda: sg.histogram(X, range=2.5), "range=2.5"),
        (lambda: sg.histogram_bin_edges(X, range=("a", "b")), "is not a pair of numbers"),
        (lambda: sg.dim("n", min=None), "min=None is not a whole number"),
        (lambda: sg.dim("n", multiple_of=None), "multiple_of=None is not"),
        (lambda: sg.Graph({"y": sg.exp(X)}, inputs=None), "inputs= is None"),
        (lambda: sg.Graph({"y": sg.exp(X)}, inputs=X), "inputs= is a"),
        (lambda: sg.nn.Linear(3, 2, seed=-1), "seed=-1 is not a seed"),
        (lambda: sg.nn.manual_seed("one"), "seed='one' is not a seed"),
        (lambda: sg.nn.Linear(3, 2, init=[]), r"init=\[\] is unknown"),
        (lambda: sg.nn.GRU(3, None), "GRU: hidden_size None is not an integer"),
    ],
)
def test_an_argument_of_another_kind_is_one_error(make, says):
    with pytest.raises(StaticgradError, match=says) as caught:
        make()
    assert "test_calls.py" in str(caught.value)
