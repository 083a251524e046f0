"""Operands that lie across memory to source: square tiles of them, transposed in registers.

A loop that walks along its vectors through one line of memory after the other would take one
element of each. Where a loop around it walks along memory instead, as many of its rows as a vector
has lanes are taken together: a tile of every such operand is turned into local memory, from which
each row reads vectors. So a line is read once, and whole. What is stored across memory is a tile of
such rows first, which is turned into its lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, element, scaled, total
from staticgrad.codegen.jammed import Rows, emit_jammed, of_row, scopes_jammed, write_decode
from staticgrad.codegen.prefetching import write_next_vectors
from staticgrad.codegen.stages import base_text, scope_for, write_store
from staticgrad.codegen.vectors import (
    SHORT,
    Bodies,
    work,
    write_vector_loop,
)
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Map, Store, roots
from staticgrad.ir.kernels.together import MOST, whole_vectors
from staticgrad.records import dataclass
from staticgrad.types.dtype import DType

#: ``transposed(p, at, stride, high, wide, q)``: ``wide`` elements of each of ``high`` lines; the
#: next lines are prefetched, whose distance no hardware follows.
_LOAD: Final = """\
def shared_transposed{lanes}_{kind}(p, at, stride, high, wide, q):
    for square in range(0, wide, {lanes}):
        if high >= {lanes} and wide >= square + {lanes}:
            for row in range({lanes}, 2 * {lanes}):
                prefetch(p, at + square + row * stride)
            transpose{lanes}(p, at + square, stride, {lanes}, {lanes}, q, square * {lanes}, {lanes})
        else:
{rest}"""
_MASKED: Final = (
    "            transpose{lanes}(p, at + square, stride, high, wide - square,"
    " q, square * {lanes}, {lanes})"
)
#: Where there are hardly any squares that are not whole, element by element: half of the code.
_WHOLE: Final = """\
            for row in range(0, {lanes}):
                for line in range(0, {lanes}):
                    if line < high and square + row < wide:
                        one = load1(p, at + square + row + line * stride)
                        store1(q, (square + row) * {lanes} + line, one)"""
#: ``stored(p, at, stride, high, wide, q, left)``: ``high`` rows of ``wide`` elements each.
_STORE: Final = """\
def shared_stored{lanes}_{kind}(p, at, stride, high, wide, q, left):
    for square in range(0, high, {lanes}):
        if wide >= {lanes} and high >= square + {lanes}:
            transpose{lanes}(q, square * {lanes}, {lanes}, {lanes}, {lanes}, p, at + square, stride)
        else:
            transpose{lanes}(q, square * {lanes}, {lanes}, high - square, wide, left, 0, {lanes})
            m = mask{lanes}(high - square)
            lines = wide
            if lines > {lanes}:
                lines = {lanes}
            for line in range(0, lines):
                store(p, at + square + line * stride, load{lanes}(left, line * {lanes}), m)"""


def loading(dtype: DType, lanes: int, whole: bool) -> tuple[str, str]:
    """Return the name and the text of the function that transposes lines of memory into a tile.

    ``whole``: hardly any squares are not whole.
    """
    kind = f"{element(dtype)}{'_whole' if whole else ''}"
    rest = (_WHOLE if whole else _MASKED).format(lanes=lanes)
    name = f"shared_transposed{lanes}_{kind}"
    return name, _LOAD.format(lanes=lanes, kind=kind, rest=rest)


def storing(dtype: DType, lanes: int) -> tuple[str, str]:
    """Return the name and the text of the function that stores a tile across memory."""
    kind = element(dtype)
    return f"shared_stored{lanes}_{kind}", _STORE.format(lanes=lanes, kind=kind)


@dataclass(frozen=True)
class TransposedTiles:
    """Tiles of ``rows`` rows of a vector each, in local memory; by where their loads read."""

    loads: Sequence[Expr]
    names: dict[Access, tuple[str, DType]]
    lanes: int
    rows: int

    @classmethod
    def of(cls, loads: Sequence[Expr], unit: Unit, lanes: int, rows: int) -> TransposedTiles:
        """Tiles of some loads, one for each place that they read."""
        names: dict[Access, tuple[str, DType]] = {}
        for load in loads:
            access = load.attribute
            assert isinstance(access, Access)
            if access not in names:
                names[access] = unit.fresh("f"), load.dtype
        return cls(loads, names, lanes, rows)

    def declare(self, out: Lines) -> None:
        """Local memory."""
        for name, dtype in self.names.values():
            out.add(f"{name} = local_{element(dtype)}({self.rows * self.lanes})")

    def write(
        self,
        out: Lines,
        unit: Unit,
        place: Callable[[Access], str],
        high: str,
        wide: str,
        whole: bool = False,
    ) -> None:
        """Lines that fill all tiles, from ``place`` on: ``wide`` elements of ``high`` lines.

        ``whole``: both are multiples of a vector's lanes, but where somebody cuts rows apart.
        """
        for access, (name, dtype) in self.names.items():
            stride = access.stride(VECTOR)
            at = total(place(access), scaled(VECTOR, stride))
            function, text = loading(dtype, self.lanes, whole)
            unit.helpers[function] = text
            out.add(f"{function}({access.operand}, {at}, {stride}, {high}, {wide}, {name})")

    def read(self, scope: Scope, row: str) -> None:
        """Loads of the scope read the tiles' ``row``, a number as source."""

        def write(scope: Scope) -> None:
            for access, (name, _) in self.names.items():
                value = scope.unit.fresh("v")
                scope.body.add(f"{value} = load{self.lanes}({name}, {row} * {self.lanes})")
                alike = [load for load in self.loads if load.attribute == access]
                scope.names |= dict.fromkeys(alike, value)

        scope.runs = dict.fromkeys(self.loads, write)


