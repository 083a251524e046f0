"""Rewrites of products of 8-bit integers: words of four, which one instruction multiplies and adds.

A product of int32 whose factors are wide copies of 8-bit integers, or constants that fit into 8
bits, reads words of four terms each (``dot4_u8_i8`` of the kernel language), where one factor is
unsigned and the other one signed. A term of each quarter of the inner axis is in a word, so that
words are made of contiguous runs; the order of terms does not matter, since sums are exact::

    int32(a[m, k]) @ int32(b[k, n])     ->     words(a)[m, k/4] @ words(b)[k/4, n]

Words of constants are constants. If both factors have one sign, 128 is added to one of them, or
subtracted from it, which changes the result by 128 times the sum of the other one: a constant
where this is a constant. In convolutions four channels are a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np

from passes.fold import Constants
from passes.late.base import late_pass
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Identity, ReshapeForm, View
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, constant
from staticgrad.language.ops.contract import MatMul, other_sign
from staticgrad.language.ops.convert import Cast, astype
from staticgrad.language.ops.convolution import Conv
from staticgrad.language.ops.indexing import Pad, slice_value
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.dtype import I8, I32, U8

#: Integers in a word.
_BYTES: Final = 4
#: The difference of an unsigned integer of 8 bits and the signed one with the other first bit.
_OFFSET: Final = 128
#: The first bit of each integer of a word.
_SIGNS: Final = -0x7F7F7F80


@late_pass("byte-products")
def use_words_of_bytes(graph: Graph) -> Graph:
    """Rewrite products and convolutions of 8-bit integers to multiply words of four."""
    rewrite = _ByteProducts().rewrite
    return graph.replace_ops(MatMul, rewrite).replace_ops(Conv, rewrite)


class _ByteProducts:
    """The rewrite of one graph, with its constants."""

    def __init__(self) -> None:
        self.constants = Constants()

    def rewrite(
        self, node: Node, op: MatMul | Conv, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a product or a convolution of 8-bit integers, or return None."""
        if node.types[0].dtype is not I32 or op.factors is not None:
            return None
        first, second = map(self._narrow, args)
        if first is None or second is None:
            return None
        if isinstance(op, MatMul):
            result = self._product(op, args, [first, second])
        else:
            result = self._convolution(op, args, first, second)
        return None if result is None else (result,)

    def _narrow(self, value: Symbolic) -> Symbolic | None:
        """Return the 8-bit integers of which a value of int32 is a wide copy, or that it has."""
        node = value.node
        if isinstance(node.op, Cast) and node.args[0].dtype in (U8, I8):
            return node.args[0]
        literal = self.constants.of(value)
        if literal is not None:
            return _narrow_constant(literal)
        moves_elements = isinstance(node.form, View | ReshapeForm | Identity) or isinstance(
            node.op, Pad
        )
        if not moves_elements or len(node.args) != 1 or node.is_leaf:
            return None
        inner = self._narrow(node.args[0])
        return None if inner is None else rebuild(node, (inner,)).values[0]

    def _product(
        self, op: MatMul, args: tuple[Symbolic, ...], factors: Sequence[Symbolic]
    ) -> Symbolic | None:
        """Return a product of words, or None for few terms or readers."""
        axes = (-2 if op.transpose_a else -1), (-1 if op.transpose_b else -2)
        terms = factors[0].shape[axes[0]]
        if not isinstance(terms, int) or terms < _BYTES:
            return None
        are_constant = [self.constants.of(factor) is not None for factor in factors]
        readers = (
            args[1].shape[-2 if op.transpose_b else -1],
            args[0].shape[-1 if op.transpose_a else -2],
        )
        if any(
            n == 1 and not is_constant for n, is_constant in zip(readers, are_constant, strict=True)
        ):
            return None  # a matrix that is read once has no time to be packed
        words = [self._words(factor, axis) for factor, axis in zip(factors, axes, strict=True)]
        signs = [factor.dtype for factor in factors]
        if signs[0] is not signs[1]:
            return cast(Symbolic, replace(op, factors=signs[0])(*words))
        shifted, summed = (0, 1) if are_constant[1] else (1, 0)
        offset = _OFFSET if signs[0] is U8 else -_OFFSET
        words[shifted] = self._simplify(words[shifted] ^ _SIGNS)
        signs[shifted] = other_sign(signs[shifted])
        total: Any = Sum((args[summed].ndim + axes[summed],))(args[summed])
        total = total[..., :, None] if summed == 0 else total[..., None, :]
        product: Any = replace(op, factors=signs[0])(*words)
        return cast(Symbolic, product + self._simplify(total * offset))

    def _convolution(
        self, op: Conv, args: tuple[Symbolic, ...], image: Symbolic, filters: Symbolic
    ) -> Symbolic | None:
        """Return a convolution of words, or None of groups, or one channel."""
        channels = image.shape[1]
        if op.groups != 1 or not isinstance(channels, int) or channels == 1:
            return None
        words, filter_words = self._words(image, 1), self._words(filters, 1)
        byte_op = replace(op, factors=filters.dtype)
        if image.dtype is not filters.dtype:
            return cast(Symbolic, byte_op(words, filter_words))
        # The border is zeros, to which nothing is added.
        offset = _OFFSET if image.dtype is U8 else -_OFFSET
        number: Any = constant(np.array(1, np.int32))
        inside: Any = broadcast_to(number, (1, *image.shape[1:]))
        total: Any = op(inside, args[1])
        result: Any = byte_op(self._simplify(words ^ _SIGNS), filter_words)
        return cast(Symbolic, result + self._simplify(total * offset))

    def _simplify(self, value: Any) -> Any:
        """Return a constant in the place of a value that is computed of constants."""
        literal = self.constants.of(value)
        return value if literal is None else literal

    def _words(self, value: Symbolic, axis: int) -> Any:
        """Return words of four integers along an axis, padded with zeros to a multiple."""
        axis %= value.ndim
        size = value.shape[axis]
        assert isinstance(size, int)
        step = -(-size // _BYTES)
        shape = [*value.shape]
        read: Any = value
        if size % step:
            shape[axis] = size + step - size % step
            read = Pad(tuple(shape), (0,) * value.ndim, (1,) * value.ndim)(value)
        extents = tuple(step if k == axis else extent for k, extent in enumerate(shape))
        words: Any = None
        for number, start in enumerate(range(0, size, step)):
            starts = tuple(start if k == axis else 0 for k in range(value.ndim))
            part: Any = slice_value(read, starts, extents, (1,) * value.ndim)
            part = astype(astype(part, U8), I32) << 8 * number
            words = part if words is None else words | part
        return self._simplify(words)


def _narrow_constant(literal: Symbolic) -> Symbolic | None:
    """Return a constant of 8-bit integers, signed ones if they fit, or None."""
    assert isinstance(literal.node.op, Constant)
    array = literal.node.op.data.array
    least, most = (int(end) for end in (array.min(initial=0), array.max(initial=0)))
    for dtype in (I8, U8):
        ends = np.iinfo(dtype.name)
        if ends.min <= least and most <= ends.max:
            return constant(array.astype(dtype.numpy))
    return None
