"""Register tiles of products: a function of all heights and widths, which kernels share.

A tile's accumulators fill the registers. In a separate function they are not spilled, whatever the
kernel around needs, and all kernels of a process call one machine code. The smallest height that
covers the remaining rows is chosen when the kernel runs. While a tile runs, it prefetches memory
that its kernel reads next, a line at each step of k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from staticgrad.codegen.block_functions import number
from staticgrad.codegen.lines import Lines, Unit, large, scaled, total
from staticgrad.records import dataclass

#: Heights of tiles by their vectors, the highest first: accumulators are what the registers hold,
#: less those of the factors. A vector of 512 bits may be two registers.
#: Fewer rows than the highest tile has are taken in lower ones.
WIDE: Final = {2: (14, 8, 4), 1: (8,)}
NARROW: Final = {1: (6, 4, 2)}
#: The same of placed rows, which are taps of filters: often three by three.
PLACED: Final = {2: (14, 9, 4), 1: (14, 9)}
#: The same where places are looked up.
LOOKED: Final = dict.fromkeys(WIDE, WIDE[2])
#: Rows of a tile, and the most rows, that are taken in such tiles where these cover them exactly:
#: higher ones would compute some that are not there.
EVEN_TILE: Final = 8
MOST_EVEN: Final = 24
#: Inner indices that products of few rows take at a time.
STEPS: Final = 4
#: Vectors of columns that are taken together then, at most, and half of it where registers are few,
#: or where the other factor is so many times ``large`` that no cache holds it.
MOST_JAMMED: Final = 4
BEYOND: Final = 4
#: Vectors ahead that are brought near of a factor that no second cache holds.
FAR: Final = 512
#: Rows of the highest tile that are read from one address: the others are distances that registers
#: hold. An address for each row would take more registers than there are.
BASED: Final = 5
#: How rows of the first factor lie that are not placed.
STRIDES: Final = ("row", "inner")


@dataclass(frozen=True)
class Tiles:
    """The tiles of one product: sums of ``element`` over k of a row of a times vectors of b.

    ``wide`` says that a vector is one register, ``placed`` that the offsets of rows of a, and of
    runs of k, are words, ``looked`` that those of b are. Rows of a along memory
    and across it are one function, and so are results in a block and where they belong: two would
    take twice as long to compile, and run within 1 % of it.
    """

    element: str
    lanes: int
    floating: bool
    wide: bool
    placed: bool = False
    looked: bool = False

    @property
    def heights(self) -> Mapping[int, tuple[int, ...]]:
        """Rows of the tiles of so many vectors, the highest first."""
        if not self.wide:
            return NARROW
        if self.looked:
            return LOOKED
        return PLACED if self.placed else WIDE

    @property
    def covering(self) -> tuple[int, ...]:
        """So many rows left are computed by a tile that stores no row beyond them, however many
        vectors it has."""
        widest = self.heights[max(self.heights)]
        if not (self.placed or self.looked):  # rows beyond are the last one again
            return widest
        return tuple(h for h in widest if all(h in each for each in self.heights.values()))

    @property
    def highest(self) -> int:
        """Rows of the highest tile."""
        return max(max(heights) for heights in self.heights.values())

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return int(self.element[1:]) // 8

    @property
    def zero(self) -> str:
        """A vector of zeros."""
        return f"{self.element}x{self.lanes}({number(0.0 if self.floating else 0)})"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of a tile's arguments, which are words but for the first four.

        ``a``, ``b`` and ``c`` begin at ``at``, ``down`` and ``to``. Rows of a are ``row`` apart,
        the ``last`` is repeated; its steps of k are ``inner`` apart, those of b ``step``, or it is
        moved by the words of ``reads`` from ``lead`` on. Placed rows begin at the words of
        ``places`` from ``top`` on, each ``run`` of their steps of k at one of ``runs``, the first
        of which has ``went`` steps before. ``c``
        goes on unless ``fresh``, by ``depth`` steps of k. ``near`` is memory whose lines are
        brought near, from ``ahead`` on, ``hop`` apart; every so many lanes, ``leap`` from where
        those began. Rows of c are ``width`` apart.
        """
        places = (
            "at",
            *(("inner", "places", "top", "runs", "run", "went") if self.placed else STRIDES),
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

    def function(self, unit: Unit, vectors: int) -> str:
        """The name of the function for panels of so many vectors, or fewer; written on first use.

        It computes the rows up to the ``last``.
        """
        kind = f"{'_placed' if self.placed else ''}{'_looked' if self.looked else ''}"
        name = f"shared_tiles{vectors}_{self.element}{kind}"
        if name not in unit.helpers:
            out = Lines(1)
            write = self._write_covering if self.placed or self.looked else self._write_exact
            write(out, [v for v in self.heights if v <= vectors])
            head = f"def {name}({', '.join(self.arguments)}):"
            unit.helpers[name] = "\n".join([head, *out.lines])
        return name

    def write_rows(self, out: Lines, most: int) -> None:
        """``rows``: those that are left, or those of the next tile, where lower ones compute fewer.

        Args:
            out: lines that know ``count`` and ``top``.
            most: how many there are at most, 0 where that is not known.
        """
        out.add("rows = count - top")
        if self.wide and not 0 < most <= EVEN_TILE:
            out.add(f"if rows % {EVEN_TILE} == 0 and rows <= {MOST_EVEN}:")
            out.add(f"    rows = {EVEN_TILE}")
        out.add(f"if rows > {self.highest}:")
        out.add(f"    rows = {self.highest}")

    def _write_exact(self, out: Lines, widths: Sequence[int]) -> None:
        """The highest tile where all of its rows are there, else lower ones, some rows at a time.

        Those past the last row are that one again, also in the results.
        """
        most, rest = max(widths), Lines()
        lower = {v: [h for h in self.heights[v] if h < self.highest] for v in widths}
        out.add(f"if last >= {self.highest - 1}{f' and wide > {self.lanes}' * (most > 1)}:")
        out.extend(self._whole_tile(most), 1)
        out.add("else:")
        step = lower[most][0]
        out.add(f"    for top in range(0, last + 1, {step}):")
        rest.add("left = last - top")
        rest.add("a0 = at + top * row")
        rest.add("to0 = to + top * width")
        for r in range(1, step):
            rest.add(f"a{r} = a{r - 1} + (row if left >= {r} else 0)")
            rest.add(f"to{r} = to{r - 1} + (width if left >= {r} else 0)")
        for v in widths:
            if most > 1:
                rest.add(f"if wide > {self.lanes}:" if v > 1 else "else:")
            self._write_heights(rest, lower[v], v, "left", int(most > 1))
        out.extend(rest, 2)

    def _write_covering(self, out: Lines, widths: Sequence[int]) -> None:
        """The least tile that covers all rows: past the last one it reads that again."""
        for r in range(self.highest):
            if self.placed:
                out.add(f"a{r} = at + places[top + ({r} if last > {r} else last)]")
            else:
                out.add(f"a{r} = a{r - 1} + (row if last >= {r} else 0)" if r else "a0 = at")
        for v in widths:
            if max(widths) > 1:
                out.add(f"if wide > {self.lanes}:" if v > 1 else "else:")
            self._write_heights(out, self.heights[v], v, "last", int(max(widths) > 1))

    def _write_heights(
        self, out: Lines, heights: Sequence[int], vectors: int, last: str, deeper: int
    ) -> None:
        """The least of these tiles that covers the row ``last``."""
        shift = "    " * deeper
        for height, under in zip(heights, (*heights[1:], 0), strict=True):
            word = "if" if height == heights[0] else "elif"
            test = f"{word} {last} >= {under}:" if under else "else:"
            if len(heights) > 1:
                out.add(shift + test)
            out.extend(self._tile(height, vectors), deeper + (len(heights) > 1))

    def _whole_tile(self, vectors: int) -> Lines:
        """The highest tile, whose rows are all there, by few addresses."""
        out, height = Lines(), self.highest
        out.add(f"base0 = address(a) + {self.size} * at")
        for base in range(BASED, height, BASED):
            out.add(f"base{base} = base{base - BASED} + {BASED * self.size} * row")
        for r in range(2, BASED):
            out.add(f"row{r} = {r} * row")
        out.add(f"further = {self.size} * inner")
        step = self._step(height, vectors, based=True)
        rows = ["to", *("row_at + width" for _ in range(1, height))]
        self._write_tile(out, step, rows, vectors)
        return out

    def _tile(self, height: int, vectors: int) -> Lines:
        """A lower tile, or one that reads by words."""
        out = Lines()
        rows = ["to", *("row_at + width" for _ in range(1, height))]
        if not (self.placed or self.looked):
            rows = [f"to{r}" for r in range(height)]
        self._write_tile(out, self._step(height, vectors), rows, vectors)
        return out

    def _write_tile(self, out: Lines, step: Lines, rows: Sequence[str], vectors: int) -> None:
        """All steps of k of a tile, whose rows of results begin so."""
        known = Lines()
        out.add("if fresh == 1:")
        for r, v in product(range(len(rows)), range(vectors)):
            out.add(f"    c{r}_{v} = {self.zero}")
        out.add("else:")
        self._write_cells(known, rows, vectors, "{cell} = load{lanes}(c, {place})")
        out.extend(known, 1)
        self._write_steps(out, step)
        self._write_cells(out, rows, vectors, "store{lanes}(c, {place}, {cell})")

    def _write_cells(self, out: Lines, rows: Sequence[str], vectors: int, line: str) -> None:
        """``line`` for every vector of every row of the results, and where it lies."""
        for r, start in enumerate(rows):
            out.add(f"row_at = {start}")
            for v in range(vectors):
                place = total("row_at", str(v * self.lanes))
                out.add(line.format(cell=f"c{r}_{v}", lanes=self.lanes, place=place))

    def _write_steps(self, out: Lines, step: Lines) -> None:
        """``step`` for every k, with a line brought near in each, or run by run."""
        if self.placed:
            out.add("number = went // run")
            out.add("first = 0")
            out.add("here = runs[number] + (went - number * run) * inner")
            out.add("while first < depth:")
            out.add("    stop = (number + 1) * run - went")
            out.add("    if stop > depth:")
            out.add("        stop = depth")
            out.add("    for k in range(0, stop - first):")
            out.extend(step, 2)
            out.add("    number = number + 1")
            out.add("    here = runs[number]")
            out.add("    first = stop")
            return
        out.add("here = 0")
        if self.looked:
            out.add("for k in range(0, depth):")
            out.extend(step, 1)
            return
        out.add(f"b_at = address(b) + {self.size} * down")
        out.add(f"b_step = {self.size} * step")
        out.add(f"line_step = {self.size} * hop")
        out.add(f"start = address(near) + {self.size} * ahead")
        out.add(f"for first in range(0, depth, {self.lanes}):")
        out.add(f"    stop = first + {self.lanes}")
        out.add("    if stop > depth:")
        out.add("        stop = depth")
        out.add("    line = start")
        out.add("    for k in range(first, stop):")
        out.add(f"        prefetch(ptr_{self.element}(line), 0)")
        out.add("        line = line + line_step")
        out.extend(step, 2)
        out.add(f"    start = start + {self.size} * leap")

    def _step(self, height: int, vectors: int, based: bool = False) -> Lines:
        """The products of one k, added; then where the next one reads.

        ``based``: rows lie at so many distances from a few addresses.
        """
        step, plain = Lines(), not (self.placed or self.looked)
        if self.looked:
            step.add("moved = reads[lead]")
        for v in range(vectors):
            place = total("down", "moved" if self.looked else "0", str(v * self.lanes))
            b = f"ptr_{self.element}(b_at), {v * self.lanes}" if plain else f"b, {place}"
            step.add(f"b{v} = load{self.lanes}({b})")
        distances = "0", "row", *(f"row{r}" for r in range(2, BASED))
        for r in range(height):
            a = f"a, a{r} + here"
            if based:
                a = f"ptr_{self.element}(base{r // BASED * BASED}), {distances[r % BASED]}"
            step.add(f"x = splat{self.lanes}(load1({a}))")
            for v in range(vectors):
                cell = f"c{r}_{v}"
                step.add(f"{cell} = {self.added('x', f'b{v}', cell)}")
        if based:
            for base in range(0, height, BASED):
                step.add(f"base{base} = base{base} + further")
        else:
            step.add("here = here + inner")
        if plain:
            step.add("b_at = b_at + b_step")
        else:
            step.add("lead = lead + 1" if self.looked else "down = down + step")
        return step

    def added(self, x: str, y: str, to: str) -> str:
        """x * y + to, as source; of floats rounded once."""
        return f"fma({x}, {y}, {to})" if self.floating else f"{to} + {x} * {y}"

    @property
    def stream_arguments(self) -> tuple[str, ...]:
        """The argument names of functions for a few rows: those of tiles up to ``fresh``."""
        names = replace(self, placed=False).arguments
        names = tuple([name for name in names if name != "width"])
        return (*names[:3], *names[names.index("at") : names.index("ahead")])

    def few_rows(self, unit: Unit) -> str:
        """The name of the function for a few rows of results, ``width`` apart, by the rows of b.

        All of ``wide`` columns are added to four inner indices at a time, so that b is read in the
        order in which it lies, as many lines side by side as there are registers for. What is
        loaded of it stays in registers while all rows are multiplied. However a lies, it is one
        function; ``width`` is a multiple of a panel's.
        """
        name = f"shared_streams_{self.element}"
        if name not in unit.helpers:
            out, lanes = Lines(1), self.lanes
            out.add("if fresh == 1:")
            out.add(f"    for cell in range(to, to + (last + 1) * width, {lanes}):")
            out.add(f"        store{lanes}(c, cell, {self.zero})")
            out.add("far = 0")  # where b is small, it is near
            out.add(f"if depth * step > {large(unit) * lanes}:")
            out.add(f"    far = {STEPS} * step")
            out.add(f"    if far < {FAR * lanes}:")
            out.add(f"        far = {FAR * lanes} // far * far")
            most = MOST_JAMMED if self.wide else MOST_JAMMED // 2
            out.add(f"whole = wide // {most * lanes} * {most * lanes}")
            out.add(f"if depth * step > {large(unit, BEYOND) * lanes}:")
            out.add("    whole = 0")
            out.add("k = 0")
            for count, loops in (
                (STEPS, (("0", "whole", most), ("whole", "wide", most // 2))),
                (1, (("0", "wide", 1),)),
            ):
                out.add(f"while k + {count} <= depth:")
                for first, past, vectors in loops:
                    out.add(f"    for j in range({first}, {past}, {vectors * lanes}):")
                    out.extend(self._few_steps(count, vectors, past == "wide"), 2)
                out.add(f"    k = k + {count}")
                out.add(f"    at = at + {scaled('inner', count)}")
                out.add(f"    down = down + {scaled('step', count)}")
            head = f"def {name}({', '.join(self.stream_arguments)}, width):"
            unit.helpers[name] = "\n".join([head, *out.lines])
        return name

    def _few_steps(self, count: int, vectors: int, ends: bool) -> Lines:
        """So many inner indices to some vectors of columns of all rows; under masks if it ``ends``.

        Hardware does not know what follows the end of a short line of b, nor what is loaded under
        a mask, so what is read some time later is brought near.
        """
        out, row, lanes = Lines(), Lines(), self.lanes
        parts = [str(v * lanes) for v in range(vectors)]
        steps = [scaled("step", q) for q in range(count)]
        for v, part in enumerate(parts if ends else ()):
            left = f"wide - j - {part}" if v else "wide - j"
            out.add(f"on{v} = mask{lanes}({left})")
        out.add("here = down + j")
        if count == STEPS:
            out.add("if far > 0:")
            for step, part in product(steps, parts):
                out.add(f"    prefetch_second(b, {total('here', step, 'far', part)})")
        for (q, step), (v, part) in product(enumerate(steps), enumerate(parts)):
            place = total("here", step, part)
            one = f"load(b, {place}, on{v})" if ends else f"load{lanes}(b, {place})"
            out.add(f"y{q}_{v} = {one}")
        for v, part in enumerate(parts):
            row.add(f"v{v} = load{lanes}(c, {total('cell', part)})")
        for q in range(count):
            row.add(f"x = splat{lanes}(load1(a, {total('line', scaled('inner', q))}))")
            for v in range(vectors):
                row.add(f"v{v} = {self.added('x', f'y{q}_{v}', f'v{v}')}")
        for v, part in enumerate(parts):
            row.add(f"store{lanes}(c, {total('cell', part)}, v{v})")
        row.add("cell = cell + width")
        row.add("line = line + row")
        out.add("cell = to + j")
        out.add("line = at")
        out.add("for r in range(0, last + 1):")
        out.extend(row, 1)
        return out

    def few_transposed_rows(self, unit: Unit) -> str:
        """The same where b lies transposed: by squares of it, which ``square`` has room for.

        A line of b is read once, and what is packed for one row of results is not a whole panel.
        """
        name = f"shared_streams_{self.element}_transposed"
        if name not in unit.helpers:
            out, square, rest, lanes = Lines(1), Lines(), Lines(), self.lanes
            words = f"transpose{lanes}(b, down + j * step + k, step, "
            square.add(f"if wide >= j + {lanes} and depth >= k + {lanes}:")
            square.add(f"    {words}{lanes}, {lanes}, square, 0, {lanes})")
            square.add("else:")
            square.add(f"    {words}wide - j, depth - k, square, 0, {lanes})")
            square.add(f"if depth >= k + {lanes}:")
            whole = Lines()
            self._write_square(whole, [str(q) for q in range(lanes)])
            square.extend(whole, 1)
            square.add("else:")
            self._write_square(rest, ["q"], "for q in range(0, depth - k):")
            square.extend(rest, 1)
            out.add(f"for j in range(0, wide, {lanes}):")
            out.add("    if fresh == 1:")
            out.add("        for r in range(0, last + 1):")
            out.add(f"            store{lanes}(c, to + r * width + j, {self.zero})")
            out.add(f"    for k in range(0, depth, {lanes}):")
            out.extend(square, 2)
            head = f"def {name}({', '.join(self.stream_arguments)}, width, square):"
            unit.helpers[name] = "\n".join([head, *out.lines])
        return name

    def _write_square(self, out: Lines, steps: Sequence[str], loop: str = "") -> None:
        """The inner indices of a square to all rows, written out, or in a loop."""
        lanes, deeper = self.lanes, "    " if loop else ""
        out.add("for r in range(0, last + 1):")
        out.add(f"    v = load{lanes}(c, to + r * width + j)")
        if loop:
            out.add(f"    {loop}")
        for q in steps:
            place = total("at", "r * row", f"(k + {q}) * inner")
            one = f"splat{lanes}(load1(a, {place}))"
            line = self.added(one, f"load{lanes}(square, {q} * {lanes})", "v")
            out.add(f"    {deeper}v = {line}")
        out.add(f"    store{lanes}(c, to + r * width + j, v)")