@dataclass(frozen=True)
class StoredTiles:
    """Tiles of ``rows`` rows of a vector each, that are stored across memory; by their stores.

    Lines of memory that rows do not fill are written under a mask, from a second square.
    """

    names: dict[Store, tuple[str, DType]]
    lanes: int
    rows: int

    @classmethod
    def of(cls, stores: Sequence[Store], unit: Unit, lanes: int, rows: int) -> StoredTiles:
        """Tiles of some stores."""
        return cls({s: (unit.fresh("f"), s.value.dtype) for s in stores}, lanes, rows)

    def declare(self, out: Lines) -> None:
        """Local memory."""
        for name, dtype in self.names.values():
            out.add(f"{name} = local_{element(dtype)}({self.rows * self.lanes})")
            out.add(f"{name}_left = local_{element(dtype)}({self.lanes * self.lanes})")

    def keep(self, scope: Scope, store: Store, row: str) -> None:
        """The line that puts a row's vector into its tile."""
        scope.emit(roots(store))
        name, _ = self.names[store]
        at = f"{row} * {self.lanes}"
        scope.body.add(f"store{self.lanes}({name}, {at}, {scope.vector(store.value)})")

    def bring_near(self, out: Lines) -> None:
        """Lines that bring near where the next tiles are stored: rows begin anywhere in a line."""
        for store in self.names:
            access, stride = store.access, store.access.stride(VECTOR)
            at = total(base_text(access), scaled(VECTOR, stride))
            out.add(f"for line in range({self.lanes}, {2 * self.lanes}):")
            for end in ("0", str(self.rows - 1)):
                place = total(at, end, f"line * {stride}")
                out.add(f"    prefetch_write({access.operand}, {place})")

    def write(self, out: Lines, unit: Unit, wide: str, high: str) -> None:
        """Lines that store all tiles: of ``high`` rows, ``wide`` elements each."""
        for store, (name, dtype) in self.names.items():
            access, stride = store.access, store.access.stride(VECTOR)
            at = total(base_text(access), scaled(VECTOR, stride))
            function, text = storing(dtype, self.lanes)
            unit.helpers[function] = text
            passed = f"{access.operand}, {at}, {stride}, {high}, {wide}"
            out.add(f"{function}({passed}, {name}, {name}_left)")


