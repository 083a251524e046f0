"""Products of few rows, or of one inner index: what is read is a stream of memory.

Iterations are cut as those of tiles are, but go on over those that follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.expressions import VECTOR, Lines, scaled, total
from staticgrad.codegen.jammed import of_row
from staticgrad.codegen.stages import base_text
from staticgrad.codegen.vectors import Bodies, work, write_vector_loop
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.chain_parts import left_in
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.product_iterations import LONE
from staticgrad.ir.kernels.together import whole_vectors

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct

#: Columns that are taken together then, times rows: a multiple of all panels'.
WIDEST: Final = 4096
#: Rows of which as long parts are taken again as there is room for.
SOME: Final = 4
#: Elements of which parts of a stream of results are multiples: some lines of memory.
PART: Final = 64
#: Inner indices up to which a result takes no longer to compute than to store.
FEW_TERMS: Final = 8
#: Rows that are computed side by side then, and lines of what is stored up to which they are.
TERMS_JAMMED: Final = 4
_PLAIN: Final = 4
#: Bytes of a row of the second factor up to which two of them stay in the nearest cache.
_NEAR: Final = 1 << 13


def write_streams(product: PlainProduct, out: Lines) -> None:
    """The body for one outer iteration ``o`` of a product that always has few rows."""
    few = Lines()
    product.write_cut(product.unit.once)
    product.declare_room(product.unit.once)
    product.write_position(out)
    write_few_rows(product, few)
    out.extend(product.before)
    out.extend(few)


def _write_moves(product: PlainProduct, out: Lines, to: Access, stores: bool) -> None:
    """The chains of all rows and columns from where they were left, or to there."""
    move, row = Lines(), Lines()
    base = base_text(to, frozenset({"i", VECTOR}))
    place = total(base, scaled("i", to.stride("i")), VECTOR)
    tile = f"(i - first_row) * width + {VECTOR} - left"
    if stores:
        move.add(f"store({to.operand}, {place}, load{product.lanes}(tile, {tile}), m)")
    else:
        move.add(f"store{product.lanes}(tile, {tile}, load({to.operand}, {place}, m))")
    write_vector_loop(row, "left", "right", product.lanes, Bodies(move, move, 0, {}))
    out.add("for i in range(first_row, last_row):")
    out.extend(row, 1)


def write_few_rows(product: PlainProduct, out: Lines) -> None:
    """All columns of the iterations that follow: b is read in the order in which it lies."""
    left = left_in(product.kernel)
    start, past = ("0", str(product.k)) if left is None else ("first_k", "past_k")
    block, row, body, lanes = Lines(), Lines(), Lines(), product.lanes
    widest: int | str = WIDEST // LONE
    if product.streamed > LONE:  # there is room for so many rows at most, and fewer longer ones
        some = f"{WIDEST // SOME} if {product.m} <= {SOME} else {WIDEST // product.streamed}"
        out.add(f"widest = {widest} if {product.m} <= {LONE} else {some}")
        widest = "widest"
    write_span(product, out, widest)
    columns = product.columns
    out.add(f"width = (right - left + {columns - 1}) // {columns} * {columns}")
    product.least(block, "stop", f"block + {GEMM_BLOCK}", past)
    block.add("into = 0")
    block.add(f"if block > {start}:")
    block.add(f"    into = {product.whole}")
    place = total(product.a, scaled("first_row", product.row), scaled("block", product.inner))
    named = {
        "a": product.stage.a.operand,
        "b": product.stage.b.operand,
        "c": "tile",
        "at": place,
        "row": str(product.row),
        "inner": str(product.inner),
        "last": "count - 1",
        "wide": "right - left",
        "down": total(product.b, scaled("block", product.down), scaled("left", product.across)),
        "step": str(product.across if product.transposed else product.down),
        "to": "into",
        "depth": "stop - block",
        "fresh": "1" if left is None else "anew",
    }
    passed = ", ".join(named[name] for name in product.tiles.stream_arguments)
    stream = product.tiles.few_transposed_rows if product.transposed else product.tiles.few_rows
    block.add(f"{stream(product.unit)}({passed}, width{', panel' if product.transposed else ''})")
    block.add(f"if block > {start}:")
    block.add(f"    for at in range(0, count * width, {lanes}):")
    both = f"load{lanes}(tile, at) + load{lanes}(tile, into + at)"
    block.add(f"        store{lanes}(tile, at, {both})")
    if left is not None:
        moves = Lines()
        _write_moves(product, moves, left, stores=False)
        out.add("anew = 1")
        out.add("if first_k > 0:")
        out.add("    anew = 0")
        out.extend(moves, 1)
    out.add(f"for block in range({start}, {past}, {GEMM_BLOCK}):")
    out.extend(block, 1)
    if left is not None:
        moves = Lines()
        _write_moves(product, moves, left, stores=True)
        out.add(f"if past_k < {product.k}:")
        out.extend(moves, 1)
        out.add("    continue")
    body.add(f"acc = load{lanes}(tile, (i - first_row) * width + {VECTOR} - left)")
    product.write_stores(body)
    write_vector_loop(row, "left", "right", lanes, Bodies(body, body, 0, {}))
    out.add("for i in range(first_row, last_row):")
    out.extend(row, 1)


def write_span(product: PlainProduct, out: Lines, widest: int | str = WIDEST // LONE) -> None:
    """As many columns as iterations follow, up to the next multiple of what has room, ``widest``.

    That is a multiple of an iteration's columns, so that no other begins within one.
    """
    out.add(f"span = {widest} // group * group")
    out.add("if left % span > 0 and o > begin:")
    out.add("    continue")  # an earlier iteration went on here
    out.add("right = left + (end - o) * group")
    for most in ("(left // span + 1) * span", str(product.n)):
        out.add(f"if right > {most}:")
        out.add(f"    right = {most}")


def write_few_terms(product: PlainProduct, out: Lines) -> None:
    """All columns of the iterations that follow, some rows at a time, from registers to memory."""
    lanes, body, tile, rows = product.lanes, Lines(), Lines(), Lines()
    product.write_stores(body)
    if work(body, product.unit) > _PLAIN:
        return
    names = [of_row("sum", row) for row in range(TERMS_JAMMED)]
    for row, name in enumerate(names):
        tile.add(f"{name} = {product.tiles.zero}")
        product.least(rows, of_row("line", row), f"from_ + {row}", "last_row - 1")
    place = total(product.b, scaled("k", product.down), VECTOR)
    tile.add(f"for k in range(0, {product.k}):")
    tile.add(f"    y = {product.columns_at(place)}")
    for row, name in enumerate(names):
        moved = scaled(of_row("line", row), product.row), scaled("k", product.inner)
        one = product.repeated(total(product.a, *moved))
        tile.add(f"    {name} = {product.tiles.added(one, 'y', name)}")
    for row, name in enumerate(names):  # no row twice: what is stored may be read from its place
        tile.add(f"if from_ + {row} < last_row:")
        tile.add(f"    i = {of_row('line', row)}")
        tile.add(f"    acc = {name}")
        tile.extend(body, 1)
    if product.two_terms:  # rows of the other factor stay near
        lines, longest = Lines(), _NEAR // product.dtype.itemsize
        _write_cells(product, lines, 2)
        least = 2 * TERMS_JAMMED * lanes
        out.add(f"if {product.k} == 2 and {product.n} >= {least} and {product.n} <= {longest}:")
        out.extend(lines, 1)
        out.add("    continue")
    write_span(product, out)
    whole = int(not product.tiles.wide)  # masks of narrow registers are vectors
    write_vector_loop(rows, "left", "right", lanes, Bodies(tile, tile, whole, {}))
    out.add(f"for from_ in range(first_row, last_row, {TERMS_JAMMED}):")
    out.extend(rows, 1)


def _columns_at(product: PlainProduct, place: str) -> str:
    """A vector of b under the mask ``m``, however its columns lie."""
    if product.across == 1:
        return product.columns_at(place)
    b, across = product.stage.b.operand, product.across
    return product.panels.widened(f"load_strided({b}, {place}, {across}, m)")


def write_one_step(product: PlainProduct, out: Lines) -> None:
    """The results of all iterations that follow, as they lie, from a single inner index."""
    _write_cells(product, out, 1)


def _write_cells(product: PlainProduct, out: Lines, terms: int) -> None:
    """The results of all iterations that follow, as they lie: memory is one stream.

    Iterations are equal parts of all elements here, not of rows and columns, so that no two
    workers write columns of the same rows: processors bring near what lies behind a run.
    """
    lanes, row, body, part = product.lanes, Lines(), Lines(), product.tiles.zero
    row.add(f"left = 0 if i * {product.n} > begun else begun - i * {product.n}")
    product.least(row, "right", f"past - i * {product.n}", str(product.n))
    for k in range(terms):
        inner, down = (scaled(str(k), step) if k else "0" for step in (product.inner, product.down))
        one = product.repeated(total(product.a, scaled("i", product.row), inner))
        row.add(f"x{k} = {one}")
        place = total(product.b, down, scaled(VECTOR, product.across))
        part = product.tiles.added(f"x{k}", _columns_at(product, place), part)
    body.add(f"acc = {part}")
    product.write_stores(body)
    lines = work(body, product.unit)
    vectors = TERMS_JAMMED if lines <= _PLAIN + 1 else whole_vectors(lines, 1)
    body.add(f"{VECTOR} = {VECTOR} + {lanes}")
    row.add(f"{VECTOR} = left")
    if vectors:
        row.add(f"m = mask{lanes}({lanes})")
        row.add(f"while {VECTOR} + {vectors * lanes} <= right:")
        for _ in range(vectors):
            row.extend(body, 1)
    row.add(f"while {VECTOR} < right:")
    row.add(f"    m = mask{lanes}(right - {VECTOR})")
    row.extend(body, 1)
    out.add("if o < reached:")
    out.add("    continue")  # an earlier iteration went on here
    out.add("parts = groups * chunks")
    product.least(out, "reached", "o + parts - o % parts", "end")
    out.add(f"cells = {product.m} * {product.n}")
    out.add(f"begun = o % parts * cells // parts // {PART} * {PART}")
    out.add("past = cells")
    out.add("if reached % parts > 0:")
    out.add(f"    past = reached % parts * cells // parts // {PART} * {PART}")
    out.add(f"for i in range(begun // {product.n}, (past + {product.n} - 1) // {product.n}):")
    out.extend(row, 1)
