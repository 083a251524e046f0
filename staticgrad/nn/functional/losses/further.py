"""More losses, by their names in ``torch.nn.functional``, which has the same options.

Each takes ``reduction``: "mean" of all, "sum" of all, or "none": as many losses as there are
elements or rows. Operands have one shape, or one of them is 0-d; they do not broadcast.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from staticgrad.errors import DTypeError, RankError
from staticgrad.extend import (
    AnyValue,
    Axes,
    Integer,
    PositiveFloat,
    as_values,
    check_equal,
    check_vector,
    describe_operands,
    floating,
    like,
    rounded_as_first,
    rounded_once,
    shape_text,
)
from staticgrad.extend.functions import (
    arange,
    full,
    full_like,
    sum as total,
)
from staticgrad.extend.loops import scan
from staticgrad.extend.ops import (
    abs_squared,
    absolute,
    broadcast_to,
    exp,
    expand_dims,
    log,
    log1p,
    maximum,
    reshape,
    sqrt,
    squeeze,
    stack,
    stop_gradient,
    take_along_axis,
    where,
    xlogy,
)
from staticgrad.functions import aggregate
from staticgrad.functions.arrange import pad
from staticgrad.functions.statistics import norm, vector_norm_over
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.nn.functional.basics import logsumexp
from staticgrad.nn.functional.losses.basic import (
    Reduction,
    alike,
    cross_entropy,
    losses_of_labels,
    mse,
    reduce_losses,
)

#: The lower bound of the logarithm of a probability, so that no loss is infinite.
_LOWEST_LOG: Final = -100.0


@like(mse)
@rounded_once
def l1_loss(
    input: ArrayLike[AnyValue], target: ArrayLike[AnyValue], reduction: Reduction = "mean"
) -> AnyValue:
    """abs(input - target).

    >>> sg.nn.l1_loss([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.75)
    """
    predictions, targets = alike(input, target)
    return reduce_losses(absolute(predictions - targets), reduction)


@like(mse)
@rounded_once
def smooth_l1_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    reduction: Reduction = "mean",
    beta: PositiveFloat = 1.0,
) -> AnyValue:
    """r ** 2 / (2 beta) where abs(r) < beta, else abs(r) - beta / 2; r = input - target.

    ``beta`` is positive.

    >>> sg.nn.smooth_l1_loss([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.312)
    """
    predictions, targets = alike(input, target)
    residuals = predictions - targets
    size = absolute(residuals)
    losses = where(size < beta, abs_squared(residuals) * (0.5 / beta), size - 0.5 * beta)
    return reduce_losses(losses, reduction)


@like(cross_entropy)
@rounded_as_first
def nll_loss(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    weight: ArrayLike[AnyValue] | None = None,
    ignore_index: Integer | None = None,
    reduction: Reduction = "mean",
    *,
    axis: int | None = None,
) -> AnyValue:
    """The negative log-probability of each label.

    Args:
        input: floating [n, C, ...] or [C], as ``log_softmax`` gives them.
        target: integers [n, ...], the class of each row; one outside [0, C) raises, in the run.

    Returns:
        A 0-d value, or the losses [n, ...].

    >>> sg.nn.nll_loss([[-0.1, -2.4], [-1.6, -0.2]], [0, 1]).round(3)
    np.float64(0.15)
    """
    scores, labels = as_values(input, target)
    return losses_of_labels(scores, labels, weight, ignore_index, reduction, axis)


@like(mse)
@rounded_once
def kl_div(
    input: ArrayLike[AnyValue],
    target: ArrayLike[AnyValue],
    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean",
    log_target: bool = False,
) -> AnyValue:
    """Compute target * (log(target) - input), 0 where target is 0; the sum is the divergence.

    Args:
        input: floating, the logarithms of the probabilities to compare with the target.
        target: probabilities of the same shape, or one of the two is 0-d.
        reduction: also ``"batchmean"``, the sum divided by the size of the first axis: the mean
            divergence of a batch.
        log_target: the target is given by its logarithms, too.

    >>> sg.nn.kl_div([[-1.0, -0.5]], [[0.4, 0.6]]).round(3)
    np.float64(0.013)
    """
    scores, targets = alike(input, target)
    if log_target:
        losses = exp(targets) * (targets - scores)
    else:
        losses = xlogy(targets, targets) - targets * scores
    if reduction == "batchmean":
        if not losses.ndim:
            raise RankError(
                "kl_div: the mean over a batch of one number", related=describe_operands(scores)
            )
        losses, reduction = aggregate.sum(losses) / losses.shape[0], "none"
    return reduce_losses(losses, reduction)


@like(mse)
@rounded_once
def binary_cross_entropy(
    input: ArrayLike[AnyValue], target: ArrayLike[AnyValue], reduction: Reduction = "mean"
) -> AnyValue:
    """-(t log p + (1 - t) log(1 - p)), logarithms held above -100.

    Of log-odds ``binary_cross_entropy_with_logits`` is exact. Operands are in [0, 1].

    >>> sg.nn.binary_cross_entropy([0.9, 0.2], [1.0, 0.0]).round(3)
    np.float64(0.164)
    """
    p, t = alike(input, target)
    likely = maximum(log(p), _LOWEST_LOG)
    unlikely = maximum(log1p(-p), _LOWEST_LOG)
    losses = -(t * likely + (1.0 - t) * unlikely)
    return reduce_losses(losses, reduction)


@rounded_once
def pairwise_distance(
    x1: ArrayLike[AnyValue],
    x2: ArrayLike[AnyValue],
    p: float = 2.0,
    eps: float = 1e-6,
    keepdims: bool = False,
) -> AnyValue:
    """Compute the p-norm of x1 - x2 + eps along the last axis; ``p`` as ``ord`` of ``sg.norm``.

    x1 and x2 are floating [..., d], of one shape, or one of them 0-d. ``eps`` keeps the derivative
    of a distance of 0 finite.

    >>> sg.nn.pairwise_distance([[1.0, 2.0]], [[4.0, 6.0]]).round(3)
    array([5.])
    """
    a, b = alike(x1, x2)
    return norm(a - b + eps, p, -1, keepdims)


@like(mse)
@rounded_once
def triplet_margin_loss(
    anchor: ArrayLike[AnyValue],
    positive: ArrayLike[AnyValue],
    negative: ArrayLike[AnyValue],
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> AnyValue:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d ``pairwise_distance``.

    Schroff et al., arXiv 1503.03832. The operands are floating [..., d], of one shape.

    >>> sg.nn.triplet_margin_loss([[1.0, 0.0]], [[1.0, 0.5]], [[0.0, 1.0]]).round(3)
    np.float64(0.086)
    """
    positive_distance = pairwise_distance(anchor, positive, p, eps)
    losses = maximum(positive_distance - pairwise_distance(anchor, negative, p, eps) + margin, 0.0)
    return reduce_losses(losses, reduction)


@rounded_once
def cosine_similarity(
    x1: ArrayLike[AnyValue], x2: ArrayLike[AnyValue], axis: int = 1, eps: float = 1e-8
) -> AnyValue:
    """Compute the cosine between rows: x1 . x2 / (|x1| |x2|), with lengths of at least eps.

    x1 and x2 are floating, of one shape, or one of them 0-d; rows are along ``axis``.

    >>> sg.nn.cosine_similarity([[1.0, 0.0]], [[1.0, 1.0]]).round(3)
    array([0.707])
    """
    a, b = alike(x1, x2)
    squares = maximum(total(a * a, axis), eps * eps)
    lengths = sqrt(squares * maximum(total(b * b, axis), eps * eps))
    return total(a * b, axis) / lengths


@rounded_once
def normalize(
    x: ArrayLike[AnyValue], p: float = 2.0, axis: Axes = 1, eps: float = 1e-12
) -> AnyValue:
    """Divide x by its p-norm along ``axis``, which is at least eps: rows of zeros stay zeros.

    ``p`` is as ``ord`` of ``sg.linalg.vector_norm``; ``axis`` is one, several, or None for all.

    >>> sg.nn.normalize([[3.0, 4.0]]).round(3)
    array([[0.6, 0.8]])
    """
    value = floating(x)
    return value / maximum(vector_norm_over(value, p, axis, keepdims=True), eps)


#: The logarithm used for probability 0: finite, so that differences of two are not NaN.
_NEVER: Final = -1e30


@rounded_as_first
def ctc_loss(
    log_probs: ArrayLike[AnyValue],
    targets: ArrayLike[AnyValue],
    input_lengths: ArrayLike[AnyValue] | None = None,
    target_lengths: ArrayLike[AnyValue] | None = None,
    blank: Integer = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> AnyValue:
    """Compute -log of a labelling's probability, summed over alignments with a longer sequence.

    A. Graves et al., "Connectionist temporal classification" (2006): an alignment gives each time
    a label or the blank; equal neighbours become one, then blanks go. One ``scan`` over time.

    Args:
        log_probs: floating [time, batch, C], normalised over the classes (``log_softmax``).
        targets: integers [batch, labels], none of them ``blank``; those behind a sequence's end
            may be any.
        input_lengths: how many times of each sequence count, integers [batch]; all by default.
        target_lengths: how many labels of each sequence count, integers [batch]; all by default.
        blank: the class of no label.
        reduction: "mean" of the losses, each divided by the number of its labels (at least 1);
            "sum"; or "none": the losses [batch].
        zero_infinity: replace infinite losses by 0.

    Returns:
        A 0-d value in the dtype of log_probs, or the losses [batch]. The loss of more labels than
        the times can hold is infinite, and has derivative 0.

    >>> sg.nn.ctc_loss(np.log(np.full((3, 1, 2), 0.5)), [[1]]).round(3)
    np.float64(0.288)
    """
    logs, labels = as_values(log_probs, targets)
    logs = floating(logs)
    for value, rank, axes in ((logs, 3, "time, batch, C"), (labels, 2, "batch, labels")):
        if value.ndim != rank:
            raise RankError(
                f"ctc_loss: expected shape [{axes}], got {value.type}",
                related=describe_operands(logs, labels),
                hint="labels in rows, padded behind their ends; one sequence is a batch of one",
            )  # fmt: skip
    _check_integers("targets", labels)
    text = f"ctc_loss: {shape_text(logs.shape)} and {shape_text(labels.shape)} are other batches"
    check_equal(text, logs.shape[1], labels.shape[0], logs, labels)
    counts = _read_lengths("target_lengths", target_lengths, logs, labels.shape[1])
    times = _read_lengths("input_lengths", input_lengths, logs, logs.shape[0])
    empty = blank
    is_label = expand_dims(arange(labels.shape[1], like=labels), 0) < counts
    path = _insert_blanks(where(is_label, labels, empty), empty)
    emitted = take_along_axis(logs, expand_dims(path, 0), axis=2)
    final = _forward_probabilities(maximum(emitted, _NEVER), path, empty, times)
    places = expand_dims(arange(path.shape[1], like=path), 0)
    is_end = (places == 2 * counts) | (places == 2 * counts - 1)
    log_likelihood = logsumexp(where(is_end, final, _NEVER), axis=-1)
    never = 0.0 if zero_infinity else float("inf")
    losses = where(log_likelihood < 0.5 * _NEVER, never, -log_likelihood)
    if reduction == "mean":
        losses = losses / maximum(squeeze(counts, 1), 1).astype(losses.dtype)
    return reduce_losses(losses, reduction)


def _check_integers(name: str, value: Any) -> None:
    if not value.dtype.is_integer:
        raise DTypeError(
            f"ctc_loss: {name} are {value.dtype}, no integers", related=describe_operands(value)
        )


def _read_lengths(name: str, lengths: Any, logs: Any, default: Any) -> Any:
    """Read the sequence lengths of a CTC loss."""
    batch = logs.shape[1]
    if lengths is None:
        return full((batch, 1), default, dtype="int64", like=logs)
    _, value = as_values(logs, lengths)
    _check_integers(name, value)
    text = f"ctc_loss: {name} {shape_text(value.shape)} of a batch of {batch}"
    check_vector(text, value, batch, logs)
    return expand_dims(value.astype("int64"), 1)


def _insert_blanks(labels: Any, blank: int) -> Any:
    batch, count = labels.shape
    # a blank before each label, and one behind the last
    pairs = stack([full_like(labels, blank), labels], axis=2)
    return pad(reshape(pairs, (batch, 2 * count)), ((0, 0), (0, 1)), constant_values=blank)


def _forward_probabilities(emitted: Any, path: Any, blank: int, times: Any) -> Any:
    """Compute CTC's forward log-probabilities of prefixes after the last time step."""

    def shift_right(row: Any, places: int, with_: Any) -> Any:
        return pad(row, ((0, 0), (places, 0)), constant_values=with_)[:, :-places]

    # A. Graves et al., Connectionist temporal classification (2006): from a label to the next one
    # without the blank between them, unless both are the same.
    can_skip = (path != blank) & (path != shift_right(path, 2, blank))

    def iteration(alpha: Any, inputs: Any) -> tuple[Any, None]:
        """Advance CTC's forward log-probabilities by one time step."""
        emit, time = inputs
        skipped = where(can_skip, shift_right(alpha, 2, _NEVER), _NEVER)
        nexts = shift_right(alpha, 1, _NEVER)
        # the logarithm of a sum of three probabilities, without underflow
        largest = stop_gradient(maximum(maximum(alpha, nexts), skipped))
        total = sum(exp(term - largest) for term in (alpha, nexts, skipped))
        next_alpha = maximum(emit + log(total) + largest, _NEVER)
        return where(time < times, next_alpha, alpha), None

    places = expand_dims(arange(path.shape[1], like=path), 0)
    initial = broadcast_to(where(places == 0, 0.0, _NEVER), path.shape)
    count = arange(emitted.shape[0], like=path)
    last, _ = scan(iteration, initial.astype(emitted.dtype), (emitted, count))
    return last
