"""Losses over all alignments of a sequence with a shorter one."""

from __future__ import annotations

from typing import Any, Final

from staticgrad.errors import DTypeError, RankError, ShapeError
from staticgrad.functions.loops.loops import scan
from staticgrad.functions.losses.basic import Reduction, reduced
from staticgrad.functions.nn import logsumexp
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_values, floating, integer, related, shape_text
from staticgrad.ops.selection import maximum, where
from staticgrad.types import dim as dims

__all__ = ["ctc_loss"]

#: The logarithm used for probability 0: finite, so that differences of two are not NaN.
_NEVER: Final = -1e30


def ctc_loss(
    log_probs: Operand[AnyValue],
    targets: Operand[AnyValue],
    input_lengths: Operand[AnyValue] | None = None,
    target_lengths: Operand[AnyValue] | None = None,
    blank: int = 0,
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

    >>> even = np.full((2, 1, 2), np.log(0.5))  # of four alignments three give the label 1
    >>> round(float(sg.evaluate(sg.nn.ctc_loss(even, [[1]], reduction="sum"))), 4)
    0.2877
    """
    logs, labels = as_values("ctc_loss", log_probs, targets)
    logs = floating("ctc_loss", logs)
    _check_shapes(logs, labels)
    counts = _lengths("target_lengths", target_lengths, logs, labels.shape[1])
    times = _lengths("input_lengths", input_lengths, logs, logs.shape[0])
    empty = integer("ctc_loss", "blank", blank)
    is_label = functions.expand_dims(functions.arange(labels.shape[1], like=labels), 0) < counts
    path = _with_blanks(where(is_label, labels, empty), empty)
    emitted = functions.take_along_axis(logs, functions.expand_dims(path, 0), axis=2)
    final = _forward(maximum(emitted, _NEVER), path, empty, times)
    places = functions.expand_dims(functions.arange(path.shape[1], like=path), 0)
    is_end = (places == 2 * counts) | (places == 2 * counts - 1)
    found = logsumexp(where(is_end, final, _NEVER), axis=-1)
    never = 0.0 if zero_infinity else float("inf")
    losses = where(found < 0.5 * _NEVER, never, -found)
    if reduction == "mean":
        losses = losses / maximum(functions.squeeze(counts, 1), 1).astype(losses.dtype)
    return reduced("ctc_loss", losses, reduction)


def _check_shapes(logs: Any, labels: Any) -> None:
    for value, wanted, axes in ((logs, 3, "time, batch, C"), (labels, 2, "batch, labels")):
        if value.ndim != wanted:
            raise RankError(
                f"ctc_loss: {value.type} where [{axes}] is due", related=related(logs, labels),
                hint="labels in rows, padded behind their ends; one sequence is a batch of one",
            )  # fmt: skip
    _check_integers("targets", labels)
    text = f"ctc_loss: {shape_text(logs.shape)} and {shape_text(labels.shape)} are other batches"
    if not dims.equal(logs.shape[1], labels.shape[0], text):
        raise ShapeError(text, related=related(logs, labels))


def _check_integers(name: str, value: Any) -> None:
    if not value.dtype.is_integer:
        raise DTypeError(f"ctc_loss: {name} are {value.dtype}, no integers", related=related(value))


def _lengths(name: str, given: Any, logs: Any, most: Any) -> Any:
    batch = logs.shape[1]
    if given is None:
        return functions.full((batch, 1), most, dtype="int64", like=logs)
    _, value = as_values("ctc_loss", logs, given)
    _check_integers(name, value)
    text = f"ctc_loss: {name} {shape_text(value.shape)} of a batch of {batch}"
    if value.ndim != 1 or not dims.equal(value.shape[0], batch, text):
        raise ShapeError(text, related=related(logs, value))
    return functions.expand_dims(value.astype("int64"), 1)


def _with_blanks(labels: Any, blank: int) -> Any:
    batch, count = labels.shape
    pairs = functions.stack([functions.full_like(labels, blank), labels], axis=2)
    return functions.pad(
        functions.reshape(pairs, (batch, 2 * count)), ((0, 0), (0, 1)), constant_values=blank
    )


def _forward(emitted: Any, path: Any, blank: int, times: Any) -> Any:
    """Compute the log-probability of each prefix of the path after the last time step."""

    def back(row: Any, places: int, with_: Any) -> Any:
        return functions.pad(row, ((0, 0), (places, 0)), constant_values=with_)[:, :-places]

    can_skip = (path != blank) & (path != back(path, 2, blank))

    def iteration(before: Any, given: Any) -> tuple[Any, None]:
        emit, time = given
        skipped = where(can_skip, back(before, 2, _NEVER), _NEVER)
        nexts = back(before, 1, _NEVER)
        most = functions.stop_gradient(maximum(maximum(before, nexts), skipped))
        total = sum(functions.exp(each - most) for each in (before, nexts, skipped))
        after = maximum(emit + functions.log(total) + most, _NEVER)
        return where(time < times, after, before), None

    places = functions.expand_dims(functions.arange(path.shape[1], like=path), 0)
    begin = functions.broadcast_to(where(places == 0, 0.0, _NEVER), path.shape)
    count = functions.arange(emitted.shape[0], like=path)
    last, _ = scan(iteration, begin.astype(emitted.dtype), (emitted, count))
    return last


publish(globals(), __name__, __all__)
