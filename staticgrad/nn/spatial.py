"""Layers over a number of spatial axes: one class is written, those over more axes are derived."""

from __future__ import annotations

from typing import Any, ClassVar

from staticgrad.errors import RankError
from staticgrad.families import like
from staticgrad.nn.module import Layer
from staticgrad.ops.operands import related


class SpatialLayer(Layer):
    """A layer of [n, c, ...] with ``axes`` spatial axes.

    ``class Conv2d(Conv1d, axes=2)`` is the layer over two axes: it has the signature of ``Conv1d``,
    and its docstring says what that of ``Conv1d`` says of arguments and errors.
    """

    axes: ClassVar[int] = 1
    ranks: ClassVar[tuple[int, ...]] = (3,)

    def __init_subclass__(cls, axes: int | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if axes is not None:
            cls.axes, cls.ranks = axes, (2 + axes,)
            like(cls.__bases__[0])(cls)

    def require_rank(self, x: Any) -> None:
        """Raise a RankError for an operand of another rank."""
        if x.ndim not in self.ranks:
            ranks = " or ".join(map(str, self.ranks))
            raise RankError(
                f"{type(self).__name__}: x is {x.type}, not of {ranks} axes, [n, c, ...]",
                related=related(x),
            )
