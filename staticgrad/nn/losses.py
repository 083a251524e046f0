"""Losses as modules, by PyTorch's names: each calls a function of values.

The fields of a class are the options of its function, in the order of PyTorch's constructors.
"""

from __future__ import annotations

from typing import Any, Literal

from staticgrad.nn.functional.basics import binary_cross_entropy_with_logits
from staticgrad.nn.functional.losses import further, margins
from staticgrad.nn.functional.losses.basic import Reduction, cross_entropy, huber, mse
from staticgrad.nn.module import FunctionLayer


class _Loss(FunctionLayer):
    """A function of predictions and targets."""

    def forward(self, input: Any, target: Any) -> Any:  # type: ignore[override]
        """The loss, reduced."""
        return self.compute(input, target)


class MSELoss(_Loss, function=mse):
    """The mean of (input - target) squared, as ``sg.nn.mse``.

    >>> sg.evaluate(sg.nn.MSELoss()(sg.constant([1.0, 2.0]), sg.constant([0.0, 0.0])))
    array(2.5)
    """

    reduction: Reduction = "mean"


class L1Loss(_Loss, function=further.l1_loss):
    """The mean of abs(input - target), as ``sg.nn.l1_loss``.

    >>> sg.nn.L1Loss()([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.75)
    """

    reduction: Reduction = "mean"


class SmoothL1Loss(_Loss, function=further.smooth_l1_loss):
    """Call ``sg.nn.smooth_l1_loss``: squared within ``beta``, absolute beyond.

    >>> sg.nn.SmoothL1Loss()([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.312)
    """

    reduction: Reduction = "mean"
    beta: float = 1.0


class HuberLoss(_Loss, function=huber):
    """Call ``sg.nn.huber``: squared within ``delta``, absolute beyond.

    >>> sg.nn.HuberLoss()([1.0, 5.0], [1.5, 2.0]).round(3)
    np.float64(1.312)
    """

    reduction: Reduction = "mean"
    delta: float = 1.0


class CrossEntropyLoss(_Loss, function=cross_entropy):
    """Call ``sg.nn.cross_entropy`` on logits [n, C, ...] and labels [n, ...].

    >>> loss = sg.nn.CrossEntropyLoss(label_smoothing=0.1)
    >>> loss(sg.input("x", ("n", 4), "float32"), sg.input("y", ("n",), "int64")).shape
    ()
    """

    weight: Any = None
    ignore_index: int | None = None
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_Loss, function=further.nll_loss):
    """Call ``sg.nn.nll_loss`` on log-probabilities [n, C, ...] and labels [n, ...].

    >>> sg.nn.NLLLoss()([[-0.1, -2.4], [-1.6, -0.2]], [0, 1]).round(3)
    np.float64(0.15)
    """

    weight: Any = None
    ignore_index: int | None = None
    reduction: Reduction = "mean"


class BCELoss(_Loss, function=further.binary_cross_entropy):
    """Call ``sg.nn.binary_cross_entropy`` on probabilities.

    >>> sg.nn.BCELoss()([0.9, 0.2], [1.0, 0.0]).round(3)
    np.float64(0.164)
    """

    reduction: Reduction = "mean"


class BCEWithLogitsLoss(_Loss, function=binary_cross_entropy_with_logits):
    """Call ``sg.nn.binary_cross_entropy_with_logits`` on log-odds.

    >>> sg.nn.BCEWithLogitsLoss()([2.0, -1.0], [1.0, 0.0]).round(3)
    np.float64(0.22)
    """

    reduction: Reduction = "mean"
    pos_weight: Any = None


class KLDivLoss(_Loss, function=further.kl_div):
    """Call ``sg.nn.kl_div`` on log-probabilities and probabilities.

    >>> sg.nn.KLDivLoss()([[-1.0, -0.5]], [[0.4, 0.6]]).round(3)
    np.float64(0.013)
    """

    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean"
    log_target: bool = False


class PoissonNLLLoss(_Loss, function=margins.poisson_nll_loss):
    """Call ``sg.nn.poisson_nll_loss``.

    >>> sg.nn.PoissonNLLLoss()([0.5, 1.0], [1.0, 2.0]).round(3)
    np.float64(0.934)
    """

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: Reduction = "mean"


class HingeEmbeddingLoss(_Loss, function=margins.hinge_embedding_loss):
    """Call ``sg.nn.hinge_embedding_loss``.

    >>> sg.nn.HingeEmbeddingLoss()([0.3, 0.4], [1.0, -1.0]).round(3)
    np.float64(0.45)
    """

    margin: float = 1.0
    reduction: Reduction = "mean"


