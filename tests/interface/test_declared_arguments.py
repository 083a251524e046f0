"""An annotation says which arguments are taken: those of all public functions, classes, methods."""

import inspect
import math
import pickle
import re
import traceback
from ast import literal_eval
from types import FunctionType
from typing import Literal

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import eager
from staticgrad.errors import StaticgradError
from staticgrad.extend import AnyValue, ArrayLike, Fraction, PositiveInt, public_form
from staticgrad.language.calls import functional
from staticgrad.language.calls.arguments import _declared_parameters
from staticgrad.language.ir.value import Value
from tests.helpers.cases import check_all

ROOMS = {"sg": sg, "sg.nn": sg.nn, "sg.optim": sg.optim, "sg.random": sg.random,
         "sg.linalg": sg.linalg, "sg.special": sg.special, "sg.ode": sg.ode,
         "sg.testing": sg.testing, "eager": eager}  # fmt: skip

NO_INTEGERS = (2.5, "two", np.nan, [2], np.ones(3), sg.input("n", ()), 1 << 65)
NO_NUMBERS = (math.nan, "one", True, [1.0], 1j)
NO_FLAGS = ("no", 1, 0.0, np.int64(0), [True])
#: Annotation -> arguments that it refuses. The words are those of every signature.
REFUSED = {
    "bool": NO_FLAGS,
    "Integer": NO_INTEGERS,
    "PositiveInt": (*NO_INTEGERS, 0, -1, np.int64(-3), True),
    "NonNegativeInt": (*NO_INTEGERS, -1, np.False_),
    "Number": NO_NUMBERS,
    "PositiveFloat": (0.0, -1.0, math.inf, *NO_NUMBERS),
    "PositiveOperand": (0, -1.0, math.inf, "one", [1.0]),
    "NonNegativeFloat": (-1e-300, math.inf, *NO_NUMBERS),
    "Fraction": (-0.5, 1.0, *NO_NUMBERS),
    "OpenFraction": (0.0, 1, *NO_NUMBERS),
    "UnitFloat": (-0.5, np.float32(1.5), *NO_NUMBERS),
    "Rate": (-0.5, math.nan, "one", [0.1]),
    "Scale": (0.0, -1.0, math.inf, "one"),
    "PerAxis": (0, -1, 2.5, "two", (1, 0), [2, 2.5]),
}
#: Literals that are declared under a name.
CHOICES = ("Reduction", "Method", "Mode", "PadMode", "Errors", "Structure", "Triangle", "Border",
           "Coordinates", "Rounding", "Norm", "Algorithm", "Direction", "OutOfBounds",
           "Effort")  # fmt: skip


#: Arguments that optimizers and schedules need.
NEEDED = {"learning_rate": 0.1, "rate": 0.1, "then": 0.1, "steps": 5, "every": 2, "factor": 0.5,
          "milestones": (3, 5), "last": 0.2,
          "default": sg.optim.SGD(0.1)}  # fmt: skip


def public_things():
    """Yield what users reach by a name: functions, classes and the methods of these."""
    for room, module in ROOMS.items():
        for name in getattr(module, "__all__", None) or vars(module):
            thing = getattr(module, name)
            home = str(getattr(thing, "__module__", ""))
            ours = home.startswith("staticgrad")
            # A module's own, or made public elsewhere; not what it only imports.
            is_own = home.startswith(module.__name__) or hasattr(thing, "__wrapped__")
            defined = room in ("sg", "eager") or is_own
            if ours and defined and not name.startswith("_"):
                yield f"{room}.{name}", thing
    yield "Value", Value


def refused_by(annotation):
    """Return arguments that the annotation refuses, and whether None is among those it takes."""
    text = str(annotation)
    kind = text.removesuffix(" | None")
    if kind.startswith("Literal["):
        choices = literal_eval(f"[{kind[len('Literal[') : -1]}]")
        return (
            f"no {choices[0]}",
            f"{choices[0]}_".swapcase(),
            99,
            True,
            [choices[0]],
        ), kind != text
    if kind in CHOICES:
        return ("no such choice", 99, ["mean"]), kind != text
    return REFUSED.get(kind, ()), kind != text


