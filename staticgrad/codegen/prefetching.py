"""Prefetches to source: what the map of a kernel will touch soon is brought near.

Hardware finds the streams of short loops over whole vectors by itself, so those run at the rate of
the caches; of memory, beside stores that pass the caches, at two thirds of its rate. It finds none
of what is loaded under a mask, and a body that fills the window of instructions starts its loads
late: such loops run at a third of that rate. A map may say how far ahead
(``Ahead``); where none of a kernel does, its one map has a distance by default if it would wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, scaled, total
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Ahead,
    Map,
    Statement,
    Store,
    nested,
    roots,
)

#: Bytes that come together from memory.
LINE: Final = 64
#: Vectors that are brought near before their turn: 2 KiB, where anything from 512 B to 8 KiB does.
FAR: Final = 32
#: Lines of a set of the nearest cache that are few: those of a tile's rows, and what passes beside.
FEW_WAYS: Final = 8
#: Lines of a body, helpers included, beyond which a loop over whole vectors waits.
WAITING: Final = 64
#: Rows of as many times that are read ahead along themselves, shorter ones row by row: what lies
#: behind the end of a row may belong to nobody.
_LONG: Final = 8


def large(unit: Unit, times: int = 1) -> int:
    """Vectors of a matrix beyond so many times two second caches, where hardware is too slow."""
    return times * 2 * unit.machine.l2 // LINE


def has_small_sets(unit: Unit) -> bool:
    """Whether a set of the nearest cache has no lines but those that loops read at a time."""
    return unit.machine.ways <= FEW_WAYS


def write_touches(kernel: Kernel, stage: Map, scopes: Sequence[Scope], waits: bool) -> Lines:
    """Lines that bring near what rows side by side touch along their vectors, so far ahead.

    That are elements one behind the other, of operands that keep their memory and move along the
    loop; each line of memory once. A prefetch of an address that is not mapped does nothing.
    ``waits``: the loop would wait for its memory. The next strip of rows comes into the second
    cache: the first one has few places for lines on their way, and loads would wait for one.
    """
    if stage.ahead is not None:
        return _touches(kernel, _accesses(stage.body), scopes, _along(stage.ahead), True)
    maps = [each for each, _ in nested(kernel.stages) if isinstance(each, Map)]
    if waits and kernel.outer in ("lanes", "axes") and maps == [stage] and stage in kernel.stages:
        far = _by_default(kernel, stage, scopes[0])
        return _touches(kernel, _accesses(stage.body), scopes, far)
    return Lines()


def write_next_vectors(kernel: Kernel, stage: Map, scopes: Sequence[Scope]) -> Lines:
    """Lines that bring near what rows side by side touch in the vectors behind these.

    So it is where some rows run a vector before any runs the next: no hardware follows as many.
    """
    far = _along(Ahead(VECTOR, kernel.lanes))
    return _touches(kernel, _accesses(stage.body), scopes, far)


def touched_by_next_tile(stores: Sequence[Store], scope: Scope, columns: int = 0) -> list[str]:
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
                last = str(scope.lanes - 1)
                words[access.operand, total(scope.place(access, (), True), *moved, last)] = word
    return [f"{word}({operand}, {place})" for (operand, place), word in words.items()]


def _along(ahead: Ahead) -> Callable[[Access], str]:
    """How far ahead an access is brought near, in elements; "0": it is not."""
    return lambda access: scaled(str(ahead.distance), access.stride(ahead.axis))


def _by_default(kernel: Kernel, stage: Map, scope: Scope) -> Callable[[Access], str]:
    """Some vectors ahead; along rows that are no longer than that, some rows ahead."""
    distance = FAR * kernel.lanes
    around = (*kernel.axes, *stage.rows)
    if not around or kernel.listed is not None:
        return _along(Ahead(VECTOR, distance))
    row, extent = around[-1].name, stage.axis.extent
    ends = not stage.rows and kernel.jammed == 1

    def far(access: Access) -> str:
        stride = access.stride(row)
        if stride == 0:
            return "0"
        if isinstance(extent, int):
            long = extent >= _LONG * distance
            rows = distance // max(extent, 1) + 1
            return str(distance) if long else scaled(str(rows), stride)
        _write_distance(scope.unit.once, str(extent), distance)
        if not ends:
            return total(scaled("rows_ahead", stride), "near")
        inside = "rows_left = rows_ahead if o + rows_ahead < end else 0"
        if all(line.strip() != inside for line in scope.before.lines):
            scope.before.add(inside)  # rows behind may be another worker's, which is writing them
        return total(scaled("rows_left", stride), "near")

    return far


def _write_distance(once: Lines, extent: str, distance: int) -> None:
    """How many rows ahead, and how far along a row, where rows have an open extent."""
    first = f"rows_ahead = {distance} // {extent} + 1 if {extent} > 0 else 0"
    if any(line.strip() == first for line in once.lines):
        return
    once.add(first)
    once.add("near = 0")
    once.add(f"if {extent} >= {_LONG * distance}:")
    once.add("    rows_ahead = 0")
    once.add(f"    near = {distance}")


def _touches(
    kernel: Kernel,
    accesses: Iterable[tuple[Access, str]],
    scopes: Sequence[Scope],
    far: Callable[[Access], str],
    with_ends: bool = False,
) -> Lines:
    out, known = Lines(), set[tuple[str, str]]()
    passing = {operand.name for operand in kernel.operands if operand.mode == "scratch"}
    for access, word in accesses:
        runs = access.stride(VECTOR) == 1 and not access.gather
        runs = runs and (with_ends or not access.bounded)
        if not runs or access.operand in passing or (distance := far(access)) == "0":
            continue
        width = kernel.operand(access.operand).dtype.itemsize
        for scope in scopes:
            place = scope.place(scope.access(access), (), vector=True)
            for element in range(0, kernel.lanes, LINE // width):
                there = total(place, distance, str(element))
                if (access.operand, there) not in known:
                    known.add((access.operand, there))
                    out.add(f"{word}({access.operand}, {there})")
    return out


def _accesses(
    statements: Sequence[Statement], loaded: str = "prefetch"
) -> Iterator[tuple[Access, str]]:
    """What statements store to, and then what they load, with the word that brings it near.

    What is streamed comes nowhere near.
    """
    for statement in statements:
        if isinstance(statement, Store) and not statement.streamed:
            yield statement.access, "prefetch_write"
    for expr in postorder(root for statement in statements for root in roots(statement)):
        if isinstance(expr.attribute, Access):
            yield expr.attribute, loaded
