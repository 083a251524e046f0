"""Products of matrices of few literal sizes to source: loops over what lies in memory.

Such a product takes less time than packing for register tiles would, and a tenth of their code to
compile. Each element is the same FMA chain in ascending k (``codegen.gemm``); some rows at a time
fill the time in which each chain waits. Rows past the end are the last one again. What one
outer iteration sums is kept in local memory, from which the epilogue reads it row by row.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.abreast import of_row, write_decode
from staticgrad.codegen.expressions import VECTOR, Lines, Unit, element, scaled, total
from staticgrad.codegen.products.tiles import Tiles
from staticgrad.codegen.stages import base_text, scope_for, write_store
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.small_products import SMALL_ROWS, is_small_product
from staticgrad.ir.kernels.stages import Gemm

_MATRIX: Final = frozenset({"i", "j", "k"})


def is_small(kernel: Kernel, stage: Gemm) -> bool:
    """Whether an iteration is a whole product, of literal sizes."""
    extents = (axes[0].extent for axes in (stage.i, stage.j, stage.k))
    dtypes = [kernel.operand(factor.operand).dtype for factor in (stage.a, stage.b)]
    return is_small_product(extents, stage.b.stride(VECTOR), dtypes)


def write_small_product(kernel: Kernel, stage: Gemm, out: Lines, unit: Unit) -> None:
    """The body for one outer iteration ``o``, which is one product."""
    _SmallProduct(kernel, stage, unit).write(out)


class _SmallProduct:
    """The lines of one product."""

    def __init__(self, kernel: Kernel, stage: Gemm, unit: Unit) -> None:
        self.kernel, self.stage, self.unit = kernel, stage, unit
        dtype = kernel.operand(stage.a.operand).dtype
        self.lanes, self.element = dtype.lanes, element(dtype)
        self.tiles = Tiles(self.element, self.lanes, dtype.is_float, wide=True)
        self.rows, self.columns, self.inner = (
            int(axes[0].extent) for axes in (stage.i, stage.j, stage.k)
        )
        self.width = -(-self.columns // self.lanes) * self.lanes
        self.abreast = min(SMALL_ROWS, self.rows)
        self.gathers = stage.b.stride(VECTOR) != 1

    def write(self, out: Lines) -> None:
        """The sums of all rows, then their epilogue."""
        local = f"local_{self.element}"
        rows = -(-self.rows // self.abreast) * self.abreast
        self.unit.once.add(f"tile = {local}({rows * self.width})")
        write_decode(out, "o", self.kernel.axes)
        sums, before, body = Lines(), Lines(), Lines()
        if self.gathers and self.rows > self.abreast:
            self.unit.once.add(f"panel = {local}({self.inner * self.width})")
            self._write_panel(out)
            self._write_sums(sums, f"load{self.lanes}(panel, k * {self.width} + {VECTOR})")
        else:
            self._write_sums(sums, self._factor())
        body.add(f"acc = load{self.lanes}(tile, i * {self.width} + {VECTOR})")
        scope = scope_for(self.kernel, ["i", VECTOR], before, body, self.unit, self.lanes)
        scope.vector_refs = frozenset({"acc"})
        for store in self.stage.stores:
            write_store(scope, store)
        out.extend(before)
        out.add(f"for i in range(0, {self.rows}, {self.abreast}):")
        self._write_vectors(out, sums, 1)
        out.add(f"for i in range(0, {self.rows}):")
        self._write_vectors(out, body, 1)

    def _write_vectors(self, out: Lines, body: Lines, deeper: int) -> None:
        """The body for every vector of a row."""
        shift = "    " * deeper
        out.add(f"{shift}for {VECTOR} in range(0, {self.columns}, {self.lanes}):")
        out.add(f"{shift}    m = mask{self.lanes}({self.columns} - {VECTOR})")
        out.extend(body, deeper + 1)

    def _factor(self) -> str:
        """A vector of a row of b, where it lies."""
        b = self.stage.b
        across, down = b.stride(VECTOR), scaled("k", b.stride("k"))
        place = total(base_text(b, _MATRIX), down, scaled(VECTOR, across))
        if self.gathers:
            return f"load_strided({b.operand}, {place}, {across}, m)"
        return f"load({b.operand}, {place}, m)"

    def _write_panel(self, out: Lines) -> None:
        """Rows of b whose elements lie apart, gathered once for all rows of a."""
        body = Lines()
        body.add(f"for k in range(0, {self.inner}):")
        to = f"k * {self.width} + {VECTOR}"
        body.add(f"    store{self.lanes}(panel, {to}, {self._factor()})")
        self._write_vectors(out, body, 0)

    def _write_sums(self, out: Lines, factor: str) -> None:
        """The chains of some rows from ``i`` on, of one vector, to local memory."""
        a, lanes = self.stage.a, self.lanes
        for row in range(self.abreast):
            at = place = "i" if row == 0 else f"i + {row}"
            if row and self.rows % self.abreast:
                at = of_row("row", row)
                out.add(f"{at} = {place}")
                out.add(f"if {at} >= {self.rows}:")
                out.add(f"    {at} = {self.rows - 1}")
            moved = scaled(f"({at})" if row else at, a.stride("i"))
            out.add(f"{of_row('at', row)} = {total(base_text(a, _MATRIX), moved)}")
            out.add(f"{of_row('sum', row)} = {self.tiles.zero}")
        out.add(f"for k in range(0, {self.inner}):")
        out.add(f"    y = {factor}")
        for row in range(self.abreast):
            place = total(of_row("at", row), scaled("k", a.stride("k")))
            x, name = f"splat{lanes}(load1({a.operand}, {place}))", of_row("sum", row)
            out.add(f"    {name} = {self.tiles.added(x, 'y', name)}")
        for row in range(self.abreast):
            place = (
                f"(i + {row}) * {self.width} + {VECTOR}" if row else f"i * {self.width} + {VECTOR}"
            )
            out.add(f"store{lanes}(tile, {place}, {of_row('sum', row)})")
