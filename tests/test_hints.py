"""Migration hints are true of what there is; all other names get the nearest that exists."""

import functools
import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import hints
from staticgrad.ir.functional import numpy_function


def exists(name):
    """Whether a name that messages call missing is there all the same."""
    if hasattr(np, name) and name not in hints.INSTEAD:  # what NumPy's function of the name does
        return numpy_function(name) is not None
    return name in sg.__all__


def test_nothing_that_exists_is_said_to_be_missing():
    assert [name for name in [*hints.INSTEAD, *hints.REASONS] if exists(name)] == []
    for table, owner in ((hints.METHODS, type(sg.input("x", ()))), (hints.OF_TENSORS, Tensor)):
        assert [name for name in table if name in dir(owner) and name != "value"] == []


def test_each_name_has_one_reason():
    listed = [name for names in hints.MISSING.values() for name in names.split()]
    assert len(listed) == len(set(listed))


def test_what_hints_name_exists():
    rng, wrong = sg.random.Generator(0), []
    x = sg.input("x", (2, 3))
    tables = (hints.INSTEAD, hints.METHODS, hints.ARGUMENTS)
    for hint in {hint for table in tables for hint in table.values()}:
        for path in re.findall(r"\b((?:sg|rng|x)\.[\w.]*\w)", hint):
            owner = {"sg": sg, "rng": rng, "x": x}[path.partition(".")[0]]
            try:
                functools.reduce(getattr, path.split(".")[1:], owner)
            except AttributeError:
                wrong.append((path, hint))
    assert wrong == []


@pytest.mark.parametrize("room", [sg, sg.nn, sg.optim], ids=["sg", "nn", "optim"])
def test_a_missing_name_is_answered(room):
    for name in hints.INSTEAD:
        if not hasattr(room, name):
            with pytest.raises(AttributeError, match=name) as caught:
                getattr(room, name)
            assert caught.value.hint


@pytest.mark.parametrize(
    ("room", "name", "hint"),
    [
        (sg, "sofmax", "did you mean sg.nn.softmax?"),
        (sg.nn, "Linar", "did you mean sg.nn.Linear?"),
        (sg.nn, "CrossEntropyLoss", "it is sg.nn.cross_entropy"),
        (sg.nn, "MSELoss", "it is sg.nn.mse"),
        (sg, "Linear", "it is sg.nn.Linear"),
        (sg, "solve", "it is sg.linalg.solve"),
        (sg.optim, "sgd", "it is sg.optim.SGD"),
        (sg.optim, "RMSprop", "it is sg.optim.RMSProp"),
    ],
)
def test_names_that_are_close_or_stand_elsewhere_are_found(room, name, hint):
    with pytest.raises(AttributeError) as caught:
        getattr(room, name)
    assert caught.value.hint == hint


@pytest.mark.parametrize("tensor", [False, True], ids=["value", "tensor"])
def test_methods_of_torch_tensors_are_there_or_answered(tensor):
    x = Tensor([[1.0, 2.0]]) if tensor else sg.input("x", (1, 2))
    silent = []
    for name in [*hints.METHODS, "exp_", "add_", "zero_", "clamp_", "softmax", "norm", "topk"]:
        try:
            getattr(x, name)
        except AttributeError as error:
            silent += [] if error.hint else [name]
    assert silent == []


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: sg.nn.functional, r"sg\.nn\.relu"),
        (lambda: sg.nn.init, "xavier_uniform"),
        (lambda: sg.nn.Parameter, r"sg\.parameter\(name"),
        (lambda: sg.randn, r"rng\.uniform"),
        (lambda: sg.optim.warmup_cosine, r"warm_up\(sg\.optim\.cosine"),
        (lambda: sg.utils, r"sg\.train\.Batches"),
        (lambda: sg.optim.Adam(lr=1e-8), "write learning_rate="),
        (lambda: sg.input("x", (2, 3)).ravel(1), r"x\.flatten"),
        (lambda: sg.input("x", (2, 3, 4)).transpose(1, 2), "swapaxes"),
        (lambda: sg.zeros(3, 4), "one argument"),
        (lambda: sg.compile(sg.input("x", ()) + 1.0, dump="out"), r"sg\.options\(dump="),
    ],
)
def test_what_newcomers_from_torch_typed_is_answered(call, hint):
    with pytest.raises(sg.StaticgradError) as caught:
        call()
    assert re.search(hint, caught.value.hint), caught.value.hint


def test_modules_and_optimizers_have_plain_attribute_errors():
    for owner in (sg.nn.Linear(2, 2), sg.optim.SGD(0.1), sg.optim.cosine(0.1, 9)):
        assert not hasattr(owner, "no_such")
        with pytest.raises(AttributeError, match="has no attribute 'zero_it'"):
            owner.zero_it()
    with pytest.raises(TypeError, match="unsupported operand"):
        sg.nn.Linear(2, 2) * 2


@pytest.mark.parametrize(
    ("room", "name", "place"),
    [
        (sg, "compare", "from staticgrad.comparison import compare"),
        (sg, "Batches", "it is sg.train.Batches"),
        (sg.nn, "grad", "it is sg.grad"),
        (sg.optim, "map", "it is sg.map"),  # before sg.tree.map
    ],
)
def test_a_name_of_another_module_says_where_it_is(room, name, place):
    with pytest.raises(AttributeError) as caught:
        getattr(room, name)
    assert caught.value.hint == place


def test_an_optimizer_says_what_was_said_of_it():
    opt = sg.optim.SGD(0.1, momentum=0.9, max_norm=1.0)
    assert repr(opt) == "SGD(learning_rate=0.1, momentum=0.9, max_norm=1.0)"
    assert repr(sg.optim.Adam(sg.input("rate", ()))) == "Adam(learning_rate=<rate: f32[]>)"
