"""Layers over the nodes of a graph, whose edges are a sparse matrix."""

from __future__ import annotations

from typing import Any

from staticgrad.extend import public
from staticgrad.functions import matmul
from staticgrad.nn.initial import Initial, Seed, weight_and_bias
from staticgrad.nn.module import Layer, new_layer_name


class GraphConv(Layer):
    """``A @ (x @ weight) + bias``: each node takes the sum of its neighbours, weighted by A.

    T. N. Kipf and M. Welling, "Semi-supervised classification with graph convolutional networks",
    2017. The product with A is over the fewer features: of x if they are not more than those of
    the result.

    Args:
        in_features, out_features: sizes; weight is [in_features, out_features].
        bias: whether there is one, [out_features].
        init: first values of the weight, by name or as a function (``nn/initial.py``).
        dtype: of the parameters.
        seed: a number or a generator of NumPy; by default that of ``manual_seed``.

    >>> A = sg.sparse.normalized_adjacency(sg.sparse.coo([1.0, 1.0], [0, 1], [1, 0], (2, 2)))
    >>> layer = sg.nn.GraphConv(3, 4)
    >>> layer(sg.input("x", (2, 3), "float32"), A.astype("float32")).shape
    (2, 4)
    """

    @public
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initial = "xavier_uniform",
        dtype: Any = "float32",
        seed: Seed = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        fans = (in_features, out_features)
        self.weight, self.bias = weight_and_bias(
            new_layer_name("graph_conv"),
            fans,
            out_features if bias else None,
            fans,
            (init, dtype, seed),
        )

    def forward(self, x: Any, A: Any) -> Any:
        """[nodes, out_features] of x [nodes, in_features] and A [nodes, nodes], a sparse matrix."""
        if self.in_features <= self.out_features:
            out = matmul(matmul(A, x), self.weight)
        else:
            out = matmul(A, matmul(x, self.weight))
        return out if self.bias is None else out + self.bias
