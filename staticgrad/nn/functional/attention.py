"""Embedding, attention and rotary positions, written with the ordinary operators.

Scores and weights are ordinary values: fusion and the planner decide what of them reaches memory.
Public as ``sg.nn``.
"""

from __future__ import annotations

import operator
from math import sqrt
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    Dim,
    Size,
    Value,
    as_value,
    as_values,
    binding_kind,
    describe_operands,
    floating,
    promoted_values,
    rounded_once,
)
from staticgrad.extend.dtypes import I64
from staticgrad.extend.functions import (
    arange,
    largest,
    rowwise,
    sum as total,
)
from staticgrad.extend.ops import (
    concatenate,
    equal,
    exp,
    expand_dims,
    iota,
    logical_and,
    logical_or,
    matmul,
    power,
    size_value,
    stop_gradient,
    take,
    where,
)
from staticgrad.language.ops import transcendental
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.elementwise import ArrayLike


def embedding(
    input: ArrayLike[AnyValue], weight: ArrayLike[AnyValue], padding_idx: int | None = None
) -> AnyValue:
    """The rows of ``weight`` [n, d] that ``input`` [...] name: [..., d].

    An id outside raises, in the run; negative ones count from the end. The gradient adds up the
    cotangents of equal indices, in order.

    Args:
        input: integers of any shape.
        weight: rows [entries, features].
        padding_idx: a row whose gradient is 0, as it stands for places without an entry.

    >>> sg.evaluate(sg.nn.embedding([1, 1, 0], [[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 4.],
           [3., 4.],
           [1., 2.]])
    """
    rows, ids = as_values(weight, input)
    if rows.ndim != 2:
        raise RankError(
            f"embedding: the table is {rows.type}, not a matrix",
            hint="sg.nn.embedding(ids, table), as in torch",
            related=describe_operands(rows),
        )
    vectors = take(rows, ids, 0)
    if padding_idx is None:
        return vectors
    entries = rows.shape[0]
    row = check_padding("embedding", padding_idx, entries)
    from_end = row - entries if row >= 0 else row + entries  # ids may count from the end
    is_padding = expand_dims(logical_or(equal(ids, row), equal(ids, from_end)), -1)
    return where(is_padding, stop_gradient(vectors), vectors)


def check_padding(function: str, padding_idx: int, entries: Size) -> int:
    """Return the row of padding as an integer.

    Raises:
        ArgumentError: there is no such row.
    """
    row = operator.index(padding_idx)
    if isinstance(entries, int) and not -entries <= row < entries:
        raise ArgumentError(f"{function}: padding_idx={row} is no row of {entries}")
    return row


@rowwise(2, 2, 2, fixed={"mask": None})
def attention(
    query: ArrayLike[AnyValue],
    key: ArrayLike[AnyValue],
    value: ArrayLike[AnyValue],
    mask: ArrayLike[AnyValue] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> AnyValue:
    """softmax(query @ keyᵀ * scale) @ value (Vaswani et al., arXiv 1706.03762).

    Args:
        query: [..., t, d]; the axes before t are batches and heads.
        key: [..., s, d].
        value: [..., s, e].
        mask: bools that broadcast to [..., t, s]: False forbids a key to a query.
        causal: forbid every query the keys after it; the last query is beside the last key.
        scale: by default 1 / sqrt(d).

    Returns:
        [..., t, e]. A query that all keys are forbidden to gives zeros.

    >>> q = sg.input("q", ("batch", "time", 8))
    >>> sg.nn.attention(q, q, q, causal=True).shape
    (batch, time, 8)
    """
    q, k, v = (floating(x) for x in promoted_values((query, key, value)))
    for operand in (q, k, v):
        if operand.ndim < 2:
            raise RankError(
                f"attention: {operand.type} has no two axes", related=describe_operands(q, k, v)
            )
    return matmul(_weigh(q, k, mask, causal, scale), v)


@rowwise(2, 2, fixed={"mask": None})
def weigh_keys(
    query: ArrayLike[AnyValue],
    key: ArrayLike[AnyValue],
    mask: ArrayLike[AnyValue] | None = None,
    *,
    causal: bool = False,
) -> AnyValue:
    """Return the weights of ``attention`` [..., t, s], by which values are added up."""
    q, k = (floating(x) for x in promoted_values((query, key)))
    return _weigh(q, k, mask, causal, None)


def _weigh(q: Any, k: Any, mask: Any, causal: bool, scale: float | None) -> Any:
    """Return the weight of each key for each query; 0 where a key is forbidden."""
    scores: Any = MatMul(False, True)(q, k) * _scale(q, scale)
    # Return where a query may look, or None: everywhere.
    allowed = None
    if mask is not None:
        allowed = as_value(mask, binding_kind((scores,)))
        if not allowed.dtype.is_bool:
            raise DTypeError(
                f"attention: the mask is {allowed.dtype.numpy}, not bool",
                hint="True allows; compare: mask != 0",
                related=describe_operands(scores, allowed),
            )
    if causal:
        t, s = scores.shape[-2:]
        last_key = iota((t, s), 0, like=scores) + size_value(s - t, I64)
        is_causal = iota((t, s), 1, like=scores) <= last_key
        allowed = is_causal if allowed is None else logical_and(allowed, is_causal)
    if allowed is not None:
        scores = where(allowed, scores, -q.dtype.largest)
    raised = exp(scores - stop_gradient(largest(scores, (scores.ndim - 1,))))
    if allowed is not None:
        raised = where(allowed, raised, 0.0)
    weights = raised / total(raised, -1, keepdims=True)
    if allowed is not None:
        weights = where(allowed, weights, 0.0)
    return weights


def _scale(query: Value, scale: float | None) -> Any:
    depth = query.shape[-1]
    if scale is not None:
        return scale
    if isinstance(depth, Dim):
        return 1.0 / transcendental.sqrt(size_value(depth, query.dtype))
    return 1.0 / sqrt(max(depth, 1))


@rounded_once
def rotary(
    x: ArrayLike[AnyValue], position: ArrayLike[AnyValue] = 0, *, base: float = 10000.0
) -> AnyValue:
    """x [..., t, d] with pairs of features turned by angles that grow with their place in time.

    Su et al., arXiv 2104.09864: features i and i + d / 2 turn by (position + place) / base ** (2 i
    / d), so that products of two rows depend on the distance of their places alone.

    Args:
        x: of an even d.
        position: the place of the first row, an integer, known or a value.
        base: how slowly the last pair turns.

    >>> sg.nn.rotary([[1.0, 0.0], [1.0, 0.0]]).round(3)
    array([[1.   , 0.   ],
           [0.54 , 0.841]])
    """
    value: Any = floating(x)
    features = value.shape[-1] if value.ndim > 1 else 1
    if not isinstance(features, int) or features % 2:
        raise ShapeError(
            f"rotary: x is {value.type}, not [..., t, d] of an even d",
            related=describe_operands(value),
        )
    wide = value.dtype.compute
    half = features // 2
    rates = power(base, arange(half, like=value).astype(wide) * (-2.0 / features))
    places = (arange(value.shape[-2], like=value) + position).astype(wide)
    angles: Any = places[:, None] * rates
    cos, sin = (
        transcendental.cos(angles).astype(value.dtype),
        transcendental.sin(angles).astype(value.dtype),
    )
    first, second = value[..., :half], value[..., half:]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return concatenate(turned, -1)
