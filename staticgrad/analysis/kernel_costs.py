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
from staticgrad.types.tensor import TensorType, hint_value

#: Instructions that a group may hold. A kernel takes 0.1 to 0.3 ms to compile for each, 1.2 s at
#: the most.
LARGEST: Final = 4000
#: The same for what follows a matrix product in its kernel: it is written once for each row of a
#: tile, and its values compete with the tile for registers.
LARGEST_EPILOGUE: Final = 160
#: Instructions that a processor looks ahead, and those that it completes in one cycle.
WINDOW: Final = 320
PER_CYCLE: Final = 2.0
#: Values alive at a time that leave registers for eight vectors side by side.
FEW_ALIVE: Final = 3
#: Bytes of an array up to which storing and reading a vector of it takes so many cycles.
_MEMORY: Final = ((1 << 15, 1), (1 << 20, 2), (1 << 24, 4))
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


def abreast(work: float, alive: int) -> int:
    """How many vectors a kernel takes side by side, as ``codegen/vectors.py`` writes it.

    Args:
        work: instructions of the body.
        alive: values that it computes and needs again, at a time.
    """
    most, room = (8, 4400) if alive <= FEW_ALIVE else (4, 1100)
    while most > 1 and most * work > max(room, 4400 if most == 2 else 0):
        most //= 2
    return most


def cycles(work: float, chain: float, count: int, side_by_side: int = 1) -> float:
    """Cycles per vector of a loop over ``count`` vectors.

    Args:
        work: instructions of the body.
        chain: cycles of its longest chain of dependent operations.
        count: vectors; a loop cannot work on more of them at a time.
        side_by_side: vectors whose instructions stand next to each other.
    """
    at_a_time = max(1.0, min(max(WINDOW / max(work, 1), side_by_side), count))
    return max(work / PER_CYCLE, chain / at_a_time)


def cut_cycles(live: int, kind: TensorType) -> float:
    """Cycles per vector that it takes to store ``live`` values and read them in another kernel."""
    nbytes = _bytes(kind)
    each = next((cost for most, cost in _MEMORY if nbytes <= most), _FAR)
    return live * each + _CALL / vectors(kind)


def _bytes(kind: TensorType) -> int:
    """Bytes of a value; of one whose size is open, no fewer than ``_OPEN_BYTES``."""
    nbytes = kind.nbytes
    return nbytes if isinstance(nbytes, int) else max(_OPEN_BYTES, hint_value(nbytes))
