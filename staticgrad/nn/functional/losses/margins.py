"""Losses of margins, rankings and likelihoods, by their names in ``torch.nn.functional``.

Their options are PyTorch's; ``reduction`` is as in ``sg.nn.mse``.
"""

from __future__ import annotations

from math import pi
from typing import Any, Final

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    AnyValue,
    Integer,
    PositiveFloat,
    as_values,
    describe_operands,
    floating,
    like,
    promoted_values,
    rounded_as_first,
    rounded_once,
)
from staticgrad.extend.functions import arange, mean
from staticgrad.extend.ops import (
    abs_squared,
    exp,
    expand_dims,
    log,
    maximum,
    stop_gradient,
    where,
)
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.nn.functional.basics import softplus
from staticgrad.nn.functional.losses.basic import (
    Reduction,
    alike,
    check_labels,
    mse,
    reduce_losses,
    take_at_labels,
)
from staticgrad.nn.functional.losses.further import cosine_similarity

_HALF_LOG_2_PI: Final = 0.9189385332046727


@like(mse)
@rounded_once
def hinge_embedding_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    margin: float = 1.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute ``input`` where target is 1, max(0, margin - input) where it is -1.

    Args:
        input: floating: distances.
        target: 1 or -1, of the same shape.

    >>> sg.nn.hinge_embedding_loss([0.3, 0.4], [1.0, -1.0]).round(3)
    np.float64(0.45)
    """
    distance, sign = alike(input, target)
    losses = where(sign > 0, distance, maximum(margin - distance, 0.0))
    return reduce_losses(losses, reduction)


@like(mse)
@rounded_once
def margin_ranking_loss(
    input1: ArrayLike[AnyValue],
    input2: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute max(0, -target * (input1 - input2) + margin).

    Args:
        input1, input2: floating, of one shape: scores.
        target: 1 where the first is to be larger, -1 where the second.

    >>> sg.nn.margin_ranking_loss([1.0, 2.0], [2.0, 1.0], [1.0, 1.0]).round(3)
    np.float64(0.5)
    """
    first, second = alike(input1, input2)
    differences, sign = alike(first - second, target)
    return reduce_losses(maximum(margin - sign * differences, 0.0), reduction)


@like(mse)
@rounded_once
def soft_margin_loss(
    input: ArrayLike[AnyValue], target: ArrayLike[AnyValue], reduction: Reduction = "mean"
) -> AnyValue:
    """Compute log(1 + exp(-target * input)), without overflow; ``target`` is 1 or -1.

    >>> sg.nn.soft_margin_loss([0.5, -1.0], [1.0, -1.0]).round(3)
    np.float64(0.394)
    """
    score, sign = alike(input, target)
    return reduce_losses(softplus(-sign * score), reduction)


@like(mse)
@rounded_once
def multilabel_soft_margin_loss(
    input: ArrayLike[AnyValue], target: ArrayLike[AnyValue], reduction: Reduction = "mean"
) -> AnyValue:
    """Compute the mean over classes of the cross-entropy of each class with its log-odds.

    Args:
        input: floating [..., C]: log-odds.
        target: 0 or 1 for each class, of the same shape.

    >>> sg.nn.multilabel_soft_margin_loss([[0.5, -1.0]], [[1.0, 0.0]]).round(3)
    np.float64(0.394)
    """
    odds, targets = alike(input, target)
    losses = softplus(-odds) * targets + softplus(odds) * (1.0 - targets)
    return reduce_losses(mean(losses, -1), reduction)


