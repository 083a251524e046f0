"""The table of PyTensor's Ops: a row each, by subject.

``registry`` says what a row is, and has the functions that rows are written with.
"""

from staticgrad.pytensor.operators import (
    cotangents,
    elements,
    factors,
    indexing,
    matrices,
    positions,
    reductions,
    scans,
    shapes,
    signals,
    sparse_products,
    subgraphs,
)
from staticgrad.pytensor.operators.registry import OPERATORS, SCALARS, operator, scalar

#: The modules that have rows.
SUBJECTS = (
    elements, shapes, reductions, indexing, positions, matrices, factors, signals, subgraphs,
    scans, cotangents, sparse_products,
)  # fmt: skip

__all__ = ["OPERATORS", "SCALARS", "SUBJECTS", "operator", "scalar"]
