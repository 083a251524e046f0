"""Graphs of PyTensor as functions of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from inspect import Parameter as Argument, Signature
from typing import Any

from staticgrad.extend.building import capture, within
from staticgrad.extend.functions import parameter
from staticgrad.extend.trees import Tree, flatten, unflatten
from staticgrad.interop.engine.operands import ForeignType, fit_argument
from staticgrad.interop.pytensor.program import PyTensorProgram
from staticgrad.support.errors import ArgumentError


class PyTensorFunction:
    """A graph of PyTensor as a function of values; it needs no PyTensor.

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
        self.parameters = {name: parameter(name, array) for name, array in shared.items()}
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

    def freeze(self) -> PyTensorFunction:
        """Return the function with the parameters as constants, with the values they have now.

        A function without updates has no other use of parameters.
        """
        frozen = copy(self)
        frozen.parameters = {}
        frozen._constants = [shared.value.copy() for shared in self.parameters.values()]
        return frozen


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
