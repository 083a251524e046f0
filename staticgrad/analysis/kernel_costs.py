"""What a fused kernel costs: instructions, how long they wait for each other, memory of a cut.

Estimates in cycles for one vector of elements, to compare ways of cutting a group with each other.
A processor works on as many vectors of a loop at a time as its window of instructions holds, or as
stand side by side: a long body that is one chain of dependent operations has it wait, where several
short ones would not. Measured on Zen 5: of 400 dependent operations over 2**21 float32, kernels of
20 take 8.2 ms, and one kernel 11.5 with four vectors side by side and 6.6 with eight.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.together import FEW_ALIVE, vectors_together
from staticgrad.native.machine import current
from staticgrad.types.tensor import TensorType, hint_value

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
    """Instructions for one vector: operations that multiply and add are one."""
    flops = node.op.flops
    return round(0.6 * flops) if flops > _ONE else 1


def latency(node: Node) -> float:
    """Cycles until the result of a node is known, once its operands are."""
    return 4 + 1.5 * max(0, node.op.flops - 1)


def vectors(kind: TensorType) -> int:
    """How many vectors a value takes."""
    return max(1, _bytes(kind) // _VECTOR_BYTES)


def interleaved_vectors(work: float, alive: int) -> int:
    """Return how many vectors a kernel takes side by side.

    Args:
        work: instructions of the body.
        alive: values that it computes and needs again, at a time.
    """
    is_chain = alive < FEW_ALIVE  # a body has one more, which it has just loaded
    return max(1, vectors_together(work, is_chain, current().vector_bits))


def cycles(work: float, chain: float, count: int, side_by_side: int = 1) -> float:
    """Cycles per vector of a loop over ``count`` vectors.

    Args:
        work: instructions of the body.
        chain: cycles of its longest chain of dependent operations.
        count: vectors; a loop cannot work on more of them at a time.
        side_by_side: vectors whose instructions stand next to each other.
    """
    host = current()
    at_a_time = max(1.0, min(max(host.window / max(work, 1), side_by_side), count))
    return max(work / host.per_cycle, chain / at_a_time)


def cut_cycles(live: int, kind: TensorType) -> float:
    """Cycles per vector that it takes to store ``live`` values and read them in another kernel."""
    nbytes, host = _bytes(kind), current()
    caches = zip((host.l1, host.l2, host.l3), _CACHED, strict=True)
    each = next((cost for most, cost in caches if nbytes <= most), _FAR)
    return live * each + _CALL / vectors(kind)


def _bytes(kind: TensorType) -> int:
    """Bytes of a value; of one whose size is open, no fewer than ``_OPEN_BYTES``."""
    nbytes = kind.nbytes
    return nbytes if isinstance(nbytes, int) else max(_OPEN_BYTES, hint_value(nbytes))
