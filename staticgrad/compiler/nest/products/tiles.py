"""Register tiles of products: a function of all heights and widths, which kernels share.

A tile's accumulators fill the registers. In a separate function they are not spilled, whatever the
kernel around needs, and all kernels of a process call one machine code. The smallest height that
covers the remaining rows is chosen when the kernel runs. While a tile runs, it prefetches memory
that its kernel reads next, a line at each step of k.

A tile of three rows and two vectors of columns, in one step of k (a rank-1 update)::

    b0, b1 = load(b[k, 0..]), load(b[k, lanes..])
    for i in range(3):                          # unrolled
        x = broadcast(a[i, k])
        c[i][0] = fma(x, b0, c[i][0])           # c: six accumulators in registers
        c[i][1] = fma(x, b1, c[i][1])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal

from staticgrad.compiler.nest.records import (
    Apply,
    Builder,
    Function,
    Name,
    Offset,
    Word,
    function,
    place_at,
)
from staticgrad.support.records import dataclass

#: Heights of tiles by their vectors, the highest first: accumulators are what the registers hold,
#: less those of the factors. A vector of 512 bits may be two registers.
#: Fewer rows than the highest tile has are taken in lower ones.
WIDE: Final = {2: (14, 8, 4), 1: (8,)}
NARROW: Final = {1: (6, 4, 2)}
#: The same of placed rows, which are taps of filters: often three by three.
PLACED: Final = {2: (14, 9, 4), 1: (14, 9)}
#: The same where halves of words are multiplied one after the other, which are in registers, too.
WIDE_HALVES: Final = {2: (12, 8, 4), 1: (8,)}
NARROW_HALVES: Final = {1: (5, 4, 2)}
#: The same where places are looked up.
LOOKED: Final = dict.fromkeys(WIDE, WIDE[2])
#: Rows of a tile, and the most rows, that are taken in such tiles where these cover them exactly:
#: higher ones would compute some that are not there.
EVEN_TILE: Final = 8
MOST_EVEN: Final = 24
#: Rows of the highest tile that are read from one address: the others are distances that registers
#: hold. An address for each row would take more registers than there are. All six rows of a tile
#: of four registers a vector: aarch64 has 31 registers for words, x86-64 has 15.
BASED: Final = 5
BASED_OF_FOUR: Final = 6
#: How rows of the first factor lie that are not placed.
STRIDES: Final = ("row", "inner")


#: How elements of the factors are multiplied and added.
Arithmetic = Literal["plain", "flushing", "pairs", "words", "halves", "bytes", "signed bytes"]
#: Arithmetic of factors that are rounded to bfloat16 while they are packed.
ROUNDED: Final = ("flushing", "pairs")
#: Arithmetic for which subnormal numbers are zero.
FLUSHED: Final = (*ROUNDED, "words", "halves")


@dataclass(frozen=True)
class Tiles:
    """The tiles of one product: sums of ``element`` over k of a row of a times vectors of b.

    A vector is so many ``registers``. ``placed`` says that the offsets of rows of a, and of
    runs of k, are words, ``looked`` that those of b are. ``far_rows``: tiles with words prefetch
    rows of a unless ``hop`` is 0, as others do with what comes next. Rows of a along memory
    and across it are one function, and so are results in a block and where they belong: two would
    take twice as long to compile, and run within 1 % of it.

    ``arithmetic``: of bfloat16 factors, ``flushing`` multiplies float32 numbers, of which subnormal
    ones are zero, and ``pairs`` elements of two such factors each, with the same results; ``words``
    are float32 numbers whose bits are two such factors, and ``halves``, too, which are multiplied
    one after the other: where no instruction takes both, registers hold one of them. Those of a are
    float32 numbers in memory already, one behind the other (``Packing.lines``). Of 8-bit
    integers, elements are words of four: those of a are unsigned and those of b signed (``bytes``),
    or the other way around (``signed bytes``).
    """

    element: str
    lanes: int
    floating: bool
    registers: int
    indexed: bool = False
    looked: bool = False
    far_rows: bool = False
    arithmetic: Arithmetic = "plain"

    @property
    def factor(self) -> str:
        """The element of both factors in memory."""
        return "u32" if self.arithmetic == "pairs" else self.element

    @property
    def wide(self) -> bool:
        """True if a vector is one register."""
        return self.registers == 1

    @property
    def heights(self) -> Mapping[int, tuple[int, ...]]:
        """Rows of the tiles of so many vectors, the highest first."""
        if self.arithmetic == "halves":
            return WIDE_HALVES if self.wide else NARROW_HALVES
        if not self.wide:
            return NARROW
        if self.looked:
            return LOOKED
        return PLACED if self.indexed else WIDE

    @property
    def is_exact(self) -> bool:
        """True if no tile stores rows beyond the last one: they are that one again."""
        return not (self.indexed or self.looked)

    @property
    def covering(self) -> tuple[int, ...]:
        """So many rows left are computed by a tile that stores no row beyond them, however many
        vectors it has."""
        widest = self.heights[max(self.heights)]
        return tuple(h for h in widest if all(h in heights for heights in self.heights.values()))

    @property
    def highest(self) -> int:
        """Rows of the highest tile."""
        return max(max(heights) for heights in self.heights.values())

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return int(self.element[1:]) // 8

    def zeros(self, b: Builder) -> Name:
        """A vector of zeros."""
        vector: Name = b.op(f"{self.element}x{self.lanes}", 0.0 if self.floating else 0)
        return vector

    @property
    def suffix(self) -> str:
        """The end of the names of functions, by the arithmetic."""
        return "" if self.arithmetic == "plain" else f"_{self.arithmetic.replace(' ', '_')}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of a register tile's arguments, which are words but for the first four.

        ``a``, ``b`` and ``c`` begin at ``at``, ``down`` and ``to``. Rows of a are ``row`` apart,
        the ``last`` is repeated; its steps of k are ``inner`` apart, those of b ``step``, or it is
        moved by the words of ``reads`` from ``lead`` on. Placed rows begin at the words of
        ``places`` from ``top`` on, each ``run`` of their steps of k at one of ``runs``, the first
        of which has ``went`` steps before. ``c``
        goes on unless ``fresh``, by ``depth`` steps of k. ``near`` is memory whose lines are
        prefetched, from ``ahead`` on, ``hop`` apart; every so many lanes, ``leap`` from where
        those began. Rows of c are ``width`` apart.
        """
        places = (
            "at",
            *(("inner", "places", "top", "runs", "run", "went") if self.indexed else STRIDES),
            "last",
            "wide",
            "down",
            *(("reads", "lead") if self.looked else ("step",)),
            "to",
            "width",
            "depth",
            "fresh",
            "ahead",
            "hop",
            "leap",
        )
        return ("a", "b", "c", "near", *places)

    def function(self, functions: dict[str, Any], vectors: int) -> str:
        """Return the name of the tile function for panels of up to ``vectors``; write it once.

        It computes the rows up to the ``last``.
        """
        kind = f"{'_placed' if self.indexed else ''}{'_looked' if self.looked else ''}"
        kind += "_far" if self.far_rows else ""
        name = f"shared_tiles{vectors}_{self.element}{kind}{self.suffix}"
        if name not in functions:
            functions[name] = _tile_function(self, name, vectors)
        return name

    def fma(self, b: Builder, x: Name, y: Name, to: Name) -> tuple[Any, ...]:
        """x * y + to, as an operation; of floats rounded once. x is of a, and y of b."""
        if self.arithmetic == "pairs":
            return "dot2_bf16", to, x, y
        if self.arithmetic in ("words", "halves"):
            return "dot2_bf16", to, b.op("bitcast_u32", x), b.op("bitcast_u32", y)
        if self.arithmetic == "flushing":
            return "fma_flushed", x, y, to
        if self.arithmetic == "bytes":
            return "dot4_u8_i8", to, x, y
        if self.arithmetic == "signed bytes":
            return "dot4_u8_i8", to, y, x
        return ("fma", x, y, to) if self.floating else ("add", to, b.op("mul", x, y))

    def multiply_half(
        self, b: Builder, x: Name, y: Name, to: Name, half: int | None
    ) -> tuple[Any, ...]:
        """x * y + to of a half of both, the first one or the second one, or of all of both."""
        return self.fma(b, x, y, to) if half is None else ("fma_flushed", x, y, to)

    @property
    def halves(self) -> tuple[int | None, ...]:
        """The halves of elements that are multiplied one after the other; None: whole elements."""
        return (0, 1) if self.arithmetic == "halves" else (None,)

    def read_half(self, b: Builder, value: Name, half: int | None) -> Name:
        """Return a half of each element as a float32 number, or whole elements."""
        if half is None:
            return value
        bits = b.op("bitcast_u32", value)
        part = b.op("lshift", bits, 16) if half else b.op("and_", bits, 0xFFFF0000)
        number: Name = b.op("bitcast_f32", part)
        return number


