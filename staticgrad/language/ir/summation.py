"""The order in which sums add: one tree per sum, by its logical shape, axes and dtype alone.

NumPy's side (``tree_sum``) and every renderer follow what stands here, so that a sum has the same
bits wherever it is computed. The tree does not depend on strides, threads, fusion or how a value is
stored. It concerns floating elements; integers wrap and may be added in any order. All additions
are plain IEEE in the element's own dtype. -0.0 is the neutral element: x + -0.0 is x for every x.

**Decomposition** (``decompose``). Of the axes to reduce, T is the longest run of *trailing* axes of
the operand that are all reduced; if every axis is reduced and there are two or more, T is all of
them but axis 0. R is the rest of the reduced axes. The axes of T, and those of R, are each
flattened in C order.

1. T not empty: each row (the n elements of T, everything else held fixed) is summed by the *lane
   rule*; then, if R is not empty, the m row sums along R are summed by it once more, as one row.
2. T empty (the last axis is kept): the m terms along R are summed by the *column rule*.

A sum over no elements is +0.0, also where a rule is applied to no terms.

**Lane rule**, n terms t[0..n). L = ``lanes(dtype)``: 8 for 64-bit elements, else 16.

- Blocks of ``BLOCK`` = 4096 consecutive terms; the last one may be shorter. A block of b terms has
  L accumulators, each starting from -0.0. In step s = 0, 1, ..., ceil(b/L) - 1 lane l adds the
  block's term s*L + l; past the end of the block it adds -0.0.
- The lanes are halved: for h = L/2, L/4, ..., 1: lane[l] = lane[l] + lane[l + h] for l < h. Lane 0
  is the block's sum.
- The block sums, in order, are combined by the *counter rule*.

**Column rule**, m terms. Groups of ``group_length(m)`` = max(32, ceil(m/32)) consecutive terms, so
at most 32 of them; the last one may be shorter.

- In a group, blocks of ``COLUMN_BLOCK`` = 32 consecutive terms; the last one may be shorter. A
  block is added up one term after the other, starting from -0.0.
- The block sums of a group, in order, are combined by the *counter rule*.
- The group sums are added one after the other: g[0] + g[1], then + g[2], ...

**Counter rule** (a binary counter; pairwise summation for an unknown number of terms). A stack
holds partial sums, each with a height. A new term is pushed with height 0; while the two topmost
have equal heights, they are replaced by older + newer, one height up. At the end the rest is folded
from the top: acc = top; acc = older + acc, down to the oldest.

Padding a lane, a block, a group, or the terms of the counter rule with -0.0 behind the last term
changes no bit: a renderer may do so where that is easier than a tail.

    >>> decompose(3, (1, 2)), decompose(3, (0,)), decompose(2, (0, 1)), decompose(3, (0, 2))
    (((1, 2), ()), ((), (0,)), ((1,), (0,)), ((2,), (0,)))
    >>> tree_sum(np.full((2, 3), 0.5, np.float32), (0,))
    array([1., 1., 1.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from math import prod
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from staticgrad.language.types.dtype import DType, as_dtype

Array = npt.NDArray[Any]
_Term = TypeVar("_Term")

#: Consecutive terms of a row that share one set of lanes.
BLOCK: Final = 4096
#: Consecutive terms of a column that are added one after the other.
COLUMN_BLOCK: Final = 32
#: Parts of a column that are summed apart, at most.
GROUPS: Final = 32
#: Terms of a group, at least.
SHORTEST_GROUP: Final = 32


def lanes(dtype: DType) -> int:
    """Accumulators of a row sum: 8 for 64-bit elements, 16 for narrower ones."""
    return dtype.lanes


def decompose(rank: int, axes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split the axes of a sum into (T, R): those summed as rows, and the rest; see the module."""
    first = rank
    while first and first - 1 in axes:
        first -= 1
    if first == 0 and rank > 1:
        first = 1
    return tuple(range(first, rank)), tuple(axis for axis in axes if axis < first)


