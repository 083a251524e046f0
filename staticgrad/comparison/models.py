"""The models that come with the package: a module and the arrays that it is trained on.

All data comes with Python or is drawn from a seed; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import staticgrad as sg
from staticgrad.extend.building import count_as_user
from staticgrad.extend.optional import sklearn

count_as_user(__file__)  # of this whole file, so that nothing else stands in it
Array = npt.NDArray[Any]
Example = tuple[Any, Array, Array]


class Perceptron(sg.nn.Sequential):
    """Linear layers with an activation between them."""

    def __init__(self, activation: Callable[[], Any], *widths: int) -> None:
        layers: list[Any] = []
        for k, (width, next_width) in enumerate(pairwise(widths)):
            linear = sg.nn.Linear(width, next_width, init="kaiming_normal", seed=k)
            layers += [linear, activation()]
        super().__init__(*layers[:-1])

    def forward(self, x: Any) -> Any:
        *hidden, last = self
        for linear, activation in zip(hidden[::2], hidden[1::2], strict=True):
            x = linear(x)
            x = activation(x)
        return last(x)


def linear() -> Example:
    """Linear regression from 64 numbers to one."""
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 64)).astype("float32")
    noise = random.normal(0.0, 0.1, (64, 1)).astype("float32")
    return sg.nn.Linear(64, 1, seed=0), x, x @ random.normal(size=(64, 1)).astype("float32") + noise


def mlp() -> Example:
    """A perceptron with ReLU that reads scikit-learn's digits."""
    images, classes = sklearn("datasets").load_digits(return_X_y=True)
    x = (images[:64] / 16.0).astype("float32")
    return Perceptron(sg.nn.ReLU, 64, 256, 128, 10), x, classes[:64].astype("int64")


def deep() -> Example:
    """A deep, narrow perceptron with tanh: where the memory of the backward pass counts."""
    x = np.random.default_rng(0).normal(size=(256, 64)).astype("float32")
    return Perceptron(sg.nn.Tanh, 64, *(128,) * 19, 10), x, np.abs(x[:, :10]).argmax(1)


#: Of the character model: the size of a position, how far it looks back, how many heads look.
_WIDTH, _CONTEXT, _HEADS = 64, 32, 4


class _Block(sg.nn.Module):
    """Attention, then a two-layer perceptron, each around a residual connection."""

    def __init__(self, seed: int) -> None:
        self.norm1, self.norm2 = sg.nn.LayerNorm(_WIDTH), sg.nn.LayerNorm(_WIDTH)
        self.attention = sg.nn.MultiHeadAttention(_WIDTH, _HEADS, causal=True, seed=seed)
        self.up = sg.nn.Linear(_WIDTH, 4 * _WIDTH, seed=seed)
        self.down = sg.nn.Linear(4 * _WIDTH, _WIDTH, seed=seed)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.down(sg.nn.gelu(self.up(self.norm2(x))))


class CharacterTransformer(sg.nn.Module):
    """Two pre-norm decoder blocks between embeddings and logits."""

    def __init__(self, characters: int) -> None:
        self.tokens = sg.nn.Embedding(characters, _WIDTH, seed=0)
        self.positions = sg.nn.Embedding(_CONTEXT, _WIDTH, seed=1)
        self.blocks = [_Block(seed) for seed in (2, 3)]
        self.norm, self.out = sg.nn.LayerNorm(_WIDTH), sg.nn.Linear(_WIDTH, characters, seed=4)

    def forward(self, characters: Any) -> Any:
        hidden = self.tokens(characters) + self.positions(np.arange(_CONTEXT))
        for block in self.blocks:
            hidden = block(hidden)
        return self.out(self.norm(hidden))


def chars() -> Example:
    """Return the comparison's small character transformer, trained on Python's documentation.

    Pre-norm decoder blocks, Radford et al., "Language models are unsupervised multitask learners"
    (2019), at a size that a laptop trains in a minute.
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    vocabulary = sorted(set(text))
    number = {character: k for k, character in enumerate(vocabulary)}
    codes = np.array([number[c] for c in text], "int64")
    begins = np.random.default_rng(0).integers(0, len(text) - _CONTEXT - 1, 16)
    windows = codes[begins[:, None] + np.arange(_CONTEXT + 1)]
    return CharacterTransformer(len(vocabulary)), windows[:, :-1].copy(), windows[:, 1:].copy()


MODELS: Final[Mapping[str, Callable[[], Example]]] = {
    make.__name__: make for make in (linear, mlp, deep, chars)
}
