"""The losses of most programs, and what all losses have: reductions, and operands of one shape.

Names and meanings of options are those of ``torch.nn.functional``.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any, Literal

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    Integer,
    PositiveOperand,
    Shape,
    UnitFloat,
    Value,
    as_values,
    axis_of,
    called_name,
    check_equal,
    check_vector,
    describe_operands,
    floating,
    like,
    promoted_values,
    quote,
    rounded_as_first,
    rounded_once,
    shape_text,
    sizes as dims,
)
from staticgrad.extend.functions import (
    constant_shift,
    mean,
    rowwise,
    sum as total,
)
from staticgrad.extend.ops import (
    abs_squared,
    absolute,
    astype,
    expand_dims,
    reshape,
    take,
    where,
)
from staticgrad.language.ops import transcendental as of
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import TakeAlong

Reduction = Literal["mean", "sum", "none"]


def reduce_losses(losses: AnyValue, reduction: str, weights: AnyValue | None = None) -> AnyValue:
    """The mean of losses, their sum, or as they are; of weighted losses a weighted mean."""
    if reduction == "mean":
        return mean(losses) if weights is None else total(losses) / total(weights)
    return total(losses) if reduction == "sum" else losses


def alike(left: ArrayLike[AnyValue], right: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """Two floating operands of one shape (or one of them 0-d)."""
    first, second = (floating(value) for value in promoted_values((left, right)))
    if first.ndim and second.ndim and first.shape != second.shape:
        shapes = f"{shape_text(first.shape)} and {shape_text(second.shape)}"
        text = f"{called_name()}: shapes {shapes} differ"
        pairs = zip(first.shape, second.shape, strict=False)
        if first.ndim != second.ndim or not all(dims.equal(a, b, text) for a, b in pairs):
            raise ShapeError(
                text,
                hint="losses do not broadcast: reshape one of the two",
                related=describe_operands(first, second),
            )
    return first, second


@rounded_once
def mse(
    input: ArrayLike[AnyValue], target: ArrayLike[AnyValue], reduction: Reduction = "mean"
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
    left, right = alike(input, target)
    residuals = left - right
    return reduce_losses(abs_squared(residuals), reduction)


@like(mse)
@rounded_once
def huber(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    delta: PositiveOperand = 1.0,
    reduction: Reduction = "mean",
) -> AnyValue:
    """The mean of r ** 2 / 2 where abs(r) <= delta, else delta * (abs(r) - delta / 2).

    r = input - target; Huber, Ann. Math. Statist. 35 (1964). ``delta`` is positive.

    >>> sg.nn.huber([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.312)
    """
    left, right = alike(input, target)
    residuals = left - right
    size = absolute(residuals)
    losses = where(size <= delta, 0.5 * abs_squared(residuals), delta * (size - 0.5 * delta))
    return reduce_losses(losses, reduction)


@rounded_as_first
def cross_entropy(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    weight: ArrayLike[AnyValue] | None = None,
    ignore_index: Integer | None = None,
    reduction: Reduction = "mean",
    label_smoothing: UnitFloat = 0.0,
    *,
    axis: int | None = None,
) -> AnyValue:
    """The mean over all labels of -log_softmax(input) at the label.

    Args:
        input: floating [n, C, ...] or [C]: one unnormalised log-probability per class.
        target: integers [n, ...], the class of each row; one outside [0, C) raises, in the run. Or
            floating, in the shape of ``input``: the probability of each class.
        weight: floating [C]: the loss of a row is multiplied by that of its label, and the mean is
            divided by the sum of these. The terms of probabilities are multiplied by it; their mean
            is divided by the number of rows.
        ignore_index: rows with this label have loss 0, and do not count for the mean (NaN where
            none counts). It may lie outside [0, C); by default there is none. Not for
            probabilities.
        reduction: "mean", "sum", or "none": the losses [n, ...].
        label_smoothing: the target is a mixture of the label with this share of all classes alike
            (Szegedy et al., arXiv 1512.00567, section 7), each of them by its own weight.
        axis: the axis of the classes. By default axis 1, as in PyTorch (of a vector axis 0): for
            logits [batch, time, C] it is ``axis=-1``.

    Returns:
        A 0-d value in the dtype of ``input``, or the losses [n, ...].

    >>> losses = sg.nn.cross_entropy([[0.0, 0.0], [100.0, 0.0]], [0, 0], reduction="none")
    >>> sg.evaluate(losses).round(4)
    array([0.6931, 0.    ])
    """
    scores, targets = as_values(input, target)
    place = class_axis(scores, axis)
    by_share = (
        targets.dtype.is_float and targets.ndim == scores.ndim and not scores.dtype.is_integer
    )
    if not by_share:
        check_labels(scores, targets, place, axis)
    elif not _fits(scores.shape, targets.shape):
        shapes = f"{shape_text(targets.shape)} for logits {shape_text(scores.shape)}"
        raise ShapeError(
            f"cross_entropy: probabilities {shapes}: one for each logit",
            related=describe_operands(scores, targets),
        )
    elif ignore_index is not None:
        raise ArgumentError(
            f"cross_entropy: ignore_index={quote(ignore_index)}, but the target has probabilities",
            hint="it is for labels: leave rows out by reduction='none'",
            related=describe_operands(scores, targets),
        )
    scores = floating(scores)
    by_class = _read_class_weights(scores, weight, place)
    counts = share = None
    if not by_share:
        targets, counts, share = read_labels(targets, by_class, ignore_index)
        if not label_smoothing:
            last = place == scores.ndim - 1
            losses = _surprise(scores, targets, -1 if last else place)
            return reduce_masked(losses, counts, share, reduction)
    weighted_logs = logs = _log_softmax(scores, place)
    if by_class is not None:
        weighted_logs = logs * reshape(by_class, (-1, *(1,) * (scores.ndim - 1 - place)))
    if by_share:
        log_likelihood = total(astype(targets, scores.dtype) * weighted_logs, place)
    else:
        chosen = take_at_labels(logs, targets, place)
        log_likelihood = chosen if share is None else chosen * share
    losses = -log_likelihood
    if label_smoothing:
        losses = (label_smoothing - 1.0) * log_likelihood - label_smoothing * mean(
            weighted_logs, place
        )
    return reduce_masked(losses, counts, share, reduction, is_weighted=True)


def class_axis(scores: Value, axis: int | None) -> int:
    """Return the axis of the classes: PyTorch's, which is 1, or 0 of a vector, unless given."""
    if scores.ndim == 0:
        raise RankError(
            f"{called_name()}: the logits have no axis of classes",
            related=describe_operands(scores),
        )
    return min(1, scores.ndim - 1) if axis is None else axis_of(axis, scores)


def _read_class_weights(scores: Any, weight: Any, axis: int) -> Any:
    """Read a classification loss' class weights, one for each class."""
    if weight is None:
        return None
    _, class_weights = as_values(scores, weight)
    class_weights = floating(class_weights).astype(scores.dtype)
    size = scores.shape[axis]
    if class_weights.shape != (size,):
        sizes = shape_text(class_weights.shape)
        text = f"{called_name()}: weight is {sizes}, there are {size} classes"
        check_vector(text, class_weights, size, scores)
    return class_weights


def read_labels(labels: Any, weight: Any, ignore_index: Any) -> tuple[Any, Any, Any]:
    """Return valid class labels, which rows count, and each row's weight; None if all are alike."""
    counts = share = None
    if ignore_index is not None:
        counts = labels != ignore_index
        labels = where(counts, labels, 0)
    if weight is not None:
        share = take(weight, labels)
    return labels, counts, share


def take_at_labels(scores: Any, labels: Any, axis: int) -> Any:
    """Return the element of each row at its label; a label outside the axis raises in the run."""
    chosen = TakeAlong(axis, wrap=False)(scores, expand_dims(labels, axis))
    return reshape(chosen, labels.shape)


def losses_of_labels(
    scores: Any, labels: Any, weight: Any, ignore_index: Any, reduction: str, axis: Any
) -> Any:
    """Reduce minus each row's element at its label, as ``cross_entropy`` reduces losses."""
    place = class_axis(scores, axis)
    check_labels(scores, labels, place, axis)
    scores = floating(scores)
    weight = _read_class_weights(scores, weight, place)
    labels, counts, share = read_labels(labels, weight, ignore_index)
    return reduce_masked(-take_at_labels(scores, labels, place), counts, share, reduction)


def reduce_masked(
    losses: Any, counts: Any, share: Any, reduction: str, is_weighted: bool = False
) -> Any:
    """Losses by row, reduced: each times its share, unless that is in it; 0 where none counts."""
    if share is not None and not is_weighted:
        losses = losses * share
    if counts is not None:
        losses = where(counts, losses, 0.0)
        share = counts.astype(losses.dtype) if share is None else where(counts, share, 0.0)
    return reduce_losses(losses, reduction, share)


def _log_softmax(scores: Any, axis: int) -> Any:
    """log_softmax along the axis."""
    shifted = scores - constant_shift(scores, (axis,))
    return shifted - of.log(total(of.exp(shifted), axis, keepdims=True))


@rowwise(1, 0, fixed={"axis": -1})
def _surprise(scores: AnyValue, classes: AnyValue, axis: int = -1) -> AnyValue:
    place = axis % scores.ndim
    shifted = scores - constant_shift(scores, (place,))
    normaliser = of.log(total(of.exp(shifted), place))
    return normaliser - reshape(take_at_labels(shifted, classes, place), normaliser.shape)


def check_labels(logits: Value, labels: Value, place: int, axis: int | None) -> None:
    """Check that there is one integer for each row of the logits along the axis of the classes.

    Raises:
        DTypeError: the labels are no integers.
        RankError: they have not one axis less than the logits.
        ShapeError: their sizes are others.
    """
    if not labels.dtype.is_integer:
        raise DTypeError(
            f"{called_name()}: labels are integers, not {labels.dtype.numpy}",
            hint=_how_to_label(logits, labels),
            related=describe_operands(logits, labels),
        )
    rows = (*logits.shape[:place], *logits.shape[place + 1 :])
    if labels.shape == rows:
        return
    text = (
        f"{called_name()}: logits {shape_text(logits.shape)} take one label per row,"
        f" got {shape_text(labels.shape)}"
    )
    if labels.ndim != logits.ndim - 1:
        hint = ""
        if labels.ndim == logits.ndim:
            column = labels.shape[-1] == 1 and logits.shape[-1] != 1
            hint = f"one-hot: y.argmax(axis={place})"
            hint = "a column of labels is labels[:, 0]" if column else hint
        raise RankError(text, hint=hint, related=describe_operands(logits, labels))
    if not _fits(rows, labels.shape):
        text += "" if logits.ndim < 3 else f": the classes lie along axis {place}"
        last = axis is None and _fits(logits.shape[:-1], labels.shape)
        raise ShapeError(
            text,
            hint="axis=-1 takes the classes along the last axis" if last else "",
            related=describe_operands(logits, labels),
        )
    for size, of_label in zip(rows, labels.shape, strict=True):
        check_equal(text, size, of_label, logits, labels)


def _fits(shape: Shape, target_shape: Shape) -> bool:
    """Return whether no size is certainly another one."""
    with dims.collecting_guards():
        return all(map(dims.equal, shape, target_shape, repeat("")))


def _how_to_label(logits: Value, labels: Value) -> str:
    """Return a hint for labels that do not fit the logits of a cross-entropy."""
    if logits.dtype.is_integer:
        return f"the logits come first: {called_name()}(logits, labels), here they are exchanged"
    if labels.ndim == logits.ndim:
        return (
            "one-hot: labels.argmax(axis=1) gives the classes\n"
            "probabilities: sg.nn.cross_entropy(logits, p)"
        )
    return "class ids are whole numbers: labels.astype('int64')"