def group_length(terms: int) -> int:
    """Terms per group of a column of ``terms`` terms."""
    return max(SHORTEST_GROUP, -(-terms // GROUPS))


def tree_sum(array: npt.ArrayLike, axes: Iterable[int]) -> Array:
    """Sum an array over ``axes`` (sorted, non-negative) in the defined order, bitwise reproducible.

    Keeps the dtype; bools are or-ed. The result drops the axes.
    """
    source = np.asarray(array)
    axes = tuple(axes)
    if source.dtype.kind != "f":
        return np.asarray(np.add.reduce(source, axis=axes, dtype=source.dtype))
    row_axes, other_axes = decompose(source.ndim, axes)
    kept_axes = tuple(axis for axis in range(source.ndim) if axis not in axes)
    ordered = source.transpose(kept_axes + other_axes + row_axes)
    shape = tuple(source.shape[axis] for axis in kept_axes)
    terms = prod(source.shape[axis] for axis in other_axes)
    with np.errstate(all="ignore"):
        if not row_axes:
            return column_sum(ordered.reshape(*shape, terms))
        length = prod(source.shape[axis] for axis in row_axes)
        rows = lane_sum(ordered.reshape(*shape, terms, length))
        return lane_sum(rows) if other_axes else rows.reshape(shape)


def lane_sum(terms: Array) -> Array:
    """Sum along the last axis by lanes, in the order of vectorized kernels."""
    *outer, count = terms.shape
    if count == 0:
        return np.zeros(outer, terms.dtype)
    width = lanes(as_dtype(terms.dtype))
    steps = min(BLOCK, -(-count // width) * width) // width
    blocks = -(-count // (steps * width))
    padded = _pad_terms(terms, blocks * steps * width).reshape(*outer, blocks, steps, width)
    lane = np.full((*outer, blocks, width), -0.0, terms.dtype)
    for step in range(steps):
        lane = lane + padded[..., step, :]
    while width > 1:
        width //= 2
        lane = lane[..., :width] + lane[..., width:]
    return block_sum(lane[..., 0])


def in_lanes(terms: Sequence[_Term], width: int, join: Callable[[_Term, _Term], _Term]) -> _Term:
    """Combine the terms of one block in the order of ``width`` vector lanes.

    A lane without a term is left out, which is what -0.0 in its place comes to.
    """
    lane = [reduce(join, terms[number::width]) for number in range(min(width, len(terms)))]
    while width > 1:
        width //= 2
        joined = [join(*pair) for pair in zip(lane, lane[width:], strict=False)]
        lane = joined + lane[len(joined) : width]
    return lane[0]


def block_sum(terms: Array) -> Array:
    """Sum along the last axis by pairs, as a binary counter merges blocks (pairwise summation).

    The terms may also be the sums of 2, 4, 8, ... blocks each, the last one of fewer.
    """
    stack: list[tuple[int, Array]] = []
    for number in range(terms.shape[-1]):
        height, total = 0, np.asarray(terms[..., number])
        while stack and stack[-1][0] == height:
            total = np.asarray(stack.pop()[1] + total)
            height += 1
        stack.append((height, total))
    _, total = stack.pop()
    while stack:
        total = np.asarray(stack.pop()[1] + total)
    return total


def column_sum(terms: Array) -> Array:
    """Sum along the last axis in the order of column reductions."""
    *outer, count = terms.shape
    if count == 0:
        return np.zeros(outer, terms.dtype)
    length = group_length(count)
    groups, blocks = -(-count // length), -(-length // COLUMN_BLOCK)
    # Each group is padded to whole blocks, so that all groups take their steps together.
    padded = _pad_terms(terms, groups * length).reshape(*outer, groups, length)
    padded = _pad_terms(padded, blocks * COLUMN_BLOCK).reshape(*outer, groups, blocks, COLUMN_BLOCK)
    block = np.full((*outer, groups, blocks), -0.0, terms.dtype)
    for step in range(COLUMN_BLOCK):
        block = block + padded[..., step]
    group = block_sum(block)
    total = group[..., 0]
    for i in range(1, groups):
        total = total + group[..., i]
    return np.asarray(total)


def _pad_terms(terms: Array, count: int) -> Array:
    """Pad the terms of a sum with -0.0 along the last axis up to ``count``."""
    missing = count - terms.shape[-1]
    if not missing:
        return terms
    return np.concatenate(
        [terms, np.full((*terms.shape[:-1], missing), -0.0, terms.dtype)], axis=-1
    )
