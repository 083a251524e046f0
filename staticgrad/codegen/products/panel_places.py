"""Where tiles find a panel of b, and the next one: packed, or where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.expressions import Lines, scaled, total

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct

#: How many inner indices ahead the first tile brings a panel near that is read where it lies: each
#: takes 5 to 7 ns, a line from beyond the second-level cache 70 to 130.
AHEAD: Final = 24
#: Rows of c up to which a panel is read where it lies: two tiles read it.
FEW_ROWS: Final = 28
#: Panels that are packed before rows that stay where they lie go through all of them: packed parts
#: of these, and results of the rows of a chunk, are in the second cache.
BLOCK: Final = 8
#: Fewer rows go through each panel before the next is packed, which tiles bring near meanwhile, if
#: the second cache holds them: packing takes much of the time.
FEWER: Final = 240


def lies_in_panels(product: PlainProduct) -> bool:
    """Whether an outer axis goes over panels of b that lie one behind the other, and a stays.

    Then an iteration is one panel, whose rows follow each other, and nothing is packed.
    """
    a, b = product.stage.a, product.stage.b
    whole = product.fills_panels and 0 < product.most_columns <= product.columns
    lies = product.reads_in_place and product.down == product.n
    moved = [axis.name for axis in product.kernel.axes if b.stride(axis.name) != 0]
    return whole and lies and bool(moved) and all(a.stride(name) == 0 for name in moved)


def panels_of_block(product: PlainProduct) -> int:
    """How many panels are packed before rows go through all of them, at most.

    Several, if rows lie along memory: others are packed, or come line by line. Tiles then bring
    near what they need of the next rows, not the panels of the next block.
    """
    stays = product.rows == "along" and not product.packs_rows
    if product.in_panels or not stays or 0 < product.most_rows <= FEW_ROWS:
        return 1
    most = -(-product.most_columns // product.columns)
    return min(most, BLOCK) if most > 0 else BLOCK


def write_span_of_block(product: PlainProduct, out: Lines) -> None:
    """``span``: the columns of a block."""
    out.add(f"span = {product.panels_abreast * product.columns}")
    if product.panels_abreast == 1:
        return
    few = "count <= few or " if product.reads_in_place else ""
    near = product.second_cache
    out.add(f"if {few}(count < {FEWER} and count * {product.k} < {near}):")
    out.add(f"    span = {product.columns}")


def write_in_place(product: PlainProduct, out: Lines) -> None:
    """Tiles read the panel where it lies."""
    out.add(f"b_at = address({product.stage.b.operand})")
    out.add(f"down = {total(product.b, scaled('depth', product.down), 'first_column')}")
    out.add(f"step = {product.down}")
    out.add(f"line = down + {AHEAD} * step + {product.lanes - 1}")
    out.add(f"leap = {product.leap}")
    out.add("turn = -1")


def write_ahead(product: PlainProduct, out: Lines) -> None:
    """The next panel, and its second vector, which tiles bring near.

    Behind the last one it is the first of the next iteration, if that has the same rows. It is the
    last lane of each vector: where lines of memory begin within vectors, as in NumPy's larger
    arrays, the line of the first lane has come with the panel before.
    """
    if product.one_part and not product.in_panels:
        out.add("next_j = last_column")
        out.add("next_k = run")
    else:
        out.add("next_j = first_column")
        out.add("next_k = past")
    if not (product.one_part or product.in_panels):
        out.add(f"if past == {'end_run' if product.packs_rows else product.k}:")
        out.add("    next_j = last_column")
        out.add(f"    next_k = {'run' if product.packs_rows else '0'}")
    moved = (scaled("next_k", product.down), scaled("next_j", product.across))
    out.add(f"ahead = {total(product.b, *moved, str(product.lanes - 1))}")
    out.add(f"second = ahead + {scaled(str(product.lanes), product.across)}")


def write_every(product: PlainProduct, out: Lines) -> None:
    """``every``: how many tiles bring a vector of the next panel near, and ``lower``: how far each
    gets in as many steps of k as there are lanes.

    All tiles of the chunk have their part, and ask for a line several times. If the first two asked
    for all, these would be more lines than come from beyond the second cache in their time, and
    rows would wait for theirs. The lines of a turned vector are side by side, and follow at once.
    """
    out.add("every = 1")
    out.add(f"lower = {product.leap}")
    if not product.turned:
        out.add(f"while every < {product.lanes} and count >= {4 * product.height} * every:")
        out.add("    every = every + every")
        out.add(f"    lower = {product.leap} // every")


def write_first_lines(product: PlainProduct, out: Lines) -> None:
    """Where the first tile of packed panels begins with the next ones: ``line``."""
    out.add("line = ahead")
    out.add("turn = 0")
    out.add("leap = lower")


def write_next_rows(product: PlainProduct, out: Lines) -> None:
    """In the place of the next block's panels tiles of a row of tiles bring the next rows near.

    Each panel's has its part, of as many rows as there are lanes, then of the others.
    """
    sets = -(-product.height // product.lanes)
    out.add(f"if span > {product.columns}:")
    out.add(f"    near_at = address({product.stage.a.operand})")
    out.add(f"    hop = {product.row}")
    out.add(f"    every = (last_column - first_column) // {product.columns * sets}")
    out.add("    if every < 1:")
    out.add("        every = 1")
    out.add(f"    leap = {product.lanes} // every")
    start = "lies" if product.packs_tiles else "at"
    out.add(f"    line = {start} + {scaled('rows', product.row)}")
    out.add("    if under == count:")
    out.add(f"        line = {total(product.a, scaled('first_row', product.row), 'past')}")
    further = scaled(str(product.height - product.lanes), product.row) if sets > 1 else "0"
    out.add(f"    second = line + {further}")
    out.add("    turn = 0")


def write_next_lines(product: PlainProduct, out: Lines) -> None:
    """Where the next tile goes on with what it brings near, and how far it gets, ``leap``."""
    out.add("turn = turn + 1")
    out.add(f"line = line + (past - depth) // {product.lanes} * leap")
    if product.reads_in_place:
        out.add("if turn == 0:")
        out.add("    line = ahead")
        out.add("    leap = lower")
    out.add("if turn == every:")
    out.add("    line = second")
    out.add("if turn == every + every:")
    out.add("    leap = 0")