def list_declared():
    """Place -> the function to call, the argument, what it refuses."""
    arguments = {}
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
            written = inspect.signature(inspect.unwrap(defined))  # not in the words of help
            for name, parameter in written.parameters.items():
                refused, optional = refused_by(parameter.annotation)
                by_place = parameter.kind is parameter.POSITIONAL_ONLY
                if refused and parameter.kind is not parameter.VAR_POSITIONAL and not by_place:
                    no_value = () if optional else (None,)
                    arguments[f"{place}({name})"] = (called, name, (*refused, *no_value))
    return arguments


DECLARED = list_declared()


def test_what_an_annotation_refuses_is_refused_before_anything_else():
    def check(place):
        function, name, refused = DECLARED[place]
        needed = {}
        if place.startswith("sg.optim."):  # data classes look at a missing argument first
            parameters = inspect.signature(function).parameters.values()
            needed = {p.name: NEEDED[p.name] for p in parameters if p.name in NEEDED}
        for argument in refused:
            with pytest.raises(StaticgradError, match=name) as caught:
                function(**{**needed, name: argument})
            assert caught.value.code == "SG108", argument
            assert traceback.extract_tb(caught.value.__traceback__)[-1].filename == __file__

    check_all(check, zip(DECLARED))


def test_there_are_many():
    assert len(DECLARED) > 150
    for place in ("sg.compile(fuse)", "sg.nn.attention(causal)", "Value.sum(keepdims)",
                  "eager.Tensor.__init__(requires_grad)", "sg.optim.SGD.__init__(nesterov)",
                  "sg.sort(descending)", "sg.isin(invert)", "sg.hessian(allow_disconnected)",
                  "eager.Tensor.backward(retain_graph)", "sg.cov(ddof)", "sg.linalg.qr(mode)",
                  "sg.nn.conv(groups)", "sg.nn.Conv1d.__init__(stride)", "sg.nn.mse(reduction)",
                  "sg.nn.MaxPool1d.__init__(kernel_size)", "sg.random.Generator.__init__(seed)",
                  "sg.linalg.gmres(restart)", "sg.ode.rk4(steps)"):  # fmt: skip
        assert place in DECLARED


def test_numpys_functions_and_layers_refuse_the_same():
    x = sg.input("x", (3, 4))
    mistakes = (
        (lambda: np.rot90(x, 2.5), "rot90: k 2.5 is not an integer"),
        (lambda: np.pad(x, 1, "mirror"), "pad: mode='mirror' is not one of 'constant', 'edge'"),
        (lambda: np.quantile(x, 0.5, method="median"), "quantile: method='median' is not one of"),
        (lambda: np.gradient(x, edge_order=3), "gradient: edge_order=3 is not one of 1, 2"),
        (lambda: sg.nn.Dropout2d(1.0), r"Dropout2d: p must be a number in \[0, 1\), got 1.0"),
        (lambda: sg.nn.Conv2d(3, 8, 3, stride=0), "Conv2d: stride must be >= 1, got 0"),
        (lambda: sg.nn.MaxPool2d((2, 0)), "MaxPool2d: kernel_size must be >= 1, got 0"),
        (lambda: sg.nn.LSTM(3, 4, 0), "LSTM: num_layers must be >= 1, got 0"),
    )
    for mistake, text in mistakes:
        with pytest.raises(StaticgradError, match=text) as caught:
            mistake()
        assert caught.value.code == "SG108"


def test_declarations_of_all_functions_of_numpy_are_read():
    names = [
        *dir(np),
        *(f"{room}.{n}" for room in ("linalg", "fft") for n in dir(getattr(np, room))),
    ]
    functions = [f for name in names if (f := functional.numpy_function(name)) is not None]
    assert len(functions) > 250
    for function in functions:
        _declared_parameters(function)
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    actual = sg.function(lambda x: (np.linalg.eigh(x)[0], np.linalg.eigvalsh(x)))(matrix)
    np.testing.assert_allclose(actual, [np.linalg.eigvalsh(matrix)] * 2)