@rounded_as_first
def multi_margin_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    p: Integer = 1,
    margin: float = 1.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute the sum over other classes of max(0, margin - score of the label + score) ** p / C.

    Args:
        input: floating [n, C] or [C]: a score for each class.
        target: integers [n], or 0-d: the class of each row.
        p: 1 or 2.
        margin: by which the label's score is to be the largest.
        reduction: "mean", "sum", or "none": the losses [n].

    Returns:
        A 0-d value in the dtype of ``input``, or the losses.

    >>> sg.nn.multi_margin_loss([[0.1, 0.2, 0.9]], [2]).round(3)
    np.float64(0.167)
    """
    scores, labels = as_values(input, target)
    scores = floating(scores)
    if scores.ndim not in (1, 2):
        raise RankError(
            f"multi_margin_loss: expected scores [n, C], got {scores.type}",
            related=describe_operands(scores),
        )
    if p not in (1, 2):
        raise ArgumentError(f"multi_margin_loss: p={p} is neither 1 nor 2")
    place = scores.ndim - 1
    check_labels(scores, labels, place, None)
    label_score = expand_dims(take_at_labels(scores, labels, place), place)
    violations: Any = maximum(margin - label_score + scores, 0.0)
    others = arange(scores.shape[place], like=labels) != expand_dims(labels, place)
    terms = where(others, violations if p == 1 else abs_squared(violations), 0.0)
    return reduce_losses(mean(terms, place), reduction)


@like(mse)
@rounded_once
def cosine_embedding_loss(
    input1: ArrayLike[AnyValue],
    input2: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute 1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1.

    Args:
        input1, input2: floating [..., d], of one shape.
        target: 1 or -1 for each row.

    >>> sg.nn.cosine_embedding_loss([[1.0, 0.0]], [[1.0, 1.0]], [1.0]).round(3)
    np.float64(0.293)
    """
    cosine: Any = cosine_similarity(input1, input2, axis=-1)
    similarity, sign = alike(cosine, target)
    losses = where(sign > 0, 1.0 - similarity, maximum(similarity - margin, 0.0))
    return reduce_losses(losses, reduction)


@like(mse)
@rounded_once
def gaussian_nll_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    var: ArrayLike[AnyValue],
    full: bool = False,
    eps: PositiveFloat = 1e-6,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute (log(var) + (input - target) ** 2 / var) / 2: minus a normal log-density.

    Nix and Weigend (1994).

    Args:
        input: floating: the mean.
        var: the variance, which broadcasts; it is taken as at least ``eps``, and has its slope
            there as well.
        full: add log(2 pi) / 2.
        eps: the least variance.

    >>> sg.nn.gaussian_nll_loss([1.0, 2.0], [1.5, 2.0], [1.0, 0.5]).round(3)
    np.float64(-0.111)
    """
    average, targets = alike(input, target)
    average, unbounded_variance = promoted_values((average, var))
    # the value is held up, the slope goes on: PyTorch clamps under no_grad
    variance = unbounded_variance + stop_gradient(
        maximum(unbounded_variance, eps) - unbounded_variance
    )
    losses = 0.5 * (log(variance) + abs_squared(average - targets) / variance)
    return reduce_losses(losses + _HALF_LOG_2_PI if full else losses, reduction)


@like(mse)
@rounded_once
def poisson_nll_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    log_input: bool = True,
    full: bool = False,
    eps: PositiveFloat = 1e-8,
    reduction: Reduction = "mean",
) -> AnyValue:
    """Compute exp(input) - target * input: minus the log-density of counts, but for a constant.

    Args:
        input: floating: the logarithm of the rate, or the rate.
        target: counts, of the same shape.
        log_input: ``input`` is the logarithm; else input - target * log(input + eps) is computed.
        full: add Stirling's formula of log(target!) where target > 1.
        eps: added to the rate in the logarithm.

    >>> sg.nn.poisson_nll_loss([0.5, 1.0], [1.0, 2.0]).round(3)
    np.float64(0.934)
    """
    rate, count = alike(input, target)
    losses = exp(rate) - count * rate if log_input else rate - count * log(rate + eps)
    if full:
        stirling_count = where(count > 1, count, 2.0)
        stirling = (
            stirling_count * log(stirling_count)
            - stirling_count
            + 0.5 * log((2.0 * pi) * stirling_count)
        )
        losses = losses + where(count > 1, stirling, 0.0)
    return reduce_losses(losses, reduction)
