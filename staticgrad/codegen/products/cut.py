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
    if not product.deep:
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
    memory, once for all panels. Where results are kept, as far as a tile has room for them."""
    out.add("if o < covered:")
    out.add("    continue")  # an earlier iteration went on here
    out.add("covered = o + 1")
    kept = product.straight is None
    shift = ""
    if product.may_collide and kept:
        out.add("if collide:")
        shift = "    "
    room = f"o + {product.covered * product.columns} // group"
    few = f" if {product.k} <= {product.long} else {room}" if kept and not product.one_run else ""
    out.add(f"{shift}covered = end{few}")
    for most in ("end", "(o // groups + 1) * groups"):
        out.add(f"if covered > {most}:")
        out.add(f"    covered = {most}")
    product.least(out, "right", "left + (covered - o) * group", str(product.n))