def test_numpys_integers_are_integers():
    x = sg.input("x", ("n", 2, 8, 8), "float32")
    filters = np.ones((4, 1, 3, 3), "float32")
    actual = sg.nn.conv(x, filters, stride=np.array([2, 2]).tolist(), groups=np.int64(2))
    assert actual.shape == (sg.dim("n"), 4, 3, 3)
    assert sg.nn.Conv2d(2, 4, np.int32(3), stride=[2, np.int64(1)]).stride == (2, 1)
    assert sg.tri(3, k=np.int8(-1)).shape == (3, 3)
    assert sg.gradient(np.ones(3), edge_order=np.int64(2)).shape == (3,)
    assert type(sg.optim.SGD(0.1, accumulate=np.int64(2)).accumulate) is int


def test_numpys_bools_are_bools():
    x = sg.input("x", (3, 4))
    assert sg.sum(x, axis=0, keepdims=np.True_).shape == (1, 4)
    assert x.max(axis=0, keepdims=np.False_).shape == (4,)
    assert eager.Tensor([1.0], requires_grad=np.True_).requires_grad is True
    actual = sg.compile(x * 2, fuse=np.False_).run({"x": np.ones((3, 4), "float32")})
    np.testing.assert_array_equal(actual, np.full((3, 4), 2.0))


#: What type checkers read and the boundary checks, which no one who asks for help has to know.
HOUSE_WORDS = re.compile(
    r"\b(AnyValue|V|Of|Axes|Norm|OutOfBounds|Integer|\w+(Int|Float|Fraction|Operand))\b|~"
)


def test_signatures_are_shown_in_plain_words():
    def check(thing):
        methods = vars(thing).values() if isinstance(thing, type) else ()
        for function in (thing, *filter(inspect.isfunction, methods)):
            if inspect.isfunction(function) or (
                isinstance(function, type) and not issubclass(function, Exception)
            ):
                assert not HOUSE_WORDS.search(str(inspect.signature(function))), function

    check_all(check, [(thing,) for _, thing in public_things()])


@pytest.mark.parametrize(
    ("thing", "signature"),
    [
        (sg.tanh, "(x: ArrayLike) -> Value"),
        (
            sg.take,
            "(x: ArrayLike, indices: ArrayLike, axis: int | None = None, *,"
            " mode: Literal['raise', 'wrap', 'clip'] = 'raise') -> Value",
        ),
        (
            sg.nn.huber,
            "(input: ArrayLike, target: ArrayLike, delta: float | Value = 1.0,"
            " reduction: Literal['mean', 'sum', 'none'] = 'mean') -> Value",
        ),
        (sg.input("x", (3,)).clip, "(min: Any = None, max: Any = None) -> Value"),
        (sg.optim.cosine, "(rate: float, steps: float, least: float = 0.0) -> None"),
        (sg.nn.Dropout, "(p: float = 0.5, *, seed: int | None = None) -> None"),
    ],
)
def test_a_signature_as_help_shows_it(thing, signature):
    actual = inspect.signature(thing)
    assert str(actual) == signature
    assert actual == actual.replace()
    assert pickle.loads(pickle.dumps(actual)) == actual
    assert actual.bind(*[1] * sum(p.default is p.empty for p in actual.parameters.values()))


def outside(
    x: ArrayLike[AnyValue],
    width: PositiveInt,
    rate: Fraction | None = None,
    mode: Literal["low", "high"] = "low",
    flag: bool = False,
) -> tuple:
    return width, rate, mode, flag


def test_annotations_that_are_no_texts_declare_arguments_too():
    """A function as in a module without ``from __future__ import annotations``."""
    public = public_form(outside, __name__)
    x = sg.input("x", (3,))
    assert public(x, np.int64(2), None, "high", np.True_) == (2, None, "high", True)
    assert type(public(x, np.int64(2))[0]) is int
    for arguments in ((0,), (2, 1.5), (2, None, "middle"), (2, None, "low", 1)):
        with pytest.raises(sg.errors.ArgumentError, match="outside: "):
            public(x, *arguments)
