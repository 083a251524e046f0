"""Vectors by number."""

from __future__ import annotations

from typing import Any

from staticgrad.functions.attention import embedding
from staticgrad.ir.calls import public
from staticgrad.nn.initial import Initial, Seed, first_value, source
from staticgrad.nn.module import Layer, named


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