def write_transposed_rows(kernel: Kernel, out: Lines, unit: Unit) -> None:
    """All iterations of a kernel of one map, some rows at a time that are neighbours in memory."""
    (stage,) = kernel.stages
    assert isinstance(stage, Map)
    lanes, row, extent = kernel.lanes, kernel.axes[-1], stage.axis.extent
    tiles = TransposedTiles.of(kernel.transposed, unit, lanes, kernel.tile_rows)
    stored = StoredTiles.of(kernel.transposed_stores, unit, lanes, kernel.tile_rows)
    before, rows, inner = Lines(), Lines(), Lines()
    stored.bring_near(rows)
    whole = all(unit.told(each).multiple % lanes == 0 for each in (extent, row.extent))
    tiles.write(rows, unit, base_text, f"{extent} - {VECTOR}", "turn", whole)
    _write_each_row(kernel, stage, tiles, stored, rows, before, unit)
    stored.write(rows, unit, f"{extent} - {VECTOR}", "turn")
    tiles.declare(out)
    stored.declare(out)
    write_decode(inner, "o", kernel.axes)
    inner.add(f"turn = {row.extent} - {row.name}")
    for most in ("end - o", str(tiles.rows)):
        inner.add(f"if turn > {most}:")
        inner.add(f"    turn = {most}")
    inner.add(f"first_row = {row.name}")
    inner.extend(before)
    count = whole_vectors(work(rows, unit), 1)
    write_vector_loop(inner, "0", str(extent), lanes, Bodies(rows, rows, count, {}))
    inner.add("o = o + turn")
    out.add("o = begin")
    out.add("while o < end:")
    out.extend(inner, 1)


def _write_each_row(
    kernel: Kernel,
    stage: Map,
    tiles: TransposedTiles,
    stored: StoredTiles,
    out: Lines,
    before: Lines,
    unit: Unit,
) -> None:
    """The statements for one vector of each of the rows; of long bodies several rows together."""
    row = kernel.axes[-1].name
    alone = _rows_together(kernel, stage, tiles, stored, before, unit, 1)
    lines = work(alone, unit)
    count = whole_vectors(lines, MOST) if lines > SHORT else 1
    first = "0"
    if count > 1:
        first = "whole_turn"
        out.add(f"{first} = turn // {count} * {count}")
        out.add(f"for tile_row in range(0, {first}, {count}):")
        out.add(f"    {row} = first_row + tile_row")
        for number in range(1, count):
            out.add(f"    {of_row(row, number)} = {row} + {number}")
        out.extend(_rows_together(kernel, stage, tiles, stored, before, unit, count), 1)
    out.add(f"for tile_row in range({first}, turn):")
    out.add(f"    {row} = first_row + tile_row")
    out.extend(alone, 1)
    out.add(f"{row} = first_row")


def _rows_together(
    kernel: Kernel,
    stage: Map,
    tiles: TransposedTiles,
    stored: StoredTiles,
    before: Lines,
    unit: Unit,
    count: int,
) -> Lines:
    """The statements for one vector of each of so many rows of a tile, from ``tile_row`` on."""
    row = kernel.axes[-1]
    rows = Rows([row], [stage], (), count, left=False)
    made = scope_for(kernel, [row.name, VECTOR], before, Lines(), unit, kernel.lanes)
    scopes = scopes_jammed(rows, made)
    made.body.lines += write_next_vectors(kernel, stage, scopes).lines
    places = ["tile_row", *(f"(tile_row + {number})" for number in range(1, count))]
    for scope, place in zip(scopes, places, strict=True):
        tiles.read(scope, place)
    for statement in stage.body:
        assert isinstance(statement, Store)
        emit_jammed(scopes, roots(statement))
        for scope, place in zip(scopes, places, strict=True):
            if statement in stored.names:
                stored.keep(scope, statement, place)
            else:
                write_store(scope, statement)
    return made.body
