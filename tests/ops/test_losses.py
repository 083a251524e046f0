"""Activations and losses by torch's names, CTC: float64 by hand, derivatives by differences."""

from itertools import groupby, islice, product

import numpy as np
import pytest
from scipy import special

import staticgrad as sg
from staticgrad.eager import Tensor, gradcheck
from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.exports import LAYERS
from tests.helpers.diagonals import diagonals
from tests.nn.oracles import rotate_positions
from tests.ops.messages import assert_each_raises

RNG = np.random.default_rng(4)
X = RNG.normal(size=(5, 4)) * 2.0
Y = RNG.normal(size=(5, 4))
P = RNG.uniform(0.1, 0.9, (5, 4))
SIGNS = np.where(RNG.normal(size=(5, 4)) > 0, 1.0, -1.0)
ROWS = np.array([1.0, -1.0, 1.0, -1.0, -1.0])
BITS = (SIGNS > 0) * 1.0
LABELS = np.array([0, 3, 2, 2, 1])
#: Beyond every kink of the functions here.
FAR = np.array([-1e3, -7.0, -4.0, -2.0, -0.3, 0.2, 0.7, 1.5, 4.0, 7.0, 1e3])

nn, DRAWS = sg.nn, sg.random.Generator(3)
#: Activation -> a call, and its values.
ACTIVATIONS = {
    "celu": (
        lambda x: nn.celu(x, 0.7),
        lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7)),
    ),
    "hardsigmoid": (nn.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hardswish": (nn.hardswish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "hardtanh": (lambda x: nn.hardtanh(x, -2.5, 1.0), lambda x: np.clip(x, -2.5, 1.0)),
    "log_sigmoid": (nn.log_sigmoid, lambda x: -np.logaddexp(0, -x)),
    "mish": (nn.mish, lambda x: x * np.tanh(np.logaddexp(0, x))),
    "prelu": (lambda x: nn.prelu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "relu6": (nn.relu6, lambda x: np.clip(x, 0, 6)),
    "selu": (
        nn.selu,
        lambda x: (
            1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
        ),
    ),
    "softsign": (nn.softsign, lambda x: x / (1 + abs(x))),
    "hardshrink": (lambda x: nn.hardshrink(x, 0.6), lambda x: np.where(abs(x) > 0.6, x, 0.0)),
    "softshrink": (
        lambda x: nn.softshrink(x, 0.6),
        lambda x: np.sign(x) * np.maximum(abs(x) - 0.6, 0.0),
    ),
    "tanhshrink": (nn.tanhshrink, lambda x: x - np.tanh(x)),
    "threshold": (lambda x: nn.threshold(x, 0.6, -7.5), lambda x: np.where(x > 0.6, x, -7.5)),
}


def cosine(x, y):
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def distance(x, y, p=2.0):
    return (abs(x - y + 1e-6) ** p).sum(-1) ** (1 / p)


WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25])


def rows_of(x, labels, smoothing=0.0, weight=1.0):
    """Cross entropies of rows with targets that are mixtures, each class by its weight."""
    targets = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    return -(targets * weight * special.log_softmax(x, -1)).sum(-1)


