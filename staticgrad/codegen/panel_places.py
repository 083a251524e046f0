"""Where tiles find a panel of b, and the next one: packed, or where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.expressions import Lines, scaled, total

if TYPE_CHECKING:
    from staticgrad.codegen.gemm import PlainProduct

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
    out.add("coming = ahead")
    out.add(f"ahead = down + {AHEAD} * step")


def write_ahead(product: PlainProduct, out: Lines) -> None:
    """The next panel, and its second vector, which tiles bring near in this order.

    Behind the last one it is the first of the next iteration, if that has the same rows.
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
    out.add(f"ahead = {total(product.b, *moved)}")
    out.add(f"second = ahead + {scaled(str(product.lanes), product.across)}")
