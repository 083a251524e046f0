"""Parts of a join that one kernel copies, from row to row of what they become.

A kernel for each would write parts of rows with gaps between them: lines of memory come and go once
for each part that they hold something of. One for all writes every line whole, and once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.fusion.groups import Source
from staticgrad.ir.forms import Region
from staticgrad.ir.kernels.transposed import SHORT_STRIDE
from staticgrad.types.tensor import hint_product

#: Parts that one kernel copies, at most: each is a loop.
_MOST: Final = 8
#: Rows from which on there is something to gain, and elements of a part that fill vectors.
_ROWS: Final = 16
_FILLED: Final = 16


def axis_of_parts(regions: Sequence[Region]) -> int | None:
    """The one axis along which parts lie behind each other."""
    axes = [
        axis
        for axis, starts in enumerate(zip(*(region.starts for region in regions), strict=True))
        if any(start != starts[0] for start in starts)
    ]
    dense = all(step == 1 for region in regions for step in region.steps)
    return axes[0] if len(axes) == 1 and dense else None


def fills_rows(part: Source, axis: int) -> bool:
    """Whether a part has many rows before an axis, each a run of memory or one number."""
    shape = part.type.shape
    if hint_product(shape[:axis]) < _ROWS or hint_product(shape[axis:]) < _FILLED:
        return False
    if part.inline:
        return part.uniform
    last = part.layout.strides[-1]
    return isinstance(last, int) and 0 <= last <= SHORT_STRIDE


def copied_together(parts: Sequence[int]) -> Sequence[Sequence[int]]:
    """Parts of rows, by their numbers, in as many as one kernel copies."""
    return [parts[first : first + _MOST] for first in range(0, len(parts), _MOST)]
