"""Products of which each position of the first loop of k is fed: maps write what is multiplied.

The results of a chunk of rows and a panel of columns stay while the first loop of k runs around
them. At each of its positions the maps run; then the inner indices of that position are multiplied,
a part at a time, parts ending where a block of the flattened k does. So the sums are those of any
other product. Rows are read where they lie: tables have the distance of each row, and of each run
of the innermost k.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from staticgrad.codegen.abreast import rows_of, write_decode
from staticgrad.codegen.expressions import Lines, scaled, total
from staticgrad.codegen.products import steps_of
from staticgrad.codegen.stages import Span, base_text, write_map
from staticgrad.codegen.tiled_products import TiledProduct
from staticgrad.ir.kernel import GEMM_BLOCK
from staticgrad.records import dataclass

#: Inner indices that are packed at a time.
DEPTH: Final = 512
#: Runs whose distances a table has.
RUNS: Final = 4096


@dataclass
class FedProduct(TiledProduct):
    """The lines of such a product."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depth = DEPTH
        self.first, *self.rest = self.stage.k
        self.steps = steps_of(self.stage.a, self.inner)
        self.is_placed = not (self.stage.a.bounded or self.stored.is_storage)
        if self.is_placed:
            self.packs_rows = False
            self.tiles = replace(self.tiles, rows="placed")

    @property
    def reads_panel(self) -> bool:
        return False

    @property
    def run(self) -> str:
        """How long a run is."""
        return str(self.rest[-1].extent)

    def declare(self, out: Lines) -> None:
        super().declare(out)
        if self.is_placed:
            out.add(f"{self}_places = local_i64({self.chunk})")
            out.add(f"{self}_runs = local_i64({RUNS + 1})")
            out.add(f"{self}_told = -1")

    def write_tile(self, out: Lines) -> None:
        """A chunk of rows from ``first`` on, a panel of columns from ``left`` on."""
        w, trip = self.name, Lines()
        self._least(out, "last", f"{w}_first + {self.chunk}", f"{w}_m")
        self._least(out, "past", f"{w}_left + {self.columns}", f"{w}_n")
        if self.is_placed:
            self._write_places(out)
        out.add(f"{w}_each = {' * '.join(str(axis.extent) for axis in self.rest)}")
        self._over_tile(out, 0, self._zero)
        trip.add(f"{self.first.name} = {w}_trip")
        for stage in self.stage.fed:
            span = Span("0", str(stage.axis.extent))
            write_map(self.kernel, stage, trip, span, self.unit, rows_of(self.kernel, 1))
        trip.add(f"{w}_origin = {w}_trip * {w}_each")
        trip.add(f"{w}_depth = {w}_origin")
        trip.add(f"while {w}_depth < {w}_origin + {w}_each:")
        trip.extend(self._part(), 1)
        out.add(f"for {w}_trip in range(0, {self.first.extent}):")
        out.extend(trip, 1)
        self._write_epilogue(out)

    def _part(self) -> Lines:
        """Inner indices from ``depth`` on, of one position, one block and one table."""
        w, part, tiles, pack = self.name, Lines(), Lines(), Lines()
        part.add(f"{w}_block = {w}_depth // {GEMM_BLOCK} * {GEMM_BLOCK}")
        self._least(part, "stop", f"{w}_block + {GEMM_BLOCK}", f"{w}_deep")
        self._least(part, "end", f"{w}_depth + {self.depth}", f"{w}_stop")
        self._ends(part, f"{w}_origin + {w}_each")
        if self.is_placed:
            self._write_runs(part)
        self._write_pack(pack)
        self.write_chains(tiles)
        self._write_tables(part)
        part.extend(pack)
        part.add(f"{w}_into = 0")
        part.add(f"if {w}_block > 0:")
        part.add(f"    {w}_into = {self.room}")
        part.add(f"for {w}_top in range({w}_first, {w}_last, {self.rows}):")
        part.extend(tiles, 1)
        part.add(f"if {w}_block > 0 and {w}_end == {w}_stop:")
        whole, block = (f"load{self.lanes}({w}_tile, at{more})" for more in ("", f" + {self.room}"))
        self._over_tile(part, 1, f"{whole} + {block}")
        part.add(f"{w}_depth = {w}_end")
        return part

    def _ends(self, out: Lines, limit: str) -> None:
        """The part ends there, too."""
        out.add(f"if {self}_end > {limit}:")
        out.add(f"    {self}_end = {limit}")

    def _write_places(self, out: Lines) -> None:
        """How far each row of the chunk lies from the first of all."""
        w, each = self.name, Lines()
        write_decode(each, f"{w}_row", self.stage.i)
        steps = steps_of(self.stage.a, {axis.name for axis in self.stage.i})
        moved = total(*(scaled(axis, step) for axis, step in steps.items()))
        each.add(f"store1({w}_places, {w}_row - {w}_first, i64x1({moved}))")
        out.add(f"for {w}_row in range({w}_first, {w}_last):")
        out.extend(each, 1)

    def _write_runs(self, out: Lines) -> None:
        """How far the runs of a position lie, from that of ``depth`` on, unless they are there."""
        w, made, each = self.name, Lines(), Lines()
        out.add(f"{w}_number = ({w}_depth - {w}_origin) // {self.run} // {RUNS} * {RUNS}")
        self._ends(out, f"{w}_origin + ({w}_number + {RUNS}) * {self.run}")
        *around, _ = self.rest
        moved = total(*(scaled(axis.name, self.steps.get(axis.name, 0)) for axis in around))
        write_decode(each, f"{w}_at", around)
        each.add(f"store1({w}_runs, {w}_at - {w}_number, i64x1({moved}))")
        made.add(f"{w}_told = {w}_number")
        self._least(made, "made", f"{w}_number + {RUNS + 1}", f"{w}_each // {self.run} + 1")
        made.add(f"for {w}_at in range({w}_number, {w}_made):")
        made.extend(each, 1)
        out.add(f"if {w}_told != {w}_number:")
        out.extend(made, 1)

    def write_rows_begin(self, out: Lines) -> None:
        around = self.inner | {axis.name for axis in self.stage.i}
        base = base_text(self.stage.a, frozenset(around))
        trips = scaled(f"{self}_trip", self.steps.get(self.first.name, 0))
        out.add(f"{self}_a = {total(base, trips)}")

    def arguments(self, part: int) -> dict[str, str]:
        w = self.name
        return super().arguments(part) | {
            "inner": str(self.steps.get(self.rest[-1].name, 0)),
            "places": f"{w}_places",
            "top": f"{w}_top - {w}_first",
            "runs": f"{w}_runs",
            "run": self.run,
            "went": f"{w}_depth - {w}_origin - {w}_number * {self.run}",
        }
