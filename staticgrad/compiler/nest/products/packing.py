"""Packing operands of products: functions that kernels share, for each layout of a factor.

A panel of b contains the vectors of one inner index behind those of another; rows of a that lie
across memory are packed as tiles in the same order of inner indices. Elements beyond the ends of a
matrix are zero, or not written if they are not read.

A panel of two columns of a row-major b with three inner indices::

    b00 b01 b02 b03
    b10 b11 b12 b13     ->     b00 b01  b10 b11  b20 b21     next panel: b02 b03  b12 b13  ...
    b20 b21 b22 b23
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from staticgrad.compiler.nest.products.tiles import ROUNDED, Arithmetic
from staticgrad.compiler.nest.records import (
    Builder,
    Function,
    Name,
    Offset,
    Word,
    function,
    place_at,
)
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import Stride
from staticgrad.language.ir.kernels.known import EVEN
from staticgrad.support.records import NamedTuple, dataclass

#: Arguments of what packs a panel, from ``to`` on: b from ``at``, an inner index is ``step``
#: and a column ``across`` further; ``steps`` inner indices, ``wide`` columns to the matrix's end.
PANEL: Final = ("b", "panel", "at", "step", "across", "steps", "wide", "to")
#: Arguments of what packs tiles of rows across memory: a from ``at`` on, where an inner index is
#: ``inner`` further; ``left`` rows to the matrix's end. Each packed tile is ``room`` further.
ROWS: Final = ("a", "packed", "at", "inner", "steps", "left", "room")
#: Arguments of what packs rows as they lie: a from ``at`` on, ``rows`` of ``steps`` inner indices,
#: a row ``row`` and an inner index ``inner`` further; packed, a row is ``depth`` further.
LINES: Final = ("a", "packed", "at", "row", "inner", "rows", "steps", "depth")
#: Bytes between rows of which all lie in the same few lines of the L1 cache: a way of it.
WAY: Final = 4096
#: The second half of a pair of b that does not exist: -0.
MISSING: Final = 0x8000
#: Lines of a set of L1 that are few: those of a tile's rows, and what passes beside.
FEW_WAYS: Final = 8


@dataclass(frozen=True)
class Packing:
    """Functions that pack factors of dtype ``stored`` as vectors of ``lanes`` of ``element``.

    ``arithmetic``: of ``Tiles``. That of bfloat16 factors rounds elements to bfloat16, and of
    ``pairs`` an element is two of them: the first one is its upper half, and so it is multiplied
    first. Where the second one does not exist, the product of both factors is -0.
    """

    element: str
    lanes: int
    stored: str
    arithmetic: Arithmetic = "plain"

    @property
    def suffix(self) -> str:
        """The end of the names of functions: the elements, and the arithmetic that rounds."""
        kinds = dict.fromkeys((self.element, self.stored))
        is_named = self.arithmetic in (*ROUNDED, "halves")
        return "_".join([*kinds, *([self.arithmetic] if is_named else [])])

    @property
    def numbers(self) -> int:
        """Elements of packed rows for each inner index, or pair of them."""
        return 2 if self.arithmetic == "halves" else 1

    def split_halves(self, b: Builder, words: Name) -> Name:
        """Return the two bfloat16 numbers of each word as float32 numbers, in words of 64 bits."""
        wide = b.op("cast_u64", b.op("bitcast_u32", words))
        upper = b.op("and_", wide, 0xFFFF0000)
        split: Name = b.op("or_", upper, b.op("lshift", wide, 48))
        return split

    @property
    def is_paired(self) -> bool:
        """True if an element is two factors."""
        return self.arithmetic == "pairs"

    def words(self, steps: Word) -> Word:
        """Return how many elements of a row or column contain so many factors."""
        return (steps + 1) // 2 if self.is_paired else steps

    def cast_to_element(self, b: Builder, value: Name) -> Name:
        """Stored elements as those that are multiplied."""
        if self.stored == self.element:
            if self.arithmetic not in ROUNDED:
                return value
            value = b.op("cast_bf16", value)
        widened: Name = b.op(f"cast_{self.element}", value)
        return widened

    def rounded_bits(self, b: Builder, value: Name) -> Name:
        """Return stored elements as words whose upper halves are bfloat16 numbers."""
        bits: Name = b.op("bitcast_u32", b.op("cast_f32", value))
        if self.stored != "f32":
            return bits
        upper = b.op("rshift", bits, 16)
        step = b.op("add", b.op("and_", upper, 1), 0x7FFF)
        quiet = b.op("or_", bits, 0x400000)
        rounded: Name = b.op("select", b.op("eq", value, value), b.op("add", bits, step), quiet)
        return rounded

    def pair(self, b: Builder, first: Name, second: Name | None) -> Name:
        """Join rounded factors, of which the second one may not exist."""
        upper: Name = b.op("and_", first, 0xFFFF0000)
        if second is None:
            return upper
        joined: Name = b.op("or_", upper, b.op("rshift", second, 16))
        return joined

    def panel(self, functions: dict[str, Any], columns: int, layout: str) -> str:
        """Return the name of the function that packs a panel of b of ``columns`` columns.

        ``layout``: one column next to the other (``along``), one inner index next to the other
        (``transposed``), or neither (``strided``).
        """
        name = f"shared_panel{columns // self.lanes}_{self.suffix}_{layout}"
        if name not in functions:
            functions[name] = _panel_function(self, name, columns, layout)
        return name

    def lines(self, functions: dict[str, Any], along: bool) -> str:
        """Return the name of the function that packs rows of a consecutively, padded with zeros.

        ``along``: an inner index is one element further. Of ``halves``, both numbers of a word are
        written, in words of 64 bits.
        """
        name = f"shared_lines_{self.suffix}{'' if along else '_strided'}"
        if name not in functions:
            functions[name] = _row_function(self, name, along)
        return name

    def pitch(self, height: int) -> int:
        """Return the elements from a step of k to the next in packed tiles.

        They are whole vectors if hardly any lane is empty, so that no store crosses a cache line.
        """
        width = -(-height // self.lanes) * self.lanes
        return width if (width - height) * 8 <= width else height

    def rows(self, functions: dict[str, Any], height: int, tiles: int) -> str:
        """Return the name of the function that packs so many tiles of rows of a transposed a.

        Lines of memory have elements of several low tiles. Each line is read once, however far
        the next one is: those of an inner index may evict each other from the first cache. What a
        store has too much, the next one overwrites, or nobody reads: a tile needs room for a vector
        more than it has.
        """
        name = f"shared_rows{height}x{tiles}_{self.suffix}"
        if name not in functions:
            functions[name] = _rows(self, name, height, tiles)
        return name


@cache
def _panel_function(packing: Packing, name: str, columns: int, layout: str) -> Function:
    """Build the function that packs a panel of a GEMM's b in the given layout."""
    lanes = packing.lanes

    def squares(b: Builder, p: Mapping[str, Name]) -> None:
        """Pack square blocks, transposed in registers."""
        halves = b.op("choose_gt", p["wide"], lanes, columns, lanes) if columns > lanes else columns
        with b.loop(0, halves, lanes) as half, b.loop(0, p["steps"], lanes, prefix="k") as k:
            place = place_at((p["at"] + k + half * p["across"], 1))
            wide, steps = p["wide"] - half, p["steps"] - k
            source = p["b"], place, p["across"]
            to = p["panel"], p["to"] + k * columns + half, columns
            with b.branch("ge", b.least(wide, steps), lanes):  # no masks
                b.do(f"transpose{lanes}", *source, lanes, lanes, *to, stores="panel")
            with b.otherwise():
                b.do(f"transpose{lanes}", *source, wide, steps, *to, stores="panel")

    def paired_squares(b: Builder, p: Mapping[str, Name]) -> None:
        """Pack rows of pairs into a square, and transpose it in registers."""
        square = b.local("u32", lanes * lanes)
        halves = b.op("choose_gt", p["wide"], lanes, columns, lanes) if columns > lanes else columns
        words = packing.words(p["steps"])
        with (
            b.loop(0, halves, lanes, frozenset({"square"})) as half,
            b.loop(0, words, lanes, frozenset({"square"}), "k") as k,
        ):
            wide, steps = p["wide"] - half, p["steps"] - k * 2
            with b.loop(0, b.least(wide, lanes), 1, frozenset({"square"}), "row") as row:
                place = place_at((p["at"], 1), (half + row, p["across"]), (k, 2))
                word = _pairs_along(packing, b, (p["b"], place), 1, steps, MISSING)
                b.do(f"store{lanes}", square, place_at((row, lanes)), word, stores="square")
            to = p["panel"], p["to"] + k * columns + half, columns
            source = square, 0, lanes
            b.do(f"transpose{lanes}", *source, wide, words - k, *to, stores="panel")

    def write(b: Builder, *parameters: Name) -> None:
        """Write the body of the function that packs a panel."""
        p = dict(zip(PANEL, parameters, strict=True))
        across = 1 if layout == "along" else p["across"]
        if layout == "transposed":
            (paired_squares if packing.is_paired else squares)(b, p)
            return
        stepped = Stepped((p["b"], p["at"], p["step"], across), p["panel"], p["to"], columns)
        stepped.write(packing, b, p["wide"], p["steps"], columns, MISSING)

    return function(name, PANEL, write)


