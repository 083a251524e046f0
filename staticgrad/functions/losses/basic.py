"""The losses of most programs, and what all losses have: reductions, and operands of one shape.

Names and meanings of options are those of ``torch.nn.functional``; classes stand along the last
axis.
"""

from __future__ import annotations

from typing import Any, Literal

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.exports import LAYERS
from staticgrad.families import like
from staticgrad.functions.aggregate import mean, sum as total
from staticgrad.functions.normalization import constant_shift
from staticgrad.functions.rowwise import rowwise
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops import transcendental as of
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import TakeAlong
from staticgrad.ops.movement import expand_dims, reshape
from staticgrad.ops.operands import (
    as_values,
    check_choice,
    check_equal,
    check_vector,
    floating,
    integer,
    is_number,
    promoted_values,
    related,
    shape_text,
)
from staticgrad.ops.selection import where
from staticgrad.types import dim as dims

Reduction = Literal["mean", "sum", "none"]


def reduced(op: str, losses: AnyValue, reduction: str, weights: AnyValue | None = None) -> AnyValue:
    """The mean of losses, their sum, or as they are; of weighted losses a weighted mean."""
    if reduction == "mean":
        return mean(losses) if weights is None else total(losses) / total(weights)
    if reduction == "sum":
        return total(losses)
    check_choice(op, "reduction", reduction, ("mean", "sum", "none"))
    return losses


