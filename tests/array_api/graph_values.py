"""The array API's namespace with values of a graph for arrays: ``sg.xp`` as a trace calls it.

The public test suite reads numbers in its assertions, and a value of a graph has none. An ``Array``
is such a value with the numbers of its inputs. What is made of numbers (``asarray``) is an input;
each function and method runs as in a function that is traced, and builds nodes; ``bool(x)``,
``float(x)`` and the like compute the graph: by the references of its ops, or compiled if
``ARRAY_API_VALUES=compile`` is in the environment.
"""

import functools
import itertools
import operator
import os
import sys
from types import SimpleNamespace

import numpy as np

import staticgrad as sg
from staticgrad import xp
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.nodes import Session, traced_in
from staticgrad.language.ir.value import Value
from staticgrad.language.types.dtype import DType

_COMPILED = os.environ.get("ARRAY_API_VALUES") == "compile"
_SERIALS = itertools.count()
#: Arguments whose numbers a trace has to have, by their position: the result's size is their sum.
_NEEDED_NUMBERS = {"repeat": 1}
_METHODS = (
    "abs add and eq floordiv ge getitem gt invert le lshift lt matmul mod mul ne neg or pos pow"
    " radd rand rfloordiv rlshift rmatmul rmod rmul ror rpow rrshift rshift rsub rtruediv rxor sub"
    " truediv xor"
)


class Array:
    """A value of a graph, with the numbers of the inputs that it depends on by their names."""

    __hash__ = None

    def __init__(self, value, feeds):
        self.value, self.feeds, self.numbers = value, feeds, None

    def compute(self):
        """Return the numbers of the value as an array of NumPy."""
        if self.numbers is None:
            graph = sg.Graph({"numbers": self.value})
            feeds = {name: self.feeds[name] for name in graph.input_types}
            results = sg.compile(graph).run(feeds) if _COMPILED else sg.evaluate(graph, feeds)
            self.numbers = np.asarray(results["numbers"])
        return self.numbers

    def __bool__(self):
        return bool(self.compute())

    def __int__(self):
        return int(self.compute())

    def __float__(self):
        return float(self.compute())

    def __complex__(self):
        return complex(self.compute())

    def __index__(self):
        return self.compute().__index__()

    def __repr__(self):
        return f"<{self.value!r}: {self.compute()!r}>"

    def __array_namespace__(self, *, api_version=None):
        self.value.__array_namespace__(api_version=api_version)
        return sys.modules[__name__]

    def __getattr__(self, name):
        if name.startswith("__") and "dlpack" not in name:
            raise AttributeError(name)
        return _of_values(getattr(self.value, name), self.feeds)


def _method(name):
    def method(self, *args):
        return _of_values(getattr(self.value, name), self.feeds)(*args)

    return functools.wraps(getattr(Value, name))(method)


for _name in _METHODS.split():
    setattr(Array, f"__{_name}__", _method(f"__{_name}__"))


def _of_values(attribute, feeds=None):
    """Return what the namespace or a value has, with arrays in the place of values."""
    if isinstance(attribute, Value):
        return Array(attribute, feeds)
    if isinstance(attribute, tuple | list):
        parts = [_of_values(part, feeds) for part in attribute]
        return type(attribute)(*parts) if hasattr(attribute, "_fields") else type(attribute)(parts)
    if not callable(attribute) or isinstance(attribute, DType | type):
        return attribute

    @functools.wraps(attribute)
    def build(*operands, **kwargs):
        numbers = dict(feeds or {})
        args, kwargs = _to_values((operands, kwargs), numbers)
        place = _NEEDED_NUMBERS.get(getattr(attribute, "__name__", ""))
        if place is not None and isinstance(operands[place], Array):
            args = [*args]
            args[place] = operands[place].compute()
        with traced_in(Session()), in_graphs():
            result = attribute(*args, **kwargs)
            if attribute is xp.asarray and not numbers:
                result = _make_input(result, numbers)
        return _of_values(result, numbers)

    return build


def _make_input(constant, feeds):
    """Return an input in the place of a constant, whose numbers are added to ``feeds``."""
    name = f"x{next(_SERIALS)}"
    feeds[name] = sg.evaluate(constant)
    return sg.input(name, constant.shape, constant.dtype)


def _to_values(argument, feeds):
    """Return an argument with values in the place of arrays; ``feeds`` gets their numbers."""
    if isinstance(argument, Array):
        feeds.update(argument.feeds)
        return argument.value
    if isinstance(argument, slice):
        parts = (argument.start, argument.stop, argument.step)
        return slice(*(part if part is None else operator.index(part) for part in parts))
    if isinstance(argument, tuple | list):
        return type(argument)([_to_values(part, feeds) for part in argument])
    if isinstance(argument, dict):
        return {name: _to_values(part, feeds) for name, part in argument.items()}
    return argument


def __array_namespace_info__():  # noqa: N807 - the standard's name
    with traced_in(Session()):
        capabilities = xp.__array_namespace_info__().capabilities()
    info = xp.__array_namespace_info__()
    names = ("default_device", "devices", "default_dtypes", "dtypes")
    functions = {name: getattr(info, name) for name in names}
    return SimpleNamespace(capabilities=lambda: capabilities, **functions)


def __getattr__(name):
    attribute = getattr(xp, name)
    if name in ("fft", "linalg"):
        return SimpleNamespace(**{of: _of_values(getattr(attribute, of)) for of in dir(attribute)})
    return _of_values(attribute)


__array_api_version__ = xp.__array_api_version__
