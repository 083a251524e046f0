"""Samples of every module: how it is made, what it takes, and what it computes.

``in_dtype`` chooses the dtype of the parameters of what ``make`` makes.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import staticgrad as sg
from tests.nn import oracles as of

D = {"dtype": "float64"}


@contextmanager
def in_dtype(name):
    """Make modules with parameters of a dtype."""
    D["dtype"] = name
    try:
        yield
    finally:
        D["dtype"] = "float64"


IDS = np.array([[0, 3], [4, 3]])


class Case(NamedTuple):
    """``oracle`` takes the state and the arrays; None: the module draws random numbers."""

    make: Callable[[], Any]
    shapes: tuple[Any, ...]
    oracle: Callable[..., Any] | None
    in_eval: Callable[..., Any] | None = None


def plain(make, oracle):
    return Case(make, ((3, 4),), lambda s, x: oracle(x))


def plain_weighted(make, count):
    """An activation of channels [n, c, l] with a slope for each, or one for all."""

    def oracle(s, x):
        assert s["weight"].shape == (count,)
        return np.where(x > 0, x, s["weight"].reshape(-1, 1) * x)

    return Case(make, ((3, 4, 2),), oracle)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


nn = sg.nn
#: The class of a module, and perhaps an aspect of it, -> case.
CASES = {
    "Linear": Case(lambda: nn.Linear(3, 2, **D), ((4, 5, 3),), of.linear),
    "Linear without bias": Case(lambda: nn.Linear(3, 2, False, **D), ((4, 3),), of.linear),
    **{
        f"GraphConv to {width}": Case(
            lambda width=width: nn.GraphConv(3, width, **D),
            ((5, 3), (5, 5)),
            lambda s, x, edges: edges @ x @ s["weight"] + s["bias"],
        )
        for width in (2, 4)
    },
    "Identity": plain(lambda: nn.Identity(), lambda x: x),
    "Flatten": Case(lambda: nn.Flatten(), ((2, 3, 4),), lambda s, x: x.reshape(2, 12)),
    "Embedding": Case(lambda: nn.Embedding(5, 3, **D), (IDS,), lambda s, i: s["weight"][i]),
    "LayerNorm": Case(lambda: nn.LayerNorm(4, **D), ((3, 4),), of.layer_norm),
    "LayerNorm plain": Case(
        lambda: nn.LayerNorm(4, 1e-3, False), ((3, 4),), lambda s, x: of.layer_norm(s, x, 1e-3)
    ),
    "LayerNorm of two axes": Case(
        lambda: nn.LayerNorm((2, 3), **D),
        ((4, 2, 3),),
        lambda s, x: of.layer_norm(
            {n: a.reshape(6) for n, a in s.items()}, x.reshape(4, 6)
        ).reshape(4, 2, 3),
    ),
    "RMSNorm": Case(lambda: nn.RMSNorm(4, **D), ((3, 4),), of.rms_norm),
    "GroupNorm": Case(
        lambda: nn.GroupNorm(2, 6, **D), ((2, 6, 3),), lambda s, x: of.group_norm(s, x, 2)
    ),
    **{
        name: Case(
            lambda name=name: getattr(nn, name)(3, **D),
            (shape,),
            lambda s, x: of.batch_norm(s, x, True),
            lambda s, x: of.batch_norm(s, x, False),
        )
        for name, shape in (
            ("BatchNorm1d", (5, 3)),
            ("BatchNorm2d", (2, 3, 2, 2)),
            ("BatchNorm3d", (2, 3, 2, 1, 2)),
        )
    },
    **{
        name: Case(
            lambda name=name: getattr(nn, name)(3, affine=name != "InstanceNorm3d", **D),
            (shape,),
            lambda s, x: of.group_norm(s, x, 3),
        )
        for name, shape in (
            ("InstanceNorm1d", (5, 3, 4)),
            ("InstanceNorm2d", (2, 3, 2, 3)),
            ("InstanceNorm3d", (2, 3, 2, 1, 2)),
        )
    },
    **{
        f"Dropout{n}d": Case(
            lambda n=n: getattr(nn, f"Dropout{n}d")(0.5, seed=3),
            ((6, 4, *(2, 3, 1)[:n]),),
            None,
            lambda s, x: x,
        )
        for n in (1, 2, 3)
    },
    "Dropout": Case(lambda: nn.Dropout(0.5, seed=3), ((6, 4),), None, lambda s, x: x),
    "Sequential": Case(
        lambda: nn.Sequential(nn.Linear(3, 4, **D), sg.tanh, nn.Linear(4, 2, **D)),
        ((5, 3),),
        lambda s, x: of.linear(
            of.part(s, "layers.2"), np.tanh(of.linear(of.part(s, "layers.0"), x))
        ),
    ),
    "Conv1d": Case(
        lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, groups=2, **D),
        ((2, 2, 7),),
        lambda s, x: of.conv(s, x, 2, 1, 2),
    ),
    "Conv2d": Case(
        lambda: nn.Conv2d(2, 3, (2, 3), padding=1, **D),
        ((2, 2, 4, 5),),
        lambda s, x: of.conv(s, x, 1, 1),
    ),
    "Conv3d": Case(lambda: nn.Conv3d(1, 2, 2, **D), ((1, 1, 3, 3, 3),), of.conv),
    "ConvTranspose1d": Case(
        lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, **D),
        ((2, 2, 4),),
        lambda s, x: of.conv_transpose(s, x, 2, 1),
    ),
    "ConvTranspose2d": Case(
        lambda: nn.ConvTranspose2d(2, 3, 2, stride=2, **D),
        ((1, 2, 3, 3),),
        lambda s, x: of.conv_transpose(s, x, 2),
    ),
    "ConvTranspose3d": Case(
        lambda: nn.ConvTranspose3d(1, 2, 2, **D), ((1, 1, 2, 2, 2),), of.conv_transpose
    ),
    **{
        f"{kind}Pool{n}d": Case(
            lambda kind=kind, n=n: getattr(nn, f"{kind}Pool{n}d")(2, 1, 1),
            ((2, 2, *(4, 3, 3)[:n]),),
            lambda s, x, how=how: of.pool(x, 2, 1, 1, how),
        )
        for kind, how in (("Max", "max"), ("Avg", "mean"))
        for n in (1, 2, 3)
    },
    **{
        f"Adaptive{kind}Pool{n}d": Case(
            lambda kind=kind, n=n: getattr(nn, f"Adaptive{kind}Pool{n}d")(2),
            ((2, 2, *(5, 4)[:n]),),
            lambda s, x, how=how: of.adaptive(x, 2, how),
        )
        for kind, how in (("Max", "max"), ("Avg", "mean"))
        for n in (1, 2)
    },
    "RNN": Case(
        lambda: nn.RNN(3, 2, 2, bidirectional=True, **D),
        ((4, 2, 3),),
        lambda s, x: of.recurrent(s, x, "rnn", 2, 2),
    ),
    "GRU": Case(lambda: nn.GRU(3, 2, **D), ((4, 2, 3),), lambda s, x: of.recurrent(s, x, "gru")),
    "LSTM": Case(
        lambda: nn.LSTM(3, 2, 2, **D), ((4, 2, 3),), lambda s, x: of.recurrent(s, x, "lstm", 2)
    ),
    "LSTM dropout": Case(
        lambda: nn.LSTM(3, 2, 2, dropout=0.5, batch_first=True, **D), ((2, 4, 3),), None
    ),
    **{
        f"{kind}Cell": Case(
            lambda kind=kind: getattr(nn, f"{kind}Cell")(3, 2, **D),
            ((4, 3),),
            lambda s, x, kind=kind: of.cell(s, x, kind.lower()),
        )
        for kind in ("RNN", "GRU", "LSTM")
    },
    "GRUCell without bias, with a state": Case(
        lambda: nn.GRUCell(3, 2, False, **D),
        ((4, 3), (4, 2)),
        lambda s, x, h: of.cell({**s, "bias_new": 0.0}, x, "gru", h),
    ),
    "MultiHeadAttention": Case(
        lambda: nn.MultiHeadAttention(8, 2, causal=True, rotary=True, **D),
        ((2, 5, 8),),
        lambda s, x: of.attention(s, x, 2, True, True),
    ),
    "MultiheadAttention": Case(
        lambda: nn.MultiheadAttention(8, 2, causal=True, **D),
        ((2, 5, 8),),
        lambda s, x: of.attention_and_weights(s, x, 2, True, False),
    ),
    "MultiHeadAttention of others": Case(
        lambda: nn.MultiHeadAttention(4, 2, kdim=3, vdim=3, **D),
        ((2, 3, 4), (2, 5, 3)),
        lambda s, x, y: of.attention(s, x, 2, False, False, y),
    ),
    "TransformerBlock": Case(
        lambda: nn.TransformerBlock(4, 2, causal=True, **D),
        ((2, 3, 4),),
        lambda s, x: of.block(s, x, 2, True),
    ),
    "TransformerBlock dropout": Case(
        lambda: nn.TransformerBlock(
            4, 2, 6, 0.25, norm="layer", norm_first=False, causal=True, **D
        ),
        ((2, 3, 4),),
        None,
        lambda s, x: of.block(s, x, 2, False),
    ),
    "ReLU": plain(lambda: nn.ReLU(), lambda x: np.maximum(x, 0.0)),
    "ReLU6": plain(lambda: nn.ReLU6(), lambda x: np.clip(x, 0.0, 6.0)),
    "Hardtanh": plain(lambda: nn.Hardtanh(-0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
    "Hardsigmoid": plain(lambda: nn.Hardsigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "Hardswish": plain(lambda: nn.Hardswish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "Mish": plain(lambda: nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "SELU": plain(
        lambda: nn.SELU(),
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    "CELU": plain(lambda: nn.CELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7))),
    "GLU": plain(lambda: nn.GLU(), lambda x: x[:, :2] * of.sigmoid(x[:, 2:])),
    "LogSigmoid": plain(lambda: nn.LogSigmoid(), lambda x: np.log(of.sigmoid(x))),
    "Softsign": plain(lambda: nn.Softsign(), lambda x: x / (1 + abs(x))),
    "Softmin": plain(lambda: nn.Softmin(), lambda x: softmax(-x)),
    "Tanhshrink": plain(lambda: nn.Tanhshrink(), lambda x: x - np.tanh(x)),
    "Hardshrink": plain(lambda: nn.Hardshrink(), lambda x: np.where(abs(x) > 0.5, x, 0.0)),
    "Softshrink": plain(
        lambda: nn.Softshrink(0.3), lambda x: np.sign(x) * np.maximum(abs(x) - 0.3, 0.0)
    ),
    "Threshold": plain(lambda: nn.Threshold(0.1, 2.0), lambda x: np.where(x > 0.1, x, 2.0)),
    "Unflatten": plain(lambda: nn.Unflatten(1, (2, 2)), lambda x: x.reshape(3, 2, 2)),
    "PixelShuffle": Case(
        lambda: nn.PixelShuffle(2),
        ((1, 8, 2, 3),),
        lambda s, x: x.reshape(1, 2, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3).reshape(1, 2, 4, 6),
    ),
    "PixelUnshuffle": Case(
        lambda: nn.PixelUnshuffle(2),
        ((1, 2, 4, 6),),
        lambda s, x: x.reshape(1, 2, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4).reshape(1, 8, 2, 3),
    ),
    "Upsample": Case(
        lambda: nn.Upsample(scale_factor=2),
        ((2, 1, 2, 3),),
        lambda s, x: x.repeat(2, axis=2).repeat(2, axis=3),
    ),
    "LocalResponseNorm": Case(
        lambda: nn.LocalResponseNorm(3, 0.5, 0.6, 2.0), ((2, 4, 3),), of.local_response_norm
    ),
    "Bilinear": Case(
        lambda: nn.Bilinear(3, 2, 4, **D),
        ((5, 3), (5, 2)),
        lambda s, x, y: np.einsum("ni,oij,nj->no", x, s["weight"], y) + s["bias"],
    ),
    **{
        f"{kind}Pad{n}d": Case(
            lambda kind=kind, n=n: getattr(nn, f"{kind}Pad{n}d")(
                (1, 2, 0, 1, 2, 1)[: 2 * n], *([1.5] if kind == "Constant" else [])
            ),
            ((2, 2, *(3, 4, 3)[-n:]),),
            lambda s, x, n=n, how=how: np.pad(
                x, [(0, 0), (0, 0), *[(2, 1), (0, 1), (1, 2)][-n:]], **how
            ),
        )
        for kind, how in (
            ("Zero", {}),
            ("Constant", {"constant_values": 1.5}),
            ("Reflection", {"mode": "reflect"}),
            ("Replication", {"mode": "edge"}),
            ("Circular", {"mode": "wrap"}),
        )
        for n in (1, 2, 3)
    },
    **{
        name: Case(
            lambda name=name, options=options: getattr(nn, name)(**options),
            shapes,
            lambda s, *x, oracle=oracle: oracle(*x),
        )
        for name, options, shapes, oracle in of.LOSSES
    },
    "LeakyReLU": plain(lambda: nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "PReLU": plain_weighted(lambda: nn.PReLU(**D), 1),
    "PReLU of channels": plain_weighted(lambda: nn.PReLU(4, 0.1, **D), 4),
    "ELU": plain(lambda: nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "GELU": plain(lambda: nn.GELU(), of.gelu),
    "SiLU": plain(lambda: nn.SiLU(), lambda x: x * of.sigmoid(x)),
    "Softplus": plain(lambda: nn.Softplus(), lambda x: np.log1p(np.exp(x))),
    "Sigmoid": plain(lambda: nn.Sigmoid(), of.sigmoid),
    "Tanh": plain(lambda: nn.Tanh(), np.tanh),
    "Softmax": plain(lambda: nn.Softmax(), softmax),
    "LogSoftmax": plain(lambda: nn.LogSoftmax(), lambda x: np.log(softmax(x))),
}
