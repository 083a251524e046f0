"""Products over several loops that take register tiles.

Panels are packed as in ``codegen.products``; each part of one goes through the tiles that products
of matrices have (``codegen.tiles``). Rows are read in place if the loops of k have one stride in
them, and else packed, a tile at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, scaled, total
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.products.gemm import stored_as_is
from staticgrad.codegen.products.looped import LoopedProduct, flat_step, steps_of
from staticgrad.codegen.products.tiles import Tiles
from staticgrad.codegen.stages import base_text
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.records import dataclass

#: Inner indices of a part where nothing is packed.
DEPTH: Final = 640


@dataclass
class TiledProduct(LoopedProduct):
    """A product whose chains are those of register tiles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        a = self.stage.a
        self.step = flat_step(steps_of(a, self.inner), self.stage.k)
        self.packs_rows = (
            bool(a.bounded)
            or len(self.stage.i) > 1
            or self.step is None
            or self.a_stored.is_storage
        )
        self.tiles = Tiles(
            self.element,
            self.lanes,
            self.dtype.is_float,
            not self.split,
        )
        self.rows, self.columns = self.tiles.highest, 2 * self.lanes

    @property
    def takes_rows(self) -> bool:
        """True if rows are read in place, or have ends, so that they are packed anyway."""
        return self.step is not None or bool(self.stage.a.bounded)

    @property
    def room(self) -> int:
        return (self.chunk + self.tiles.highest) * self.columns

    @property
    def packed_count(self) -> str:
        return f"{self}_count"

    @property
    def tall(self) -> str:
        own = self.keeps_panels and not self.packs_rows and self.tiles.wide
        return f"{self}_tall" if own else str(self.rows)

    def write_tile(self, out: Lines) -> None:
        if self.tall != str(self.rows):
            self.least(out, "last", f"{self}_first + {self.chunk}", f"{self}_m")
            self.write_tall(out)
        super().write_tile(out)

    def write_chains(self, out: Lines) -> None:
        """A tile of rows, from ``depth`` to ``end``."""
        w, vectors = self.name, max(self.tiles.heights)
        out.add(f"{w}_count = {w}_last - {w}_top")
        out.add(f"if {w}_count > {self.tall}:")
        out.add(f"    {w}_count = {self.tall}")
        if self.packs_rows:
            self.write_rows(out)
            out.add(f"{w}_a = 0")
        else:
            self.write_rows_begin(out)
        if self.keeps_panels:
            self._write_ahead(out)
        out.add(f"{w}_wide = {w}_past - {w}_left")
        out.add(f"{w}_to = {w}_into + ({w}_top - {w}_first) * {self.columns}")
        out.add(f"{w}_fresh = {self.is_fresh}")
        for part in range(0, self.columns, vectors * self.lanes):
            shift = ""
            if part:
                out.add(f"if {w}_wide > {part}:")
                shift = "    "
            if self.straight is None:
                out.add(shift + self._call(vectors, self.arguments(part)))
                continue
            named = self.arguments(part)
            out.add(f"{shift}if {w}_top < {w}_kept:")
            out.add(f"{shift}    {self._call(vectors, named | self._stored(self.straight, part))}")
            out.add(f"{shift}else:")
            out.add(f"{shift}    {self._call(vectors, named)}")

    def _call(self, vectors: int, named: Mapping[str, str]) -> str:
        name = self.tiles.function(self.unit, vectors)
        return f"{name}({', '.join(named[n] for n in self.tiles.arguments)})"

    # -- results that tiles store where they belong -----------------------------------------------

    @cached_property
    def straight(self) -> Access | None:
        """The access to which tiles store results without epilogue; None if they may not. Other
        threads do not see the results, and columns are whole panels."""
        return None

    @property
    def left_over(self) -> str:
        return super().left_over if self.straight is None else f"{self}_kept"

    def scratch_of_results(self) -> Access | None:
        """The scratch that takes the results as they are, row by row."""
        to, axes = stored_as_is(self.kernel, self.stage), self.stage.i
        limited = self.begins or axes[0].past or self.stage.k[0].past
        if to is None or limited or not self.fills_vectors:
            return None
        return to if self.kernel.operand(to.operand).mode == "scratch" else None

    def _write_kept(self, out: Lines) -> None:
        """Write the end of the rows whose tiles store: they have no more rows than there are."""
        w, heights = self.name, self.tiles.covering
        out.add(f"{w}_rest = ({w}_last - {w}_first) % {self.tall}")
        out.add(f"{w}_kept = {w}_last")
        whole = " and ".join(f"{w}_rest != {height}" for height in (0, *heights))
        out.add(f"if {whole}:")
        out.add(f"    {w}_kept = {w}_last - {w}_rest")
        if not self.once.block:
            for other in (f"> {GEMM_BLOCK}", "== 0"):
                out.add(f"if {w}_deep {other}:")
                out.add(f"    {w}_kept = {w}_first")

    def _stored(self, to: Access, part: int) -> dict[str, str]:
        """Return the arguments of a tile that stores."""
        w, axis = self.name, self.stage.i[0].name
        around = base_text(to, frozenset({VECTOR, axis}))
        row = scaled(f"{w}_top", to.stride(axis))
        place = total(around, row, f"{w}_left", str(part))
        return {"c": to.operand, "to": place, "width": str(to.stride(axis))}

    def _write_ahead(self, out: Lines) -> None:
        """The panel that is packed next: the processor brings no rows near that lie so far apart.

        While the first tile runs, it brings one half near, and others bring the second one.
        """
        w, b = self.name, self.stage.b
        base = base_text(b, frozenset({VECTOR, *self.inner}))
        rows = scaled(f"({w}_left + {self.columns})", b.stride(VECTOR))
        out.add(f"{w}_ahead = {total(base, f'{w}_depth', rows)}")
        out.add(f"if {w}_top > {w}_first:")
        out.add(f"    {w}_ahead = {w}_ahead + {scaled(str(self.lanes), b.stride(VECTOR))}")

    def write_rows_begin(self, out: Lines) -> None:
        """Write the start of the rows of a tile that are read in place."""
        write_decode(out, f"{self}_top", self.stage.i)
        base = base_text(self.stage.a, frozenset(self.inner))
        out.add(f"{self}_a = {total(base, scaled(f'{self}_depth', self.step or 0))}")

    def write_tall(self, out: Lines) -> None:
        """Tiles of equal heights, if two do; and which of them store."""
        w, heights = self.name, self.tiles.heights[max(self.tiles.heights)]
        out.add(f"{w}_tall = {self.rows}")
        if 2 * heights[1] > self.rows:
            out.add(f"if {w}_last - {w}_first > {self.rows}:")
            out.add(f"    if {w}_last - {w}_first <= {2 * heights[1]}:")
            out.add(f"        {w}_tall = {heights[1]}")
        if self.straight is not None:
            self._write_kept(out)

    def arguments(self, part: int) -> dict[str, str]:
        """Return the arguments of a tile, for a part of the panel."""
        w, packs, keeps = self.name, self.packs_rows, self.keeps_panels
        across = self.stage.b.stride(VECTOR)
        return {
            "a": f"{w}_rows" if packs else self.stage.a.operand,
            "b": f"{w}_panel",
            "c": f"{w}_tile",
            "near": self.stage.b.operand if keeps else f"{w}_panel",
            "at": f"{w}_a",
            "row": str(self.depth if packs else self.stage.a.stride("i")),
            "inner": str(1 if packs else self.step),
            "last": f"{w}_count - 1",
            "wide": f"{w}_wide",
            "down": total(self.slot, str(part)),
            "step": str(self.columns),
            "to": total(f"{w}_to", str(part)),
            "width": str(self.columns),
            "depth": f"{w}_end - {w}_depth",
            "fresh": f"{w}_fresh",
            "ahead": f"{w}_ahead" if keeps else "0",
            "hop": scaled(f"{w}_packs", across) if keeps else "0",
            "leap": scaled(f"{w}_packs", self.lanes) if keeps else "0",
        }


@dataclass
class WholePanels(TiledProduct):
    """One whose columns are whole panels of a matrix, and rows those of another: nothing is packed.

    A tile brings the rows of the next panel near.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depth = DEPTH
        self.down = flat_step(steps_of(self.stage.b, self.inner), self.stage.k)

    @property
    def is_possible(self) -> bool:
        """True if the layouts of the factors allow it."""
        return self.lies and self.fills_vectors and not self.packs_rows and self.down is not None

    @property
    def reads_panel(self) -> bool:
        return True

    @cached_property
    def straight(self) -> Access | None:
        return self.scratch_of_results()

    @property
    def tall(self) -> str:
        return f"{self}_tall"

    def arguments(self, part: int) -> dict[str, str]:
        w, b = self.name, self.stage.b
        base = base_text(b, frozenset({VECTOR, *self.inner}))
        first = total(base, scaled(f"{w}_depth", self.down or 0), f"{w}_left", str(part))
        return super().arguments(part) | {
            "b": b.operand,
            "near": b.operand,
            "down": first,
            "step": str(self.down),
            "ahead": total(first, str(self.columns)),
            "hop": str(self.down),
            "leap": scaled(str(self.lanes), self.down or 0),
        }
