"""The character model of ``models`` in PyTorch, with its names of parameters; the usual loss."""

from __future__ import annotations

from functools import cache
from typing import Any

from staticgrad.extend.optional import torch
from staticgrad.extend.trees import first_part

_WIDTH, _CONTEXT, _HEADS = 64, 32, 4


def characters(count: int) -> Any:
    """Return the model of so many characters.

    Raises:
        MissingPackageError: PyTorch is not installed.
    """
    return _model()(count)


def usual_loss(output: Any, target: Any) -> Any:
    """Return the cross entropy for integer targets, otherwise the mean squared error.

    ``output``: a tensor, or a container whose first part it is.
    """
    output = first_part(output)
    if target.is_floating_point():
        return torch.nn.functional.mse_loss(output, target)
    return torch.nn.functional.cross_entropy(output.flatten(0, -2), target.flatten())


@cache
def _model() -> Any:
    """Define the torch modules of the character model at the first use of PyTorch."""

    class Block(torch.nn.Module):  # type: ignore[misc]
        """Attention, then a two-layer perceptron, each around a residual connection."""

        def __init__(self) -> None:
            super().__init__()
            nn = torch.nn
            self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
            self.attention = nn.MultiheadAttention(_WIDTH, _HEADS, batch_first=True)
            self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)

        def forward(self, x: Any) -> Any:
            """Compute a transformer block in PyTorch: causal attention and a feed-forward layer."""
            size, length = x.shape[0], x.shape[1]
            heads = torch.nn.functional.linear(
                self.norm1(x), self.attention.in_proj_weight, self.attention.in_proj_bias
            )
            q, k, v = heads.view(size, length, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
            seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.attention.out_proj(seen.transpose(1, 2).reshape(size, length, _WIDTH))
            return x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))

    class Characters(torch.nn.Module):  # type: ignore[misc]
        """Two pre-norm decoder blocks between embeddings and logits."""

        def __init__(self, characters: int) -> None:
            super().__init__()
            nn = torch.nn
            self.tokens, self.positions = (
                nn.Embedding(characters, _WIDTH), nn.Embedding(_CONTEXT, _WIDTH)
            )  # fmt: skip
            self.blocks = nn.ModuleList([Block() for _ in range(2)])
            self.norm, self.out = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, characters)

        def forward(self, indices: Any) -> Any:
            hidden = self.tokens(indices) + self.positions(torch.arange(_CONTEXT))
            for block in self.blocks:
                hidden = block(hidden)
            return self.out(self.norm(hidden))

    return Characters
