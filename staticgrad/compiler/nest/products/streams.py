"""Products of few rows: the second factor is streamed from memory, in the order of its elements.

Each element of it is used once for each row, which does not pay for packing::

    for each inner index k:
        for each vector of columns j of b:      # consecutive in memory
            for each row i of a:
                c[i, j..] += a[i, k] * b[k, j..]

Iterations are partitioned as for tiles, but one continues over those that follow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from staticgrad.compiler.nest.products.gemm import MatrixProduct
from staticgrad.compiler.nest.products.packing import WAY
from staticgrad.compiler.nest.products.plain import MATRIX, WIDEST
from staticgrad.compiler.nest.records import Word
from staticgrad.compiler.nest.values import Values
from staticgrad.language.ir.expr import Access
from staticgrad.language.ir.kernels.chain_parts import left_in
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import LANES, LONE

#: Rows of which as long parts are taken again as there is room for.
SOME: Final = 4


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
        _call_few_rows(p, (block, stop), {"to": into, "fresh": fresh, "width": width})
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


def _call_few_rows(p: MatrixProduct, span: tuple[Word, Word], common: dict[str, Word]) -> None:
    """Write the call of the function for few rows, for one block of k."""
    a, b, (block, stop) = p.stage.a, p.stage.b, span
    down = p.base_of(b, MATRIX) + block * p.b_down + p.left * p.b_across
    named: dict[str, Any] = common | {
        "a": p.pointer(a),
        "b": p.pointer(b),
        "c": p.tile,
        "at": p.base_of(a, MATRIX) + p.first_row * p.a_row + block * p.a_inner,
        "row": p.a_row,
        "inner": p.a_inner,
        "last": p.count - 1,
        "wide": p.right - p.left,
        "down": down,
        "step": p.b_across if p.transposed else p.b_down,
        "depth": stop - block,
    }
    passed = [named[name] for name in p.tiles.stream_arguments]
    functions = p.nest.functions
    if p.transposed:
        stream = p.tiles.few_transposed_rows(functions)
        passed.append(p.panel)
    else:
        stream = p.tiles.few_rows(functions, p.nest.machine.l2)
    p.b.do(stream, *passed, stores="tile")


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
