"""Checks of indices and searches to source.

An index that does not fit is clamped, and the first one is noted with its position. This module
knows statements, no stages.

Prefetches to source: what the map of a kernel will touch soon is brought near.

Hardware finds the streams of short loops over whole vectors by itself, so those run at the rate of
the caches; of memory, beside stores that pass the caches, at two thirds of its rate. It finds none
of what is loaded under a mask, and a body that fills the window of instructions starts its loads
late: such loops run at a third of that rate. A map may say how far ahead
(``Ahead``); where none of a kernel does, its one map has a distance by default if it would wait.

Extremes of floats to source: by integers that are ordered as the floats are.

To join two floats so that NaN wins and -0 is below +0 takes several instructions, each of which
waits for the one before: 14 cycles for every vector of a row. The bits of a float, those of
negative ones turned over, are an integer whose order is that of the floats; a NaN becomes the one
that wins. Of integers the larger one is found in a cycle; the winner is turned back at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from staticgrad.codegen.expressions import (
    VECTOR,
    Lines,
    Scope,
    Unit,
    element,
    number,
    scaled,
    total,
)
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Ahead,
    Check,
    Map,
    Search,
    Statement,
    Store,
    nested,
    roots,
)
from staticgrad.types.dtype import DType

#: What notes an index that does not fit, if it is the first: a function, for it hardly ever runs.
_NOTE: Final = "outlined_note"
_NOTE_TEXT: Final = f"""\
def {_NOTE}(words, position, index):
    if words[0] < 0 or position < words[0]:
        store1(words, 0, i64x1(position))
        store1(words, 1, i64x1(index))"""


def write_lookup(scope: Scope, lookup: Check | Search) -> None:
    """``lookup`` has the name of its row."""
    scope.emit(roots(lookup))
    if isinstance(lookup, Search):
        from staticgrad.codegen.sorting import write_search

        write_search(scope, lookup)
    elif scope.is_vector(lookup.index) or scope.is_vector(lookup.position):
        _write_vector_check(scope, lookup)
    else:
        write_uniform_check(scope, lookup)
        return
    scope.vector_refs |= {lookup.name}


def write_uniform_check(scope: Scope, check: Check) -> None:
    """The check of one index for all lanes, before the loop where nothing in it is asked."""
    scope.moved[check.name] = scope.depends(check.index) | scope.depends(check.position)
    lines = scope.body if scope.moved[check.name] else scope.before
    n, p = check.name, check.operand
    lines.add(f"{n}_i = word({scope.one(check.index)})")
    lines.add(f"{n}_w = {n}_i")
    if check.wrap:
        lines.add(f"if {n}_w < 0:")
        lines.add(f"    {n}_w = {n}_w + {check.extent}")
    scope.unit.helpers[_NOTE] = _NOTE_TEXT
    lines.add(f"if {n}_w < 0 or {n}_w >= {check.extent}:")
    lines.add(f"    {_NOTE}({p}, word({scope.one(check.position)}), {n}_i)")
    lines.add(f"    {n}_w = 0")
    lines.add(f"{n} = i64x1({n}_w)")


def _write_vector_check(scope: Scope, check: Check) -> None:
    lines, lanes = scope.body, scope.lanes
    n, p, i64 = check.name, check.operand, f"i64x{scope.lanes}"
    index = scope.vector(check.index)
    wrapped = f"select({index} < 0, {index} + {check.extent}, {index})"
    lines.add(f"{n}_w = {wrapped if check.wrap else index}")
    lines.add(f"{n}_x = select_mask({scope.mask}, ({n}_w < 0) | ({n}_w >= {check.extent}), False)")
    lines.add(f"{n} = select({n}_x, {i64}(0), {n}_w)")
    lines.add(f"if word(cast_i64(hor({n}_x))) != 0:")
    last = 2**63 - 1
    lines.add(f"    {n}_q = select({n}_x, {scope.vector(check.position)}, {i64}({last}))")
    lines.add(f"    {n}_p = hmin({n}_q)")
    lines.add(f"    if {p}[0] < 0 or word({n}_p) < {p}[0]:")
    lines.add(f"        store1({p}, 0, {n}_p)")
    found = f"select({n}_q == splat{lanes}({n}_p), {index}, {i64}({last}))"
    lines.add(f"        store1({p}, 1, hmin({found}))")


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
        word = "prefetch_second" if kernel.in_strips else "prefetch"
        return _touches(kernel, _accesses(stage.body, word), scopes, _along(stage.ahead), True)
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
            for lane in range(0, kernel.lanes, LINE // width):
                there = total(place, distance, str(lane))
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


#: The primitives that such integers stand for.
_EXTREMES = ("maximum", "minimum")


def is_by_key(statement: Accumulate) -> bool:
    """Whether a reduction is one of floats that integers can stand for."""
    return statement.value.dtype.is_float and COMBINERS[statement.kind].combine in _EXTREMES


def key_dtype(statement: Accumulate) -> DType:
    """The element type of the accumulators: of keys, or of the values themselves."""
    dtype = statement.value.dtype
    return dtype.signed if is_by_key(statement) else dtype


def write_key(out: Lines, name: str, statement: Accumulate) -> str:
    """Lines that turn the vector ``name`` into keys, where they are reduced so; their name."""
    if not is_by_key(statement):
        return name
    dtype, code = statement.value.dtype.signed, element(statement.value.dtype.signed)
    most = (1 << (dtype.bits - 1)) - 1
    winner = most if COMBINERS[statement.kind].combine == "maximum" else -most - 1
    out.add(f"{name}_i = bitcast_{code}({name})")
    out.add(f"{name}_k = {name}_i ^ (({name}_i >> {dtype.bits - 1}) & {most})")
    out.add(f"{name}_k = select({name} == {name}, {name}_k, like({name}_k, {winner}))")
    return f"{name}_k"


def neutral_key(statement: Accumulate) -> str:
    """The identity of the reduction as an accumulator holds it, as a literal."""
    dtype = statement.value.dtype
    identity = COMBINERS[statement.kind].identity(dtype)
    if not is_by_key(statement):
        return number(identity)
    bits = int(np.asarray(identity, dtype.numpy).view(dtype.signed.numpy))
    return number(bits ^ ((1 << (dtype.bits - 1)) - 1) if bits < 0 else bits)


def from_key(statement: Accumulate, key: str) -> str:
    """What a key stands for, as source; ``key`` is a name."""
    if not is_by_key(statement):
        return key
    dtype = statement.value.dtype.signed
    most, last = (1 << (dtype.bits - 1)) - 1, dtype.bits - 1
    return f"bitcast_{element(statement.value.dtype)}({key} ^ (({key} >> {last}) & {most}))"
