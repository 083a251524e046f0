"""The table of PyTensor's Ops: a row each, by subject.

``registry`` says what a row is, and has the functions that rows are written with.
"""

from staticgrad.interop.pytensor.operators import (
    elements,
    indexing,
    matrices,
    reductions,
    scans,
    shapes,
    subgraphs,
)
from staticgrad.interop.pytensor.operators.registry import OPERATORS, SCALARS, operator, scalar

#: The modules that have rows.
SUBJECTS = (elements, shapes, reductions, indexing, matrices, subgraphs, scans)

__all__ = ["OPERATORS", "SCALARS", "SUBJECTS", "operator", "scalar"]
