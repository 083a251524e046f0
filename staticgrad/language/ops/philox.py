"""Random bits as a pure function: Philox-4x32-10 of a key, a step, a stream and a position.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Each element
encrypts a counter of its own, so that shape, order and thread count change nothing and running
again gives the same bits. What distributions are made of them stands in ``random.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.language.ir.expr import Expr, literal
from staticgrad.language.ir.forms import Form, Pointwise
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.movement import broadcast_to, reshape
from staticgrad.language.ops.operands import as_values
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import U32, U64, DType

# Philox-4x32-10: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, Parallel random numbers: as
# easy as 1, 2, 3 (2011)
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)  # of the golden ratio and the square root of 3
ROUNDS: Final = 10
LOW: Final = 0xFFFFFFFF
#: Streams of one generator: they stand above the position in the counter.
STREAMS: Final = 1 << 16
#: The last of them makes the keys of the iterations of loops: ``fold_key``.
FOLDED: Final = STREAMS - 1


#: Numbers that NumPy draws at once: a dozen arrays of 8 bytes each in the second-level cache.
_BLOCK: Final = 4096


class RandomBits(Op, name="random_bits"):
    """Uniform random bits, by key and step (0-d uint64): words of Philox-4x32-10.

    The element at the flat C-order position p (below 2**48) encrypts the counter (p mod 2**32,
    p div 2**32 + stream * 2**16, step mod 2**32, step div 2**32) under the two halves of the key.
    With ``keys`` the first so many axes have a key and a step each: these are arrays of that many
    sizes, followed by sizes of 1, and positions are those along the other axes.
    ``half`` chooses words 0 and 1 of the four that come out, or 2 and 3: as uint32 the first of
    the two, as uint64 both, the first one low. Carries no gradient.

    ``rank``: positions begin at this many times the elements of a draw (for one key), so that the
    draws of equal shares, one after the other, are the draw of the whole batch.
    """

    exact = True
    differentiable = False
    keeps_dtype = True
    flops = 90
    shape: tuple[Size, ...]
    dtype: DType
    stream: int
    half: int = 0
    keys: int = 0
    rank: int = 0

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Key and step as they are: nothing promotes."""
        return as_values(*args)

    def infer(self, key: TensorType, step: TensorType) -> TensorType:
        """Check the key and step of random bits; infer the type of the draws."""
        if self.dtype not in (U32, U64):
            raise DTypeError(f"random_bits: makes uint32 or uint64, not {self.dtype.numpy}")
        expected = TensorType(
            U64, (*self.shape[: self.keys], *(1,) * self._own) if self.keys else ()
        )
        if key != expected or step != expected:
            what = expected if self.keys else "0-d uint64"
            raise DTypeError(f"random_bits: key and step are {what}, got {key} and {step}")
        if not (0 <= self.stream < STREAMS and self.half in (0, 1)):
            raise ArgumentError(f"random_bits: no stream {self.stream}, half {self.half}")
        return TensorType(self.dtype, self.shape)

    def reference(self, key: Array, step: Array) -> Any:
        """Compute random bits by NumPy, block by block."""
        draw_shape = self.shape[self.keys :]
        count = int(np.prod(draw_shape, dtype=np.int64))  # type: ignore[arg-type]
        if self.keys or np.ndim(key) or np.ndim(step):
            return self._bits(key, step, 0, count, draw_shape)
        bits: Array = np.empty(count, self.dtype.numpy)
        for first in range(0, count, _BLOCK):
            some = min(_BLOCK, count - first)
            bits[first : first + some] = self._bits(key, step, first, some, (some,))
        return bits.reshape(draw_shape)

    def _bits(self, key: Array, step: Array, first: int, count: int, draw_shape: Any) -> Any:
        """Return ``count`` random numbers of each draw, from number ``first`` on."""
        draw_size = int(np.prod(self.shape[self.keys :], dtype=np.int64))  # type: ignore[arg-type]
        begin = np.uint64(self.rank * draw_size + first)
        position = (begin + np.arange(count, dtype=np.uint64)).reshape(draw_shape)
        low = np.uint64(0xFFFFFFFF)
        # Four words of 32 bits are the counter: position (48 bits) and stream (16 bits), and the
        # step.
        high = position >> np.uint64(32) | np.uint64(self.stream << 16)
        counter = [position & low, high, step & low, step >> np.uint64(32)]
        shape = (*self.shape[: self.keys], *draw_shape)
        words = encrypt([np.broadcast_to(c, shape) for c in counter], key)
        first_word, second = words[2 * self.half : 2 * self.half + 2]
        bits = first_word if self.dtype is U32 else first_word | second << np.uint64(32)
        return bits.astype(self.dtype.numpy)

    @property
    def draws_by_rank(self) -> bool:
        return self.rank != 0

    @property
    def _own(self) -> int:
        """Return how many axes the draw for one key has."""
        return len(self.shape) - self.keys

    def scalar(self, key: Expr, step: Expr, *places: Expr) -> Expr:
        """Compute one element's random bits in a kernel, from its key, step and position."""
        axes = len(self.shape)
        if self.rank:  # like a size, so that all ranks share a kernel
            position, indices = places[axes], places[axes + 1 :]
        else:
            position = literal(0, places[0].dtype) if places else literal(0, U64)
            indices = places[axes:]
        axes_and_indices = zip(places[self.keys : axes], indices[self.keys :], strict=True)
        for size, at in axes_and_indices:
            position = position * size + at
        position = position.cast(U64)
        counter = [
            position,
            # The position has 48 bits and the stream 16 bits of the first half of the counter.
            (position >> 32) | (self.stream << 16),
            step,
            step >> 32,
        ]
        words = _rounds(counter, [key & LOW, key >> 32])
        first, second = words[2 * self.half : 2 * self.half + 2]
        return first.cast(U32) if self.dtype is U32 else (first & LOW) | (second << 32)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Add one axis of keys for the batch."""
        op = replace(self, shape=(size, *self.shape), keys=self.keys + 1)
        shape = (*op.shape[: op.keys], *(1,) * self._own)
        return op(*(reshape(arg, shape) for arg in in_front(size, args, over)))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        ranks = (self.rank,) if self.rank else ()
        return Pointwise(self.scalar, sizes=(*self.shape, *ranks), indexed=True)


#: What folds a key: of the key, and of a number in the place of the step.
FOLD: Final = RandomBits((), U64, FOLDED)


def fold_key(key: Any, number: Any) -> Any:
    """Derive the random key of a loop's iteration from the key outside and its number.

    It is a draw itself, of a stream that no other draw has, with the number in the place of the
    step. Of nested loops the inner one folds the key that the outer one has made.
    """
    if key.shape:  # a key for each element of a batch
        number = broadcast_to(number, key.shape)
    return RandomBits(key.shape, U64, FOLDED, keys=len(key.shape))(key, number)


def _rounds(counter: list[Expr], key: list[Expr]) -> list[Expr]:
    """Run Philox's rounds on a counter in a kernel; return four words of random bits.

    Nothing is narrowed in between: a product reads lower halves only, and what stands above them is
    left there. So a round is two multiplications, two shifts and four exclusive ors of vectors.
    """
    for turn in range(ROUNDS):
        if turn:
            key = [(k + w) & LOW for k, w in zip(key, WEYL, strict=True)]
        first, second = (
            (c & LOW) * m for c, m in zip((counter[0], counter[2]), MULTIPLIERS, strict=True)
        )
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second,
            (first >> 32) ^ counter[3] ^ key[1],
            first,
        ]
    return counter


def encrypt(counter: list[Any], key: Any) -> list[Any]:
    """Run Philox's rounds over arrays of NumPy or JAX, words in uint64."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for turn in range(ROUNDS):
        k0, k1 = (
            (((key >> np.uint64(32 * half)) & low) + np.uint64(turn * w)) & low
            for half, w in enumerate(WEYL)
        )
        p0, p1 = (
            c * np.uint64(m) for c, m in zip((counter[0], counter[2]), MULTIPLIERS, strict=True)
        )
        counter = [
            p1 >> shift ^ counter[1] ^ k0, p1 & low, p0 >> shift ^ counter[3] ^ k1, p0 & low,
        ]  # fmt: skip
    return counter
