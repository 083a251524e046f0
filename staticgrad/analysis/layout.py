"""Layouts: where the elements of a value lie in a buffer, and how movement ops change only that.

A Layout is an affine map from a logical index to a position in a buffer, with symbolic strides.
``collapse`` merges neighbouring axes that every operand walks as one, so that a chain over any rank
becomes the fewest loops.

Of an array of 3 rows and 4 columns, with (offset, strides)::

    x              (0, (4, 1))
    x.T            (0, (1, 4))
    x[1:, 2]       (6, (4,))
    x[:, None]     broadcast along the new axis: (0, (4, 0, 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from staticgrad.language.ir.forms import Region, View
from staticgrad.language.types.arrays import Shape, c_strides
from staticgrad.language.types.dim import Size, kept_by_sizes
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Strided:
    """Element ``offset + sum(index * stride)`` of a buffer, in elements."""

    offset: Size
    strides: Shape

    @classmethod
    def contiguous(cls, shape: Shape) -> Strided:
        """C order from the buffer's first element."""
        return _contiguous(shape)

    def is_contiguous(self, shape: Shape) -> bool:
        """Return whether this is C order from the buffer's start; axes of size 1 do not matter."""
        return self.offset == 0 and all(
            extent == 1 or stride == c_stride
            for extent, stride, c_stride in zip(shape, self.strides, c_strides(shape), strict=True)
        )

    def apply_view(self, view: View, rank: int) -> Strided:
        """Return the strided layout of a view's result, which has ``rank`` axes."""
        strides: list[Size] = [0] * rank
        offset = self.offset
        for axis, stride in zip(view.axes, self.strides, strict=True):
            offset = offset + axis.start * stride
            if axis.source is not None:
                strides[axis.source] = strides[axis.source] + axis.step * stride
        return Strided(offset, tuple(strides))

    def region(self, region: Region) -> Strided:
        """Return the strided layout of an operand's region inside of a result with this layout."""
        offset = self.offset
        for start, stride in zip(region.starts, self.strides, strict=True):
            offset = offset + start * stride
        return Strided(
            offset, tuple(step * s for step, s in zip(region.steps, self.strides, strict=True))
        )

    def broadcast(self, shape: Shape, domain: Shape) -> Shape:
        """Return the strides of a value broadcast to ``domain``: 0 along stretched axes."""
        missing = len(domain) - len(shape)
        stretched = (
            0 if extent == 1 and domain_extent != 1 else stride
            for extent, domain_extent, stride in zip(
                shape, domain[missing:], self.strides, strict=True
            )
        )
        return (*(0,) * missing, *stretched)

    def reshape(self, old: Shape, new: Shape) -> Strided | None:
        """Return the strides of a reshaped value without a copy; None if it needs one.

        Matches leading runs of axes of equal size (as NumPy does for views), as polynomials of
        named sizes: what cannot be proven is a copy.
        """
        strides = _reshape_strides(self.strides, old, new)
        return None if strides is None else Strided(self.offset, strides)


@kept_by_sizes
def _contiguous(shape: Shape) -> Strided:
    return Strided(0, c_strides(shape))


@kept_by_sizes
def _reshape_strides(strides: Shape, old: Shape, new: Shape) -> Shape | None:
    """Return the strides of ``Strided.reshape``, cached: programs reshape in few ways."""
    old_axes = [(e, s) for e, s in zip(old, strides, strict=True) if e != 1]
    new_extents = [e for e in new if e != 1]
    runs: list[Size] = []
    while old_axes and new_extents:
        run = _matching_run(old_axes, new_extents)
        if run is None:
            return None
        olds, news = run
        if any(s != e2 * s2 for (_, s), (e2, s2) in pairwise(olds)):
            return None
        stride = olds[-1][1]
        runs += [stride * inner for inner in c_strides(tuple(news))]
        del old_axes[: len(olds)], new_extents[: len(news)]
    if old_axes or new_extents:
        return None
    steps = iter(runs)
    return tuple(0 if e == 1 else next(steps) for e in new)


def _matching_run(
    old: Sequence[tuple[Size, Size]], new: Sequence[Size]
) -> tuple[Sequence[tuple[Size, Size]], Sequence[Size]] | None:
    """Return the shortest leading axes of both shapes with provably equal products."""
    ends: dict[Size, int] = {}
    size: Size = 1
    for j, extent in enumerate(new, 1):
        size = size * extent
        ends.setdefault(size, j)
    size = 1
    for i, (extent, _) in enumerate(old, 1):
        size = size * extent
        if size in ends:
            return old[:i], new[: ends[size]]
    return None


def collapse(
    extents: Sequence[Size], strides: Sequence[Sequence[Size]]
) -> tuple[list[Size], list[list[Size]]]:
    """Merge adjacent axes that all operands traverse as one, and drop axes of size 1."""
    axes: list[Size] = []
    walks: list[list[Size]] = [[] for _ in strides]
    for axis, extent in enumerate(extents):
        if extent == 1:
            continue
        steps = extent or 1 if isinstance(extent, int) else extent  # as in ``c_strides``
        if axes and all(w[-1] == s[axis] * steps for w, s in zip(walks, strides, strict=True)):
            axes[-1] = axes[-1] * extent
            for walk, s in zip(walks, strides, strict=True):
                walk[-1] = s[axis]
        else:
            axes.append(extent)
            for walk, s in zip(walks, strides, strict=True):
                walk.append(s[axis])
    return axes, walks


def is_one_run(strides: Shape, domain: Shape, row: int) -> bool:
    """Return True if the last ``row`` axes of a strided domain collapse to one axis.

    >>> is_one_run((20, 5, 1), (4, 4, 5), 2), is_one_run((40, 10, 1), (4, 4, 5), 2)
    (True, False)
    """
    first = len(domain) - row
    extents, _ = collapse(domain[first:], [strides[first:]])
    return len(extents) <= 1
