"""Products that pack no rows: each row, and each run of inner indices, begins where a table says.

A run is the most innermost loops of k that have one stride in the rows. If b is read in place, too,
and columns do not fill a panel, the FMA chains are in the kernel itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, scaled, total
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.products.looped import LoopedProduct, flat_step, steps_of
from staticgrad.codegen.products.tiled import DEPTH, TiledProduct
from staticgrad.codegen.stages import base_text
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.stages import Axis
from staticgrad.records import dataclass

#: Runs whose distances a table has.
RUNS: Final = 4096


@dataclass
class PlacedProduct(TiledProduct):
    """A product whose rows are read where they lie, if they have no ends."""

    def place_rows(self, axes: tuple[Axis, ...]) -> None:
        """Read rows by tables, the one of runs over these loops of k."""
        self.steps = steps_of(self.stage.a, self.inner)
        self.is_placed = not (self.stage.a.bounded or self.a_stored.is_storage)
        count = next(n for n in range(len(axes)) if self._step(axes[n:]) is not None)
        self.around, self.along = axes[:count], axes[count:]
        if self.is_placed:
            self.packs_rows = False
            self.tiles = replace(self.tiles, placed=True)

    def _step(self, axes: tuple[Axis, ...]) -> int | str | None:
        """The stride of rows along some loops of k, if it is one."""
        names = {axis.name for axis in axes}
        return flat_step({n: s for n, s in self.steps.items() if n in names}, axes)

    @property
    def run(self) -> str:
        """The length of a run."""
        text = " * ".join(str(axis.extent) for axis in self.along)
        return f"({text})" if len(self.along) > 1 else text

    def declare(self, out: Lines) -> None:
        super().declare(out)
        if self.is_placed:
            out.add(f"{self}_places = local_i64({self.chunk})")
            out.add(f"{self}_runs = local_i64({RUNS + 1})")
            out.add(f"{self}_told = -1")

    def write_places(self, out: Lines) -> None:
        """Write the table of the offsets of the chunk's rows from the first row of all."""
        w, each = self.name, Lines()
        write_decode(each, f"{w}_row", self.stage.i)
        steps = steps_of(self.stage.a, {axis.name for axis in self.stage.i})
        moved = total(*(scaled(axis, step) for axis, step in steps.items()))
        each.add(f"store1({w}_places, {w}_row - {w}_first, i64x1({moved}))")
        out.add(f"for {w}_row in range({w}_first, {w}_last):")
        out.extend(each, 1)

    def write_runs(self, out: Lines, count: str) -> None:
        """Write the table of the offsets of runs from ``number`` on, unless it is there already."""
        w, made, each = self.name, Lines(), Lines()
        moved = total(*(scaled(axis.name, self.steps.get(axis.name, 0)) for axis in self.around))
        write_decode(each, f"{w}_at", self.around)
        each.add(f"store1({w}_runs, {w}_at - {w}_number, i64x1({moved}))")
        made.add(f"{w}_told = {w}_number")
        self.least(made, "made", f"{w}_number + {RUNS + 1}", f"{count} // {self.run} + 1")
        made.add(f"for {w}_at in range({w}_number, {w}_made):")
        made.extend(each, 1)
        out.add(f"if {w}_told != {w}_number:")
        out.extend(made, 1)

    def write_rows_begin(self, out: Lines) -> None:
        if not self.is_placed:
            super().write_rows_begin(out)
            return
        around = self.inner | {axis.name for axis in self.stage.i}
        out.add(f"{self}_a = {base_text(self.stage.a, frozenset(around))}")

    def arguments(self, part: int) -> dict[str, str]:
        w, found = self.name, super().arguments(part)
        if not self.is_placed:
            return found
        return found | {
            "inner": str(self._step(self.along)),
            "places": f"{w}_places",
            "top": f"{w}_top - {w}_first",
            "runs": f"{w}_runs",
            "run": self.run,
            "went": f"{w}_depth - {w}_number * {self.run}",
        }


@dataclass
class LyingProduct(PlacedProduct):
    """One whose b is read where it lies, by tiles where columns fill a panel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depth, self.is_placed = DEPTH, False
        self.tiles = replace(self.tiles, looked=True)
        if self.packs_rows:
            self.place_rows(self.stage.k)

    @property
    def reads_panel(self) -> bool:
        """Panels that are whole need no masks, whatever a vector takes."""
        return self.lies

    @cached_property
    def straight(self) -> Access | None:
        return self.scratch_of_results()

    @property
    def is_looked_up(self) -> bool:
        """True if rows are not packed and b has no single stride along the loops of k."""
        b = flat_step(steps_of(self.stage.b, self.inner), self.stage.k)
        return not self.packs_rows and b is None

    def write_tile(self, out: Lines) -> None:
        """Write the tiles after the offsets of rows; if two suffice, they have equal heights."""
        self.least(out, "last", f"{self}_first + {self.chunk}", f"{self}_m")
        self.write_tall(out)
        if self.is_placed:
            self.write_places(out)
        super().write_tile(out)

    @property
    def tall(self) -> str:
        return f"{self}_tall"

    def write_tables(self, out: Lines) -> None:
        super().write_tables(out)
        if self.is_placed:
            out.add(f"{self}_number = {self}_block // {self.run}")
            self.write_runs(out, f"{self}_stop")

    def write_chains(self, out: Lines) -> None:
        """A tile of rows, or chains in the kernel where columns do not fill vectors."""
        if self.fills_vectors:
            super().write_chains(out)
            return
        tiles, chains = Lines(), Lines()
        super().write_chains(tiles)
        LoopedProduct.write_chains(self, chains)
        out.add(f"if {self}_past - {self}_left == {self.columns}:")
        out.extend(tiles, 1)
        out.add("else:")
        out.extend(chains, 1)

    def arguments(self, part: int) -> dict[str, str]:
        w, access = self.name, self.panel_access()
        base = base_text(access, frozenset({VECTOR, f"{w}_b"}))
        return super().arguments(part) | {
            "b": access.operand,
            "near": access.operand,
            "down": total(base, f"{w}_left", str(part)),
            "reads": f"{w}_b_t",
            "lead": f"{w}_depth - {w}_block",
        }
