"""Transformer blocks: multi-head attention, rotary positions, a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.extend import AnyValue, ArrayLike, Integer, NamedTuple, PositiveInt, public
from staticgrad.functions import (
    arange,
    at,
    logical_and,
    logical_not,
    mean,
    reshape,
    swapaxes,
)
from staticgrad.nn.functional.attention import attention, rotary, weigh_keys
from staticgrad.nn.functional.basics import gelu
from staticgrad.nn.initial import Initial, Seed, source
from staticgrad.nn.layers import Dropout, Linear
from staticgrad.nn.module import Module
from staticgrad.nn.normalization import LayerNorm, RMSNorm
from staticgrad.nn.torch_weights import Arrays, Matching, transpose_matrices


class Cache(NamedTuple):
    """Keys and values of earlier positions, [batch, heads, most, size], and their number."""

    keys: Any
    values: Any
    length: Any


class MultiHeadAttention(Module):
    """Attention of ``num_heads`` heads, each over a part of the features (arXiv 1706.03762).

    Args:
        embed_dim: features of queries and results; the heads divide them.
        num_heads: how many.
        dropout: the share of the result's elements that is 0, in training.
        bias: whether the four layers ``query``, ``key``, ``value`` and ``out`` have biases.
        kdim, vdim: features of keys and values; by default those of queries.
        causal: forbid every query the keys after it.
        rotary: turn queries and keys by their places (``sg.nn.rotary``).
        batch_first: True, the only order here: arrays are [batch, t, features].
        init, dtype, seed: of the layers, as ``Linear``; "xavier_uniform" by default.

    >>> layer = sg.nn.MultiHeadAttention(8, num_heads=2, causal=True)
    >>> layer(sg.input("x", ("batch", "time", 8), "float32")).shape
    (batch, time, 8)
    """

    @public
    def __init__(
        self,
        embed_dim: Integer,
        num_heads: PositiveInt,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        *,
        causal: bool = False,
        rotary: bool = False,
        batch_first: bool = True,
        init: Initial = "xavier_uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        if not batch_first:
            raise ArgumentError(
                "MultiHeadAttention: batch_first=False is not supported",
                hint="the batch comes first: sg.swapaxes(x, 0, 1) moves it there",
            )
        if embed_dim % num_heads:
            raise ArgumentError(
                f"MultiHeadAttention: {num_heads} heads do not divide {embed_dim} features"
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.causal, self.rotary = causal, rotary
        options: Any = {"init": init, "dtype": dtype, "seed": source(seed)}
        self.query = Linear(embed_dim, embed_dim, bias, **options)
        self.key = Linear(kdim or embed_dim, embed_dim, bias, **options)
        self.value = Linear(vdim or embed_dim, embed_dim, bias, **options)
        self.out = Linear(embed_dim, embed_dim, bias, **options)
        self.dropout = Dropout(dropout) if dropout else None

    _torch_names = {"out": "out_proj"}  # noqa: RUF012 - as the base declares it

    def _torch_layouts(self) -> Iterator[Matching]:
        """Yield PyTorch's layout of attention weights: query, key, value in one array or three."""
        parts = self.query, self.key, self.value
        weights = tuple([part.weight for part in parts])
        if all(weight.shape == weights[0].shape for weight in weights):
            yield Matching(
                weights, ("in_proj_weight",), _apart, lambda arrays: (np.concatenate(arrays, 1).T,)
            )
        else:
            names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
            yield Matching(weights, names, transpose_matrices, transpose_matrices)
        if self.query.bias is not None:
            biases: Any = tuple([part.bias for part in parts])
            yield Matching(
                biases, ("in_proj_bias",), _apart, lambda arrays: (np.concatenate(arrays),)
            )

    if TYPE_CHECKING:

        @overload
        def __call__(
            self,
            query: ArrayLike[AnyValue],
            key: Any = None,
            value: Any = None,
            mask: Any = None,
            cache: None = None,
        ) -> AnyValue: ...
        @overload
        def __call__(
            self,
            query: ArrayLike[AnyValue],
            key: Any = None,
            value: Any = None,
            mask: Any = None,
            *,
            cache: Cache,
        ) -> tuple[AnyValue, Cache]: ...
        @overload
        def __call__(self, query: Any, *args: Any, **kwargs: Any) -> Any: ...
        def __call__(self, query: Any, *args: Any, **kwargs: Any) -> Any: ...

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        mask: Any = None,
        cache: Any = None,
        *,
        attn_mask: Any = None,
        key_padding_mask: Any = None,
        is_causal: Any = False,
    ) -> Any:
        """Return [batch, t, embed_dim]; with a cache, a pair of that and the updated cache.

        ``sg.nn.MultiheadAttention``, as PyTorch writes it, returns a pair with the weights.

        Args:
            query: [batch, t, embed_dim].
            key, value: [batch, s, kdim] and [batch, s, vdim]; by default query and key.
            mask: bools that broadcast to [batch, heads, t, s]: False forbids a key to a query.
            cache: of ``empty_cache``, or what the call before gave: keys and values of this call
                are put behind those that are there, and queries see all of them.
            attn_mask: PyTorch's mask, bools [t, s] or [batch * heads, t, s]: True forbids.
            key_padding_mask: PyTorch's mask of keys, bools [batch, s]: True forbids.
            is_causal: as ``causal``, for this call.
        """
        mask = self._merge_all_masks(mask, attn_mask, key_padding_mask)
        q, k, v, cache, mask = self._project(query, key, value, mask, cache)
        out = self._attend(q, k, v, mask, (self.causal or is_causal) and cache is None)
        return out if cache is None else (out, cache)

    def _merge_all_masks(self, mask: Any, attn_mask: Any, key_padding_mask: Any) -> Any:
        """Return the mask of allowed keys that a mask and both of PyTorch's say."""
        for theirs in (attn_mask, key_padding_mask):
            if theirs is not None:
                mask = self._merge_masks(theirs, theirs is attn_mask, mask)
        return mask

    def _project(
        self, query: Any, key: Any, value: Any, mask: Any, cache: Any
    ) -> tuple[Any, Any, Any, Any, Any]:
        """Return queries, keys and values of each head, the updated cache, and the mask with it."""
        key = query if key is None else key
        q, k = self._heads(self.query(query)), self._heads(self.key(key))
        v = self._heads(self.value(key if value is None else value))
        start = 0 if cache is None else cache.length
        if self.rotary:
            q, k = rotary(q, start), rotary(k, start)
        if cache is not None:
            cache, mask = self._extend_cache(cache, k, v, mask)
            k, v = cache.keys, cache.values
        return q, k, v, cache, mask

    def _attend(self, q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Any:
        """Return what the heads see, joined: [batch, t, embed_dim]."""
        rows = swapaxes(attention(q, k, v, mask, causal=causal), 1, 2)
        out = self.out(reshape(rows, (*rows.shape[:2], self.embed_dim)))
        return out if self.dropout is None else self.dropout(out)

    def _merge_masks(self, forbidden: Any, by_query: bool, mask: Any) -> Any:
        """Combine an attention mask with one of PyTorch's, in which True forbids."""
        word = "attn_mask" if by_query else "key_padding_mask"
        forbidden_keys = forbidden if hasattr(forbidden, "ndim") else np.asarray(forbidden)
        if np.dtype(forbidden_keys.dtype).kind != "b":
            raise DTypeError(
                f"MultiHeadAttention: {word} is {np.dtype(forbidden_keys.dtype).name}, not bool",
                hint=f"True forbids a key; for numbers that are added: {word}=numbers < 0",
            )
        allowed = logical_not(forbidden_keys)
        if not by_query:
            allowed = allowed[:, None, None, :]
        elif allowed.ndim == 3:  # of each head
            allowed = reshape(allowed, (-1, self.num_heads, *allowed.shape[1:]))
        return allowed if mask is None else logical_and(mask, allowed)

    def empty_cache(self, batch: int, most: int, dtype: Any = "float32") -> Cache:
        """A cache of arrays for ``most`` places; nothing has been seen."""
        shape = (batch, self.num_heads, most, self.embed_dim // self.num_heads)
        return Cache(np.zeros(shape, dtype), np.zeros(shape, dtype), np.int64(0))

    def _heads(self, x: Any) -> Any:
        batch, time, features = x.shape
        size = features // self.num_heads
        return swapaxes(reshape(x, (batch, time, self.num_heads, size)), 1, 2)

    def _extend_cache(self, cache: Cache, k: Any, v: Any, mask: Any) -> tuple[Cache, Any]:
        """Write keys and values into the attention cache, and mask positions not yet written."""
        time, most = k.shape[2], cache.keys.shape[2]
        places = arange(time, like=k) + cache.length
        keys = at(cache.keys)[:, :, places].set(k)
        values = at(cache.values)[:, :, places].set(v)
        last = places[:, None] if self.causal else cache.length + time - 1
        seen = arange(most, like=k) <= last
        return Cache(keys, values, cache.length + time), seen if mask is None else seen & mask


class MultiheadAttention(MultiHeadAttention):
    """PyTorch's layer of that name: a call returns a pair, the result and the weights.

    The arguments are those of ``MultiHeadAttention``; ``batch_first`` is True. Weights that nobody
    reads are not computed in a compiled program.

    >>> layer = sg.nn.MultiheadAttention(8, 2)
    >>> x = sg.input("x", ("batch", "time", 8), "float32")
    >>> out, weights = layer(x, x, x)
    >>> out.shape, weights.shape
    ((batch, time, 8), (batch, time, time))
    """

    if TYPE_CHECKING:

        def __call__(self, query: Any, *args: Any, **kwargs: Any) -> Any: ...

    def forward(  # the order of PyTorch's arguments
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        key_padding_mask: Any = None,
        need_weights: Any = True,
        attn_mask: Any = None,
        average_attn_weights: Any = True,
        is_causal: Any = False,
    ) -> tuple[Any, Any]:
        """Return [batch, t, embed_dim], and the weights [batch, t, s] of the keys.

        Args:
            query, key, value, key_padding_mask, attn_mask, is_causal: as ``MultiHeadAttention``.
            need_weights: False: None stands in the place of the weights.
            average_attn_weights: the mean over the heads; False: [batch, heads, t, s].
        """
        mask = self._merge_all_masks(None, attn_mask, key_padding_mask)
        q, k, v, _, mask = self._project(query, key, value, mask, None)
        causal = bool(self.causal or is_causal)
        out = self._attend(q, k, v, mask, causal)
        if not need_weights:
            return out, None
        weights = weigh_keys(q, k, mask, causal=causal)
        return out, mean(weights, axis=1) if average_attn_weights else weights


def _apart(arrays: Arrays) -> Arrays:
    """PyTorch's arrays of queries, keys and values, which are one, each transposed."""
    return transpose_matrices(tuple(np.split(arrays[0], 3)))


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

    >>> block = sg.nn.TransformerBlock(8, num_heads=2, causal=True)
    >>> block(sg.input("x", ("batch", "time", 8), "float32")).shape
    (batch, time, 8)
    """

    @public
    def __init__(
        self,
        embed_dim: Integer,
        num_heads: PositiveInt,
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
        self.up = Linear(embed_dim, mlp_dim or 4 * embed_dim, bias, **options)
        self.activation = activation or gelu
        self.down = Linear(mlp_dim or 4 * embed_dim, embed_dim, bias, **options)
        self.dropout = Dropout(dropout) if dropout else None

    _torch_names = {  # noqa: RUF012 - as the base declares it
        "attention": "self_attn",
        "up": "linear1",
        "down": "linear2",
        "norm_attention": "norm1",
        "norm_mlp": "norm2",
    }

    if TYPE_CHECKING:

        @overload
        def __call__(
            self, x: ArrayLike[AnyValue], mask: Any = None, cache: None = None
        ) -> AnyValue: ...
        @overload
        def __call__(
            self, x: ArrayLike[AnyValue], mask: Any = None, *, cache: Cache
        ) -> tuple[AnyValue, Cache]: ...
        @overload
        def __call__(self, x: ArrayLike[AnyValue], mask: Any = None, cache: Any = None) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def forward(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """Apply a transformer block: attention and feed-forward layer with residual sums."""
        block_input = self.norm_attention(x) if self.norm_first else x
        attended = self.attention(block_input, mask=mask, cache=cache)
        seen, cache = attended if cache is not None else (attended, None)
        x = x + self._drop_out(seen)
        x = x if self.norm_first else self.norm_attention(x)
        block_input = self.norm_mlp(x) if self.norm_first else x
        x = x + self._drop_out(self.down(self.activation(self.up(block_input))))
        x = x if self.norm_first else self.norm_mlp(x)
        return x if cache is None else (x, cache)

    def _drop_out(self, x: Any) -> Any:
        return x if self.dropout is None else self.dropout(x)
