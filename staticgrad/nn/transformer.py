"""A block of a transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from staticgrad.errors import ArgumentError
from staticgrad.functions.nn import gelu
from staticgrad.ir.calls import public
from staticgrad.ir.kinds import AnyValue, Operand
from staticgrad.nn.dropouts import Dropout
from staticgrad.nn.initial import Initial, Seed, source
from staticgrad.nn.linears import Linear
from staticgrad.nn.module import Module
from staticgrad.nn.multi_head import Cache, MultiHeadAttention
from staticgrad.nn.normalization import LayerNorm, RMSNorm


class TransformerBlock(Module):
    """Attention of a sequence to itself, then two layers for each place, both added to x.

    Args:
        embed_dim: features.
        num_heads: heads of the attention.
        mlp_dim: features between the two layers; by default 4 * embed_dim.
        dropout: the share of both sums' second operands that is 0, in training.
        activation: between the two layers, a function or a module; ``sg.nn.gelu`` by default.
        norm: "layer" or "rms".
        norm_first: normalise what the parts take (Xiong et al., arXiv 2002.04745), not the sums.
        bias, causal, rotary, init, dtype, seed: as ``MultiHeadAttention``.

    Raises:
        ArgumentError: an unknown ``norm``; else as ``MultiHeadAttention``.

    >>> import staticgrad as sg
    >>> block = sg.nn.TransformerBlock(8, num_heads=2, causal=True)
    >>> block(sg.input("x", ("batch", "time", 8), "float32")).shape
    (batch, time, 8)
    """

    @public
    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int | None = None,
        dropout: float = 0.0,
        activation: Callable[..., Any] | None = None,
        *,
        norm: Literal["layer", "rms"] = "layer",
        norm_first: bool = True,
        bias: bool = True,
        causal: bool = False,
        rotary: bool = False,
        init: Initial = "xavier_uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        if norm not in ("layer", "rms"):
            raise ArgumentError(f"TransformerBlock: norm={norm!r}", hint='norm="layer", or "rms"')
        layer: Any = LayerNorm if norm == "layer" else RMSNorm
        options: Any = {"init": init, "dtype": dtype, "seed": source(seed)}
        self.norm_first = norm_first
        self.norm_attention, self.norm_mlp = (
            layer(embed_dim, dtype=dtype),
            layer(embed_dim, dtype=dtype),
        )
        self.attention = MultiHeadAttention(
            embed_dim, num_heads, bias=bias, causal=causal, rotary=rotary, **options
        )
        self.norm_mlp = layer(embed_dim, dtype=dtype)
        self.up = Linear(embed_dim, mlp_dim or 4 * embed_dim, bias, **options)
        self.activation = activation or gelu
        self.down = Linear(mlp_dim or 4 * embed_dim, embed_dim, bias, **options)
        self.dropout = Dropout(dropout) if dropout else None

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, x: Operand[AnyValue], mask: Any = None, cache: None = None
        ) -> AnyValue: ...
        @overload
        def __call__(
            self, x: Operand[AnyValue], mask: Any = None, *, cache: Cache
        ) -> tuple[AnyValue, Cache]: ...
        @overload
        def __call__(self, x: Operand[AnyValue], mask: Any = None, cache: Any = None) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def forward(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """The shape of x [batch, t, embed_dim]; with a cache a pair, as ``MultiHeadAttention``."""
        given = self.norm_attention(x) if self.norm_first else x
        found = self.attention(given, mask=mask, cache=cache)
        seen, cache = found if cache is not None else (found, None)
        x = x + self._dropped(seen)
        x = x if self.norm_first else self.norm_attention(x)
        given = self.norm_mlp(x) if self.norm_first else x
        x = x + self._dropped(self.down(self.activation(self.up(given))))
        x = x if self.norm_first else self.norm_mlp(x)
        return x if cache is None else (x, cache)

    def _dropped(self, x: Any) -> Any:
        return x if self.dropout is None else self.dropout(x)
