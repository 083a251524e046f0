"""Vectors by number."""

from __future__ import annotations

from typing import Any

from staticgrad.families import like
from staticgrad.functions.attention import embedding
from staticgrad.functions.layers import Pooled, check_mode, embedding_bag
from staticgrad.ir.calls import public
from staticgrad.nn.initial import Initial, Seed, first_value, source
from staticgrad.nn.module import Layer
from staticgrad.nn.naming import named


class Embedding(Layer):
    """The rows of ``weight`` that ids name: of ids [...] it gives [..., embedding_dim].

    Args:
        num_embeddings, embedding_dim: how many vectors, and their size: weight is
            [num_embeddings, embedding_dim].
        init, dtype, seed: as ``Linear``; "normal" by default.

    Raises:
        ArgumentError: as ``Linear``. An id that there is none of raises in the run.

    >>> import staticgrad as sg
    >>> layer = sg.nn.Embedding(10, 3)
    >>> layer(sg.input("ids", ("batch", 5), "int64")).shape
    (batch, 5, 3)
    """

    @public
    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        init: Initial = "normal",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        shape, name = (num_embeddings, embedding_dim), named("embedding")
        self.weight = first_value(f"{name}.weight", shape, init, shape, source(seed), dtype)

    def forward(self, ids: Any) -> Any:
        """[..., embedding_dim]."""
        return embedding(ids, self.weight)


@like(Embedding)
class EmbeddingBag(Embedding):
    """The mean, sum or maximum of the rows of ``weight`` that ids name, over their last axis.

    Of ids [..., count] it gives [..., embedding_dim]. Where bags have fewer, ``mode="sum"`` with
    weights of 0 leaves ids out.

    Args:
        mode: "mean", "sum" or "max".

    Raises:
        ArgumentError: as ``Linear``, or another mode. RankError: ids without an axis.

    >>> import staticgrad as sg
    >>> layer = sg.nn.EmbeddingBag(10, 3)
    >>> layer(sg.input("ids", ("batch", 5), "int64")).shape
    (batch, 3)
    """

    @public
    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        mode: Pooled = "mean",
        init: Initial = "normal",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        check_mode("EmbeddingBag", mode)
        super().__init__(num_embeddings, embedding_dim, init=init, dtype=dtype, seed=seed)
        self.mode = mode

    def forward(self, ids: Any, weights: Any = None) -> Any:
        """[..., embedding_dim].

        Args:
            ids: integers [..., count].
            weights: factors of the rows [..., count], for sums.
        """
        return embedding_bag(ids, self.weight, weights, mode=self.mode)
