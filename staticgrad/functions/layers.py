"""Layers as functions of their weights, and norms of channels, which few programs have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.exports import LAYERS
from staticgrad.functions.aggregate import max as largest, mean, sum as total
from staticgrad.functions.attention import embedding
from staticgrad.functions.products import einsum
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, related

Pooled = Literal["mean", "sum", "max"]


_OVER: Final[dict[str, Callable[..., Any]]] = {"mean": mean, "sum": total, "max": largest}


def bilinear(
    input1: Operand[AnyValue],
    input2: Operand[AnyValue],
    weight: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
) -> AnyValue:
    """``input1 @ weight[k] @ input2 + bias[k]`` for each k.

    Args:
        input1, input2: vectors [..., m] and [..., n].
        weight: matrices [k, m, n].
        bias: [k].
    """
    matrices = as_value("bilinear", weight)
    if matrices.ndim != 3:
        said = f"bilinear: the weight is {matrices.type}, not [k, m, n]"
        raise RankError(said, related=related(matrices))
    found: Any = einsum("...i,oij,...j->...o", input1, matrices, input2)
    return found if bias is None else found + bias


def embedding_bag(
    input: Operand[AnyValue],
    weight: Operand[AnyValue],
    per_sample_weights: Operand[AnyValue] | None = None,
    *,
    mode: Pooled = "mean",
) -> AnyValue:
    """The mean, sum or maximum of the rows of ``weight`` that ``input`` names, over its last axis.

    Where bags have fewer, ``mode="sum"`` with ``per_sample_weights`` of 0 leaves ids out.

    Args:
        input: integers [..., count].
        weight: rows [entries, features].
        per_sample_weights: factors of the rows [..., count], for sums.
        mode: "mean", "sum" or "max".
    """
    check_mode("embedding_bag", mode)
    bags = as_value("embedding_bag", input)
    if not bags.ndim:
        said = f"embedding_bag: ids are {bags.type}, a single one"
        raise RankError(said, related=related(bags))
    rows: Any = embedding(bags, weight)
    if per_sample_weights is not None:
        if mode != "sum":
            raise ArgumentError(f'embedding_bag: weights go with mode="sum", not {mode!r}')
        rows = rows * functions.expand_dims(per_sample_weights, -1)
    return _OVER[mode](rows, -2)


def check_mode(name: str, mode: Any) -> None:
    """Refuse what no bag is reduced by."""
    if mode not in _OVER:
        raise ArgumentError(f'{name}: mode is "mean", "sum" or "max", not {shown(mode)}')


publish(globals(), __name__, LAYERS[__name__].split())