@cache
def _rows(packing: Packing, name: str, height: int, tiles: int) -> Function:
    lanes, pitch = packing.lanes, packing.pitch(height)

    def side_by_side(b: Builder, p: Mapping[str, Name]) -> None:
        """Write the loop that packs all tiles at once: a vector of each at each inner index."""
        assert height <= lanes
        with b.loop(0, p["steps"], prefix="k") as k:
            for tile in range(tiles):
                place = place_at((p["at"], 1), (k, p["inner"]), constant=tile * height)
                value = b.load("", f"load{lanes}", *b.pointer(p["a"], place))
                to = place_at((p["room"], tile), (k, pitch))
                value = packing.cast_to_element(b, value)
                b.do(f"store{lanes}", *b.pointer(p["packed"], to), value)

    def tile_by_tile(b: Builder, p: Mapping[str, Name]) -> None:
        with b.loop(0, b.least(p["left"], tiles * height), height, prefix="r") as row:
            source = p["a"], p["at"] + row, p["inner"], 1
            stepped = Stepped(source, p["packed"], row // height * p["room"], pitch)
            stepped.write(packing, b, p["left"] - row, p["steps"], height, 0)

    def write(b: Builder, *parameters: Name) -> None:
        p = dict(zip(ROWS, parameters, strict=True))
        if tiles == 1:
            tile_by_tile(b, p)
            return
        with b.branch("ge", p["left"], (tiles - 1) * height + lanes):
            side_by_side(b, p)
        with b.otherwise():
            tile_by_tile(b, p)

    return function(name, ROWS, write)


class Stepped(NamedTuple):
    """Vectors at each inner index, from memory (pointer, place, step of an inner index, stride of
    the lanes) to ``to`` and ``pitch`` further each."""

    source: tuple[Name, Word, Name, Word]
    target: Name
    to: Word
    pitch: int

    def write(
        self,
        packing: Packing,
        b: Builder,
        present: Word,
        steps: Name,
        columns: int,
        missing: int,
    ) -> None:
        """Write the copy of ``columns`` columns, of which ``present`` exist, for all k.

        ``missing`` is the second half of a pair that does not exist.
        The processor brings nothing near for masked loads, so whole vectors run apart.
        """
        across, lanes = self.source[-1], packing.lanes
        parts = range(0, columns, lanes)

        def loop(masks: Mapping[int, Name]) -> None:
            """Write the loop over k that copies vectors of a panel, with masks or without."""
            if not packing.is_paired:
                with b.loop(0, steps, prefix="k") as k:
                    for part in parts:
                        value = packing.cast_to_element(b, self._load(b, k, part, lanes, masks))
                        self._store(b, k, part, lanes, value)
                return

            def pairs(k: Word, ends: bool) -> None:
                for part in parts:
                    values = [
                        packing.rounded_bits(b, self._load(b, step, part, lanes, masks))
                        for step in ((k * 2,) if ends else (k * 2, k * 2 + 1))
                    ]
                    word = packing.pair(b, values[0], None if ends else values[1])
                    if ends and missing:
                        word = b.op("or_", word, missing)
                    self._store(b, k, part, lanes, word)

            full = steps // 2
            with b.loop(0, full, prefix="k") as k:
                pairs(k, False)
            with b.branch("gt", steps, full * 2):
                pairs(full, True)

        def ends() -> None:
            loop({part: b.op(f"mask{lanes}", present - part) for part in parts})

        if across != 1:
            ends()
            return
        with b.branch("ge", present, len(parts) * lanes):
            loop({})
        with b.otherwise():
            ends()

    def _load(self, b: Builder, k: Word, part: int, lanes: int, masks: Mapping[int, Name]) -> Name:
        pointer, at, step, across = self.source
        place = place_at((at, 1), (k, step), (across, part))
        word = f"load{lanes}" if not masks else "load" if across == 1 else "load_strided"
        stride = () if across == 1 else (across,)
        mask = (masks[part],) if masks else ()
        return b.load("", word, *b.pointer(pointer, place), *stride, *mask)

    def _store(self, b: Builder, k: Word, part: int, lanes: int, value: Name) -> None:
        to = place_at((self.to, 1), (k, self.pitch), constant=part)
        b.do(f"store{lanes}", *b.pointer(self.target, to), value)


def _pairs_along(
    packing: Packing,
    b: Builder,
    source: tuple[Name, Offset],
    stride: Word,
    left: Word,
    missing: int,
) -> Name:
    """Return a vector of pairs of elements that are ``stride`` apart, of which ``left`` exist."""
    pointer, place = source
    lanes = packing.lanes
    if stride == 1:
        words = []
        for part in (0, lanes):
            at = Offset(place.terms, place.constant + part)
            mask = b.op(f"mask{lanes}", left - part)
            value = b.load("", "load", *b.pointer(pointer, at), mask)
            words.append(packing.rounded_bits(b, value))
        first, second = (b.op(f"every{number}", *words) for number in (0, 1))
    else:
        parts = []
        for number in (0, 1):
            at = Offset((*place.terms, *place_at((stride, number)).terms), place.constant)
            mask = b.op(f"mask{lanes}", (left + (1 - number)) // 2)
            value = b.load("", "load_strided", *b.pointer(pointer, at), stride * 2, mask)
            parts.append(packing.rounded_bits(b, value))
        first, second = parts
    if missing:
        zeros = b.op(f"u32x{lanes}", missing << 16)
        second = b.op("select_mask", b.op(f"mask{lanes}", left // 2), second, zeros)
    return packing.pair(b, first, second)


@cache
def _row_function(packing: Packing, name: str, along: bool) -> Function:
    """Build the function that packs rows of a GEMM's a one behind the other."""
    lanes = packing.lanes

    def write(b: Builder, *parameters: Name) -> None:
        """Write the body of the function that packs rows: whole vectors, then a masked one."""
        p = dict(zip(LINES, parameters, strict=True))
        inner: Word = 1 if along else p["inner"]
        if packing.is_paired:
            with (
                b.loop(0, p["rows"], prefix="i") as i,
                b.loop(0, packing.words(p["steps"]), lanes, prefix="k") as k,
            ):
                place = place_at((p["at"], 1), (i, p["row"]), (k * 2, inner))
                left = p["steps"] - k * 2
                value = _pairs_along(packing, b, (p["a"], place), inner, left, 0)
                to = place_at((i, p["depth"]), (k, 1))
                b.do(f"store{lanes}", *b.pointer(p["packed"], to), value)
            return
        full_end: Word = p["steps"] // lanes * lanes if along else 0
        with b.loop(0, p["rows"], prefix="i") as i:
            for first, past in ((0, full_end), (full_end, p["steps"])):
                if first is past:
                    continue
                with b.loop(first, past, lanes, prefix="k") as k:
                    place = place_at((p["at"], 1), (i, p["row"]), (k, inner))
                    if past is full_end:
                        value = b.load("", f"load{lanes}", *b.pointer(p["a"], place))
                    else:
                        mask = b.op(f"mask{lanes}", p["steps"] - k)
                        verb = ("load",) if along else ("load_strided",)
                        value = b.load(
                            "", *verb, *b.pointer(p["a"], place), *(() if along else (inner,)), mask
                        )
                    to = place_at((i, p["depth"]), (k, 1))
                    if packing.arithmetic == "halves":
                        value = packing.split_halves(b, value)
                    else:
                        value = packing.cast_to_element(b, value)
                    b.do(f"store{lanes}", *b.pointer(p["packed"], to), value)

    return function(name, LINES, write)


def may_collide(nest: NestWriter, stride: Stride, itemsize: int) -> bool:
    """Return whether elements at this stride may map to the same lines of L1."""
    elements = WAY // itemsize
    uneven = not isinstance(stride, tuple) and nest.facts_of(stride).uneven
    return not (
        (elements % EVEN == 0 and uneven) or (isinstance(stride, int) and stride % elements != 0)
    )
