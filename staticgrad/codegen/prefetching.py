"""What the next tile of a product reads and writes, as source that prefetches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Unit, scaled, total
from staticgrad.codegen.stages import base_text
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernels.stages import (
    Store,
    roots,
)

#: Bytes that come together from memory.
LINE: Final = 64
#: Lines of a set of the nearest cache that are few: those of a tile's rows, and what passes beside.
FEW_WAYS: Final = 8


def large(unit: Unit, times: int = 1) -> int:
    """Vectors of a matrix beyond so many times two second caches, where hardware is too slow."""
    return times * 2 * unit.machine.l2 // LINE


def has_small_sets(unit: Unit) -> bool:
    """Whether a set of the nearest cache has no lines but those that loops read at a time."""
    return unit.machine.ways <= FEW_WAYS


def touched_by_next_tile(stores: Sequence[Store], lanes: int, columns: int = 0) -> list[str]:
    """Lines that bring near what stores of a product's next tile, ``rows`` on, read and write.

    With ``columns`` of a panel it is ``on`` rows and ``over`` panels on: behind the last rows that
    is the first tile of the next panel. Rows behind those may be another worker's, which writes.

    It is the last lane of each vector: where lines of memory begin within vectors, as in NumPy's
    larger arrays, its first lanes are on the line of the vector before.
    """
    words: dict[tuple[str, str], str] = {}
    for store in stores:
        loads = [e.attribute for e in postorder(roots(store))]
        accesses = [(a, "prefetch") for a in loads if isinstance(a, Access)]
        for access, word in (*accesses, (store.access, "prefetch_write")):
            plain = not access.gather and not access.positions and access.stride(VECTOR) == 1
            if plain and access.stride("i") != 0:
                down = scaled("on" if columns else "rows", access.stride("i"))
                moved = (down, scaled("over", columns)) if columns else (down,)
                last = str(lanes - 1)
                words[access.operand, total(base_text(access), VECTOR, *moved, last)] = word
    return [f"{word}({operand}, {place})" for (operand, place), word in words.items()]
