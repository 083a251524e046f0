"""Products of few rows: the second factor is streamed from memory, in the order of its elements.

Each element of it is used once for each row, which does not pay for packing::

    for each inner index k:
        for each vector of columns j of b:      # consecutive in memory
            for each row i of a:
                c[i, j..] += a[i, k] * b[k, j..]

Narrow elements of b are widened once they are loaded; narrow rows of a are packed first. Pairs of
bfloat16 numbers are multiplied one after the other, with the same results: to join them takes
longer than so few rows save. Iterations are partitioned as for tiles, but one continues over those
that follow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any, Final

from staticgrad.compiler.nest.products.gemm import MatrixProduct
from staticgrad.compiler.nest.products.packing import WAY, Packing
from staticgrad.compiler.nest.products.plain import MATRIX, WIDEST
from staticgrad.compiler.nest.products.tiles import ROUNDED, Tiles, flushed_subnormals
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
from staticgrad.compiler.nest.values import Values
from staticgrad.language.ir.expr import Access
from staticgrad.language.ir.kernels.chain_parts import left_in
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import LANES, LONE
from staticgrad.support.records import dataclass

#: Rows of which as long parts are taken again as there is room for.
SOME: Final = 4
#: Inner indices of which narrow rows are packed at a time: eight rows of them are in L1.
PACKED_TERMS: Final = 1024
#: Inner indices that products of few rows take at a time.
STEPS: Final = 4
#: Vectors of columns that are taken together then, at most, and half of it where registers are few,
#: or where the other factor is so many times twice L2 that no cache holds it.
MOST_JAMMED: Final = 4
BEYOND: Final = 4
#: The prefetch distance, in vectors, for a factor that L2 does not hold.
FAR: Final = 512


@dataclass(frozen=True)
class Stream:
    """Functions that multiply a few rows by a b that is read as it lies.

    ``tiles``: how elements are multiplied; ``panels``: how b is stored, and its elements are made
    of that.
    """

    tiles: Tiles
    panels: Packing

    @property
    def arguments(self) -> tuple[str, ...]:
        """The argument names of these functions: those of tiles up to ``fresh``."""
        names = replace(self.tiles, indexed=False).arguments
        names = tuple([name for name in names if name != "width"])
        return (*names[:3], *names[names.index("at") : names.index("ahead")], "width")

    @property
    def size(self) -> int:
        """Bytes of a stored element of b."""
        return int(self.panels.stored.lstrip("bfiu")) // 8

    def few_rows(self, functions: dict[str, Any], l2: int) -> str:
        """Return the name of the function that multiplies a few rows by a streamed b.

        All of ``wide`` columns are added to four inner indices at a time, so that b is read in the
        order in which it lies, as many lines side by side as there are registers for. What is
        loaded of it stays in registers while all rows are multiplied. However a lies, it is one
        function; ``width`` is a multiple of a panel's.
        """
        name = f"shared_streams_{self._suffix}"
        if name not in functions:
            functions[name] = _few_rows(self, name, l2)
        return name

    def few_transposed_rows(self, functions: dict[str, Any]) -> str:
        """Return the name of the function that multiplies a few rows by a transposed b.

        It transposes squares of b, for which ``square`` has room.

        A line of b is read once, and what is packed for one row of results is not a whole panel.
        """
        name = f"shared_streams_{self._suffix}_transposed"
        if name not in functions:
            functions[name] = _few_transposed_rows(self, name)
        return name

    @property
    def _suffix(self) -> str:
        rounded = self.tiles.arithmetic in ROUNDED
        return self.panels.suffix + ("" if rounded else self.tiles.suffix)


def write_few_rows(p: MatrixProduct) -> None:
    """Write a product of few rows for the next iterations: b is streamed in memory order."""
    m, widest = p.rows_of_c, WIDEST // LONE
    if p.streamed > LONE:  # there is room for so many rows at most, and fewer longer ones
        some = p.choose("le", m, SOME, WIDEST // SOME, WIDEST // p.streamed)
        widest = p.choose("le", m, LONE, widest, some)
    with spans(p, widest):
        columns = p.columns
        width = (p.right - p.left + (columns - 1)) // columns * columns
        # Rows a page apart displace each other.
        padding = p.choose("eq", width % (WAY // p.dtype.itemsize), 0, columns, 0)
        _write_rows(p, width + padding)


def _write_rows(p: MatrixProduct, width: Word) -> None:
    """Write the sums of a product of few rows in local memory, and its epilogue."""
    b, left, start, past = p.b, left_in(p.kernel), p.first_k, p.past_k
    fresh: Word = 1
    if left is not None:
        fresh = p.choose("gt", start, 0, 0, 1)
        with b.branch("eq", fresh, 0):
            _move_partial_sums(p, left, width, stores=False)
    with p.iterations(start, past, GEMM_BLOCK, p.one_block, "block") as block:
        stop = b.least(block + GEMM_BLOCK, past)
        into = 0 if p.one_block else p.choose("gt", block, start, p.result_elements, 0)
        common = {"to": into, "fresh": fresh, "width": width}
        if p.converts_a or p.splits_rows:
            _pack_few_rows(p, (block, stop), common)
        else:
            _call_few_rows(p, _stream_of(p), (block, stop), common, _rows_in_place(p, block))
        if not p.one_block:
            with b.branch("gt", block, start), p.loop(0, p.count * width, p.lanes, "at") as at:
                p.add_block(at, at + p.result_elements)

    def end() -> None:
        p.epilogue((p.first_row, p.last_row), (p.left, p.right), 0, width)

    if left is None:
        end()
        return
    with b.branch("lt", past, p.terms):
        _move_partial_sums(p, left, width, stores=True)
    with b.otherwise():
        end()


def _stream_of(p: MatrixProduct) -> Stream:
    """Return the functions that stream the second factor of a product."""
    arithmetic = "flushing" if p.stage.rounds else p.arithmetic
    return Stream(replace(p.tiles, arithmetic=arithmetic), replace(p.panels, arithmetic=arithmetic))


def _rows_in_place(p: MatrixProduct, block: Word) -> dict[str, Any]:
    """Return the address and strides of the rows of a from an inner index on."""
    a = p.stage.a
    at = p.base_of(a, MATRIX) + p.first_row * p.a_row + block * p.a_inner
    return {"a": p.pointer(a), "at": at, "row": p.a_row, "inner": p.a_inner}


def _pack_few_rows(p: MatrixProduct, span: tuple[Word, Word], common: dict[str, Word]) -> None:
    """Write the calls of the function for few rows for a block of k; rows are packed in parts."""
    b, (block, stop), stream = p.b, span, _stream_of(p)
    packing = replace(p.packing, arithmetic=stream.tiles.arithmetic)
    most = min(PACKED_TERMS, p.most_terms or PACKED_TERMS)
    pitch = most + p.lanes
    packed = b.define("packed", f"local_{p.row_element}", p.streamed * pitch + p.lanes)
    elements = b.op(f"ptr_{p.element}", b.op("address", packed))
    once = p.one_block and 0 < p.most_terms <= PACKED_TERMS
    with p.iterations(block, stop, PACKED_TERMS, once, "depth") as depth:
        past = stop if once else b.least(depth + PACKED_TERMS, stop)
        rows = _rows_in_place(p, depth)
        name = packing.lines(p.nest.functions, p.inner == 1)
        size = p.count, past - depth, pitch
        b.do(
            name, rows["a"], packed, rows["at"], rows["row"], rows["inner"], *size, stores="packed"
        )
        fresh = common["fresh"] if once else p.choose("eq", depth, block, common["fresh"], 0)
        numbers = packing.numbers
        rows = {"a": elements, "at": 0, "row": pitch * numbers, "inner": numbers}
        _call_few_rows(p, stream, (depth, past), common | {"fresh": fresh}, rows)


def _call_few_rows(
    p: MatrixProduct,
    stream: Stream,
    span: tuple[Word, Word],
    common: dict[str, Word],
    rows: dict[str, Any],
) -> None:
    """Write the call of the function for few rows, for some inner indices."""
    b, (block, stop) = p.stage.b, span
    down = p.base_of(b, MATRIX) + block * p.b_down + p.left * p.b_across
    named: dict[str, Any] = {
        **common,
        **rows,
        "b": p.pointer(b),
        "c": p.tile,
        "last": p.count - 1,
        "wide": p.right - p.left,
        "down": down,
        "step": p.b_across if p.transposed else p.b_down,
        "depth": stop - block,
    }
    passed = [named[name] for name in stream.arguments]
    functions = p.nest.functions
    if not p.transposed:
        name = stream.few_rows(functions, p.nest.machine.l2)
        p.b.do(name, *passed, stores="tile")
        return
    square = p.panel
    if p.converts_b:
        square = p.b.define("square", f"local_{stream.panels.stored}", p.lanes * p.lanes)
    p.b.do(stream.few_transposed_rows(functions), *passed, square, stores="tile")


def _move_partial_sums(p: MatrixProduct, to: Access, width: Word, stores: bool) -> None:
    """Copy partial sums of a split k between local memory and the buffer they are left in."""
    nest, stride = p.nest, p.nest.number_of(to.stride("i"))
    with p.loop(p.first_row, p.last_row) as i:

        def move(values: Values) -> None:
            """Copy a vector of partial sums of one row, in or out."""
            j = nest.at[LANES]
            at = p.pointer(to), nest.place_of(p.base_of(to, {"i", LANES}) + i * stride + j)
            position = (i - p.first_row) * width + (j - p.left)
            if stores:
                value = p.local_load("tile", p.tile, position)
                p.b.do("store", *at, value, values.full(), stores=to.operand)
            else:
                value = p.b.load(to.operand, "load", *at, values.full())
                p.local_store("tile", p.tile, position, value)

        nest.vectors(p.left, p.right, p.lanes, 1, Known(""), True, p.written, move)


@contextmanager
def spans(p: MatrixProduct, widest: Word) -> Iterator[None]:
    """Cover following iterations of a product, up to the next multiple of ``widest`` columns.

    ``widest`` is rounded down to whole iterations, so that no other begins within one.
    """
    b, right = p.b, p.right
    span = b.quotient(widest, p.group) * p.group
    with b.branch("eq", p.choose("gt", p.turn, p.begin, p.left % span, 0), 0):
        past = b.least(p.left + (p.end - p.turn) * p.group, (p.left // span + 1) * span)
        p.right = b.least(past, p.columns_of_c)
        yield
    p.right = right


@cache
def _few_rows(stream: Stream, name: str, l2: int) -> Function:
    """Build the function that multiplies a few rows by a streamed b, with prefetches."""
    tiles, lanes = stream.tiles, stream.tiles.lanes
    large = 2 * l2 // stream.size  # elements of twice L2

    def write(b: Builder, *parameters: Name) -> None:
        """Write the loops over k and columns of the function for few rows."""
        p = dict(zip(stream.arguments, parameters, strict=True))
        depth, step, wide = p["depth"], p["step"], p["wide"]
        _write_zeros(tiles, b, p)
        elements = depth * step
        few, most = step * STEPS, FAR * lanes
        # The prefetch distance; a b of at most twice L2 is not prefetched.
        far = b.op(
            "choose_lt",
            few,
            most,
            b.op("floordiv", most, b.op("choose_gt", few, 0, few, 1)) * few,
            few,
        )
        far = b.op("choose_gt", elements, large, far, 0)
        jammed = MOST_JAMMED if tiles.wide else MOST_JAMMED // 2
        full_end = wide // (jammed * lanes) * (jammed * lanes)
        full_end = b.op("choose_gt", elements, large * BEYOND, 0, full_end)
        k = b.variable("k", "copy", 0)
        at, down = b.variable("at", "copy", p["at"]), b.variable("down", "copy", p["down"])
        with flushed_subnormals(tiles, b):
            for count, loops in (
                (STEPS, ((0, full_end, jammed), (full_end, wide, jammed // 2))),
                (1, ((0, wide, 1),)),
            ):
                with b.repeat(Apply("le", (k, depth - count))):
                    for first, past, vectors in loops:
                        with b.loop(first, past, vectors * lanes, prefix="j") as j:
                            ends = past is wide
                            _few_steps(stream, b, p, (count, vectors), (at, down, j), far, ends)
                    b.assign(k, "add", k, count)
                    b.assign(at, "add", at, p["inner"] * count)
                    b.assign(down, "add", down, step * count)

    return function(name, stream.arguments, write)


def _write_zeros(tiles: Tiles, b: Builder, p: Mapping[str, Name]) -> None:
    """All results are zero at the beginning."""
    with b.branch("eq", p["fresh"], 1):
        past = p["to"] + (p["last"] + 1) * p["width"]
        with b.loop(p["to"], past, tiles.lanes, prefix="cell") as cell:
            b.do(f"store{tiles.lanes}", p["c"], Offset(((cell, 1),)), tiles.zeros(b))


def _few_steps(
    stream: Stream,
    b: Builder,
    p: Mapping[str, Name],
    count: tuple[int, int],
    place: tuple[Name, Name, Name],
    far: Name,
    ends: bool,
) -> None:
    """Write some steps of k for some column vectors of all rows; under masks if it ``ends``.

    Hardware does not know what follows the end of a short line of b, nor what is loaded under
    a mask, so what is read some time later is prefetched.
    """
    (steps, vectors), (at, down, j) = count, place
    tiles, lanes = stream.tiles, stream.tiles.lanes
    masks = [b.op(f"mask{lanes}", p["wide"] - j - v * lanes) for v in range(vectors if ends else 0)]
    start = down + j

    def place_of(q: int, v: int) -> Offset:
        return place_at((start, 1), (p["step"], q), constant=v * lanes)

    if steps == STEPS:
        with b.branch("gt", far, 0):
            for q, v in product(range(steps), range(0, vectors, tiles.size // stream.size)):
                terms, part = place_of(q, v)
                b.do("prefetch_second", *b.pointer(p["b"], Offset((*terms, (far, 1)), part)))
    columns = {}
    for q, v in product(range(steps), range(vectors)):
        word, mask = ("load", (masks[v],)) if ends else (f"load{lanes}", ())
        column = b.load("b", word, *b.pointer(p["b"], place_of(q, v)), *mask)
        column = stream.panels.cast_to_element(b, column)
        for half in tiles.halves:
            columns[q, v, half] = tiles.read_half(b, column, half)
    cell = b.variable("cell", "copy", p["to"] + j)
    line = b.variable("line", "copy", at)
    with b.loop(0, p["last"] + 1, prefix="r"):
        places = [(p["c"], Offset(((cell, 1),), v * lanes)) for v in range(vectors)]
        sums = [b.load("c", f"load{lanes}", *place) for place in places]
        for q in range(steps):
            for half in tiles.halves:
                at_half = place_at((line, 1), (p["inner"], q), constant=half or 0)
                scalar = b.load("a", "load1", *b.pointer(p["a"], at_half))
                x = b.op(f"splat{lanes}", scalar)
                for v in range(vectors):
                    term = tiles.multiply_half(b, x, columns[q, v, half], sums[v], half)
                    sums[v] = b.op(*term)
        for sum_, place_ in zip(sums, places, strict=True):
            b.do(f"store{lanes}", *place_, sum_)
        b.assign(cell, "add", cell, p["width"])
        b.assign(line, "add", line, p["row"])


@cache
def _few_transposed_rows(stream: Stream, name: str) -> Function:
    """Build the function that multiplies a few rows by a transposed b, square by square."""
    tiles, panels = stream.tiles, stream.panels
    lanes = tiles.lanes
    names = (*stream.arguments, "square")

    def write(b: Builder, *parameters: Name) -> None:
        """Write the loops over squares of b of the function for few rows."""
        p = dict(zip(names, parameters, strict=True))
        depth, step, wide, square = p["depth"], p["step"], p["wide"], p["square"]

        def rows(k: Name, j: Name, steps: int | None) -> None:
            """Add the k steps of a square to all rows, unrolled, or in a loop."""
            with b.loop(0, p["last"] + 1, prefix="r") as r:
                place = b.pointer(p["c"], Offset(((p["to"], 1), (r, p["width"]), (j, 1))))
                total = b.variable("v", f"load{lanes}", *place)

                def add_term(q: Word) -> None:
                    moves = (p["at"], 1), (r, p["row"]), (k + q, p["inner"])
                    y = b.load("square", f"load{lanes}", square, place_at((q, lanes)))
                    y = panels.cast_to_element(b, y)
                    for half in tiles.halves:
                        line = b.pointer(p["a"], place_at(*moves, constant=half or 0))
                        x = b.op(f"splat{lanes}", b.load("a", "load1", *line))
                        right = tiles.read_half(b, y, half)
                        b.assign(total, *tiles.multiply_half(b, x, right, total, half))

                if steps is None:
                    with b.loop(0, depth - k, prefix="q") as term:
                        add_term(term)
                else:
                    for q in range(steps):
                        add_term(q)
                b.do(f"store{lanes}", *place, total)

        _write_zeros(tiles, b, p)
        stored = frozenset({"square"})
        with (
            flushed_subnormals(tiles, b),
            b.loop(0, wide, lanes, stored, "j") as j,
            b.loop(0, depth, lanes, stored, "k") as k,
        ):
            place = place_at((p["down"] + j * step + k, 1))
            at, to = (p["b"], place, step), (square, 0, lanes)
            covered = b.op("choose_ge", wide, j + lanes, depth, 0)
            with b.branch("ge", covered, k + lanes):
                b.do(f"transpose{lanes}", *at, lanes, lanes, *to, stores="square")
            with b.otherwise():
                b.do(f"transpose{lanes}", *at, wide - j, depth - k, *to, stores="square")
            with b.branch("ge", depth, k + lanes):
                rows(k, j, lanes)
            with b.otherwise():
                rows(k, j, None)

    return function(name, names, write)
