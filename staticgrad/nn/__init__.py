"""Networks: functions of values, and modules, which hold their parameters. Public as ``sg.nn``.

Functions (``relu``, ``conv``, ``cross_entropy``) are those of ``staticgrad/functions/nn.py``.
Modules of one subject are one file here, loaded when it is asked for; ``module.py`` and
``linear.py`` come first. Names and the order of arguments are those of ``torch.nn``, axes those of
NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from staticgrad.errors.elsewhere import no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.functions import nn as _functions

if TYPE_CHECKING:
    from staticgrad.functions import one_hot as one_hot, sigmoid as sigmoid, tanh as tanh
    from staticgrad.functions.activations import *  # noqa: F403
    from staticgrad.functions.images.channel_norms import *  # noqa: F403
    from staticgrad.functions.images.resizing import *  # noqa: F403
    from staticgrad.functions.layers import bilinear as bilinear, embedding_bag as embedding_bag
    from staticgrad.functions.losses.alignments import *  # noqa: F403
    from staticgrad.functions.losses.distances import *  # noqa: F403
    from staticgrad.functions.losses.further import *  # noqa: F403
    from staticgrad.functions.nn import *  # noqa: F403
    from staticgrad.nn.activations import (
        ELU as ELU,
        GELU as GELU,
        Identity as Identity,
        LeakyReLU as LeakyReLU,
        LogSoftmax as LogSoftmax,
        PReLU as PReLU,
        ReLU as ReLU,
        Sigmoid as Sigmoid,
        SiLU as SiLU,
        Softmax as Softmax,
        Softplus as Softplus,
        Tanh as Tanh,
    )
    from staticgrad.nn.batch_norms import (
        BatchNorm1d as BatchNorm1d,
        BatchNorm2d as BatchNorm2d,
        BatchNorm3d as BatchNorm3d,
    )
    from staticgrad.nn.cells import GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
    from staticgrad.nn.convolutions import (
        Conv1d as Conv1d,
        Conv2d as Conv2d,
        Conv3d as Conv3d,
        ConvTranspose1d as ConvTranspose1d,
        ConvTranspose2d as ConvTranspose2d,
        ConvTranspose3d as ConvTranspose3d,
    )
    from staticgrad.nn.dropouts import (
        Dropout as Dropout,
        Dropout1d as Dropout1d,
        Dropout2d as Dropout2d,
        Dropout3d as Dropout3d,
    )
    from staticgrad.nn.embeddings import Embedding as Embedding, EmbeddingBag as EmbeddingBag
    from staticgrad.nn.initial import manual_seed as manual_seed
    from staticgrad.nn.linears import Bilinear as Bilinear, Flatten as Flatten, Linear as Linear
    from staticgrad.nn.module import Module as Module
    from staticgrad.nn.multi_head import MultiHeadAttention as MultiHeadAttention
    from staticgrad.nn.normalization import (
        GroupNorm as GroupNorm,
        InstanceNorm1d as InstanceNorm1d,
        InstanceNorm2d as InstanceNorm2d,
        InstanceNorm3d as InstanceNorm3d,
        LayerNorm as LayerNorm,
        RMSNorm as RMSNorm,
    )
    from staticgrad.nn.noting import updates as updates
    from staticgrad.nn.pooling import (
        AdaptiveAvgPool1d as AdaptiveAvgPool1d,
        AdaptiveAvgPool2d as AdaptiveAvgPool2d,
        AdaptiveMaxPool1d as AdaptiveMaxPool1d,
        AdaptiveMaxPool2d as AdaptiveMaxPool2d,
        AvgPool1d as AvgPool1d,
        AvgPool2d as AvgPool2d,
        AvgPool3d as AvgPool3d,
        MaxPool1d as MaxPool1d,
        MaxPool2d as MaxPool2d,
        MaxPool3d as MaxPool3d,
    )
    from staticgrad.nn.recurrent import GRU as GRU, LSTM as LSTM, RNN as RNN
    from staticgrad.nn.sequential import (
        ModuleDict as ModuleDict,
        ModuleList as ModuleList,
        Sequential as Sequential,
    )
    from staticgrad.nn.transformer import TransformerBlock as TransformerBlock

#: File of the package -> the modules and functions in it.
_HOMES: Final = {
    "functions": "one_hot sigmoid tanh",
    "functions.activations": (
        "celu glu gumbel_softmax hardshrink hardsigmoid hardswish hardtanh log_sigmoid mish"
        " prelu relu6 selu softmin softshrink softsign tanhshrink threshold"
    ),
    "functions.losses.alignments": "ctc_loss",
    "functions.images.channel_norms": "instance_norm local_response_norm",
    "functions.losses.distances": (
        "cosine_embedding_loss cosine_similarity normalize pairwise_distance triplet_margin_loss"
    ),
    "functions.images.resizing": "affine_grid grid_sample pixel_shuffle pixel_unshuffle",
    "functions.layers": "bilinear embedding_bag",
    "functions.losses.further": (
        "binary_cross_entropy gaussian_nll_loss hinge_embedding_loss kl_div l1_loss"
        " margin_ranking_loss multi_margin_loss multilabel_soft_margin_loss nll_loss"
        " poisson_nll_loss smooth_l1_loss soft_margin_loss"
    ),
    "nn.activations": (
        "ELU GELU Identity LeakyReLU LogSoftmax PReLU ReLU SiLU Sigmoid Softmax Softplus Tanh"
    ),
    "nn.multi_head": "MultiHeadAttention",
    "nn.batch_norms": "BatchNorm1d BatchNorm2d BatchNorm3d",
    "nn.cells": "GRUCell LSTMCell RNNCell",
    "nn.convolutions": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "nn.dropouts": "Dropout Dropout1d Dropout2d Dropout3d",
    "nn.embeddings": "Embedding EmbeddingBag",
    "nn.initial": "manual_seed",
    "nn.linears": "Bilinear Flatten Linear",
    "nn.module": "Module",
    "nn.normalization": (
        "GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm RMSNorm"
    ),
    "nn.pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d"
        " AvgPool2d AvgPool3d MaxPool1d MaxPool2d MaxPool3d"
    ),
    "nn.recurrent": "GRU LSTM RNN",
    "nn.sequential": "ModuleDict ModuleList Sequential",
    "nn.transformer": "TransformerBlock",
    "nn.noting": "updates",
}
_FILES: Final = {name: file for file, names in _HOMES.items() for name in names.split()}
__all__ = [*_functions.__all__, *_FILES]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> Any:
        if name in _FILES:
            found = getattr(import_module(f"staticgrad.{_FILES[name]}"), name)
        elif name in _functions.__all__:
            found = getattr(_functions, name)
        else:
            raise no_such_name("sg.nn", name)
        globals()[name] = found
        return found
