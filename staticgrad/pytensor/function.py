"""Graphs of PyTensor as functions of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from inspect import Parameter as Argument, Signature
from typing import Any

import numpy as np

from staticgrad.bridges.operands import ForeignType, fit_argument
from staticgrad.errors import ArgumentError
from staticgrad.extend.building import capture, within
from staticgrad.extend.functions import parameter
from staticgrad.extend.parameters import have_same_elements
from staticgrad.extend.trees import Tree, flatten, unflatten
from staticgrad.pytensor.program import PyTensorProgram


class PyTensorFunction:
    """A graph of PyTensor as a function of values; it needs no PyTensor.

    Shared variables are parameters. One that the function does not update has the value that the
    shared variable has at each call; another shape or dtype makes another parameter.

    Attributes:
        program: its inputs are the arguments, then the parameters; its results are the function's,
            then the new values of parameters.
        parameters: of shared variables, by name.
    """

    def __init__(
        self,
        caller: str,
        program: PyTensorProgram,
        names: Sequence[str],
        tree: Tree,
        shared: Mapping[str, Any],
        updated: Sequence[str],
    ) -> None:
        self._caller, self.program, self._names = caller, program, tuple(names)
        self._tree, self._updated = tree, updated
        self._read = {
            name: _SharedValue(name, variable)
            for name, variable in shared.items()
            if name not in updated
        }
        self.parameters = {
            name: self._read[name].parameter
            if name in self._read
            else parameter(name, variable.get_value())
            for name, variable in shared.items()
        }
        self._constants: list[Any] = []
        self._line = capture().resolve()
        self.__name__ = self.__qualname__ = "pytensor_function"
        self.__signature__ = Signature([
            Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in self._names
        ])  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the results for values, in the containers of the outputs.

        Raises:
            ArgumentError: an argument has another rank, size or kind of element than the input.
        """
        self.__staticgrad_outside__()
        arguments = self.__signature__.bind(*args, **kwargs).arguments
        operands = [
            fit_argument(
                f"{self._caller}: {name}", arguments[name], kind or ForeignType("", ()), "PyTensor"
            )
            for name, kind in zip(self._names, self.program.inputs, strict=False)
        ]
        with within(self._line):  # of nodes that no line of the user made
            results = self.program.values([*operands, *self.parameters.values(), *self._constants])
        count = len(results) - len(self._updated)
        for name, new in zip(self._updated, results[count:], strict=True):
            self.parameters[name].update(new)
        return unflatten(self._tree, results[:count])

    def __staticgrad_outside__(self) -> tuple[int, ...]:
        """Give the parameters the values of shared variables; return which parameters these are.

        Each call of a program that reads them begins with it.
        """
        for name, shared in self._read.items():
            if shared.has_changed():
                self.parameters[name] = shared.parameter
        return tuple([id(shared.parameter) for shared in self._read.values()])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_read": {}}  # without PyTensor

    def freeze(self) -> PyTensorFunction:
        """Return the function with the parameters as constants, with the values they have now.

        A function without updates has no other use of parameters.
        """
        self.__staticgrad_outside__()
        frozen = copy(self)
        frozen.parameters, frozen._read = {}, {}
        frozen._constants = [shared.value.copy() for shared in self.parameters.values()]
        return frozen


class _SharedValue:
    """The parameter of a shared variable, one for each shape and dtype that it has had."""

    def __init__(self, name: str, variable: Any) -> None:
        self._name, self._variable = name, variable
        self._parameters: dict[Any, Any] = {}
        self._latest: Any = None
        self.has_changed()

    def has_changed(self) -> bool:
        """Write the variable's value to its parameter if it is another than at the last call."""
        value = np.asarray(self._variable.get_value(borrow=True))
        if self._latest is not None and have_same_elements(value, self._latest):
            return False
        self._latest = value.copy()
        key = value.shape, value.dtype
        if key in self._parameters:
            self._parameters[key].value = value
        else:
            self._parameters[key] = parameter(self._name, value)
        self.parameter = self._parameters[key]
        return True


class PyTensorDensity:
    """A log density as a function of one dict: the values of a model's variables by name."""

    def __init__(self, function: PyTensorFunction, names: Sequence[str]) -> None:
        self.function, self.names = function, tuple(names)
        self.__name__ = self.__qualname__ = "logp"

    def __call__(self, point: Mapping[str, Any]) -> Any:
        """Return the log density at a point.

        Raises:
            ArgumentError: the point has other names.
        """
        if {*point} != {*self.names}:
            names = ", ".join(map(repr, self.names))
            raise ArgumentError(
                f"logp: a point is a dict of {names}", hint="model.initial_point() is one"
            )
        return self.function(*[point[name] for name in self.names])


def tree_of(outputs: Any) -> tuple[list[Any], Tree]:
    """Return the variables in containers, and the containers."""
    return flatten(outputs)
