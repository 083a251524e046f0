"""A flag is True or False: every bool argument of the public functions, classes and methods."""

import inspect
from types import FunctionType

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import eager
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.value import Value
from tests.helpers.cases import check_all

ROOMS = {"sg": sg, "sg.nn": sg.nn, "sg.optim": sg.optim, "sg.random": sg.random,
         "sg.testing": sg.testing, "eager": eager}  # fmt: skip


def public_things():
    """What users reach by a name: functions, classes and the methods of these."""
    for room, module in ROOMS.items():
        for name in getattr(module, "__all__", None) or vars(module):
            thing = getattr(module, name)
            home = str(getattr(thing, "__module__", ""))
            ours = home.startswith("staticgrad")
            # A module's own, or made public elsewhere; not what it only imports.
            own = home.startswith(module.__name__) or hasattr(thing, "__wrapped__")
            defined = room in ("sg", "eager") or own
            if ours and defined and not name.startswith("_"):
                yield f"{room}.{name}", thing
    yield "Value", Value


def flags():
    """Place -> the function to call, its flag, whether None is allowed."""
    found = {}
    for path, thing in public_things():
        functions = {path: (thing, thing)} if isinstance(thing, FunctionType) else {}
        if isinstance(thing, type):
            functions = {
                f"{path}.{name}": (thing if name == "__init__" else method, method)
                for name, method in vars(thing).items()
                if isinstance(method, FunctionType)
                and (not name.startswith("_") or name == "__init__")
            }
        for place, (called, defined) in functions.items():
            for name, parameter in inspect.signature(defined).parameters.items():
                kind = parameter.annotation
                if kind in ("bool", "bool | None", "Flag"):
                    found[f"{place}({name})"] = (called, name, kind != "bool")
    return found


FLAGS = flags()


def test_what_is_no_bool_is_refused_before_anything_else():
    def check(place):
        function, flag, _ = FLAGS[place]
        needed = {"learning_rate": 0.1} if "SGD" in place else {}
        if "ParameterGroups" in place:
            needed = {"default": sg.optim.SGD(0.1)}
        for given in ("no", 1, 0.0, np.int64(0), [True]):
            with pytest.raises(StaticgradError, match=flag) as caught:
                function(**needed, **{flag: given})
            assert caught.value.code == "SG108", given

    check_all(check, zip(FLAGS))


def test_there_are_many():
    assert len(FLAGS) > 80
    for known in ("sg.compile(fuse)", "sg.nn.attention(causal)", "Value.sum(keepdims)",
                  "eager.Tensor.__init__(requires_grad)", "sg.optim.SGD.__init__(nesterov)",
                  "sg.sort(descending)", "sg.isin(invert)", "sg.hessian(allow_disconnected)",
                  "eager.Tensor.backward(retain_graph)"):  # fmt: skip
        assert known in FLAGS


def test_numpys_bools_are_bools():
    x = sg.input("x", (3, 4))
    assert sg.sum(x, axis=0, keepdims=np.True_).shape == (1, 4)
    assert x.max(axis=0, keepdims=np.False_).shape == (4,)
    assert eager.Tensor([1.0], requires_grad=np.True_).requires_grad is True
    found = sg.compile(x * 2, fuse=np.False_).run({"x": np.ones((3, 4), "float32")})
    np.testing.assert_array_equal(found, np.full((3, 4), 2.0))
