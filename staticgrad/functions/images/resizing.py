"""Images in other sizes: by the nearest element or along straight lines between elements."""

from __future__ import annotations

from typing import Final

import numpy as np

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, floating, integer, related

_METHODS: Final = ("nearest", "bilinear")


@public
def resize(x: Operand[AnyValue], shape: int | tuple[int, ...], method: str = "nearest") -> AnyValue:
    """Images in another size: each place of the result reads x where its centre lies.

    Output i of n lies at (i + 1/2) * m / n - 1/2 between the m elements of an axis. Smaller sizes
    leave elements out: average first where that matters.

    Args:
        x: images, their last axes as many as ``shape`` has sizes, known at build.
        shape: the last sizes of the result.
        method: ``"nearest"``, the element whose cell that lies in; ``"bilinear"``, linear between
            two elements of each axis, beyond the outermost ones these.

    Returns:
        The images in that size.

    Raises:
        ArgumentError: another method; more sizes than axes, or sizes only known at run time.
        ShapeError: a size that is not positive.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.nn.resize([[0.0, 4.0]], 4, "bilinear"))
    array([[0., 1., 3., 4.]])
    """
    value = as_value("resize", x)
    if method not in _METHODS:
        raise ArgumentError(
            f"resize: method={shown(method)} is not one of {', '.join(_METHODS)}",
            related=related(value),
        )
    if method == "bilinear":
        value = floating("resize", value)
    given = (shape,) if isinstance(shape, int) else tuple(shape)
    if len(given) > value.ndim:
        raise ArgumentError(f"resize: {len(given)} sizes for {value.type}", related=related(value))
    for axis, size in enumerate(given, start=value.ndim - len(given)):
        new = integer("resize", "size", size, value)
        old = integer("resize", "size", value.shape[axis], value)
        if new < 1 or old < 1:
            raise ShapeError(f"resize: from {old} to {new} elements", related=related(value))
        if new != old:
            value = _along(value, axis, old, new, method)
    return value


def _along(x: AnyValue, axis: int, old: int, new: int, method: str) -> AnyValue:
    centres = (2 * np.arange(new) + 1) * old
    if method == "nearest":
        return functions.take(x, centres // (2 * new), axis)
    at = np.clip(centres / (2.0 * new) - 0.5, 0, old - 1)
    below = np.minimum(at.astype(np.int64), old - 1)
    above = np.minimum(below + 1, old - 1)
    weight = (at - below).astype(x.dtype.numpy).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    low, high = functions.take(x, below, axis), functions.take(x, above, axis)
    return low + (high - low) * weight
