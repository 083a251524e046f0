"""Where tiles find a panel of b, and the next one: packed, or where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.expressions import Lines, scaled, total

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct

#: How many inner indices ahead the first tile brings a panel near that is read where it lies: each
#: takes 5 to 7 ns, a line from beyond the second-level cache 70 to 130.
AHEAD: Final = 24


def lies_in_panels(product: PlainProduct) -> bool:
    """Whether an outer axis goes over panels of b that lie one behind the other, and a stays.

    Then an iteration is one panel, whose rows follow each other, and nothing is packed.
    """
    a, b = product.stage.a, product.stage.b
    whole = product.fills_panels and 0 < product.most_columns <= product.columns
    lies = product.reads_in_place and product.down == product.n
    moved = [axis.name for axis in product.kernel.axes if b.stride(axis.name) != 0]
    return whole and lies and bool(moved) and all(a.stride(name) == 0 for name in moved)


def write_in_place(product: PlainProduct, out: Lines) -> None:
    """Tiles read the panel where it lies."""
    out.add(f"b_at = address({product.stage.b.operand})")
    out.add(f"down = {total(product.b, scaled('depth', product.down), 'j0')}")
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
        out.add(f"next_j = j0 + {product.columns}")
        out.add("next_k = run")
    else:
        out.add("next_j = j0")
        out.add("next_k = past")
    if not (product.one_part or product.in_panels):
        out.add("if past == end_run:")
        out.add(f"    next_j = j0 + {product.columns}")
        out.add("    next_k = run")
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
    """Where the first tile of a packed panel begins with the next panel: ``line``."""
    out.add("line = ahead")
    out.add("turn = 0")
    if not product.brings_near:
        out.add("leap = lower")


def write_next_lines(product: PlainProduct, out: Lines) -> None:
    """Where the next tile goes on with the next panel, and how far it gets, ``leap``."""
    out.add("turn = turn + 1")
    if product.brings_near:
        out.add("line = second if turn > 0 else ahead")
        return
    out.add(f"line = line + (past - depth) // {product.lanes} * leap")
    if product.reads_in_place:
        out.add("if turn == 0:")
        out.add("    line = ahead")
        out.add("    leap = lower")
    out.add("if turn == every:")
    out.add("    line = second")
    out.add("if turn == every + every:")
    out.add("    leap = 0")