#: Loss -> a call without a reduction, its values, and its operands.
LOSSES = {
    "binary_cross_entropy": (
        nn.binary_cross_entropy,
        lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)),
        (P, BITS),
    ),
    "binary_cross_entropy_with_logits": (
        lambda x, t, **r: nn.binary_cross_entropy_with_logits(x, t, pos_weight=WEIGHTS, **r),
        lambda x, t: WEIGHTS * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x),
        (X, BITS),
    ),
    "cross_entropy": (nn.cross_entropy, lambda x, i: rows_of(x, i), (X, LABELS)),
    "huber": (
        lambda x, y, **r: nn.huber(x, y, 0.6, **r),
        lambda x, y: special.huber(0.6, x - y),
        (X, Y),
    ),
    "mse": (nn.mse, lambda x, y: (x - y) ** 2, (X, Y)),
    "kl_div": (nn.kl_div, lambda x, t: special.xlogy(t, t) - t * x, (X, P)),
    "l1_loss": (nn.l1_loss, lambda x, y: abs(x - y), (X, Y)),
    "nll_loss": (nn.nll_loss, lambda x, i: -x[np.arange(5), i], (X, LABELS)),
    "smooth_l1_loss": (
        lambda x, y, **r: nn.smooth_l1_loss(x, y, beta=0.6, **r),
        lambda x, y: np.where(
            abs(x - y) < 0.6, (x - y) ** 2 / 1.2, np.maximum(abs(x - y) - 0.3, 0)
        ),
        (X, Y),
    ),
    "triplet_margin_loss": (
        nn.triplet_margin_loss,
        lambda a, p, n: np.maximum(distance(a, p) - distance(a, n) + 1, 0),
        (X, Y, P),
    ),
}
#: Of ``losses/margins.py``, likewise.
MARGINS = {
    "hinge_embedding_loss": (
        lambda x, y, **r: nn.hinge_embedding_loss(x, y, 0.7, **r),
        lambda x, y: np.where(y > 0, x, np.maximum(0.7 - x, 0)),
        (X, SIGNS),
    ),
    "margin_ranking_loss": (
        lambda x, y, s, **r: nn.margin_ranking_loss(x, y, s, 0.3, **r),
        lambda x, y, s: np.maximum(-s * (x - y) + 0.3, 0),
        (X, Y, SIGNS),
    ),
    "soft_margin_loss": (nn.soft_margin_loss, lambda x, y: np.log1p(np.exp(-y * x)), (X, SIGNS)),
    "multilabel_soft_margin_loss": (
        nn.multilabel_soft_margin_loss,
        lambda x, y: -(y * np.log(special.expit(x)) + (1 - y) * np.log(special.expit(-x))).mean(-1),
        (X, BITS),
    ),
    **{
        f"multi_margin_loss of power {p}": (
            lambda x, y, p=p, **r: nn.multi_margin_loss(x, y, p, 0.8, **r),
            lambda x, y, p=p: np.array(
                [
                    sum(max(0, 0.8 - row[k] + score) ** p for j, score in enumerate(row) if j != k)
                    / 4
                    for row, k in zip(x, y, strict=True)
                ]
            ),
            (X, LABELS),
        )
        for p in (1, 2)
    },
    "cosine_embedding_loss": (
        lambda x, y, s, **r: nn.cosine_embedding_loss(x, y, s, -0.2, **r),
        lambda x, y, s: np.where(s > 0, 1 - cosine(x, y), np.maximum(cosine(x, y) + 0.2, 0)),
        (X, Y, ROWS),
    ),
    "gaussian_nll_loss": (
        lambda x, y, v, **r: nn.gaussian_nll_loss(x, y, v, full=True, **r),
        lambda x, y, v: 0.5 * (np.log(2 * np.pi * v) + (x - y) ** 2 / v),
        (X, Y, P),
    ),
    "poisson_nll_loss": (nn.poisson_nll_loss, lambda x, y: np.exp(x) - y * x, (X, Y)),
    "poisson_nll_loss of rates": (
        lambda x, y, **r: nn.poisson_nll_loss(x, y, False, True, **r),
        lambda x, y: (
            x
            - y * np.log(x + 1e-8)
            + np.where(y > 1, y * np.log(y) - y + 0.5 * np.log(2 * np.pi * y), 0.0)
        ),
        (P, Y * Y),
    ),
}
LOSSES |= MARGINS
#: What gives rows, not losses: a call, its values, and its operands.
OTHERS = {
    "cosine_similarity": (nn.cosine_similarity, cosine, (X, Y)),
    "pairwise_distance": (
        lambda x, y: nn.pairwise_distance(x, y, 3), lambda x, y: distance(x, y, 3), (X, Y)
    ),
    "normalize": (
        nn.normalize, lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)), (X,)
    ),
    "softmin": (nn.softmin, lambda x: special.softmax(-x, -1), (X,)),
    "glu": (nn.glu, lambda x: x[:, :2] * special.expit(x[:, 2:]), (X,)),
    "rotary": (
        lambda x: nn.rotary(x, 3), lambda x: rotate_positions(x, 3), (X,)
    ),
}  # fmt: skip


def check(call, oracle, arrays):
    """Compiled, as a tensor, and by differences of each floating operand."""
    expected = oracle(*arrays)
    f = sg.function(call)
    np.testing.assert_allclose(f(*arrays), expected, rtol=1e-12, atol=1e-12)
    tensors = [Tensor(x, x.dtype.kind == "f", x.dtype) for x in arrays]
    np.testing.assert_allclose(call(*tensors).data, expected, rtol=1e-12, atol=1e-12)
    fixed = (BITS, SIGNS, ROWS, LABELS)
    varying = [k for k, x in enumerate(arrays) if not any(x is constant for constant in fixed)]
    for k, tensor in enumerate(tensors):
        tensor.requires_grad = k in varying

    def total(*xs):
        weights = np.random.default_rng(0).uniform(0.5, 1.5, expected.shape)
        return (call(*xs) * weights).sum()

    assert gradcheck(total, tensors)
    slopes = sg.grad(total, tuple(varying))(*arrays)
    total(*tensors).backward()
    for k, slope in zip(varying, slopes, strict=True):
        np.testing.assert_allclose(tensors[k].grad, slope, rtol=1e-10, atol=1e-12)