def alike(op: str, left: Operand[AnyValue], right: Operand[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """Two floating operands of one shape (or one of them 0-d)."""
    first, second = (floating(op, value) for value in promoted_values(op, (left, right)))
    text = f"{op}: shapes {shape_text(first.shape)} and {shape_text(second.shape)} differ"
    if first.ndim and second.ndim:
        pairs = zip(first.shape, second.shape, strict=False)
        if first.ndim != second.ndim or not all(dims.equal(a, b, text) for a, b in pairs):
            raise ShapeError(
                text,
                hint="losses do not broadcast: reshape one of the two",
                related=related(first, second),
            )
    return first, second


def mse(
    input: Operand[AnyValue], target: Operand[AnyValue], reduction: Reduction = "mean"
) -> AnyValue:
    """The mean of (input - target) squared, over all elements.

    Args:
        input, target: floating, of one shape, or one of them 0-d; integers become float64.
        reduction: "mean", "sum", or "none".

    Returns:
        A 0-d value, or with "none" as many losses as there are elements.

    >>> sg.evaluate(sg.nn.mse([1.0, 2.0], [0.0, 0.0]))
    array(2.5)
    """
    left, right = alike("mse", input, target)
    away = left - right
    return reduced("mse", away * away, reduction)


@like(mse)
def huber(
    input: Operand[AnyValue],
    target: Operand[AnyValue],
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """The mean of r ** 2 / 2 where abs(r) <= delta, else delta * (abs(r) - delta / 2).

    r = input - target; Huber, Ann. Math. Statist. 35 (1964). ``delta`` is positive.
    """
    left, right = alike("huber", input, target)
    if is_number(delta) and delta <= 0:
        raise ArgumentError(f"huber: delta={delta!r} is not a positive number")
    away = left - right
    size = functions.absolute(away)
    losses = where(size <= delta, 0.5 * (away * away), delta * (size - 0.5 * delta))
    return reduced("huber", losses, reduction)


def cross_entropy(
    input: Operand[AnyValue],
    target: Operand[AnyValue],
    weight: Operand[AnyValue] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> AnyValue:
    """The mean over all labels of -log_softmax(input) at the label.

    Args:
        input: floating [..., C]: one unnormalised log-probability per class.
        target: integers [...], the class of each row. One outside [0, C) raises, in the run.
        weight: floating [C]: the loss of a row is multiplied by that of its label, and the mean is
            divided by the sum of these.
        ignore_index: rows with this label have loss 0, and do not count for the mean (NaN where
            none counts). It may lie outside [0, C); by default there is none.
        reduction: "mean", "sum", or "none": the losses [...].
        label_smoothing: the target is a mixture of the label with this share of all classes alike
            (Szegedy et al., arXiv 1512.00567, section 7), each of them by its own weight.

    Returns:
        A 0-d value in the dtype of ``input``, or the losses [...].

    >>> losses = sg.nn.cross_entropy([[0.0, 0.0], [100.0, 0.0]], [0, 0], reduction="none")
    >>> sg.evaluate(losses).round(4)
    array([0.6931, 0.    ])
    """
    scores, classes = as_values("cross_entropy", input, target)
    _check_labels(scores, classes)
    scores = floating("cross_entropy", scores)
    if not is_number(label_smoothing) or not 0 <= label_smoothing <= 1:
        raise ArgumentError(
            f"cross_entropy: label_smoothing={shown(label_smoothing)} is not between 0 and 1"
        )
    classes, counts, share = of_classes("cross_entropy", scores, classes, weight, ignore_index)
    if not label_smoothing:
        losses = _surprise(scores, classes)
        return masked("cross_entropy", losses, counts, share, reduction)
    logs = of_all_classes(scores)
    chosen = reshape(
        TakeAlong(logs.ndim - 1, wrap=False)(logs, expand_dims(classes, -1)), classes.shape
    )
    own = chosen if share is None else chosen * share
    spread = logs if weight is None else logs * as_values("cross_entropy", scores, weight)[1]
    losses = (label_smoothing - 1.0) * own - label_smoothing * mean(spread, -1)
    return masked("cross_entropy", losses, counts, share, reduction, is_weighted=True)


def of_classes(
    op: str, scores: Any, labels: Any, weight: Any, ignore_index: Any
) -> tuple[Any, Any, Any]:
    """Return valid class labels, which rows count, and each row's weight; None if all are alike."""
    counts = share = None
    if ignore_index is not None:
        counts = labels != integer(op, "ignore_index", ignore_index)
        labels = where(counts, labels, 0)
    if weight is not None:
        _, own = as_values(op, scores, weight)
        own = floating(op, own).astype(scores.dtype)
        text = f"{op}: weight is {shape_text(own.shape)}, there are {scores.shape[-1]} classes"
        check_vector(text, own, scores.shape[-1], scores)
        share = functions.take(own, labels)
    return labels, counts, share


def masked(
    op: str, losses: Any, counts: Any, share: Any, reduction: str, is_weighted: bool = False
) -> Any:
    """Losses by row, reduced: each times its share, unless that is in it; 0 where none counts."""
    if share is not None and not is_weighted:
        losses = losses * share
    if counts is not None:
        losses = where(counts, losses, 0.0)
        share = counts.astype(losses.dtype) if share is None else where(counts, share, 0.0)
    return reduced(op, losses, reduction, share)


def of_all_classes(scores: Any) -> Any:
    """log_softmax along the last axis."""
    away = scores - constant_shift(scores, (scores.ndim - 1,))
    return away - of.log(total(of.exp(away), -1, keepdims=True))


@rowwise(1, 0)
def _surprise(scores: AnyValue, classes: AnyValue) -> AnyValue:
    away = scores - constant_shift(scores, (scores.ndim - 1,))
    normaliser = of.log(total(of.exp(away), -1))
    chosen = TakeAlong(scores.ndim - 1, wrap=False)(away, expand_dims(classes, -1))
    return normaliser - reshape(chosen, normaliser.shape)


def _check_labels(logits: Value, labels: Value) -> None:
    if not labels.dtype.is_integer:
        raise DTypeError(
            f"cross_entropy: labels are integers, not {labels.dtype.numpy}",
            hint=_how_to_label(logits, labels),
            related=related(logits, labels),
        )
    if logits.ndim == 0:
        raise RankError(
            "cross_entropy: the logits have no axis of classes", related=related(logits)
        )
    text = (
        f"cross_entropy: logits {shape_text(logits.shape)} take one label per row,"
        f" got {shape_text(labels.shape)}"
    )
    if labels.ndim != logits.ndim - 1:
        hint = ""
        if labels.ndim == logits.ndim:
            column = labels.shape[-1] == 1 and logits.shape[-1] != 1
            hint = "a column of labels is labels[:, 0]" if column else "one-hot: y.argmax(axis=-1)"
        raise RankError(text, hint=hint, related=related(logits, labels))
    for own, of_labels in zip(logits.shape, labels.shape, strict=False):
        check_equal(text, own, of_labels, logits, labels)


def _how_to_label(logits: Value, labels: Value) -> str:
    if logits.dtype.is_integer:
        return "the logits come first: cross_entropy(logits, labels), here they are exchanged"
    if labels.ndim == logits.ndim:
        return (
            "one-hot: labels.argmax(axis=-1) gives the classes\n"
            "probabilities: -(p * sg.nn.log_softmax(logits)).sum(-1).mean()"
        )
    return "class ids are whole numbers: labels.astype('int64')"


publish(globals(), __name__, LAYERS[__name__].split())
