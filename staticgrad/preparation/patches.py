"""Convolutions whose windows lie side by side, as patches of an image do: products of two matrices.

An element of the image lies in one window, so that images are matrices whose elements stand in
another order: a row for each window, with its channels and taps, or a column for each. The order of
the terms is that of the convolution, and so are the bits. To copy an image costs less than to look
up where each element of a panel lies: rows where taps next to each other fill half a vector,
otherwise columns where an image has many windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.convolution import Convolution
from staticgrad.ops.slices import Pad, sliced
from staticgrad.types.dim import Size, floordiv, is_at_least
from staticgrad.types.tensor import hint_value, product

#: Windows of an image from which on they are columns, where rows would be put together of shorter
#: pieces than half a vector.
_MANY: Final = 128


def with_patches(graph: Graph) -> Graph:
    """The graph whose convolutions over windows side by side are products of matrices."""

    def rewritten(
        node: Node, _: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _lies_side_by_side(node):
            return None
        return (_Patches(node).result(*args),)

    return graph.replace_ops(Convolution, rewritten)


def _lies_side_by_side(node: Node) -> bool:
    """Whether windows of several taps lie next to each other, without border, in one group."""
    form = node.form
    if not isinstance(form, WindowProduct) or form.groups != 1 or not node.types[0].dtype.is_float:
        return False
    several = any(axis.taps != 1 for axis in form.axes)
    beside = all(axis.step == axis.taps and _lies_inside(axis) for axis in form.axes)
    apart = all(axis.dilation == 1 or axis.taps == 1 for axis in form.axes)
    long = form.axes[-1].step * 2 >= node.types[0].dtype.compute.lanes
    return several and beside and apart and (long or form.result != "filter")


def _lies_inside(axis: WindowAxis) -> bool:
    """Whether no window has a tap in a border: there is none before, and none that matters."""
    covered = is_at_least(axis.image, axis.windows * axis.taps)
    return axis.before == 0 and (covered or axis.windows == floordiv(axis.image, axis.taps))


class _Patches:
    """A convolution, or one of its transposes, as a product of matrices."""

    def __init__(self, node: Node) -> None:
        form = node.form
        assert isinstance(form, WindowProduct)
        self.kind, self.result_of = node.types[0], form.result
        self.windows = tuple([axis.windows for axis in form.axes])
        self.taps = tuple([axis.taps for axis in form.axes])
        by_pieces = form.axes[-1].step * 2 < self.kind.dtype.compute.lanes
        self.as_columns = by_pieces and hint_value(product(self.windows)) >= _MANY

    def result(self, first: Any, second: Any) -> Symbolic:
        """What the two operands give."""
        if self.result_of == "windows":
            found = self._windows(first, second)
        else:
            found = (self._image if self.result_of == "image" else self._filter)(first, second)
        result: Symbolic = found
        return result

    def _windows(self, x: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            return functions.reshape(functions.matmul(filters, self._matrix(x)), self.kind.shape)
        return self._from_rows(functions.matmul(self._matrix(x), functions.swapaxes(filters, 0, 1)))

    def _image(self, y: Any, w: Any) -> Any:
        filters = self._flat(w)
        if self.as_columns:
            columns = functions.reshape(y, (*y.shape[:2], product(self.windows)))
            return self._placed(functions.matmul(functions.swapaxes(filters, 0, 1), columns))
        return self._placed(functions.matmul(self._to_rows(y), filters))

    def _filter(self, x: Any, y: Any) -> Any:
        found = functions.matmul(functions.swapaxes(self._to_rows(y), 0, 1), self._matrix(x))
        return functions.reshape(found, self.kind.shape)

    @staticmethod
    def _flat(w: Any) -> Any:
        return functions.reshape(w, (w.shape[0], product(w.shape[1:])))

    # -- results of windows: images, or a row for each window -------------------------------------

    def _to_rows(self, y: Any) -> Any:
        moved = functions.moveaxis(y, 1, -1)
        return functions.reshape(moved, (product(moved.shape[:-1]), y.shape[1]))

    def _from_rows(self, rows: Any) -> Any:
        batch, channels = self.kind.shape[:2]
        return functions.moveaxis(functions.reshape(rows, (batch, *self.windows, channels)), -1, 1)

    # -- images, or matrices of their patches -----------------------------------------------------

    def _matrix(self, x: Any) -> Any:
        batch, channels = x.shape[:2]
        covered = (batch, channels, *self._covered())
        x = sliced(x, (0,) * len(covered), covered, (1,) * len(covered))
        apart = functions.transpose(functions.reshape(x, self._split(batch, channels)), self._order)
        return functions.reshape(apart, self._shape(batch, channels))

    def _placed(self, matrix: Any) -> Any:
        batch, channels = self.kind.shape[:2]
        split, order = self._split(batch, channels), self._order
        apart = functions.reshape(matrix, tuple([split[axis] for axis in order]))
        back = tuple([order.index(axis) for axis in range(len(order))])
        x = functions.reshape(functions.transpose(apart, back), (batch, channels, *self._covered()))
        if x.shape == self.kind.shape:
            return x
        return Pad(self.kind.shape, (0,) * x.ndim, (1,) * x.ndim)(x)

    def _covered(self) -> tuple[Size, ...]:
        return tuple([count * taps for count, taps in zip(self.windows, self.taps, strict=True)])

    def _split(self, batch: Size, channels: Size) -> tuple[Size, ...]:
        pairs = zip(self.windows, self.taps, strict=True)
        return (batch, channels, *(extent for pair in pairs for extent in pair))

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes of an image that is split, in the order of those of its matrix."""
        last = 2 + 2 * len(self.taps)
        windows, taps = range(2, last, 2), (1, *range(3, last, 2))
        return (0, *taps, *windows) if self.as_columns else (0, *windows, *taps)

    def _shape(self, batch: Size, channels: Size) -> tuple[Size, ...]:
        terms, windows = product((channels, *self.taps)), product(self.windows)
        return (batch, terms, windows) if self.as_columns else (product((batch, windows)), terms)