def functions_of(home):
    """The names of functions in a module of the table; further names of one function left out."""
    entries = LAYERS[f"staticgrad.nn.functional.{home}"].split()
    return {entry.rpartition("=")[2] for entry in entries}


def test_all_are_tried():
    assert {*ACTIVATIONS, "glu", "gumbel_softmax", "softmin"} == functions_of("activations")
    rows = {"cosine_similarity", "ctc_loss", "normalize", "pairwise_distance"}
    assert {name.partition(" ")[0] for name in LOSSES} | rows == {
        *functions_of("losses.further"),
        *functions_of("losses.margins"),
        *functions_of("losses.basic"),
        "binary_cross_entropy_with_logits",
    }


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    call, oracle = ACTIVATIONS[name]
    check(call, oracle, (FAR,))
    x = sg.input("x", (3,), "float32")
    ends = np.array([np.nan, -3e38, 3e38], np.float32)
    actual = sg.evaluate(sg.Graph({"y": call(x), "s": sg.grad(call(x).sum(), x)}), {"x": ends})
    assert actual["y"].dtype == np.float32
    assert np.isnan(actual["y"][0])
    assert name == "selu" or np.isfinite(actual["y"][1:]).all()
    assert np.isfinite(actual["s"][1:]).all()


#: Activation, a kink, and the slope there that its docstring says.
KINKS = (("celu", 0.0, 1.0), ("selu", 0.0, 1.0507009873554805 * 1.6732632423543772))


@pytest.mark.parametrize(("name", "place", "slope"), KINKS)
def test_kinks(name, place, slope):
    x = Tensor([place], True, "float64")
    ACTIVATIONS[name][0](x).backward()
    assert x.grad[0] == pytest.approx(slope, rel=1e-14)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    call, oracle, arrays = LOSSES[name]
    check(lambda *xs: call(*xs, reduction="none"), oracle, arrays)
    losses = oracle(*arrays)
    tensors = [Tensor(x) for x in arrays]
    assert call(*tensors).item() == pytest.approx(losses.mean(), rel=1e-12)
    assert call(*tensors, reduction="sum").item() == pytest.approx(losses.sum(), rel=1e-12)
    with pytest.raises(ArgumentError, match="reduction"):
        call(*tensors, reduction="batch")


@pytest.mark.thinned
@diagonals(2, ("smoothing", [0.0, 0.3]), ("ignored", [None, 2, -100]), ("weighted", [False, True]))
def test_classes_that_count_differently(smoothing, ignored, weighted):
    labels = np.where(LABELS == 2, -100, LABELS) if ignored == -100 else LABELS
    counts, class_weights = (
        (2 if ignored is not None else 9) != LABELS,
        WEIGHTS if weighted else np.ones(4),
    )
    losses = rows_of(X, LABELS, smoothing, class_weights) * counts
    options = {"weight": WEIGHTS if weighted else None, "ignore_index": ignored}

    def loss(x, reduction):
        return nn.cross_entropy(
            x, labels, **options, reduction=reduction, label_smoothing=smoothing
        )

    mean = losses.sum() / (class_weights[LABELS] * counts).sum()
    for reduction, expected in (("none", losses), ("sum", losses.sum()), ("mean", mean)):
        check(lambda x, how=reduction: loss(x, how), lambda x, y=expected: np.asarray(y), (X,))
    if not smoothing:
        logs = Tensor(special.log_softmax(X, -1), dtype="float64")
        assert nn.nll_loss(logs, labels, **options).item() == pytest.approx(mean, rel=1e-12)


