"""Products with fused producers: maps write factors in each iteration of the first loop of k.

The results of a chunk of rows and a panel of columns stay while the first loop of k runs. Each of
its iterations runs the maps, then multiplies its inner indices, a part at a time; a part ends where
a block of the flattened k ends. So sums are added in the same order as in any other product. Rows
are read in place: tables contain the offset of each row, and of each run of the innermost k.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.expressions import Lines, scaled, total
from staticgrad.codegen.jammed import rows_of
from staticgrad.codegen.products.placed import RUNS, PlacedProduct
from staticgrad.codegen.stages import Span, write_map
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.records import dataclass

#: Inner indices that are packed at a time.
DEPTH: Final = 512


@dataclass
class FedProduct(PlacedProduct):
    """The lines of such a product."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depth = DEPTH
        self.first, *rest = self.stage.k
        self.rest = tuple(rest)
        self.place_rows(self.rest)

    @property
    def reads_panel(self) -> bool:
        return False

    def write_limits(self, out: Lines) -> None:
        super().write_limits(out)
        w = self.name
        out.add(f"{w}_each = {' * '.join(str(axis.extent) for axis in self.rest)}")
        if self.first.past:  # what was kept are positions of the first loop
            out.add(f"{w}_iterations = {w}_deep")
            out.add(f"{w}_deep = {w}_iterations * {w}_each")

    def write_tile(self, out: Lines) -> None:
        """A chunk of rows from ``first`` on, a panel of columns from ``left`` on."""
        w, iteration = self.name, Lines()
        iterations = f"{w}_iterations" if self.first.past else self.first.extent
        self.least(out, "last", f"{w}_first + {self.chunk}", f"{w}_m")
        self.least(out, "past", f"{w}_left + {self.columns}", f"{w}_n")
        if self.is_placed:
            self.write_places(out)
        self.over_tile(out, 0, self.zero)
        iteration.add(f"{self.first.name} = {w}_iteration")
        for stage in self.stage.fed:
            if self.unit.write_map is not None:
                iteration.lines += self.unit.write_map(stage)
                continue
            span = Span("0", str(stage.axis.extent))
            write_map(self.kernel, stage, iteration, span, self.unit, rows_of(self.kernel, 1))
        iteration.add(f"{w}_origin = {w}_iteration * {w}_each")
        iteration.add(f"{w}_depth = {w}_origin")
        iteration.add(f"while {w}_depth < {w}_origin + {w}_each:")
        iteration.extend(self._part(), 1)
        out.add(f"for {w}_iteration in range(0, {iterations}):")
        out.extend(iteration, 1)
        self._write_epilogue(out)

    def _part(self) -> Lines:
        """Inner indices from ``depth`` on, of one position, one block and one table."""
        w, part, tiles, pack = self.name, Lines(), Lines(), Lines()
        part.add(f"{w}_block = {w}_depth // {GEMM_BLOCK} * {GEMM_BLOCK}")
        self.least(part, "stop", f"{w}_block + {GEMM_BLOCK}", f"{w}_deep")
        self.least(part, "end", f"{w}_depth + {self.depth}", f"{w}_stop")
        self._ends(part, f"{w}_origin + {w}_each")
        if self.is_placed:
            self._tell_runs(part)
        self._write_pack(pack)
        self.write_chains(tiles)
        self.write_tables(part)
        part.extend(pack)
        part.add(f"{w}_into = 0")
        part.add(f"if {w}_block > 0:")
        part.add(f"    {w}_into = {self.room}")
        part.add(f"for {w}_top in range({w}_first, {w}_last, {self.rows}):")
        part.extend(tiles, 1)
        part.add(f"if {w}_block > 0 and {w}_end == {w}_stop:")
        whole, block = (f"load{self.lanes}({w}_tile, at{more})" for more in ("", f" + {self.room}"))
        self.over_tile(part, 1, f"{whole} + {block}")
        part.add(f"{w}_depth = {w}_end")
        return part

    def _ends(self, out: Lines, limit: str) -> None:
        """The part ends there, too."""
        out.add(f"if {self}_end > {limit}:")
        out.add(f"    {self}_end = {limit}")

    def _tell_runs(self, out: Lines) -> None:
        """The runs of a position, from the table that has that of ``depth``."""
        w = self.name
        out.add(f"{w}_number = ({w}_depth - {w}_origin) // {self.run} // {RUNS} * {RUNS}")
        self._ends(out, f"{w}_origin + ({w}_number + {RUNS}) * {self.run}")
        self.write_runs(out, f"{w}_each")

    def write_rows_begin(self, out: Lines) -> None:
        super().write_rows_begin(out)
        if self.first.name in self.steps:
            iterations = scaled(f"{self}_iteration", self.steps[self.first.name])
            out.add(f"{self}_a = {total(f'{self}_a', iterations)}")

    def arguments(self, part: int) -> dict[str, str]:
        w = self.name
        went = f"{w}_depth - {w}_origin - {w}_number * {self.run}"
        return super().arguments(part) | {"went": went}
