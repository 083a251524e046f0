"""Losses as modules, by PyTorch's names: each calls a function of values.

The fields of a class are the options of its function, in the order of PyTorch's constructors.
"""

from __future__ import annotations

from typing import Any, Literal

from staticgrad.language.functions.losses import further, margins
from staticgrad.language.functions.losses.basic import Reduction, cross_entropy, huber, mse
from staticgrad.language.functions.nn import binary_cross_entropy_with_logits
from staticgrad.nn.module import FunctionLayer


class _Loss(FunctionLayer):
    """A function of predictions and targets."""

    def forward(self, input: Any, target: Any) -> Any:  # type: ignore[override]
        """The loss, reduced."""
        return self.computed(input, target)


class MSELoss(_Loss, function=mse):
    """The mean of (input - target) squared, as ``sg.nn.mse``.

    >>> sg.evaluate(sg.nn.MSELoss()(sg.constant([1.0, 2.0]), sg.constant([0.0, 0.0])))
    array(2.5)
    """

    reduction: Reduction = "mean"


class L1Loss(_Loss, function=further.l1_loss):
    """The mean of abs(input - target), as ``sg.nn.l1_loss``."""

    reduction: Reduction = "mean"


class SmoothL1Loss(_Loss, function=further.smooth_l1_loss):
    """Call ``sg.nn.smooth_l1_loss``: squared within ``beta``, absolute beyond."""

    reduction: Reduction = "mean"
    beta: float = 1.0


class HuberLoss(_Loss, function=huber):
    """Call ``sg.nn.huber``: squared within ``delta``, absolute beyond."""

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
    """Call ``sg.nn.nll_loss`` on log-probabilities [n, C, ...] and labels [n, ...]."""

    weight: Any = None
    ignore_index: int | None = None
    reduction: Reduction = "mean"


class BCELoss(_Loss, function=further.binary_cross_entropy):
    """Call ``sg.nn.binary_cross_entropy`` on probabilities."""

    reduction: Reduction = "mean"


class BCEWithLogitsLoss(_Loss, function=binary_cross_entropy_with_logits):
    """Call ``sg.nn.binary_cross_entropy_with_logits`` on log-odds."""

    reduction: Reduction = "mean"
    pos_weight: Any = None


class KLDivLoss(_Loss, function=further.kl_div):
    """Call ``sg.nn.kl_div`` on log-probabilities and probabilities."""

    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean"
    log_target: bool = False


class PoissonNLLLoss(_Loss, function=margins.poisson_nll_loss):
    """Call ``sg.nn.poisson_nll_loss``."""

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: Reduction = "mean"


class HingeEmbeddingLoss(_Loss, function=margins.hinge_embedding_loss):
    """Call ``sg.nn.hinge_embedding_loss``."""

    margin: float = 1.0
    reduction: Reduction = "mean"


class SoftMarginLoss(_Loss, function=margins.soft_margin_loss):
    """Call ``sg.nn.soft_margin_loss``."""

    reduction: Reduction = "mean"


class MultiLabelSoftMarginLoss(_Loss, function=margins.multilabel_soft_margin_loss):
    """Call ``sg.nn.multilabel_soft_margin_loss``."""

    reduction: Reduction = "mean"


class MultiMarginLoss(_Loss, function=margins.multi_margin_loss):
    """Call ``sg.nn.multi_margin_loss``."""

    p: int = 1
    margin: float = 1.0
    reduction: Reduction = "mean"


class GaussianNLLLoss(FunctionLayer, function=margins.gaussian_nll_loss):
    """Call ``sg.nn.gaussian_nll_loss``."""

    full: bool = False
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def forward(self, input: Any, target: Any, var: Any) -> Any:  # type: ignore[override]
        """The loss of means, targets and variances."""
        return self.computed(input, target, var)


class MarginRankingLoss(FunctionLayer, function=margins.margin_ranking_loss):
    """Call ``sg.nn.margin_ranking_loss``."""

    margin: float = 0.0
    reduction: Reduction = "mean"

    def forward(self, input1: Any, input2: Any, target: Any) -> Any:  # type: ignore[override]
        """The loss of two scores and which of them is to be larger."""
        return self.computed(input1, input2, target)


class CosineEmbeddingLoss(MarginRankingLoss, function=margins.cosine_embedding_loss):
    """Call ``sg.nn.cosine_embedding_loss``."""


class TripletMarginLoss(FunctionLayer, function=further.triplet_margin_loss):
    """Call ``sg.nn.triplet_margin_loss``."""

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    reduction: Reduction = "mean"

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:  # type: ignore[override]
        """The loss of rows, of rows that are alike, and of rows that are not."""
        return self.computed(anchor, positive, negative)


class CTCLoss(FunctionLayer, function=further.ctc_loss):
    """Call ``sg.nn.ctc_loss`` on log-probabilities [time, batch, C]."""

    blank: int = 0
    reduction: Reduction = "mean"
    zero_infinity: bool = False

    def forward(  # type: ignore[override]
        self, log_probs: Any, targets: Any, input_lengths: Any = None, target_lengths: Any = None
    ) -> Any:
        """The loss of labellings [batch, labels]."""
        return self.computed(log_probs, targets, input_lengths, target_lengths)


class CosineSimilarity(FunctionLayer, function=further.cosine_similarity):
    """Call ``sg.nn.cosine_similarity``."""

    axis: int = 1
    eps: float = 1e-8

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        """The cosine between rows."""
        return self.computed(x1, x2)


class PairwiseDistance(FunctionLayer, function=further.pairwise_distance):
    """Call ``sg.nn.pairwise_distance``."""

    p: float = 2.0
    eps: float = 1e-6
    keepdims: bool = False

    def forward(self, x1: Any, x2: Any) -> Any:  # type: ignore[override]
        """The distance between rows."""
        return self.computed(x1, x2)