def compared_with_torch(shape, every=1):
    """Values and slopes for labels and probabilities with every option, and PyTorch's numbers."""
    torch = pytest.importorskip("torch")
    of, rng = torch.nn.functional, np.random.default_rng(len(shape))
    place = min(1, len(shape) - 1)
    rows, classes = shape[:place] + shape[place + 1 :], shape[place]
    value, x = sg.input("x", shape, "float64"), rng.normal(size=shape)
    class_weights = rng.uniform(0.5, 1.5, classes)
    for target in (rng.integers(0, classes, rows), rng.uniform(size=shape)):
        by_share = target.dtype.kind == "f"
        last = np.moveaxis(target, place, -1) if by_share else target
        options = product(
            (None, class_weights),
            ("mean", "sum", "none"),
            (0.0, 0.3),
            (None,) if by_share else (None, 1),
        )
        for weight, reduction, smoothing, ignored in islice(options, 0, None, every):
            options = {"reduction": reduction}
            options |= {} if ignored is None else {"ignore_index": ignored}
            theirs = options | ({} if weight is None else {"weight": torch.from_numpy(weight)})
            options["weight"] = weight
            logits, y = torch.from_numpy(x.copy()).requires_grad_(), torch.as_tensor(target)
            expected = of.cross_entropy(logits, y, **theirs, label_smoothing=smoothing)
            expected.sum().backward()
            actual = nn.cross_entropy(value, target, **options, label_smoothing=smoothing)
            yield actual, expected.detach().numpy()
            yield sg.grad(actual.sum(), value), logits.grad.numpy()
            last_axis, options["axis"] = sg.moveaxis(value, place, -1), -1
            actual = nn.cross_entropy(last_axis, last, **options, label_smoothing=smoothing)
            yield actual, expected.detach().numpy()
            if not by_share and not smoothing:
                del options["axis"]
                expected = of.nll_loss(logits.detach(), y, **theirs)
                yield nn.nll_loss(value, target, **options), expected.numpy()
    yield value, x


@pytest.mark.parametrize(
    ("shape", "every"),
    [
        ((3, 4, 4), 5),  # 5 meets each pair of options once
        *(
            pytest.param(shape, 1, marks=pytest.mark.slow)
            for shape in ((4,), (5, 4), (3, 4, 4), (2, 3, 4, 2), (0, 3, 2))
        ),
    ],
)
def test_classes_are_where_torch_has_them(shape, every):
    pairs = [*compared_with_torch(shape, every)]
    actual = sg.evaluate([value for value, _ in pairs], {"x": pairs[-1][1]})
    for array, (_, expected) in zip(actual, pairs, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_rows(name):
    check(*OTHERS[name])


@pytest.mark.slow
def test_other_arguments():
    t, p = Tensor(X, dtype="float64"), Tensor(P, dtype="float64")
    actual = nn.kl_div(t, sg.log(p), "sum", log_target=True)
    assert actual.item() == pytest.approx((P * (np.log(P) - X)).sum())
    actual = nn.kl_div(t, p, "batchmean")
    assert actual.item() == pytest.approx((special.xlogy(P, P) - P * X).sum() / len(P))
    with pytest.raises(sg.errors.RankError, match="one number"):
        nn.kl_div(0.5, 0.5, "batchmean")
    images, slopes = RNG.normal(size=(2, 3, 2)), np.array([0.1, 0.2, 0.3])
    expected = np.where(images > 0, images, images * slopes[:, None])
    np.testing.assert_allclose(
        nn.prelu(Tensor(images, dtype="float64"), slopes).data, expected, rtol=1e-12
    )
    shares = sg.function(lambda x: nn.gumbel_softmax(x, DRAWS, 0.5))(X)
    np.testing.assert_allclose(shares.sum(-1), 1.0)
    with sg.eager_mode():
        draws = np.argmax([nn.gumbel_softmax(p[0], DRAWS).data for _ in range(4000)], -1)
    np.testing.assert_allclose(
        np.bincount(draws, minlength=4) / 4000, special.softmax(P[0]), atol=0.03
    )


def test_misuse():
    x = sg.input("x", (2, 3), "float64")
    assert_each_raises(
        (ShapeError, None, lambda: nn.l1_loss(x, x[0])),
        (ShapeError, None, lambda: nn.glu(x)),
        (ShapeError, "there are 3 classes",
         lambda: nn.cross_entropy(x, np.array([0, 1]), np.ones(2))),
        (sg.errors.IndexOutOfRange, None,
         lambda: nn.cross_entropy(Tensor(X, dtype="float64"), -LABELS, label_smoothing=0.1)),
        (ShapeError, "even", lambda: nn.rotary(x)),
        (DTypeError, None, lambda: nn.nll_loss(x, x[:, 0])),
        (ShapeError, "lie along axis 1",
         lambda: nn.cross_entropy(np.ones((2, 4, 3)), np.ones((2, 4), int))),
        (ShapeError, "one for each logit", lambda: nn.cross_entropy(x, np.ones((2, 4)))),
        (sg.errors.IndexOutOfRange, None,
         lambda: nn.nll_loss(Tensor(X, dtype="float64"), LABELS - 4)),
    )  # fmt: skip
    for wrong in (
        lambda: nn.smooth_l1_loss(x, x, beta=0.0),
        lambda: nn.gumbel_softmax(x, DRAWS, -1.0),
        lambda: nn.cross_entropy(x, np.array([0, 1]), label_smoothing=1.5),
        lambda: nn.cross_entropy(x, np.array([0, 1]), ignore_index=0.5),
        lambda: nn.cross_entropy(x, x, ignore_index=1),  # PyTorch refuses it, too
    ):
        with pytest.raises(ArgumentError):
            wrong()


CTC_RNG = np.random.default_rng(11)
TIMES, BATCH, CLASSES = 5, 4, 3


def logs(times=TIMES, batch=BATCH):
    scores = CTC_RNG.normal(size=(times, batch, CLASSES))
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def by_hand(log_probs, labels, blank):
    """Every alignment of one sequence that becomes these labels, one by one."""
    total = 0.0
    for path in product(range(CLASSES), repeat=len(log_probs)):
        if [k for k, _ in groupby(path) if k != blank] == list(labels):
            total += np.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
    return -np.log(total) if total else np.inf


LOGS = logs()
CTC_LABELS = np.array([[1, 2, 1], [1, 1, 2], [2, -7, 9], [1, 1, 1]])  # behind the ends anything
LENGTHS, COUNTS = np.array([5, 5, 2, 4]), np.array([3, 3, 1, 3])  # the last one does not fit


@pytest.mark.slow
@pytest.mark.parametrize("blank", [0, 2])
def test_losses_are_sums_over_alignments(blank):
    """Named times, batches and labels; a sequence that cannot be; float32 and the tape."""
    labels = np.where(blank == CTC_LABELS, 0, CTC_LABELS)
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
    actual = sg.compile({"losses": losses, "mean": mean}).run(feeds)
    np.testing.assert_allclose(actual["losses"], expected, rtol=1e-12)
    terms = np.where(np.isinf(expected), 0, expected) / np.maximum(COUNTS, 1)
    np.testing.assert_allclose(actual["mean"], terms.mean(), rtol=1e-12)
    on_tape = sg.nn.ctc_loss(Tensor(LOGS), labels, LENGTHS, COUNTS, blank, "none").data
    np.testing.assert_allclose(on_tape, expected, rtol=1e-5)
    narrow = sg.nn.ctc_loss(LOGS.astype("float32"), labels, LENGTHS, COUNTS, blank, "none")
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(sg.evaluate(narrow), expected, rtol=1e-5)


def test_without_lengths_all_count():
    probs, labels = logs(4, 2), np.array([[1, 2], [2, 2]])
    expected = [by_hand(probs[:, k], labels[k], 0) for k in range(2)]
    actual = sg.evaluate(sg.nn.ctc_loss(probs, labels, reduction="none"))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("times", "count", "expected"), [(0, 0, 0.0), (0, 1, np.inf), (2, 0, None)]
)
def test_sequences_without_times_or_labels(times, count, expected):
    probs = logs(times, 1)
    actual = sg.evaluate(sg.nn.ctc_loss(probs, np.ones((1, count), "int64"), reduction="sum"))
    np.testing.assert_allclose(actual, -probs[:, 0, 0].sum() if expected is None else expected)


