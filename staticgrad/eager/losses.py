"""Losses as modules: mean over all examples, one number."""

from __future__ import annotations

from typing import Any, Final

from staticgrad.eager.data import integers
from staticgrad.eager.layers import Module
from staticgrad.functions import log, log1p, maximum, mean, nn
from staticgrad.ir.calls import public

#: What a logarithm of a probability is held above, so that no loss is infinite.
_LOWEST_LOG: Final = -100.0


class MSE(Module):
    """The mean of the squared differences."""

    def forward(self, prediction: Any, target: Any) -> Any:
        """A 0-d tensor, for two operands of one shape."""
        return nn.mse(prediction, target)


class BCE(Module):
    """The mean of -(t log p + (1 - t) log(1 - p)), logarithms held above -100.

    Args:
        logits: predictions are log-odds instead of probabilities p: then nothing is cut off.
    """

    @public
    def __init__(self, logits: bool = False) -> None:
        self.logits = logits

    def forward(self, prediction: Any, target: Any) -> Any:
        """A 0-d tensor, for two operands of one shape."""
        if self.logits:
            return nn.binary_cross_entropy_with_logits(prediction, target)
        likely: Any = maximum(log(prediction), _LOWEST_LOG)
        unlikely: Any = maximum(log1p(-prediction), _LOWEST_LOG)
        return -mean(target * likely + (1.0 - target) * unlikely)


class CrossEntropy(Module):
    """The mean of -log softmax(logits) at the label; logits [..., C], labels [...] in [0, C)."""

    def forward(self, logits: Any, labels: Any) -> Any:
        """A 0-d tensor."""
        return nn.cross_entropy(logits, integers("labels", labels))
