"""Positions as rotations."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import ShapeError
from staticgrad.functions.creation import arange
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import floating, related


def rotary(
    x: Operand[AnyValue], position: Operand[AnyValue] = 0, *, base: float = 10000.0
) -> AnyValue:
    """x [..., t, d] with pairs of features turned by angles that grow with their place in time.

    Su et al., arXiv 2104.09864: features i and i + d / 2 turn by (position + place) / base ** (2 i
    / d), so that products of two rows depend on the distance of their places alone.

    Args:
        x: of an even d.
        position: the place of the first row, an integer, known or a value.
        base: how slowly the last pair turns.

    >>> sg.evaluate(sg.nn.rotary([[1.0, 0.0], [1.0, 0.0]])).round(4)
    array([[1.    , 0.    ],
           [0.5403, 0.8415]])
    """
    value: Any = floating("rotary", x)
    features = value.shape[-1] if value.ndim > 1 else 1
    if not isinstance(features, int) or features % 2:
        raise ShapeError(
            f"rotary: x is {value.type}, not [..., t, d] of an even d", related=related(value)
        )
    wide = value.dtype.compute
    half = features // 2
    rates = functions.power(base, arange(half, like=value).astype(wide) * (-2.0 / features))
    places = (arange(value.shape[-2], like=value) + position).astype(wide)
    angles: Any = places[:, None] * rates
    cos, sin = functions.cos(angles).astype(value.dtype), functions.sin(angles).astype(value.dtype)
    first, second = value[..., :half], value[..., half:]
    turned = [first * cos - second * sin, second * cos + first * sin]
    found: AnyValue = functions.concatenate(turned, -1)
    return found


publish(globals(), __name__, ("rotary",))
