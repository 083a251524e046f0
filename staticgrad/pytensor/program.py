"""A graph of PyTensor as plain data, and what computes it: each Apply node by its Op's row.

``reading.py`` makes it of PyTensor's graphs. It does not mention PyTensor, so a function of it is
pickled and loaded where PyTensor is not installed.
"""

from __future__ import annotations

from typing import Any

from staticgrad.bridges.programs import NO_FACTS, Facts, ForeignProgram
from staticgrad.bridges.tables import ForeignOperator, OperatorTable
from staticgrad.pytensor.operators import OPERATORS
from staticgrad.pytensor.operators.registry import table_of
from staticgrad.pytensor.sizes import compute_sizes, computes_sizes


class PyTensorProgram(ForeignProgram):
    """A graph of PyTensor; integers that are computed of shapes are known while it is built."""

    table = OPERATORS

    @classmethod
    def table_of(cls, op: ForeignOperator) -> OperatorTable:
        return table_of(op)

    @classmethod
    def computes_sizes(cls, op: ForeignOperator) -> bool:
        return computes_sizes(op)

    @classmethod
    def apply(cls, op: ForeignOperator, operands: Any, out: Any, facts: Facts = NO_FACTS) -> Any:
        integers = compute_sizes(op, operands, out)
        return super().apply(op, operands, out, facts) if integers is None else integers
