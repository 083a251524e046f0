"""Dense convolutions of three by three taps, and their gradients, in tiles of two by two results.

S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin and S. Gray, arXiv 1509.09308:
F(2x2, 3x3) takes 16 multiplications for a tile, and an element of each filter, instead of 36. The
filters are combined once, which is a product with a constant; ``lowering.windows.tiles`` makes the
kernels of what follows. The gradient of a filter is F(3x3, 2x2), computed in parts of the batch
that are added up.

Which convolutions are computed so is decided by what a node says of its channels and images, not by
the size of a batch or any number that a plan has: the bits are those of the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from staticgrad.ir.forms import WindowAxis, WindowProduct
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic, constant
from staticgrad.ops.convolution import ConvFilter, ConvImage, Convolution
from staticgrad.preparation.filter_parts import in_parts, parts_in_tiles
from staticgrad.types.tensor import hint_value

#: Channels on each side, and elements of an image along an axis, at least, of results and images;
#: and the product of the channels from which on fewer elements will do.
_CHANNELS: Final = 16
_EXTENT: Final = 14
_PAIRS: Final = 4096
_EXTENT_OF_PAIRS: Final = 7
#: Of the gradient of a filter: the product of the channels, and elements of an image along an axis,
#: at least. With registers of 256 bits these lose at first, and the choice is one for all machines.
_PAIRS_OF_FILTERS: Final = 1024
_EXTENT_OF_FILTERS: Final = 28
_TAPS: Final = 3
#: The four combinations of three taps.
_COMBINED: Final = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))


def with_tiles(graph: Graph) -> Graph:
    """The graph whose convolutions take combined filters where they are computed in tiles."""

    def rewritten(
        node: Node, op: Convolution, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        if not _is_dense(node):
            return None
        tiled = replace(op, tiles=True)
        if isinstance(op, ConvFilter):
            parts = parts_in_tiles(node.types[0].shape[:2])
            return (in_parts(node, args, parts, tiles=True),)
        filters = _combined(args[1], backwards=isinstance(op, ConvImage))
        return Node(tiled, (args[0], filters), node.types, node.origin, node.order).values

    return graph.replace_ops(Convolution, rewritten)


def _is_dense(node: Node) -> bool:
    """Whether a convolution, or the image or the filter of one, is computed in tiles."""
    form, dtype = node.form, node.types[0].dtype
    if not isinstance(form, WindowProduct) or form.tiles:
        return False
    of_filter = form.result == "filter"
    first, second = (node.types[0] if of_filter else node.args[1].type).shape[:2]
    if not (isinstance(first, int) and isinstance(second, int)):
        return False
    pairs, extent = (_PAIRS_OF_FILTERS, _EXTENT_OF_FILTERS) if of_filter else (0, _EXTENT)
    if not of_filter and first * second >= _PAIRS:
        extent = _EXTENT_OF_PAIRS
    many = min(first, second) >= _CHANNELS and first * second >= pairs
    plain = dtype.is_float and not dtype.is_storage and form.groups == 1 and len(form.axes) == 2
    return many and plain and all(_is_long(axis, extent) for axis in form.axes)


def _is_long(axis: WindowAxis, extent: int) -> bool:
    """Whether windows of three taps lie next to each other, along an axis that is not short."""
    long = all(not isinstance(n, int) or n >= extent for n in (axis.image, axis.windows))
    return long and axis.step == axis.dilation == 1 and axis.taps == _TAPS


def _combined(filters: Symbolic, backwards: bool) -> Symbolic:
    """Filters [o, c, 4, 4] of combined taps, stored one combination after the other, and in each
    of many channels those next to each other over which products are summed."""
    taps = np.array(_COMBINED, filters.dtype.numpy)[:, :: -1 if backwards else 1]
    both = constant(np.kron(taps, taps))
    channels = filters.type.shape[:2]
    transposed = backwards and hint_value(channels[0] * channels[1]) >= _PAIRS
    given: Any = functions.swapaxes(filters, 0, 1) if transposed else filters
    first, second = given.type.shape[:2]
    flat: Any = functions.reshape(given, (first * second, _TAPS**2))
    found: Any = functions.matmul(both, functions.swapaxes(flat, 0, 1))
    apart: Any = functions.reshape(found, (4, 4, first, second))
    result: Symbolic = functions.transpose(apart, (3, 2, 0, 1) if transposed else (2, 3, 0, 1))
    return result