@pytest.mark.slow
def test_derivatives():
    """By differences in one direction; of an infinite loss 0, never NaN."""
    x = sg.input("x", LOGS.shape, "float64")
    losses = sg.nn.ctc_loss(x, CTC_LABELS, LENGTHS, COUNTS, reduction="none")
    slope = sg.grad(sg.where(losses < np.inf, losses, 0.0).sum(), x)
    f = sg.compile({"losses": losses, "slope": slope})
    actual = f.run({"x": LOGS})["slope"]
    away, step = CTC_RNG.normal(size=LOGS.shape), 1e-6
    ends = [f.run({"x": LOGS + sign * step * away})["losses"][:3].sum() for sign in (1, -1)]
    np.testing.assert_allclose((actual * away).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-7)
    assert not actual[:, 3].any()
    assert not actual[2:, 2].any()  # behind the end


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"log_probs": LOGS[0]}, RankError, "time, batch, C"),
        ({"targets": CTC_LABELS[0]}, RankError, "batch, labels"),
        ({"targets": CTC_LABELS * 1.0}, DTypeError, "targets are"),
        ({"targets": CTC_LABELS[:2]}, ShapeError, "other batches"),
        ({"input_lengths": LENGTHS * 1.0}, DTypeError, "input_lengths are"),
        ({"target_lengths": COUNTS[:2]}, ShapeError, "target_lengths"),
        ({"reduction": "all"}, ArgumentError, "reduction"),
    ],
)
def test_mistakes(wrong, error, says):
    call = {"log_probs": LOGS, "targets": CTC_LABELS, **wrong}
    with pytest.raises(error, match=says):
        sg.nn.ctc_loss(**call)
