"""Distances and angles between rows, and the losses that are made of them.

Names and arguments are those of ``torch.nn.functional``.
"""

from __future__ import annotations

from staticgrad.families import like
from staticgrad.functions.aggregate import sum as total
from staticgrad.functions.losses.basic import Reduction, alike, mse, reduced
from staticgrad.functions.statistics import norm
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import floating
from staticgrad.ops.selection import maximum, where

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "normalize",
    "pairwise_distance",
    "triplet_margin_loss",
]


def pairwise_distance(
    x1: Operand[AnyValue],
    x2: Operand[AnyValue],
    p: float = 2.0,
    eps: float = 1e-6,
    keepdims: bool = False,
) -> AnyValue:
    """Compute the p-norm of x1 - x2 + eps along the last axis.

    Args:
        x1, x2: floating [..., d], of one shape, or one of them 0-d.
        p: as ``ord`` of ``sg.norm``.
        eps: added to each difference, so that the derivative of a distance of 0 is finite.
        keepdims: keep the last axis, with size 1.

    Returns:
        The distances [...].

    >>> sg.evaluate(sg.nn.pairwise_distance([[3.0, 4.0]], [[0.0, 0.0]], eps=0.0))
    array([5.])
    """
    one, other = alike("pairwise_distance", x1, x2)
    return norm(one - other + eps, p, -1, keepdims)


@like(mse)
def triplet_margin_loss(
    anchor: Operand[AnyValue],
    positive: Operand[AnyValue],
    negative: Operand[AnyValue],
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> AnyValue:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d ``pairwise_distance``.

    Schroff et al., arXiv 1503.03832.

    Args:
        anchor, positive, negative: floating [..., d], of one shape.
        margin: by how much the negative should be farther away.
        p, eps: of the distances.

    Returns:
        A 0-d value, or a loss for each row [...].

    >>> sg.evaluate(sg.nn.triplet_margin_loss([[0.0]], [[1.0]], [[3.0]], margin=2.5)).round(4)
    np.float64(0.5)
    """
    near = pairwise_distance(anchor, positive, p, eps)
    losses = maximum(near - pairwise_distance(anchor, negative, p, eps) + margin, 0.0)
    return reduced("triplet_margin_loss", losses, reduction)


def cosine_similarity(
    x1: Operand[AnyValue], x2: Operand[AnyValue], axis: int = 1, eps: float = 1e-8
) -> AnyValue:
    """Compute the cosine between rows: x1 . x2 / (|x1| |x2|), with lengths of at least eps.

    Args:
        x1, x2: floating, of one shape, or one of them 0-d.
        axis: the axis of the rows; 1 as in ``torch``.
        eps: the least length that counts: the cosine of a row of zeros is 0.

    Returns:
        The cosines, without ``axis``.

    >>> sg.evaluate(sg.nn.cosine_similarity([[3.0, 4.0], [0.0, 0.0]], [[3.0, 4.0], [1.0, 0.0]]))
    array([1., 0.])
    """
    one, other = alike("cosine_similarity", x1, x2)
    squares = maximum(total(one * one, axis), eps * eps)
    lengths = functions.sqrt(squares * maximum(total(other * other, axis), eps * eps))
    return total(one * other, axis) / lengths


@like(mse)
def cosine_embedding_loss(
    input1: Operand[AnyValue],
    input2: Operand[AnyValue],
    target: Operand[AnyValue],
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """1 - cosine where the target is 1, and max(0, cosine - margin) where it is -1.

    Args:
        input1, input2: floating [..., d], of one shape.
        target: 1 or -1, [...] or 0-d.
        margin: up to which cosine rows of target -1 cost nothing.

    Returns:
        A 0-d value, or a loss for each row [...].

    >>> sg.evaluate(sg.nn.cosine_embedding_loss([[3.0, 4.0]], [[3.0, 4.0]], [-1], margin=0.25))
    array(0.75)
    """
    near = cosine_similarity(input1, input2, -1)
    near, t = alike("cosine_embedding_loss", near, target)
    losses = where(t > 0, 1.0 - near, maximum(near - margin, 0.0))
    return reduced("cosine_embedding_loss", losses, reduction)


def normalize(x: Operand[AnyValue], p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> AnyValue:
    """Divide x by its p-norm along ``axis``, which is at least eps.

    Args:
        p: as ``ord`` of ``sg.norm``.
        axis: along which axis; 1 as in ``torch``.
        eps: the least norm: rows of zeros stay zeros.

    >>> sg.evaluate(sg.nn.normalize([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    value = floating("normalize", x)
    return value / maximum(norm(value, p, axis, keepdims=True), eps)


publish(globals(), __name__, __all__)
