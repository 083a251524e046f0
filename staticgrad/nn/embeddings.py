"""Vectors by number."""

from __future__ import annotations

from typing import Any, Literal

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.functions import expand_dims, max as largest, mean, sum as total
from staticgrad.functions.attention import embedding
from staticgrad.ir.calls import public
from staticgrad.nn.initial import Initial, Seed, first_value, source
from staticgrad.nn.module import Layer
from staticgrad.nn.naming import named
from staticgrad.ops.operands import as_value, related


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
        return embedding(self.weight, ids)


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
        mode: Literal["mean", "sum", "max"] = "mean",
        init: Initial = "normal",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        if mode not in ("mean", "sum", "max"):
            raise ArgumentError(f'EmbeddingBag: mode is "mean", "sum" or "max", not {shown(mode)}')
        super().__init__(num_embeddings, embedding_dim, init=init, dtype=dtype, seed=seed)
        self.mode = mode

    def forward(self, ids: Any, weights: Any = None) -> Any:
        """[..., embedding_dim].

        Args:
            ids: integers [..., count].
            weights: factors of the rows [..., count], for sums.
        """
        ids = as_value("EmbeddingBag", ids)
        if not ids.ndim:
            raise RankError(f"EmbeddingBag: ids are {ids.type}, a single one", related=related(ids))
        rows = embedding(self.weight, ids)
        if weights is None:
            over: dict[str, Any] = {"mean": mean, "sum": total, "max": largest}
            return over[self.mode](rows, -2)
        if self.mode != "sum":
            raise ArgumentError(f'EmbeddingBag: weights go with mode="sum", not {self.mode!r}')
        return total(rows * expand_dims(weights, -1), -2)
