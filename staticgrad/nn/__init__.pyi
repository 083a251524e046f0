"""Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."""

import staticgrad.nn.functional as functional
from staticgrad.functions import (
    one_hot, sigmoid, tanh
)
from staticgrad.nn.activations import (
    CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity, LeakyReLU,
    LogSigmoid, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmin,
    Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold
)
from staticgrad.nn.convolutions import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d,
    AvgPool2d, AvgPool3d, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d,
    ConvTranspose3d, MaxPool1d, MaxPool2d, MaxPool3d
)
from staticgrad.nn.functional.activations import (
    celu, glu, gumbel_softmax, hardshrink, hardsigmoid, hardswish, hardtanh, log_sigmoid,
    log_sigmoid as logsigmoid, mish, prelu, relu6, selu, softmin, softshrink, softsign,
    tanhshrink, threshold
)
from staticgrad.nn.functional.attention import (
    attention, embedding, rotary
)
from staticgrad.nn.functional.basics import (
    binary_cross_entropy_with_logits, elu, gelu, leaky_relu, linear, log_softmax, logsumexp,
    relu, silu, softmax, softplus
)
from staticgrad.nn.functional.images.resizing import (
    affine_grid, grid_sample, pixel_shuffle, pixel_unshuffle, resize
)
from staticgrad.nn.functional.images.windows import (
    adaptive_avg_pool, adaptive_avg_pool as adaptive_avg_pool1d, adaptive_avg_pool as
    adaptive_avg_pool2d, adaptive_avg_pool as adaptive_avg_pool3d, adaptive_max_pool,
    adaptive_max_pool as adaptive_max_pool1d, adaptive_max_pool as adaptive_max_pool2d,
    adaptive_max_pool as adaptive_max_pool3d, avg_pool, avg_pool as avg_pool1d, avg_pool as
    avg_pool2d, avg_pool as avg_pool3d, conv, conv as conv1d, conv as conv2d, conv as conv3d,
    conv_transpose, conv_transpose as conv_transpose1d, conv_transpose as conv_transpose2d,
    conv_transpose as conv_transpose3d, fold, lp_pool, max_pool, max_pool as max_pool1d,
    max_pool as max_pool2d, max_pool as max_pool3d, unfold
)
from staticgrad.nn.functional.losses.basic import (
    cross_entropy, huber, huber as huber_loss, mse, mse as mse_loss
)
from staticgrad.nn.functional.losses.further import (
    binary_cross_entropy, cosine_similarity, ctc_loss, kl_div, l1_loss, nll_loss, normalize,
    pairwise_distance, smooth_l1_loss, triplet_margin_loss
)
from staticgrad.nn.functional.losses.margins import (
    cosine_embedding_loss, gaussian_nll_loss, hinge_embedding_loss, margin_ranking_loss,
    multi_margin_loss, multilabel_soft_margin_loss, poisson_nll_loss, soft_margin_loss
)
from staticgrad.nn.functional.normalization import (
    batch_norm, batch_statistics, group_norm, instance_norm, layer_norm, local_response_norm,
    rms_norm
)
from staticgrad.nn.functional.recurrent import (
    bidirectional, gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell, stacked
)
from staticgrad.nn.graphs import (
    GraphConv
)
from staticgrad.nn.initial import (
    manual_seed
)
from staticgrad.nn.layers import (
    Bilinear, Dropout, Dropout1d, Dropout2d, Dropout3d, Embedding, Flatten, Linear,
    LocalResponseNorm, ModuleDict, ModuleList, PixelShuffle, PixelUnshuffle, Sequential,
    Unflatten, Upsample
)
from staticgrad.nn.losses import (
    BCELoss, BCEWithLogitsLoss, CTCLoss, CosineEmbeddingLoss, CosineSimilarity,
    CrossEntropyLoss, GaussianNLLLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss,
    MSELoss, MarginRankingLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss,
    PairwiseDistance, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss
)
from staticgrad.nn.module import (
    Module, updates
)
from staticgrad.nn.normalization import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d, LayerNorm, RMSNorm
)
from staticgrad.nn.padding import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d,
    ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d,
    ReplicationPad3d, ZeroPad1d, ZeroPad2d, ZeroPad3d
)
from staticgrad.nn.recurrent import (
    GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell
)
from staticgrad.nn.transformers import (
    MultiHeadAttention, MultiheadAttention, TransformerBlock
)

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d",
    "BatchNorm2d", "BatchNorm3d", "Bilinear", "CELU", "CTCLoss", "CircularPad1d",
    "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "CosineEmbeddingLoss", "CosineSimilarity", "CrossEntropyLoss", "Dropout", "Dropout1d",
    "Dropout2d", "Dropout3d", "ELU", "Embedding", "Flatten", "GELU", "GLU", "GRU", "GRUCell",
    "GaussianNLLLoss", "GraphConv", "GroupNorm", "Hardshrink", "Hardsigmoid", "Hardswish",
    "Hardtanh", "HingeEmbeddingLoss", "HuberLoss", "Identity", "InstanceNorm1d",
    "InstanceNorm2d", "InstanceNorm3d", "KLDivLoss", "L1Loss", "LSTM", "LSTMCell", "LayerNorm",
    "LeakyReLU", "Linear", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "MSELoss",
    "MarginRankingLoss", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Mish", "Module", "ModuleDict",
    "ModuleList", "MultiHeadAttention", "MultiLabelSoftMarginLoss", "MultiMarginLoss",
    "MultiheadAttention", "NLLLoss", "PReLU", "PairwiseDistance", "PixelShuffle",
    "PixelUnshuffle", "PoissonNLLLoss", "RMSNorm", "RNN", "RNNCell", "ReLU", "ReLU6",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "SELU", "Sequential", "SiLU", "Sigmoid",
    "SmoothL1Loss", "SoftMarginLoss", "Softmax", "Softmin", "Softplus", "Softshrink",
    "Softsign", "Tanh", "Tanhshrink", "Threshold", "TransformerBlock", "TripletMarginLoss",
    "Unflatten", "Upsample", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d", "adaptive_avg_pool",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid",
    "attention", "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm",
    "batch_statistics", "bidirectional", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "conv", "conv1d", "conv2d", "conv3d",
    "conv_transpose", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "ctc_loss", "elu",
    "embedding", "fold", "functional", "gaussian_nll_loss", "gelu", "glu", "grid_sample",
    "group_norm", "gru", "gru_cell", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hinge_embedding_loss", "huber", "huber_loss", "instance_norm", "kl_div",
    "l1_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "log_sigmoid",
    "log_softmax", "logsigmoid", "logsumexp", "lp_pool", "lstm", "lstm_cell", "manual_seed",
    "margin_ranking_loss", "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "mish", "mse",
    "mse_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "normalize",
    "one_hot", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss",
    "prelu", "relu", "relu6", "resize", "rms_norm", "rnn", "rnn_cell", "rotary", "selu",
    "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "stacked", "tanh", "tanhshrink", "threshold",
    "triplet_margin_loss", "unfold", "updates"
]
