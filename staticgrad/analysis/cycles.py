"""The cycles of a fused kernel, to compare ways of cutting a group into kernels.

They are estimated for one vector of elements. A processor overlaps as many vectors of a loop as its
instruction window holds, or as are interleaved. A long body that is one chain of dependent
operations makes it wait; several short bodies do not. Measured on Zen 5 for 400 dependent
operations over 2**21 float32: kernels of 20 operations take 8.2 ms, one kernel takes 11.5 ms with
four vectors interleaved and 6.6 with eight.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import FEW_ALIVE, vectors_together
from staticgrad.language.types.arrays import TensorType, hint_value
from staticgrad.native.machine import current

#: Instructions that a group may hold. A kernel takes 0.1 to 0.3 ms to compile for each, 1.2 s at
#: the most.
LARGEST: Final = 4000
#: The same for what follows a matrix product in its kernel: it is written once for each row of a
#: tile, and its values compete with the tile for registers.
LARGEST_EPILOGUE: Final = 160
#: Cycles that storing and reading a vector takes in each cache, and beyond them.
_CACHED: Final = (1, 2, 4)
_FAR: Final = 10
#: What is slow for large arrays matters, and for small ones hardly anything does.
_OPEN_BYTES: Final = 1 << 20
#: Cycles that a kernel takes beside its loop.
_CALL: Final = 60
_VECTOR_BYTES: Final = 64
#: Operations that are one instruction.
_ONE: Final = 2


def instructions(node: Node) -> int:
    """Return a node's instructions for one vector; a multiplication and an addition are one."""
    flops = node.op.flops
    return round(0.6 * flops) if flops > _ONE else 1


def latency(node: Node) -> float:
    """Return the cycles from a node's operands to its result: its latency in a dependence chain."""
    # A multiply-add takes 4 cycles on current processors; those inside of a function overlap.
    return 4 + 1.5 * max(0, node.op.flops - 1)


def vectors(kind: TensorType) -> int:
    """Return the number of vectors that a value takes."""
    return max(1, _bytes(kind) // _VECTOR_BYTES)


def interleaved_vectors(work: float, alive: int) -> int:
    """Return how many vectors a kernel takes side by side."""
    is_chain = alive < FEW_ALIVE  # a body has one more, which it has just loaded
    return max(1, vectors_together(work, is_chain, current().vector_bits))


def cycles(work: float, chain: float, count: int, side_by_side: int = 1) -> float:
    """Cycles per vector of a loop over ``count`` vectors."""
    host = current()
    at_a_time = max(1.0, min(max(host.window / max(work, 1), side_by_side), count))
    return max(work / host.per_cycle, chain / at_a_time)


def cut_cycles(live: int, kind: TensorType) -> float:
    """Cycles per vector that it takes to store ``live`` values and read them in another kernel."""
    nbytes, host = _bytes(kind), current()
    caches = zip((host.l1, host.l2, host.l3), _CACHED, strict=True)
    cost = next((cost for most, cost in caches if nbytes <= most), _FAR)
    return live * cost + _CALL / vectors(kind)


def _bytes(kind: TensorType) -> int:
    """Bytes of a value; of one whose size is open, no fewer than ``_OPEN_BYTES``."""
    nbytes = kind.nbytes
    return nbytes if isinstance(nbytes, int) else max(_OPEN_BYTES, hint_value(nbytes))
