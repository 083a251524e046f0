"""Elements that are left out, in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.functions import ones, where
from staticgrad.functions.random import Generator
from staticgrad.ir.calls import public
from staticgrad.nn.initial import source
from staticgrad.nn.module import Layer
from staticgrad.nn.naming import named
from staticgrad.nn.spatial import SpatialLayer
from staticgrad.ops.operands import as_value, is_number


class Dropout(Layer):
    """In training each element is 0 with probability ``p``, and the others are divided by 1 - p.

    Srivastava et al., JMLR 15 (2014). Its generator draws the same bits for one seed and step in
    both modes, and is a part of ``state_dict``.

    Args:
        p: the probability, in [0, 1).
        seed: of the generator; by default drawn from the source of ``manual_seed``.

    Raises:
        ArgumentError: p outside of [0, 1).

    >>> import staticgrad as sg
    >>> layer = sg.nn.Dropout(0.5, seed=1)
    >>> sg.evaluate(layer(sg.constant([1.0, 1.0, 1.0, 1.0])))
    array([2., 2., 0., 2.])
    >>> sg.evaluate(layer.eval()(sg.constant([1.0, 1.0, 1.0, 1.0])))
    array([1., 1., 1., 1.])
    """

    @public
    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        if not is_number(p) or not 0.0 <= p < 1.0:
            raise ArgumentError(
                f"{type(self).__name__}: the probability {shown(p)} is not in [0, 1)"
            )
        own = int(source(None).integers(np.iinfo(np.int64).max)) if seed is None else seed
        self.p, self.generator = p, Generator(own, named("dropout"))

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        return self.generator.dropout(x, self.p) if self.training and self.p else x


@like(Dropout)
class Dropout1d(SpatialLayer, Dropout):
    """As ``Dropout``, of whole channels: each [n, c, l] has one draw for its last axis.

    Tompson et al., arXiv 1411.4280.

    Raises:
        ArgumentError: p outside of [0, 1). RankError: an operand of another rank.

    >>> import numpy as np, staticgrad as sg
    >>> layer = sg.nn.Dropout1d(0.5, seed=1)
    >>> sg.evaluate(layer(sg.constant(np.ones((1, 4, 2))))).tolist()
    [[[2.0, 2.0], [2.0, 2.0], [0.0, 0.0], [2.0, 2.0]]]
    """

    def forward(self, x: Any) -> Any:
        """The shape of x."""
        value = as_value(type(self).__name__, x)
        self.require_rank(value)
        if not self.training or not self.p:
            return value
        shape = (*value.shape[:2], *(1,) * self.axes)
        stays = self.generator.dropout(ones(shape, "float32", like=value), self.p) > 0.0
        return where(stays, value * (1.0 / (1.0 - self.p)), 0.0)


class Dropout2d(Dropout1d, axes=2):
    """Apply ``Dropout1d`` to images [n, c, h, w]."""


class Dropout3d(Dropout1d, axes=3):
    """Apply ``Dropout1d`` to volumes [n, c, d, h, w]."""
