"""Prefetching to source: what a stage will touch soon is brought near the processor.

Hardware finds only few of a kernel's streams by itself, and a loop that waits for memory runs at
half the rate of the memory. A prefetch of an address that is not mapped does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, scaled, total
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import Ahead, Map, Store, roots

#: Bytes that come together.
LINE: Final = 64


def touches(kernel: Kernel, stage: Map, ahead: Ahead, scopes: Sequence[Scope]) -> Lines:
    """Lines that bring near what rows side by side touch along their vectors, so far ahead.

    That are elements one behind the other, of operands that keep their memory and move along the
    loop; each line of memory once.
    """
    out, known = Lines(), set[tuple[str, str]]()
    passing = {operand.name for operand in kernel.operands if operand.mode == "scratch"}
    for access, word in _accesses(stage):
        stride = access.stride(ahead.axis)
        runs = access.stride(VECTOR) == 1 and not access.gather and not access.bounded
        if stride == 0 or not runs or access.operand in passing:
            continue
        width = kernel.operand(access.operand).dtype.itemsize
        for scope in scopes:
            place = scope.place(scope.access(access), (), vector=True)
            for element in range(0, kernel.lanes, LINE // width):
                there = total(place, scaled(str(ahead.distance), stride), str(element))
                if (access.operand, there) not in known:
                    known.add((access.operand, there))
                    out.add(f"{word}({access.operand}, {there})")
    return out


def _accesses(stage: Map) -> Iterator[tuple[Access, str]]:
    """What a stage stores to, and then what it loads, with the word that brings it near."""
    for statement in stage.body:
        if isinstance(statement, Store):
            yield statement.access, "prefetch_write"
    for expr in postorder(root for statement in stage.body for root in roots(statement)):
        if isinstance(expr.attribute, Access):
            yield expr.attribute, "prefetch"
