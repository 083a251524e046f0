"""How many iterations a product has, and what they are, as ``ir.product_iterations`` cuts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import Lines
from staticgrad.ir.kernels.chain_parts import left_in, record_words
from staticgrad.ir.kernels.product_iterations import CHUNK, FEWEST, MANY_PANELS, PANELS, TALL

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct


def write_cut(product: PlainProduct, out: Lines) -> None:
    """What iterations are, before the loop over them."""
    _write_part(product, out)
    m, columns = product.m, product.columns
    chunk = str(CHUNK)
    if product.chunk > CHUNK:
        out.add(f"chunk = {TALL} if {product.n} >= {MANY_PANELS * columns} else {CHUNK}")
        chunk = "chunk"
    out.add(f"chunks = ({m} + {chunk} - 1) // {chunk} if {m} > 0 else 1")
    out.add(f"chunk = (({m} + chunks - 1) // chunks + 7) // 8 * 8")
    out.add(f"panels = ({product.n} + {columns - 1}) // {columns}")
    product.least(out, "group", f"chunks * panels // {FEWEST}", "chunks")
    out.add(f"if group > {PANELS} or {m} <= {product.streamed}:")
    out.add(f"    group = {PANELS}")
    out.add("if group < 1:")
    out.add("    group = 1")
    out.add("groups = (panels + group - 1) // group")
    out.add(f"group = group * {columns}")
    if product.two_terms or not product.deep:
        out.add("reached = begin")


def _write_part(product: PlainProduct, out: Lines) -> None:
    """Which inner indices a call has, and then which iterations, of a product that has parts."""
    if not product.streams or left_in(product.kernel) is None:
        return
    words = record_words(product.kernel)
    out.add("first_k = 0")
    out.add(f"past_k = {product.k}")
    out.add("if end < 0:")
    for number, name in enumerate(("first_k", "past_k", "begin", "end")):
        out.add(f"    {name} = t[{words + number}]")


def write_cover(product: PlainProduct, out: Lines) -> None:
    """Iterations of the same rows as one: a run of inner indices of rows is packed, or comes from
    memory, once for all panels. Where results are kept, as far as a tile has room for them.

    Where neither rows nor results are, all columns of several chunks of rows are one iteration:
    panels are packed once for all of these.
    """
    out.add("if o < covered:")
    out.add("    continue")  # an earlier iteration went on here
    if product.packs_rows or product.keeps:
        room = f"o + {product.covered * product.columns} // group"
        few = f" if {product.k} <= {product.long} else {room}"
        few = few if product.keeps and not product.one_run else ""
        out.add(f"covered = end{few}")
        past = "(o // groups + 1) * groups"
        out.add(f"if covered > {past}:")
        out.add(f"    covered = {past}")
    else:
        out.add("chunks_on = (end - o) // groups if left == 0 else 1")
        out.add("if chunks_on > chunks - o // groups % chunks:")
        out.add("    chunks_on = chunks - o // groups % chunks")
        out.add("if chunks_on < 1:")
        out.add("    chunks_on = 1")
        product.least(out, "last_row", "first_row + chunks_on * chunk", str(product.m))
        out.add("count = last_row - first_row")
        out.add("covered = (o // groups + chunks_on) * groups")
    out.add("if covered > end:")
    out.add("    covered = end")
    product.least(out, "right", "left + (covered - o) * group", str(product.n))
