"""``import staticgrad.nn.functional as F``: the functions of ``sg.nn``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: F405
# fmt: off
from typing import TYPE_CHECKING, Any

from staticgrad import nn
from staticgrad.extend.hints import attributes

if TYPE_CHECKING:
    from staticgrad.nn import *  # noqa: F403

__all__ = [
    "adaptive_avg_pool", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "affine_grid", "attention", "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "batch_statistics", "bidirectional", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv", "conv1d", "conv2d", "conv3d",
    "conv_transpose", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "ctc_loss", "elu",
    "embedding", "fold", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "gru",
    "gru_cell", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hinge_embedding_loss", "huber", "huber_loss", "instance_norm", "kl_div", "l1_loss",
    "layer_norm", "leaky_relu", "linear", "local_response_norm", "log_sigmoid", "log_softmax",
    "logsigmoid", "logsumexp", "lp_pool", "lstm", "lstm_cell", "margin_ranking_loss",
    "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "mish", "mse", "mse_loss",
    "multi_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu",
    "relu", "relu6", "resize", "rms_norm", "rnn", "rnn_cell", "rotary", "selu", "sigmoid",
    "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "stacked", "tanh", "tanhshrink", "threshold",
    "triplet_margin_loss", "unfold"
]

_find_attribute, __dir__ = attributes("sg.nn.functional", __all__)


def __getattr__(name: str) -> Any:
    return getattr(nn, name) if name in __all__ else _find_attribute(name)
