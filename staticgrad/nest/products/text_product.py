"""The lines of products of matrices that are written as source: of few rows, columns or terms."""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.lines import (
    VECTOR,
    Lines,
    Unit,
    base_text,
    work,
    write_decode,
)
from staticgrad.ir.kernels.chain_parts import left_in, record_words
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import CHUNK, FEWEST, PANELS, Gemm
from staticgrad.ir.kernels.together import whole_vectors
from staticgrad.nest.products.plain import PlainProduct

_MATRIX = frozenset({"i", "j", "k"})
#: Vectors that are computed side by side there, and lines of a body up to which they are.
JAMMED: Final = 4
_PLAIN: Final = 5


class TextProduct(PlainProduct):
    """The lines of one product of matrices."""

    def __init__(self, kernel: Kernel, stage: Gemm, unit: Unit) -> None:
        super().__init__(kernel, stage, unit)
        self.a, self.b = base_text(stage.a, _MATRIX), base_text(stage.b, _MATRIX)
        self.before = Lines()  # what the epilogue needs once for an iteration

    def write_cut(self, out: Lines) -> None:
        """Write the partition into iterations, before the loop over them."""
        self._write_first_and_past_k(out)
        m, columns = self.m, self.columns
        out.add(f"chunks = ({m} + {CHUNK} - 1) // {CHUNK} if {m} > 0 else 1")
        out.add(f"chunk = (({m} + chunks - 1) // chunks + 7) // 8 * 8")
        out.add(f"panels = ({self.n} + {columns - 1}) // {columns}")
        self.least(out, "group", f"chunks * panels // {FEWEST}", "chunks")
        out.add(f"if group > {PANELS} or {m} <= {self.streamed}:")
        out.add(f"    group = {PANELS}")
        out.add("if group < 1:")
        out.add("    group = 1")
        out.add("groups = (panels + group - 1) // group")
        out.add(f"group = group * {columns}")

    def _write_first_and_past_k(self, out: Lines) -> None:
        """Read which inner indices and iterations a call computes, if k is split over calls."""
        if not self.streams or left_in(self.kernel) is None:
            return
        words = record_words(self.kernel)
        out.add("first_k = 0")
        out.add(f"past_k = {self.k}")
        out.add("if end < 0:")
        for number, name in enumerate(("first_k", "past_k", "begin", "end")):
            out.add(f"    {name} = t[{words + number}]")

    def write_position(self, out: Lines) -> None:
        """The rows and columns of the iteration."""
        out.add("left = o % groups * group")
        out.add("rest = o // groups")
        out.add("first_row = rest % chunks * chunk")
        out.add("rest = rest // chunks")
        write_decode(out, "rest", self.kernel.axes)
        self.least(out, "last_row", "first_row + chunk", str(self.m))
        self.least(out, "right", "left + group", str(self.n))
        out.add("count = last_row - first_row")

    def declare_room(self, out: Lines) -> None:
        """Local memory for results, and for panels."""
        out.add(f"tile = local_{self.element}({self.room})")
        panels = self.packed * self.depth + self.lanes * self.columns
        out.add(f"panel = local_{self.element}({panels})")

    def least(self, out: Lines, name: str, value: str, most: str, deeper: int = 0) -> None:
        """The smaller of two numbers."""
        shift, name = "    " * deeper, name.strip()
        out.add(f"{shift}{name} = {value}")
        out.add(f"{shift}if {name} > {most}:")
        out.add(f"{shift}    {name} = {most}")

    def repeated(self, place: str) -> str:
        """An element of a in every lane, as the tile has it."""
        one = self.packing.widened(f"load1({self.stage.a.operand}, {place})")
        return f"splat{self.lanes}({one})"

    def columns_at(self, place: str) -> str:
        """A vector of b under the mask ``m``, one column next to the other, as the tile has it."""
        return self.panels.widened(f"load({self.stage.b.operand}, {place}, m)")

    def write_stores(self, body: Lines) -> None:
        """A vector of the results, ``acc``, through the stores' expressions."""
        wanted, inner = self.stage.stores, ["i", VECTOR]
        found = self.unit.write_vectors(wanted, inner, self.lanes, called={"acc": "acc"})
        self.before.lines += [f"{'    ' * self.before.indent}{line}" for line in found.before]
        body.lines += found.body

    def write_epilogue(self, out: Lines, place: str, width: str) -> None:
        """The stores of the rows from ``top`` to ``under``, whose results begin at ``place``."""
        body, row = Lines(), Lines()
        self.write_stores(body)
        one = Lines()
        one.add(f"acc = load{self.lanes}(tile, from_ + {VECTOR})")
        one.extend(body)
        row.add(f"{VECTOR} = j0")
        write_run(self, row, one, "right_end")
        out.add(f"from_ = {place} - j0")
        out.add("for i in range(first_row + top, first_row + under):")
        out.extend(row, 1)
        out.add(f"    from_ = from_ + {width}")


def write_run(product: TextProduct, out: Lines, body: Lines, stop: str) -> None:
    """The vectors of a row up to ``stop``, some whole ones at a time."""
    lanes, lines = product.lanes, work(body, product.unit)
    vectors = JAMMED if lines <= _PLAIN else whole_vectors(lines, 1)
    one = Lines()
    one.extend(body)
    one.add(f"{VECTOR} = {VECTOR} + {lanes}")
    if vectors:
        out.add(f"m = mask{lanes}({lanes})")
        out.add(f"while {VECTOR} + {vectors * lanes} <= {stop}:")
        for _ in range(vectors):
            out.extend(one, 1)
    out.add(f"while {VECTOR} < {stop}:")
    out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
    out.extend(one, 1)
