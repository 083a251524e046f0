"""Graphs of PyTensor (``FunctionGraph``) as programs of plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.programs import ForeignCall, ResultOf
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.extend.building import SourceLine, capture, is_user_file
from staticgrad.extend.optional import pytensor
from staticgrad.pytensor.program import PyTensorProgram

#: Attributes that are not among ``__props__`` and that rows read.
_FURTHER: Final = (
    "scalar_op", "axis", "acc_dtype", "info", "i", "inputs_sig", "outputs_sig", "n_outs",
    "is_while", "name", "new_order", "mode", "side", "true_branch", "false_branch",
    "clip_lower_bound", "clip_upper_bound", "multiplier",
)  # fmt: skip
#: Packages of PyTensor whose Ops have names that Ops of tensors have, too.
_PACKAGES: Final = frozenset({"sparse", "typed_list", "xtensor"})


def program_of(graph: Any) -> PyTensorProgram:
    """Return a graph of PyTensor as a program.

    Args:
        graph: a ``FunctionGraph``; constants are not inputs.
    """
    return program_between(graph.inputs, graph.toposort(), graph.outputs)


def program_between(
    inputs: Sequence[Any], nodes: Sequence[Any], outputs: Sequence[Any]
) -> PyTensorProgram:
    """Return the program of nodes in order, from variables to variables."""
    places: dict[Any, ResultOf] = {}
    for variable in inputs:
        places[variable] = ResultOf(len(places))
    calls = []
    for node in dict.fromkeys(nodes):  # PyTensor's frozen graphs list equal nodes several times
        calls.append(_read_call(node, places))
        for variable in node.outputs:
            places[variable] = ResultOf(len(places))
    return PyTensorProgram(
        [read_type(variable.type) for variable in inputs],
        calls,
        [_read_operand(variable, places) for variable in outputs],
        [read_type(variable.type) for variable in outputs],
        names=[variable.name or "" for variable in inputs],
    )


def _read_call(node: Any, places: Mapping[Any, ResultOf]) -> ForeignCall:
    """Return an Apply node as a call."""
    operands = tuple([_read_operand(variable, places) for variable in node.inputs])
    out = tuple([read_type(variable.type) for variable in node.outputs])
    return ForeignCall(read_op(node.op), operands, out, line_of(node.outputs[0]))


def _read_operand(variable: Any, places: Mapping[Any, ResultOf]) -> Any:
    return places[variable] if variable in places else _read_constant(variable)


def _read_constant(variable: Any) -> Any:
    """Return the data of a constant: numbers as arrays."""
    data = variable.data
    return np.asarray(data) if isinstance(data, int | float | complex | np.generic) else data


def read_type(kind: Any) -> ForeignType | None:
    """Return the type of a variable; None if it is neither a dense tensor nor a number."""
    is_sparse = hasattr(kind, "format")  # its class derives from that of dense tensors
    if isinstance(kind, pytensor("tensor.type").TensorType) and not is_sparse:
        return ForeignType(str(kind.dtype), tuple(kind.shape))
    if isinstance(kind, pytensor("scalar.basic").ScalarType):
        return ForeignType(str(kind.dtype), ())
    return None


def is_number(variable: Any) -> bool:
    """Return whether a variable is a number: its runs give a scalar of NumPy, not an array."""
    return isinstance(variable.type, pytensor("scalar.basic").ScalarType)


def read_op(op: Any) -> ForeignOperator:
    """Return an Op as plain data."""
    kind = type(op)
    names = [*getattr(op, "__props__", ()), *[name for name in _FURTHER if hasattr(op, name)]]
    attributes = {name: _read_attribute(getattr(op, name)) for name in names}
    if isinstance(getattr(op, "fgraph", None), pytensor("graph.fg").AbstractFunctionGraph):
        attributes["fgraph"] = program_of(op.fgraph)
    bases = tuple([name_class(base) for base in kind.__mro__[1:] if base is not object])
    is_scalar = isinstance(op, pytensor("scalar.basic").ScalarOp)
    return ForeignOperator(name_class(kind), attributes, bases, is_scalar)


def name_class(kind: type[Any]) -> str:
    """Return the name of an Op's class, with the package if names there are also used elsewhere."""
    package = kind.__module__.removeprefix("pytensor.").partition(".")[0]
    is_apart = kind.__module__.startswith("pytensor.") and package in _PACKAGES
    return f"{package}.{kind.__name__}" if is_apart else kind.__name__


def _read_attribute(attribute: Any) -> Any:
    """Return an attribute of an Op as plain data; text of what has no counterpart."""
    if attribute is None or isinstance(attribute, bool | int | float | complex | str):
        return attribute
    if isinstance(attribute, np.dtype):
        return attribute.name
    if isinstance(attribute, np.ndarray):
        return attribute
    if isinstance(attribute, tuple | list):
        return tuple([_read_attribute(part) for part in attribute])
    if isinstance(attribute, slice):
        return slice(*map(_read_attribute, (attribute.start, attribute.stop, attribute.step)))
    if isinstance(attribute, pytensor("graph.op").Op):
        return read_op(attribute)
    if isinstance(attribute, pytensor("graph.fg").AbstractFunctionGraph):
        return program_of(attribute)
    if isinstance(attribute, type) and issubclass(attribute, Exception):
        return attribute
    if isinstance(attribute, type) and issubclass(attribute, np.generic):
        return np.dtype(attribute).name
    if dataclasses.is_dataclass(attribute):
        fields = dataclasses.fields(attribute)
        return {field.name: _read_attribute(getattr(attribute, field.name)) for field in fields}
    if isinstance(attribute, Mapping):
        return {str(key): _read_attribute(part) for key, part in attribute.items()}
    if hasattr(attribute, "__index__"):
        return int(attribute)
    return str(attribute)


def line_of(variable: Any) -> SourceLine | None:
    """Return the user's innermost line of those by which a variable was made; None if none is.

    PyTensor stores the innermost lines alone; all of them may be of libraries.
    """
    for stack in reversed(getattr(variable.tag, "trace", None) or []):
        for file, line, function, text in reversed(stack):
            if is_user_file(file):
                return SourceLine(file, line, text=(text or "").strip(), function=function)
    return None


def set_line(variable: Any, line: SourceLine) -> None:
    """Set the line by which a variable was made; rewrites copy it to what replaces the variable."""
    variable.tag.trace = [[(line.file, line.line, line.function, line.text)]]


def lines_of_terms(density: Any, terms: Sequence[Any]) -> dict[Any, SourceLine]:
    """Return lines of a model for what its log density adds up, by the variable.

    A library makes all of it at the running line. What one term alone reads has the line of that
    term: of the random variable or potential in the model.

    Args:
        density: the sum of the terms.
        terms: of the model, in the order in which they are added.
    """
    parts = [density] if len(terms) == 1 else getattr(density.owner, "inputs", [])
    if len(parts) != len(terms):  # it is added up otherwise
        return {}
    running, shared = capture().resolve(), set[Any]()
    lines: dict[Any, SourceLine] = {}
    for part, term in zip(parts, terms, strict=True):
        line = line_of(term)
        for variable in pytensor("graph.traversal").ancestors([part]):
            made_at = line_of(variable)
            if variable in lines:
                shared.add(variable)
            elif variable.owner and line and (made_at is None or made_at.short == running.short):
                lines[variable] = line
    return {variable: line for variable, line in lines.items() if variable not in shared}
