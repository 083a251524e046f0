"""Strided operands of a vector loop: tiles of adjacent rows, transposed in registers.

If the elements of a vector are in as many cache lines, each load of it reads one element of each
line. If an outer loop is contiguous in memory, as many of its rows as a vector has lanes are
computed together: a tile is transposed into local memory, from which each row loads vectors. Each
line is then read once, completely. Strided stores fill a tile first.

A tile of four lines, of which each row needs one element::

    line 0    a0 a1 a2 a3            row 0    a0 b0 c0 d0
    line 1    b0 b1 b2 b3     ->     row 1    a1 b1 c1 d1
    line 2    c0 c1 c2 c3            row 2    a2 b2 c2 d2
    line 3    d0 d1 d2 d3            row 3    a3 b3 c3 d3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.directives import SHORT, work
from staticgrad.compiler.nest.records import Apply, Name, Offset, PerCopy, copies_of, pick
from staticgrad.compiler.nest.values import Values
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import BLOCKS, Access, Expr, postorder
from staticgrad.language.ir.kernels.directives import MOST, whole_vectors
from staticgrad.language.ir.kernels.stages import LANES, Map, Store, roots
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import NamedTuple

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


def loading(dtype: DType, lanes: int, full_tiles: bool) -> tuple[str, str]:
    """Return the name and source of the function that transposes lines of memory into a tile.

    ``full_tiles``: hardly any tiles are partial.
    """
    kind = f"{element(dtype)}{'_whole' if full_tiles else ''}"
    loop_text = (_WHOLE if full_tiles else _MASKED).format(lanes=lanes)
    name = f"shared_transposed{lanes}_{kind}"
    return name, _LOAD.format(lanes=lanes, kind=kind, rest=loop_text)


def storing(dtype: DType, lanes: int) -> tuple[str, str]:
    """Return the name and the text of the function that stores a tile across memory."""
    kind = element(dtype)
    return f"shared_stored{lanes}_{kind}", _STORE.format(lanes=lanes, kind=kind)


class LoadedTiles(NamedTuple):
    """LoadedTiles of ``rows`` rows of a vector each, in local memory, by what is loaded."""

    loads: tuple[Expr, ...]
    rooms: dict[Access, tuple[Name, DType]]
    rows: int

    @classmethod
    def of(cls, nest: NestWriter, loads: Sequence[Expr], rows: int) -> LoadedTiles:
        """Reserve local memory for strided loads, one transposed tile for each address."""
        rooms: dict[Access, tuple[Name, DType]] = {}
        for e in loads:
            if isinstance(e.attribute, Access) and e.attribute not in rooms:
                code = element(e.dtype)
                room = nest.b.local(code, rows * nest.kernel.lanes)
                rooms[e.attribute] = room, e.dtype
        return cls(tuple(loads), rooms, rows)

    def load(self, nest: NestWriter, high: Any, wide: Any, full_tiles: bool = False) -> None:
        """Fill all transposed tiles: ``wide`` elements of ``high`` lines, from the row on."""
        lanes = nest.kernel.lanes
        for access, (room, dtype) in self.rooms.items():
            name, text = loading(dtype, lanes, full_tiles)
            nest.functions[name] = text
            at = _place(nest, access)
            stride = nest.number_of(access.stride(LANES))
            nest.b.do(name, *at, stride, high, wide, room)

    def read(self, values: Values, row: Any) -> None:
        """Return the vectors of a row (of each copy) from all transposed tiles."""
        b, lanes = values.nest.b, values.lanes
        for access, (room, _) in self.rooms.items():
            vectors = copies_of(
                b.variable("x", f"load{lanes}", room, values.nest.place_of(offset))
                for offset in (pick(row, copy) * lanes for copy in range(values.copies))
            )
            for e in self.loads:
                if e.attribute == access:
                    values.names[e] = vectors
                    values.moving.add(e)


def _place(nest: NestWriter, access: Access) -> tuple[Name, Offset]:
    place = Values(nest, nest.kernel.lanes, True).place(access, (), 0)
    return nest.b.pointer(nest.pointer(access.operand), place)


class TransposedRows:
    """All iterations of a kernel of one map, some rows at a time that are neighbours in memory."""

    def __init__(self, nest: NestWriter) -> None:
        self.nest, self.kernel = nest, nest.kernel
        (stage,) = self.kernel.stages
        assert isinstance(stage, Map)
        self.stage, self.rows = stage, self.kernel.tile_rows
        self.tiles = LoadedTiles.of(nest, self.kernel.transposed_loads, self.rows)
        self.stored: dict[int, tuple[Store, Name, Name]] = {}
        for s in self.kernel.transposed_stores:
            code, lanes = element(s.value.dtype), self.kernel.lanes
            rooms = nest.b.local(code, self.rows * lanes), nest.b.local(code, lanes * lanes)
            self.stored[id(s)] = s, *rooms

    def write(self, start: Any, stop: Any) -> None:
        """Write a map's rows through transposed tiles, from one number to another."""
        nest, b, lanes, row = self.nest, self.nest.b, self.kernel.lanes, self.kernel.axes[-1]
        extent = nest.number(self.stage.axis.extent)
        written = frozenset(s.access.operand for s in self.stage.body if isinstance(s, Store))
        multiples = [
            nest.facts_of(length).multiple for length in (self.stage.axis.extent, row.extent)
        ]
        number = b.variable("o", "copy", start)
        with b.repeat(Apply("lt", (number, stop)), written):
            nest.decode(self.kernel.axes, b.op("copy", number))
            first = nest.at[row.name]
            turn = b.least(nest.number(row.extent) - first, stop - number)
            turn = b.least(turn, self.rows)
            is_whole = all(multiple % lanes == 0 for multiple in multiples)

            def body(values: Values) -> None:
                """Fill the tiles for a vector of rows, compute each row, and store the tiles."""
                left = lanes if values.left is None else values.left
                nest.at[row.name] = first
                self.prefetch_stores()
                self.tiles.load(nest, left, turn, is_whole)
                self.each_row(first, turn, values, written)
                nest.at[row.name] = first
                self.store(left, turn)

            facts = nest.facts_of(self.stage.axis.extent)
            nest.vectors(0, extent, lanes, 1, facts, False, written, body)
            b.assign(number, "add", number, turn)

    def each_row(self, first: Any, turn: Any, around: Values, written: Any) -> None:
        """Write the statements for one vector of each row of a tile; long bodies interleaved."""
        nest, b = self.nest, self.nest.b
        exprs = [*postorder([root for s in self.stage.body for root in roots(s)])]
        lines = len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        count = max(1, whole_vectors(lines, MOST)) if lines > SHORT else 1
        interleaved_end = turn // count * count if count > 1 else 0
        for begin, end, copies in ((0, interleaved_end, count), (interleaved_end, turn, 1)):
            if type(end) is int and end == 0:
                continue
            with b.loop(begin, end, copies, written, "r") as number:
                places: Any = number
                if copies > 1:
                    places = PerCopy((number, *(number + n for n in range(1, copies))))
                nest.copies = copies
                nest.at[self.kernel.axes[-1].name] = first + places
                values = Values(nest, self.kernel.lanes, True, mask=around.mask, left=around.left)
                values.runs = dict.fromkeys(self.tiles.loads, places)
                values.load_run = self.tiles.read
                nest.prefetch_next(self.stage, values)
                for s in self.stage.body:
                    assert isinstance(s, Store)
                    if id(s) in self.stored:
                        self.keep(values, s, places)
                    else:
                        values.store(s)
                nest.copies = 1

    def keep(self, values: Values, s: Store, places: Any) -> None:
        """A row's vector into its tile."""
        b, lanes, (_, room, _) = self.nest.b, values.lanes, self.stored[id(s)]
        value = values.vec(s.value)
        for copy in range(values.copies):
            at = self.nest.place_of(pick(places, copy) * lanes)
            b.do(f"store{lanes}", room, at, pick(value, copy))

    def prefetch_stores(self) -> None:
        """Prefetch where the next transposed tiles are stored: rows begin anywhere in a line."""
        nest, b, lanes = self.nest, self.nest.b, self.kernel.lanes
        for s, *_ in self.stored.values():
            pointer, place = _place(nest, s.access)
            stride = nest.number_of(s.access.stride(LANES))
            with b.loop(lanes, 2 * lanes, prefix="i") as line:
                terms = (*place.terms, (line, stride))
                for end in (0, self.rows - 1):
                    at = b.pointer(pointer, Offset(terms, place.constant + end))
                    b.do("prefetch_write", *at)

    def store(self, wide: Any, high: Any) -> None:
        """Store all transposed tiles of a map."""
        nest, lanes = self.nest, self.kernel.lanes
        for s, room, left in self.stored.values():
            name, text = storing(s.value.dtype, lanes)
            nest.functions[name] = text
            stride = nest.number_of(s.access.stride(LANES))
            at = _place(nest, s.access)
            nest.b.do(name, *at, stride, high, wide, room, left, stores=s.access.operand)
