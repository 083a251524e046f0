"""Convolutions over a batch, each as one convolution.

Image x [n, g * c, ...], filter w [g * o, c, ...] and windows y [n, g * o, ...] have two of the axes
n, c, o pairwise in common, and all three the groups g. So the batch becomes a part of the axis that
just those of the three have which are over the batch: n of x and y, c of x and w, o of w and y, and
g of all. Each element of the batch has products of its own then, and no others are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from staticgrad.ir.functional import functions
from staticgrad.types import dim as dims
from staticgrad.types.dim import Size

#: What an op multiplies, in the order of its operands, by its result.
_OPERANDS: Final = {
    "windows": ("image", "filter"),
    "image": ("windows", "filter"),
    "filter": ("image", "windows"),
}
_JOINED: Final = {
    frozenset(("image", "windows")): "n",
    frozenset(("image", "filter")): "c",
    frozenset(("filter", "windows")): "o",
    frozenset(("image", "filter", "windows")): "g",
}
#: The first two axes of each of the three, as products of axes.
_AXES: Final = {"image": ("n", "gc"), "windows": ("n", "go"), "filter": ("go", "c")}


def batched_windows(op: Any, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """The result over a batch; None where a batch of a named size would have to be groups."""
    roles = [role for role, has in zip(_OPERANDS[op.result], over, strict=True) if has]
    axis = _JOINED[frozenset((*roles, op.result))]
    groups = op.groups
    if axis == "g":
        if not isinstance(size, int) or size == 0:
            return None
        groups *= size
    operands = [
        _joined(arg, role, axis, size, op.groups) if has else arg
        for arg, role, has in zip(args, _OPERANDS[op.result], over, strict=True)
    ]
    return _apart(replace(op, groups=groups)(*operands), op.result, axis, size, op.groups)


def _joined(x: Any, role: str, axis: str, size: Size, groups: int) -> Any:
    """An operand [batch, ...] with the batch as the slower part of an axis."""
    place, (outer, inner) = _place(role, axis, groups)
    sizes = list(x.shape[1:])
    if outer:
        sizes[place : place + 1] = [groups, _quotient(sizes[place], groups)]
    wide = functions.reshape(x, (size, *sizes))
    at = place + inner
    moved = functions.moveaxis(wide, 0, at)
    kept = x.shape[1:]
    return functions.reshape(moved, (*kept[:place], size * kept[place], *kept[place + 1 :]))


def _apart(y: Any, role: str, axis: str, size: Size, groups: int) -> Any:
    """The result with the batch taken out of the axis again, to the front."""
    place, (outer, inner) = _place(role, axis, groups)
    rest = _quotient(y.shape[place], size)
    parts = [groups, size, _quotient(rest, groups)] if outer else [size, rest]
    wide = functions.reshape(y, (*y.shape[:place], *parts, *y.shape[place + 1 :]))
    moved = functions.moveaxis(wide, place + inner, 0)
    return functions.reshape(moved, (size, *y.shape[:place], rest, *y.shape[place + 1 :]))


def _place(role: str, axis: str, groups: int) -> tuple[int, tuple[bool, int]]:
    """Which of the first two axes the batch joins, and whether it stands behind the groups."""
    place = next(k for k, letters in enumerate(_AXES[role]) if axis in letters)
    inside = _AXES[role][place][0] != axis and groups > 1
    return place, (inside, int(inside))


def _quotient(size: Size, by: Size) -> Size:
    """A size without a factor that it is known to have."""
    if isinstance(size, int) and isinstance(by, int):
        return size // by if by else 0
    return dims.floordiv(size, by)