class SoftMarginLoss(_Loss, function=margins.soft_margin_loss):
    """Call ``sg.nn.soft_margin_loss``.

    >>> sg.nn.SoftMarginLoss()([0.5, -1.0], [1.0, -1.0]).round(3)
    np.float64(0.394)
    """

    reduction: Reduction = "mean"


class MultiLabelSoftMarginLoss(_Loss, function=margins.multilabel_soft_margin_loss):
    """Call ``sg.nn.multilabel_soft_margin_loss``.

    >>> sg.nn.MultiLabelSoftMarginLoss()([[0.5, -1.0]], [[1.0, 0.0]]).round(3)
    np.float64(0.394)
    """

    reduction: Reduction = "mean"


class MultiMarginLoss(_Loss, function=margins.multi_margin_loss):
    """Call ``sg.nn.multi_margin_loss``.

    >>> sg.nn.MultiMarginLoss()([[0.1, 0.2, 0.9]], [2]).round(3)
    np.float64(0.167)
    """

    p: int = 1
    margin: float = 1.0
    reduction: Reduction = "mean"


class GaussianNLLLoss(FunctionLayer, function=margins.gaussian_nll_loss):
    """Call ``sg.nn.gaussian_nll_loss``.

    >>> sg.nn.GaussianNLLLoss()([1.0, 2.0], [1.5, 2.0], [1.0, 0.5]).round(3)
    np.float64(-0.111)
    """

    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def forward(self, input: Any, target: Any, var: Any) -> Any:  # type: ignore[override]
        """The loss of means, targets and variances."""
        return self.compute(input, target, var)


class MarginRankingLoss(FunctionLayer, function=margins.margin_ranking_loss):
    """Call ``sg.nn.margin_ranking_loss``.

    >>> sg.nn.MarginRankingLoss()([1.0, 2.0], [2.0, 1.0], [1.0, 1.0]).round(3)
    np.float64(0.5)
    """

    margin: float = 0.0
    reduction: Reduction = "mean"

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:  # type: ignore[override]
        """The loss of two scores and which of them is to be larger."""
        return self.compute(input1, input2, target)


class CosineEmbeddingLoss(MarginRankingLoss, function=margins.cosine_embedding_loss):
    """Call ``sg.nn.cosine_embedding_loss``.

    >>> sg.nn.CosineEmbeddingLoss()([[1.0, 0.0]], [[1.0, 1.0]], [1.0]).round(3)
    np.float64(0.293)
    """


class TripletMarginLoss(FunctionLayer, function=further.triplet_margin_loss):
    """Call ``sg.nn.triplet_margin_loss``.

    >>> sg.nn.TripletMarginLoss()([[1.0, 0.0]], [[1.0, 0.5]], [[0.0, 1.0]]).round(3)
    np.float64(0.086)
    """

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:  # type: ignore[override]
        """The loss of rows, of rows that are alike, and of rows that are not."""
        return self.compute(anchor, positive, negative)


class CTCLoss(FunctionLayer, function=further.ctc_loss):
    """Call ``sg.nn.ctc_loss`` on log-probabilities [time, batch, C].

    >>> sg.nn.CTCLoss()(np.log(np.full((3, 1, 2), 0.5)), [[1]]).round(3)
    np.float64(0.288)
    """

    blank: int = 0
    reduction: Reduction = "mean"
    zero_infinity: bool = False

    def forward(  # type: ignore[override]
        self, log_probs: Any, targets: Any, input_lengths: Any = None, target_lengths: Any = None
    ) -> Any:
        """The loss of labellings [batch, labels]."""
        return self.compute(log_probs, targets, input_lengths, target_lengths)


class CosineSimilarity(FunctionLayer, function=further.cosine_similarity):
    """Call ``sg.nn.cosine_similarity``.

    >>> sg.nn.CosineSimilarity()([[1.0, 0.0]], [[1.0, 1.0]]).round(3)
    array([0.707])
    """

    axis: int = 1
    eps: float = 1e-8

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        """The cosine between rows."""
        return self.compute(x1, x2)


class PairwiseDistance(FunctionLayer, function=further.pairwise_distance):
    """Call ``sg.nn.pairwise_distance``.

    >>> sg.nn.PairwiseDistance()([[1.0, 2.0]], [[4.0, 6.0]]).round(3)
    array([5.])
    """

    p: float = 2.0
    eps: float = 1e-6
    keepdims: bool = False

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        """The distance between rows."""
        return self.compute(x1, x2)
