"""The method of a product of matrices: few rows, rows for lanes, operands in place, or packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgrad.compiler.nest.products.direct import DirectProduct, is_direct, write_direct
from staticgrad.compiler.nest.products.gemm import MatrixProduct
from staticgrad.compiler.nest.products.narrow import has_rows_for_lanes, write_rows_for_lanes
from staticgrad.compiler.nest.products.plain import FEW_TERMS
from staticgrad.compiler.nest.products.streams import write_few_rows
from staticgrad.compiler.nest.records import Name
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.kernels.stages import Gemm


def write_gemm(nest: NestWriter, stage: Gemm, begin: Name, end: Name) -> None:
    """Write the loop nest of a GEMM: the loop over the iterations of a matrix product."""
    product = MatrixProduct(nest, stage)
    write: Callable[[MatrixProduct], None] = _some_rows
    if has_rows_for_lanes(product):
        write = write_rows_for_lanes
    elif is_direct(product) and not product.in_panels:
        write = write_direct
    product.write(begin, end, write)


def _some_rows(p: MatrixProduct) -> None:
    """Write rows and columns of a matrix product by the method that suits their number."""
    choose, few = p.choose, DirectProduct(p)
    p.declare(p.room, p.packed * p.words + p.lanes * p.columns)
    cases: list[tuple[tuple[Any, ...], Callable[[], None]]] = []
    if p.streams:
        rows = choose("gt", p.terms, 1, p.rows_of_c, p.streamed + 1)
        cases.append((("le", rows, p.streamed), lambda: write_few_rows(p)))
    if few.serves_few_terms:
        terms = choose("gt", p.terms, 0, p.terms, FEW_TERMS + 1)
        cases.append((("le", terms, FEW_TERMS), few.write))
    if p.only_streams:
        write_few_rows(p)
    elif p.in_panels:
        p.b.cases([*cases, ((), p.blocks)])
    else:
        p.covered = p.before_all("covered", p.begin)
        with p.b.branch("ge", p.turn, p.covered):
            p.b.cases([*cases, ((), p.blocks)])
