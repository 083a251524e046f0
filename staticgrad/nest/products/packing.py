"""Packing operands of products: functions that kernels share, for each layout of a factor.

A panel of b contains the vectors of one inner index behind those of another; rows of a that lie
across memory are packed as tiles in the same order of inner indices. Elements beyond the ends of a
matrix are zero, or not written if they are not read.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.lines import Lines, Unit, total
from staticgrad.ir.execution import EVEN
from staticgrad.records import dataclass

#: Arguments of what packs a panel, from ``to`` on: b from ``at``, an inner index is ``step``
#: and a column ``across`` further; ``steps`` inner indices, ``wide`` columns to the matrix's end.
PANEL: Final = ("b", "panel", "at", "step", "across", "steps", "wide", "to")
#: Arguments of what packs a tile of rows across memory: a from ``at`` on, where an inner index is
#: ``inner`` further; ``left`` rows to the matrix's end.
ROWS: Final = ("a", "packed", "at", "inner", "steps", "left")
#: Arguments of what packs rows as they lie: a from ``at`` on, ``rows`` of ``steps`` inner indices,
#: a row ``row`` and an inner index ``inner`` further; packed, a row is ``depth`` further.
LINES: Final = ("a", "packed", "at", "row", "inner", "rows", "steps", "depth")
#: Bytes between rows of which all lie in the same few lines of the nearest cache: a way of it.
WAY: Final = 4096


@dataclass(frozen=True)
class Packing:
    """Functions for factors that lie as ``stored``, and are packed as ``lanes`` of ``element``."""

    element: str
    lanes: int
    stored: str

    @property
    def _suffix(self) -> str:
        return self.element if self.stored == self.element else f"{self.element}_{self.stored}"

    def widened(self, text: str) -> str:
        """Stored elements as those that are multiplied."""
        return text if self.stored == self.element else f"cast_{self.element}({text})"

    def panel(self, unit: Unit, columns: int, lies: str) -> str:
        """The name of the function that packs a panel of so many columns.

        ``lies``: one column next to the other (``along``), one inner index next to the other
        (``transposed``), or neither (``strided``).
        """
        name = f"shared_panel{columns // self.lanes}_{self._suffix}_{lies}"
        if name not in unit.helpers:
            out = Lines(1)
            if lies == "transposed":
                self._write_transposed(out, columns)
            else:
                self._write_steps(out, columns, lies == "along")
            _define(unit, name, PANEL, out)
        return name

    def _write_steps(self, out: Lines, columns: int, along: bool) -> None:
        """Vectors at each inner index; the processor brings nothing near for masked loads."""
        parts = range(0, columns, self.lanes)
        if along:
            out.add(f"if wide >= {columns}:")
            out.add("    for k in range(0, steps):")
            for at in parts:
                place = total("at", "k * step", str(at))
                self._store(
                    out, 2, "panel", f"to + k * {columns}", at, f"load{self.lanes}(b, {place})"
                )
            out.add("    return")
        for at in parts:
            out.add(f"on{at} = mask{self.lanes}({f'wide - {at}' if at else 'wide'})")
        out.add("for k in range(0, steps):")
        for at in parts:
            place = total("at", "k * step", str(at) if along else f"{at} * across")
            verb, stride = ("load", "") if along else ("load_strided", "across, ")
            value = f"{verb}(b, {place}, {stride}on{at})"
            self._store(out, 1, "panel", f"to + k * {columns}", at, value)

    def _write_transposed(self, out: Lines, columns: int) -> None:
        """Square blocks, transposed in registers."""
        lanes = self.lanes
        halves = f"{columns} if wide > {lanes} else {lanes}" if columns > lanes else str(columns)
        out.add(f"for half in range(0, {halves}, {lanes}):")
        out.add(f"    for k in range(0, steps, {lanes}):")
        place = "at + k + half * across, across, wide - half, steps - k"
        to = f"panel, to + k * {columns} + half, {columns}"
        out.add(f"        transpose{lanes}(b, {place}, {to})")

    def lines(self, unit: Unit, along: bool) -> str:
        """The name of the function that packs rows one behind the other, zeros behind their ends.

        ``along``: an inner index is one element further.
        """
        name = f"shared_lines_{self._suffix}{'' if along else '_strided'}"
        place = total("at", "i * row", "k" if along else "k * inner")
        verb, stride = ("load", "") if along else ("load_strided", "inner, ")
        value = self.widened(f"{verb}(a, {place}, {stride}on)")
        out = Lines(1)
        out.add("for i in range(0, rows):")
        if along:
            out.add(f"    whole = steps // {self.lanes} * {self.lanes}")
            out.add(f"    for k in range(0, whole, {self.lanes}):")
            lying = self.widened(f"load{self.lanes}(a, {place})")
            out.add(f"        store{self.lanes}(packed, i * depth + k, {lying})")
        out.add(f"    for k in range({'whole' if along else '0'}, steps, {self.lanes}):")
        out.add(f"        on = mask{self.lanes}(steps - k)")
        out.add(f"        store{self.lanes}(packed, i * depth + k, {value})")
        _define(unit, name, LINES, out)
        return name

    def pitch(self, height: int) -> int:
        """Elements from a step of k to the next in packed tiles: whole vectors, where hardly any of
        them is empty, so that no store crosses a line."""
        width = -(-height // self.lanes) * self.lanes
        return width if (width - height) * 8 <= width else height

    def rows(self, unit: Unit, height: int) -> str:
        """The name of the function that packs a tile of rows that lie across memory.

        What a store has too much, the next one overwrites, or nobody reads.
        """
        name = f"shared_rows{height}_{self._suffix}"
        if name not in unit.helpers:
            parts, out = range(0, height, self.lanes), Lines(1)
            whole, ends = Lines(), Lines()
            for at in parts:
                place, to = total("at", "k * inner", str(at)), f"k * {self.pitch(height)}"
                self._store(whole, 1, "packed", to, at, f"load{self.lanes}(a, {place})")
                self._store(ends, 1, "packed", to, at, f"load(a, {place}, on{at})")
                out.add(f"on{at} = mask{self.lanes}({f'left - {at}' if at else 'left'})")
            out.add(f"if left >= {len(parts) * self.lanes}:")
            out.add("    for k in range(0, steps):")
            out.extend(whole, 1)
            out.add("    return")
            out.add("for k in range(0, steps):")
            out.extend(ends)
            _define(unit, name, ROWS, out)
        return name

    def _store(self, out: Lines, deeper: int, to: str, place: str, at: int, value: str) -> None:
        where = total(place, str(at))
        out.add(f"{'    ' * deeper}store{self.lanes}({to}, {where}, {self.widened(value)})")


def may_collide(unit: Unit, stride: str | int, itemsize: int) -> bool:
    """Return whether elements at this stride may map to the same lines of L1."""
    elements = WAY // itemsize
    told = elements % EVEN == 0 and unit.told(stride).uneven
    return not (told or (isinstance(stride, int) and stride % elements != 0))


def _define(unit: Unit, name: str, arguments: tuple[str, ...], body: Lines) -> None:
    unit.helpers[name] = "\n".join([f"def {name}({', '.join(arguments)}):", *body.lines])
