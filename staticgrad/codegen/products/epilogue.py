"""What products of matrices do with the results of a tile: the stores' expressions, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import VECTOR, Lines, scaled, total
from staticgrad.codegen.prefetching import touched_by_next_tile
from staticgrad.codegen.stages import base_text
from staticgrad.codegen.vectors import SHORT, work
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.names import PRODUCT
from staticgrad.ir.kernels.stages import Gemm

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct


def stored_as_is(kernel: Kernel, stage: Gemm) -> Access | None:
    """Where a product's results go as they are, by rows, if nothing else is done with them."""
    if len(stage.stores) != 1 or len(stage.i) != 1:
        return None
    (store,) = stage.stores
    to, value = store.access, store.value
    alone = to.operand not in {stage.a.operand, stage.b.operand}
    plain = value.op == "ref" and value.attribute == PRODUCT
    plain = plain and value.dtype == kernel.operand(to.operand).dtype
    simple = plain and not (store.indices or store.combine or to.bounded)
    lies = to.stride(VECTOR) == 1 and to.stride(stage.i[0].name) != 0
    return to if alone and simple and lies else None


def write_straight(product: PlainProduct, out: Lines, to: Access) -> None:
    """Where a tile's results go, and whether they are kept for the epilogue, ``keeps``.

    Those of a panel that is not full are: a tile would store more. What it adds to is copied
    before.
    """
    row = to.stride("i")
    base = base_text(to, frozenset({"i", VECTOR}))
    place = total(base, scaled("(first_row + top)", row), "j0")
    if product.fills_panels:
        out.add(f"to = {place}")
        return
    out.add(f"keeps = 1 if wide < {product.columns} else 0")
    out.add(f"c_at = address(tile) if keeps == 1 else address({to.operand})")
    out.add(f"to = to if keeps == 1 else {place}")
    out.add(f"width = {product.columns} if keeps == 1 else {row}")
    if product.one_part:
        return
    out.add("if keeps == 1 and fresh == 0:")
    out.add("    from_ = to")
    out.add("    for i in range(first_row + top, first_row + top + rows):")
    for half in range(0, product.columns, product.lanes):
        place = total(base, scaled("i", row), f"j0 + {half}")
        out.add(f"        m = mask{product.lanes}(wide - {half})")
        value = f"load({to.operand}, {place}, m)"
        out.add(f"        store{product.lanes}(tile, {total('from_', str(half))}, {value})")
    out.add(f"        from_ = from_ + {product.columns}")


def write_last_part(product: PlainProduct, out: Lines) -> None:
    """The epilogue behind the last part of k, for results that tiles did not store."""
    lines, test = Lines(), ""
    if product.straight is not None:
        if product.fills_panels:
            return
        test = "keeps == 1"
    elif not product.one_part:
        test = f"past == {product.k}"
    write_epilogue(product, lines, rare=product.straight is not None)
    if test:
        out.add(f"if {test}:")
    out.extend(lines, int(bool(test)))


def write_epilogue(product: PlainProduct, out: Lines, rare: bool = False) -> None:
    """Each stored vector of the tile's rows through the stores' expressions.

    ``rare``: most tiles do without, so that less code is better than faster code.
    """
    body, lanes = Lines(), product.lanes
    scope = product.write_stores(body)
    rest = Lines()
    fills = product.fills_panels
    past = product.columns if fills else f"{product.columns} if wide > {lanes} else {lanes}"
    rest.add(f"for half in range(0, {past}, {lanes}):")
    rest.add(f"    {VECTOR} = j0 + half")
    rest.add(f"    m = mask{lanes}({lanes if fills else 'wide - half'})")
    one, long = Lines(), rare or work(body, product.unit) > SHORT
    one.add(f"acc = load{lanes}(tile, from_)")
    ahead = not rare
    if long and ahead:  # a line of a row, then one of the next: hardware finds no stream in that
        one.lines += touched_by_next_tile(product.stage.stores, scope, product.columns)
    one.extend(body)
    _write_each_row(product, rest, one, "to - into + half", 1)
    if long:
        out.extend(rest)
        return
    whole, masked = Lines(), product.tiles.wide and not fills
    for half in range(0, product.columns, lanes):
        if masked:
            out.add(f"on{half} = mask{lanes}({f'wide - {half}' if half else 'wide'})")
            whole.add(f"m = on{half}")
        whole.add(f"{VECTOR} = {total('j0', str(half))}")
        whole.add(f"acc = load{lanes}(tile, {total('from_', str(half))})")
        if ahead:
            whole.lines += touched_by_next_tile(product.stage.stores, scope, product.columns)
        whole.extend(body)
    if masked:
        _write_each_row(product, out, whole, "to - into", 0)
        return
    if fills:
        out.add(f"m = mask{lanes}({lanes})")
        _write_each_row(product, out, whole, "to - into", 0)
        return
    out.add(f"if wide >= {product.columns}:")
    out.add(f"    m = mask{lanes}({lanes})")
    _write_each_row(product, out, whole, "to - into", 1)
    out.add("else:")
    out.extend(rest, 1)


def _write_each_row(
    product: PlainProduct, out: Lines, body: Lines, start: str, deeper: int
) -> None:
    """The body for every row of the tile, whose results begin at ``from_``."""
    rows = Lines()
    rows.add(f"from_ = {start}")
    if any("prefetch" in line for line in body.lines):
        block = product.panels_abreast > 1
        if block:
            rows.add("on = 0")
            rows.add("over = 1")
            rows.add(f"if j0 + {product.columns} >= last_column:")
        last = Lines()
        last.add("on = rows")
        last.add(f"over = {f'(first_column - j0) // {product.columns}' if block else '0'}")
        last.add("if under == count:")
        last.add("    on = -top")
        last.add("    over = 1")
        rows.extend(last, int(block))
    rows.add("for i in range(first_row + top, first_row + under):")
    rows.extend(body, 1)
    rows.add(f"    from_ = from_ + {product.columns}")
    out.extend(rows, deeper)
