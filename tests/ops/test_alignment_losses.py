"""CTC beside the sum over all alignments, written out; derivatives by differences."""

from itertools import groupby, product

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError

RNG = np.random.default_rng(11)
TIMES, BATCH, CLASSES = 5, 4, 3


def logs(times=TIMES, batch=BATCH):
    scores = RNG.normal(size=(times, batch, CLASSES))
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def by_hand(log_probs, labels, blank):
    """Every alignment of one sequence that becomes these labels, one by one."""
    total = 0.0
    for path in product(range(CLASSES), repeat=len(log_probs)):
        if [k for k, _ in groupby(path) if k != blank] == list(labels):
            total += np.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
    return -np.log(total) if total else np.inf


LOGS = logs()
LABELS = np.array([[1, 2, 1], [1, 1, 2], [2, -7, 9], [1, 1, 1]])  # behind the ends anything
LENGTHS, COUNTS = np.array([5, 5, 2, 4]), np.array([3, 3, 1, 3])  # the last one does not fit


@pytest.mark.slow
@pytest.mark.parametrize("blank", [0, 2])
def test_losses_are_sums_over_alignments(blank):
    """Named times, batches and labels; a sequence that cannot be; float32 and the tape."""
    labels = np.where(blank == LABELS, 0, LABELS)
    expected = np.array([
        by_hand(LOGS[:n, k], labels[k, :count], blank)
        for k, (n, count) in enumerate(zip(LENGTHS, COUNTS, strict=True))
    ])  # fmt: skip
    assert np.isinf(expected).tolist() == [False, False, False, True]
    x = sg.input("x", ("time", "batch", CLASSES), "float64")
    y = sg.input("y", ("batch", "labels"), "int64")
    n, count = (sg.input(name, ("batch",), "int32") for name in ("n", "count"))
    losses = sg.nn.ctc_loss(x, y, n, count, blank, "none")
    feeds = {"x": LOGS, "y": labels, "n": LENGTHS, "count": COUNTS}
    mean = sg.nn.ctc_loss(x, y, n, count, blank, zero_infinity=True)
    found = sg.compile({"losses": losses, "mean": mean}).run(feeds)
    np.testing.assert_allclose(found["losses"], expected, rtol=1e-12)
    each = np.where(np.isinf(expected), 0, expected) / np.maximum(COUNTS, 1)
    np.testing.assert_allclose(found["mean"], each.mean(), rtol=1e-12)
    on_tape = sg.nn.ctc_loss(Tensor(LOGS), labels, LENGTHS, COUNTS, blank, "none").data
    np.testing.assert_allclose(on_tape, expected, rtol=1e-5)
    narrow = sg.nn.ctc_loss(LOGS.astype("float32"), labels, LENGTHS, COUNTS, blank, "none")
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(sg.evaluate(narrow), expected, rtol=1e-5)


def test_without_lengths_all_count():
    probs, labels = logs(4, 2), np.array([[1, 2], [2, 2]])
    expected = [by_hand(probs[:, k], labels[k], 0) for k in range(2)]
    found = sg.evaluate(sg.nn.ctc_loss(probs, labels, reduction="none"))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("times", "count", "expected"), [(0, 0, 0.0), (0, 1, np.inf), (2, 0, None)]
)
def test_sequences_without_times_or_labels(times, count, expected):
    probs = logs(times, 1)
    found = sg.evaluate(sg.nn.ctc_loss(probs, np.ones((1, count), "int64"), reduction="sum"))
    np.testing.assert_allclose(found, -probs[:, 0, 0].sum() if expected is None else expected)


@pytest.mark.slow
def test_derivatives():
    """By differences in one direction; of an infinite loss 0, never NaN."""
    x = sg.input("x", LOGS.shape, "float64")
    losses = sg.nn.ctc_loss(x, LABELS, LENGTHS, COUNTS, reduction="none")
    slope = sg.grad(sg.where(losses < np.inf, losses, 0.0).sum(), x)
    f = sg.compile({"losses": losses, "slope": slope})
    found = f.run({"x": LOGS})["slope"]
    away, step = RNG.normal(size=LOGS.shape), 1e-6
    ends = [f.run({"x": LOGS + sign * step * away})["losses"][:3].sum() for sign in (1, -1)]
    np.testing.assert_allclose((found * away).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-7)
    assert not found[:, 3].any()
    assert not found[2:, 2].any()  # behind the end


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"log_probs": LOGS[0]}, RankError, "time, batch, C"),
        ({"targets": LABELS[0]}, RankError, "batch, labels"),
        ({"targets": LABELS * 1.0}, DTypeError, "targets are"),
        ({"targets": LABELS[:2]}, ShapeError, "other batches"),
        ({"input_lengths": LENGTHS * 1.0}, DTypeError, "input_lengths are"),
        ({"target_lengths": COUNTS[:2]}, ShapeError, "target_lengths"),
        ({"reduction": "all"}, ArgumentError, "reduction"),
    ],
)
def test_mistakes(given, error, says):
    call = {"log_probs": LOGS, "targets": LABELS, **given}
    with pytest.raises(error, match=says):
        sg.nn.ctc_loss(**call)
