"""Intervals of values and whether they can be zero, as far as their formulas say.

One walk over the graph, operands first, that asks each op (``Op.value_range``). Whoever reads the
ranges decides what is a hazard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from staticgrad.extend import Constant, Graph, Node, TensorType
from staticgrad.extend.reports import ANY, Range, ValueKey, Zero

#: Larger constants are not read.
_READ: Final = 1 << 16
Ranges = Mapping[ValueKey, Range]


def ranges_of(graph: Graph) -> dict[ValueKey, Range]:
    """Compute an interval for every value of a graph, for lints."""
    ranges: dict[ValueKey, Range] = {}
    for node in graph.nodes:
        for value in node.values:
            if node.is_leaf:
                ranges[value.key] = _of_leaf(node)
                continue
            is_single = len(node.types) == 1
            inferred = (
                node.op.value_range(lambda v: ranges[v.key], *node.args) if is_single else None
            )
            ranges[value.key] = (
                _of_type(value.type) if inferred is None else _sane(inferred, value.type)
            )
    return ranges


def _of_leaf(node: Node) -> Range:
    """Return the interval of a leaf: of a small constant's elements, else of its type."""
    if not isinstance(node.op, Constant):
        return _of_type(node.types[0])
    array = node.op.data.array
    if not 0 < array.size <= _READ:
        return ANY
    low, high = float(array.min()), float(array.max())
    if math.isnan(low):
        return ANY
    return Range(low, high, Zero.NEVER if (array != 0).all() else Zero.CHOSEN)


def _of_type(kind: TensorType) -> Range:
    if kind.dtype.is_bool:
        return Range(0.0, 1.0, Zero.CHOSEN)
    return Range(0.0) if kind.dtype.kind == "u" else ANY


def _sane(bounds: Range, kind: TensorType) -> Range:
    """Return the range without NaN; zero is excluded if it is outside of the interval."""
    if math.isnan(bounds.low) or math.isnan(bounds.high):
        bounds = replace(bounds, low=-math.inf, high=math.inf)
    if bounds.low > 0 or bounds.high < 0:
        return replace(bounds, zero=Zero.NEVER)
    return bounds if kind.dtype.is_float else replace(bounds, zero=min(bounds.zero, Zero.CHOSEN))
