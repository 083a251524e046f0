"""A graph of PyTensor as plain data, and what computes it: each Apply node by its Op's row.

``reading.py`` makes it of PyTensor's graphs. It does not mention PyTensor, so a function of it is
pickled and loaded where PyTensor is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from staticgrad.extend import Value
from staticgrad.extend.building import SourceLine, within
from staticgrad.interop.pytensor.operators import OPERATORS, SCALARS
from staticgrad.interop.pytensor.operators.registry import (
    PyTensorOp,
    PyTensorType,
    apply_row,
    row_of,
    shape_of,
    value,
)
from staticgrad.interop.pytensor.sizes import compute_sizes
from staticgrad.interop.rows import ResultOf
from staticgrad.support.errors import ExportError, StaticgradError

__all__ = ["OPERATORS", "SCALARS", "PyTensorCall", "PyTensorProgram", "ResultOf"]


class PyTensorCall(NamedTuple):
    """One Apply node.

    Attributes:
        op: the Op.
        operands: ``ResultOf``, and the data of constants: arrays, slices, None.
        out: the type of each result; None of what is no tensor.
        line: the user's.
    """

    op: PyTensorOp
    operands: tuple[Any, ...]
    out: tuple[PyTensorType | None, ...]
    line: SourceLine | None


class PyTensorProgram:
    """Inputs, calls and results of a graph.

    Attributes:
        inputs: the type of each; None of what is no tensor.
        calls: in order; their results have the places behind the inputs.
        results: ``ResultOf``, and the data of constants.
        result_types: the type of each result.
    """

    def __init__(
        self,
        inputs: Sequence[PyTensorType | None],
        calls: Sequence[PyTensorCall],
        results: Sequence[Any],
        result_types: Sequence[PyTensorType | None],
    ) -> None:
        self.inputs, self.calls = tuple(inputs), tuple(calls)
        self.results, self.result_types = tuple(results), tuple(result_types)

    def __deepcopy__(self, memo: Any) -> PyTensorProgram:
        return self  # nothing changes it

    def missing(self) -> list[PyTensorCall]:
        """Return the calls of Ops that have neither a row nor an inner graph."""
        return [
            call
            for call in self.calls
            if row_of(call.op) is None and "fgraph" not in call.op.attributes
        ]

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Compute the results for operands, one for each input.

        Returns:
            Values, and arrays of what is known while the program is built.

        Raises:
            ExportError: an Op has no row, or its row refuses it; ``place`` of the error is that of
                the call.
        """
        env = [*operands]
        for place, call in enumerate(self.calls):
            try:
                env += compute_call(call, [read_operand(operand, env) for operand in call.operands])
            except NodeError as error:
                error.place = place
                raise
        return [read_operand(result, env) for result in self.results]

    def values(self, operands: Sequence[Any]) -> list[Value]:
        """Compute the results as values, in PyTensor's element types."""
        return [
            value(result, None if kind is None else kind.dtype)
            for result, kind in zip(self.run(operands), self.result_types, strict=True)
        ]


def read_operand(operand: Any, env: Sequence[Any]) -> Any:
    """Return the value of a place, or a constant."""
    return env[operand.place] if isinstance(operand, ResultOf) else operand


class NodeError(ExportError):
    """An error that names its Op and line; ``place``: of the call in the program."""

    place: int | None = None


def compute_call(call: PyTensorCall, operands: list[Any]) -> list[Any]:
    """Compute the results of a call.

    Raises:
        NodeError: the Op has no row, or its row refuses it.
    """
    try:
        integers = compute_sizes(call.op, operands, call.out)
        if integers is not None:
            return [*integers]
        with within(origin=call.line):
            results = apply_row(call.op, operands, call.out)
            return [
                _cast_result(result, kind, call.op.is_scalar)
                for result, kind in zip(results, call.out, strict=True)
            ]
    except StaticgradError as error:
        if isinstance(error, NodeError):
            raise
        raise _refusal(call, operands, error.headline, error.hint) from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise _refusal(call, operands, f"{type(error).__name__}: {error}", "") from error


def _cast_result(result: Any, kind: PyTensorType | None, is_scalar: bool) -> Any:
    """Return a result in PyTensor's element type, of PyTensor's rank.

    Scalar Ops are computed of whole tensors.
    """
    if kind is None:
        return result
    if isinstance(result, Value):
        result = value(result, kind.dtype)
    elif isinstance(result, np.ndarray) and result.dtype != object:
        result = result.astype(kind.dtype)
    if not is_scalar and len(shape_of(result)) != len(kind.shape):
        raise ExportError(f"the shape is {shape_of(result)} where PyTensor has {kind.shape}")
    return result


def _refusal(call: PyTensorCall, operands: Sequence[Any], what: str, hint: str) -> NodeError:
    """Return the error of a call: its Op, the user's line, and what is wrong."""
    types = [str(operand.type) for operand in operands if isinstance(operand, Value)]
    name = call.op.name
    if scalar_op := call.op.attributes.get("scalar_op"):
        name = f"{name} of {scalar_op.name}"
    elif core_op := call.op.attributes.get("core_op"):
        name = f"{name} of {core_op.name}"
    headline = what if what.startswith(name) else f"{name}: {what}"
    details = [f"operands: {', '.join(types)}"] if types else []
    return NodeError(headline, details=details, hint=hint, at=call.line)