@contextmanager
def flushed_subnormals(tiles: Tiles, b: Builder) -> Iterator[None]:
    """Write what runs inside so that subnormal numbers are zero, if the arithmetic says so."""
    modes = b.variable("modes", "flush_subnormals") if tiles.arithmetic in FLUSHED else None
    yield
    if modes is not None:
        b.do("restore_subnormals", modes)


@cache
def _tile_function(tiles: Tiles, name: str, vectors: int) -> Function:
    """Build the function of a register tile of a GEMM, for panels of up to ``vectors``."""

    def write(b: Builder, *parameters: Name) -> None:
        tile = _Tile(tiles, b, dict(zip(tiles.arguments, parameters, strict=True)))
        with flushed_subnormals(tiles, b):
            (tile.exact if tiles.is_exact else tile.covering)(
                [v for v in tiles.heights if v <= vectors]
            )

    return function(name, tiles.arguments, write)


class _Tile:
    """The tiles of one function; ``p`` are its parameters."""

    def __init__(self, tiles: Tiles, b: Builder, p: Mapping[str, Name]) -> None:
        self.tiles, self.b, self.p = tiles, b, p
        self.lanes, self.size, self.pointer = tiles.lanes, tiles.size, f"ptr_{tiles.factor}"

    def address(self, pointer: str, elements: Word) -> Word:
        """Return the address of an element of a parameter, in bytes."""
        byte_address: Word = self.b.op("address", self.p[pointer]) + elements * self.size
        return byte_address

    def exact(self, widths: Sequence[int]) -> None:
        """Write the highest register tile if all its rows exist, else lower ones, some at a time.

        Those past the last row are that one again, also in the results.
        """
        b, p, most, highest = self.b, self.p, max(widths), self.tiles.highest
        lower = {v: [h for h in self.tiles.heights[v] if h < highest] for v in widths}
        step = lower[most][0]

        def lower_ones() -> None:
            """Write lower register tiles in a loop over the rows."""
            with b.loop(0, p["last"] + 1, step, prefix="top") as top:
                left = p["last"] - top
                rows, results = [p["at"] + top * p["row"]], [p["to"] + top * p["width"]]
                for r in range(1, step):
                    rows.append(rows[-1] + b.op("choose_ge", left, r, p["row"], 0))
                    results.append(results[-1] + b.op("choose_ge", left, r, p["width"], 0))
                self.by_width(widths, lambda v: self.by_height(lower[v], v, left, rows, results))

        def highest_or_lower() -> None:
            with b.branch("ge", p["last"], highest - 1):
                self.highest_tile(most)
            with b.otherwise():
                lower_ones()

        if most == 1:
            highest_or_lower()
            return
        last_of_wide = b.op("choose_gt", p["wide"], self.lanes, p["last"], 0)
        with b.branch("ge", last_of_wide, highest - 1):
            self.highest_tile(most)
        with b.otherwise():
            lower_ones()

    def covering(self, widths: Sequence[int]) -> None:
        """Write the lowest register tile that covers all rows: it repeats the last row."""
        b, p, rows = self.b, self.p, list[Word]()
        for r in range(self.tiles.highest):
            if self.tiles.indexed:
                row = p["top"] + b.op("choose_gt", p["last"], r, r, p["last"])
                rows.append(p["at"] + b.op("getitem", p["places"], row))
            else:
                rows.append(
                    rows[-1] + b.op("choose_ge", p["last"], r, p["row"], 0) if r else p["at"]
                )
        self.by_width(
            widths, lambda v: self.by_height(self.tiles.heights[v], v, p["last"], rows, None)
        )

    def by_width(self, widths: Sequence[int], write: Callable[[int], None]) -> None:
        """Write register tiles of one vector for few columns, else of the full width."""
        if len(widths) == 1:
            write(widths[0])
            return
        with self.b.branch("gt", self.p["wide"], self.lanes):
            write(max(widths))
        with self.b.otherwise():
            write(min(widths))

    def by_height(
        self,
        heights: Sequence[int],
        vectors: int,
        last: Word,
        rows: Sequence[Word],
        results: Sequence[Word] | None,
    ) -> None:
        """Write the branches to the lowest register tile that covers the row ``last``."""
        self.b.cases(
            [
                (
                    ("ge", last, under),
                    lambda height=height: self.lower(height, vectors, rows, results),  # type: ignore[misc]
                )
                for height, under in zip(heights, (*heights[1:], 0), strict=True)
            ]
        )

    def highest_tile(self, vectors: int) -> None:
        """Write the highest register tile, all of whose rows exist, with few base addresses."""
        b, p, height = self.b, self.p, self.tiles.highest
        # A load that moves its address on behind it fills all lanes by a vector unit (ld1r);
        # one from an address that was moved before is multiplied by lane.
        # Halves are read twice.
        moves_first = self.tiles.registers == 4 and self.tiles.arithmetic != "halves"
        based = BASED_OF_FOUR if moves_first else BASED
        base = self.address("a", p["at"] - p["inner"] if moves_first else p["at"])
        bases: list[Name] = []
        for row in range(0, height, based):
            first = ("add", bases[-1], p["row"] * (based * self.size)) if row else ("copy", base)
            bases.append(b.variable("base", *first))
        distances = [p["row"] * r for r in range(based)]
        further = p["inner"] * self.size

        def move() -> None:
            for base in bases:
                b.assign(base, "add", base, further)

        def rows(half: int) -> Iterator[Name]:
            if moves_first:
                move()
            pointers = [b.op(self.pointer, base) for base in bases]
            for r in range(height):
                yield self.element_of_a(pointers[r // based], distances[r % based], half=half)

        def on() -> None:
            if not moves_first:
                move()

        self.tile(height, vectors, None, rows, on)

    def lower(
        self, height: int, vectors: int, rows: Sequence[Word], results: Sequence[Word] | None
    ) -> None:
        """Write a lower register tile, or one whose rows are addressed by a table."""
        b, p, is_indexed = self.b, self.p, self.tiles.indexed
        # An address that moves, and distances of rows that do not, take one addition a step.
        address = b.variable("here", *(("copy", 0) if is_indexed else ("address", p["a"])))

        def load_elements(half: int) -> Iterator[Name]:
            pointer = p["a"] if is_indexed else b.op(self.pointer, address)
            for row in rows[:height]:
                distances = (address,) if is_indexed else ()
                yield self.element_of_a(pointer, row, *distances, half=half)

        def on() -> None:
            b.assign(address, "add", address, p["inner"] * (1 if is_indexed else self.size))

        self.tile(height, vectors, results, load_elements, on, address)

    def element_of_a(self, pointer: Name, *places: Word, half: int) -> Name:
        """An element of a in every lane, or a half of it."""
        place = place_at(*((place, 1) for place in places), constant=half)
        scalar = self.b.load("a", "load1", *self.b.pointer(pointer, place))
        vector: Name = self.b.op(f"splat{self.lanes}", scalar)
        return vector

    def tile(
        self,
        height: int,
        vectors: int,
        results: Sequence[Word] | None,
        rows: Callable[[int], Iterator[Name]],
        on: Callable[[], None],
        address: Name | None = None,
    ) -> None:
        """Write a register tile: load or clear its accumulators, loop over k, store them.

        An element of a is loaded right before it is multiplied: there are no registers for more.
        """
        b, p, lanes = self.b, self.p, self.lanes
        cells = [
            [b.variable("c", "copy", self.tiles.zeros(b)) for _ in range(vectors)]
            for _ in range(height)
        ]
        with b.branch("ne", p["fresh"], 1):
            for cell, pointer in self.cells(cells, results):
                b.assign(cell, f"load{lanes}", *pointer)
        looked, plain = self.tiles.looked, self.tiles.is_exact
        start = b.variable("b", "copy", self.address("b", p["down"]) if plain else p["down"])
        lead = b.variable("lead", "copy", p["lead"]) if looked else None

        def step() -> None:
            """Write a rank-1 update of a register tile: loads of b, broadcasts of a, and FMAs."""
            terms: tuple[tuple[Name, Word], ...] = () if plain else ((start, 1),)
            pointer = b.op(self.pointer, start) if plain else p["b"]
            if lead is not None:
                terms += ((b.op("getitem", p["reads"], lead), 1),)
            places = [Offset(terms, v * lanes) for v in range(vectors)]
            for half in self.tiles.halves:
                columns = [
                    self.tiles.read_half(b, b.load("b", f"load{lanes}", pointer, place), half)
                    for place in places
                ]
                for x, row in zip(rows(half or 0), cells, strict=True):
                    for y, cell in zip(columns, row, strict=True):
                        b.assign(cell, *self.tiles.multiply_half(b, x, y, cell, half))
            on()
            if lead is not None:
                b.assign(lead, "add", lead, 1)
            else:
                b.assign(start, "add", start, p["step"] * (self.size if plain else 1))

        if self.tiles.indexed:
            assert address is not None
            self.write_indexed_steps(step, address)
        elif self.tiles.far_rows:
            with b.branch("eq", p["hop"], 0):
                self.plain_steps(step)
            with b.otherwise():
                self.prefetching_steps(step)
        elif looked:
            self.plain_steps(step)
        else:
            self.prefetching_steps(step)
        for cell, pointer in self.cells(cells, results):
            b.do(f"store{lanes}", *pointer, cell)

    def cells(
        self, cells: Sequence[Sequence[Name]], results: Sequence[Word] | None
    ) -> list[tuple[Name, tuple[Name, Offset]]]:
        """Yield each accumulator of a register tile with the address of its results."""
        b, p, cell_places = self.b, self.p, []
        at = b.variable("row", "copy", p["to"])
        for r, row in enumerate(cells):
            if results is not None:
                b.assign(at, "copy", results[r])
            elif r:
                b.assign(at, "add", at, p["width"])
            place = b.op("copy", at)
            for v, cell in enumerate(row):
                cell_places.append((cell, (p["c"], Offset(((place, 1),), v * self.lanes))))
        return cell_places

    def write_indexed_steps(self, step: Callable[[], None], address: Name) -> None:
        """Write ``step`` for every k, run by run, with each run's address from a table."""
        b, p, run = self.b, self.p, self.p["run"]
        number = b.variable("run", "floordiv", p["went"], run)
        first = b.variable("k", "copy", 0)
        begun = p["went"] - number * run
        b.assign(address, "add", b.op("getitem", p["runs"], number), begun * p["inner"])
        with b.repeat(Apply("lt", (first, p["depth"]))):
            stop = b.least((number + 1) * run - p["went"], p["depth"])
            with b.loop(0, stop - first, prefix="k"):
                step()
            b.assign(number, "add", number, 1)
            b.assign(address, "getitem", p["runs"], number)
            b.assign(first, "copy", stop)

    def plain_steps(self, step: Callable[[], None]) -> None:
        """Write ``step`` for every k of a register tile."""
        with self.b.loop(0, self.p["depth"], prefix="k"):
            step()

    def prefetching_steps(self, step: Callable[[], None]) -> None:
        """Write ``step`` for every k of a register tile, with a cache line prefetched in each."""
        b, p, size = self.b, self.p, self.size
        start = b.variable("near", "copy", self.address("near", p["ahead"]))
        with b.loop(0, p["depth"], self.lanes, prefix="k") as first:
            stop = b.least(first + self.lanes, p["depth"])
            line = b.variable("line", "copy", start)
            with b.loop(first, stop, prefix="k"):
                b.do("prefetch", b.op(self.pointer, line), Offset(()))
                b.assign(line, "add", line, p["hop"] * size)
                step()
            b.assign(start, "add", start, p["leap"] * size)
