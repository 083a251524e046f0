"""The batch axis that ``vmap`` adds to operands: always the first, so that a rule moves nothing.

A rule ``Op.batching_rule(size, args, over)`` gets operands of which those marked in ``over`` have
an axis of ``size`` in front, and gives the result (or the tuple of them) with that axis in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.language.ops.movement import broadcast_to, moveaxis, reshape
from staticgrad.language.types.dim import Size


def in_front(size: Size, args: Sequence[Any], over: Sequence[bool]) -> list[Any]:
    """Return every operand with the batch axis; broadcast the others, which costs no memory."""
    return [
        arg if has else broadcast_to(arg, (size, *arg.shape))
        for arg, has in zip(args, over, strict=True)
    ]


def merge_batch(x: Any, axis: int) -> Any:
    """x with the batch moved in front of its axis ``axis``, and the two made one."""
    adjacent = moveaxis(x, 0, axis - 1)
    shape = adjacent.shape
    return reshape(
        adjacent, (*shape[: axis - 1], shape[axis - 1] * shape[axis], *shape[axis + 1 :])
    )


def split_batch(x: Any, axis: int, size: Size, remaining: Size) -> Any:
    """Undo ``merge_batch``: split an axis into ``size``, moved to the front, and ``remaining``."""
    shape = x.shape
    split = reshape(x, (*shape[:axis], size, remaining, *shape[axis + 1 :]))
    return moveaxis(split, axis, 0)
