"""Gradients of filters in parts of the batch that are added up.

A filter of few channels is a product of few rows and columns over very many terms: one iteration,
which is the work of one thread. So the batch is cut into parts of as many images after each other,
and what each gives is added up, by the column rule of ``ir/summation.py``. Parts are the same for
every machine and plan. How many there are is decided by what a node says of its channels and taps,
and by the batch only if it is known to have fewer images than that: what parts without images would
give are zeros. Of windows of one tap next to each other, which are the elements of an image,
nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

from staticgrad.ir.forms import WindowProduct
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.kernels.stages import FED_ROWS, panel_columns
from staticgrad.ops.convolution import CHANNELS_TOGETHER, ConvFilter
from staticgrad.types.dim import Size
from staticgrad.types.dtype import DType

#: Iterations that there should be: of a gradient in tiles, and of one that is fed with images.
_WANTED_OF_TILES: Final = 4
_WANTED: Final = 8
#: Iterations without parts that are enough.
_ENOUGH: Final = 4


def is_fed(form: WindowProduct, dtype: DType) -> bool:
    """Whether the gradient of a filter has more taps than one, and no more than rows of a chunk."""
    taps = prod((axis.taps for axis in form.axes), start=1)
    few = isinstance(taps, int) and 1 < taps <= FED_ROWS
    return form.result == "filter" and few and not dtype.is_storage


def is_pointwise(form: WindowProduct, dtype: DType) -> bool:
    """Whether windows are the elements of an image, one by one: of these nothing is copied."""
    each = all(
        axis.step == axis.taps == 1 and axis.before == 0 and axis.image == axis.windows
        for axis in form.axes
    )
    return form.result == "filter" and each and form.groups == 1 and not dtype.is_storage


def with_parts(graph: Graph) -> Graph:
    """The graph whose gradients of filters of few channels are sums of those of parts."""

    def rewritten(
        node: Node, op: ConvFilter, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        parts = _parts_of(node, op)
        if parts == 0:
            return None
        return (in_parts(node, args, parts),)

    return graph.replace_ops(ConvFilter, rewritten)


def in_parts(node: Node, args: tuple[Symbolic, ...], parts: int, tiles: bool = False) -> Symbolic:
    """The gradient of a filter by those of parts of the batch."""
    assert isinstance(node.op, ConvFilter)
    op = replace(node.op, parts=parts, tiles=tiles)
    partial = op.infer(*(arg.type for arg in args))
    (value,) = Node(op, args, (partial,), node.origin, node.order).values
    found: Any = (
        functions.reshape(value, value.type.shape[1:]) if parts == 1 else functions.sum(value, 0)
    )
    result: Symbolic = found
    return result


def parts_in_tiles(channels: Sequence[Size]) -> int:
    """The parts of a gradient that is computed in tiles, by its channels on both sides."""
    shared = prod(-(-size // CHANNELS_TOGETHER) for size in channels if isinstance(size, int))
    return -(-_WANTED_OF_TILES // max(1, shared))


def _parts_of(node: Node, op: ConvFilter) -> int:
    """The parts of a gradient that goes through images one by one; 0 where it does not."""
    form, dtype = node.form, node.types[0].dtype
    if op.parts or not dtype.is_float:
        return 0
    assert isinstance(form, WindowProduct)
    out, channels, *taps = node.types[0].shape
    if not (isinstance(out, int) and isinstance(channels, int)):
        return 0
    pointwise = is_pointwise(form, dtype) and even_part(channels) is not None
    if not (pointwise or is_fed(form, dtype)):
        return 0
    panels = -(-out // form.groups // panel_columns(dtype))
    rows = channels * prod(tap for tap in taps if isinstance(tap, int))
    shared = form.groups * panels * -(-rows // FED_ROWS)
    if not 0 < shared < _ENOUGH:
        return int(pointwise)
    batch: Size = node.args[0].type.shape[0]
    return min(-(-_WANTED // shared), max(1, batch) if isinstance(batch, int) else _WANTED)


def even_part(channels: int) -> int | None:
    """The channels of an iteration that are rows of a product where they lie: as many in each.

    None where that would be few.
    """
    chunks = -(-channels // FED_ROWS)
    return next((channels // n for n in range(chunks, 2 * chunks + 1) if channels % n == 0), None)
