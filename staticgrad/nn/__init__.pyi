"""Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."""

from staticgrad.language.functions import (
    one_hot, sigmoid, tanh
)
from staticgrad.language.functions.activations import (
    celu, glu, gumbel_softmax, hardsigmoid, hardswish, hardtanh, log_sigmoid, mish, prelu,
    relu6, selu, softsign
)
from staticgrad.language.functions.attention import (
    attention, embedding, rotary
)
from staticgrad.language.functions.images.resizing import (
    affine_grid, grid_sample, pixel_shuffle, pixel_unshuffle, resize
)
from staticgrad.language.functions.images.windows import (
    adaptive_avg_pool, adaptive_max_pool, avg_pool, conv, conv_transpose, fold, lp_pool,
    max_pool, unfold
)
from staticgrad.language.functions.losses.basic import (
    cross_entropy, huber, mse
)
from staticgrad.language.functions.losses.further import (
    binary_cross_entropy, cosine_similarity, ctc_loss, kl_div, l1_loss, nll_loss, normalize,
    pairwise_distance, smooth_l1_loss, triplet_margin_loss
)
from staticgrad.language.functions.nn import (
    binary_cross_entropy_with_logits, elu, gelu, leaky_relu, log_softmax, logsumexp, relu, silu,
    softmax, softplus
)
from staticgrad.language.functions.normalization import (
    batch_norm, batch_statistics, group_norm, instance_norm, layer_norm, local_response_norm,
    rms_norm
)
from staticgrad.language.functions.recurrent import (
    bidirectional, gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell, stacked
)
from staticgrad.nn.activations import (
    ELU, GELU, Identity, LeakyReLU, LogSoftmax, PReLU, ReLU, SiLU, Sigmoid, Softmax, Softplus,
    Tanh
)
from staticgrad.nn.convolutions import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d,
    AvgPool2d, AvgPool3d, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d,
    ConvTranspose3d, MaxPool1d, MaxPool2d, MaxPool3d
)
from staticgrad.nn.graphs import (
    GraphConv
)
from staticgrad.nn.initial import (
    manual_seed
)
from staticgrad.nn.layers import (
    Dropout, Dropout1d, Dropout2d, Dropout3d, Embedding, Flatten, Linear, ModuleDict,
    ModuleList, Sequential
)
from staticgrad.nn.module import (
    Module, updates
)
from staticgrad.nn.normalization import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d, LayerNorm, RMSNorm
)
from staticgrad.nn.recurrent import (
    GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell
)
from staticgrad.nn.transformers import (
    MultiHeadAttention, TransformerBlock
)

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "ELU", "Embedding", "Flatten", "GELU",
    "GRU", "GRUCell", "GraphConv", "GroupNorm", "Identity", "InstanceNorm1d", "InstanceNorm2d",
    "InstanceNorm3d", "LSTM", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "Module", "ModuleDict", "ModuleList",
    "MultiHeadAttention", "PReLU", "RMSNorm", "RNN", "RNNCell", "ReLU", "Sequential", "SiLU",
    "Sigmoid", "Softmax", "Softplus", "Tanh", "TransformerBlock", "adaptive_avg_pool",
    "adaptive_max_pool", "affine_grid", "attention", "avg_pool", "batch_norm",
    "batch_statistics", "bidirectional", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv", "conv_transpose", "cosine_similarity",
    "cross_entropy", "ctc_loss", "elu", "embedding", "fold", "gelu", "glu", "grid_sample",
    "group_norm", "gru", "gru_cell", "gumbel_softmax", "hardsigmoid", "hardswish", "hardtanh",
    "huber", "instance_norm", "kl_div", "l1_loss", "layer_norm", "leaky_relu",
    "local_response_norm", "log_sigmoid", "log_softmax", "logsumexp", "lp_pool", "lstm",
    "lstm_cell", "manual_seed", "max_pool", "mish", "mse", "nll_loss", "normalize", "one_hot",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu", "relu6", "resize",
    "rms_norm", "rnn", "rnn_cell", "rotary", "selu", "sigmoid", "silu", "smooth_l1_loss",
    "softmax", "softplus", "softsign", "stacked", "tanh", "triplet_margin_loss", "unfold",
    "updates"
]
