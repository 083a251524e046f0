"""Layers as functions of their weights, which few programs have. Public as ``sg.nn``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.functions.aggregate import max as largest, mean, sum as total
from staticgrad.functions.attention import embedding
from staticgrad.functions.products import einsum
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, related

__all__ = ["bilinear", "embedding_bag"]

Pooled = Literal["mean", "sum", "max"]
_OVER: Final[dict[str, Callable[..., Any]]] = {"mean": mean, "sum": total, "max": largest}


def bilinear(
    x: Operand[AnyValue],
    y: Operand[AnyValue],
    weight: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
) -> AnyValue:
    """``x @ weight[k] @ y + bias[k]`` for each k.

    Args:
        x, y: vectors [..., m] and [..., n].
        weight: matrices [k, m, n].
        bias: [k].

    Returns:
        [..., k].

    >>> sg.evaluate(sg.nn.bilinear([1.0, 2.0], [3.0, 4.0], [[[1.0, 0.0], [0.0, 1.0]]], [0.5]))
    array([11.5])
    """
    matrices = as_value("bilinear", weight)
    if matrices.ndim != 3:
        said = f"bilinear: the weight is {matrices.type}, not [k, m, n]"
        raise RankError(said, related=related(matrices))
    found: Any = einsum("...i,oij,...j->...o", x, matrices, y)
    return found if bias is None else found + bias


def embedding_bag(
    table: Operand[AnyValue],
    ids: Operand[AnyValue],
    weights: Operand[AnyValue] | None = None,
    *,
    mode: Pooled = "mean",
) -> AnyValue:
    """The mean, sum or maximum of the rows of ``table`` that ids name, over their last axis.

    Where bags have fewer, ``mode="sum"`` with weights of 0 leaves ids out.

    Args:
        table: rows [entries, features].
        ids: integers [..., count].
        weights: factors of the rows [..., count], for sums.
        mode: "mean", "sum" or "max".

    Returns:
        [..., features].

    >>> sg.evaluate(sg.nn.embedding_bag([[1.0, 2.0], [3.0, 4.0]], [[0, 1], [1, 1]]))
    array([[2., 3.],
           [3., 4.]])
    """
    check_mode("embedding_bag", mode)
    bags = as_value("embedding_bag", ids)
    if not bags.ndim:
        said = f"embedding_bag: ids are {bags.type}, a single one"
        raise RankError(said, related=related(bags))
    rows: Any = embedding(table, bags)
    if weights is not None:
        if mode != "sum":
            raise ArgumentError(f'embedding_bag: weights go with mode="sum", not {mode!r}')
        rows = rows * functions.expand_dims(weights, -1)
    found: AnyValue = _OVER[mode](rows, -2)
    return found


def check_mode(name: str, mode: Any) -> None:
    """Refuse what no bag is reduced by."""
    if mode not in _OVER:
        raise ArgumentError(f'{name}: mode is "mean", "sum" or "max", not {shown(mode)}')


publish(globals(), __name__, __all__)
