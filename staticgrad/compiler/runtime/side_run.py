"""Programs without updates that run beside another one, on what that one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from staticgrad.analysis.binding import concrete_shape
from staticgrad.compiler.runtime.arena import Arena, address_of
from staticgrad.compiler.runtime.step import Program, Table
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.plan import Plan
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class SideProgram:
    """A program without updates that runs beside another, under the locks that the other holds."""

    graph: Graph
    program: Program
    make_plan: Callable[[Mapping[str, int]], Plan]

    def run(
        self, sizes: Mapping[str, int], feeds: Mapping[str, int]
    ) -> tuple[dict[str, Array], IndexOutOfRange | None]:
        """Run the side program; return its outputs, and the failed index check, which was clamped.

        Args:
            sizes: the value of every named size.
            feeds: where each input's elements are, contiguous and of its dtype, by the input's
                name.
        """
        return SideRun(self, sizes).run(feeds)


class SideRun:
    """Runs of a side program at some sizes; all of them write into the same arrays."""

    def __init__(self, side: SideProgram, sizes: Mapping[str, int]) -> None:
        self._schedule = side.program.schedule
        self._table = Table(side.program, side.make_plan(sizes))
        self._arena = Arena()
        self._arena.reserve(self._table.plan.peak_bytes)
        self._table.bind_arena(self._arena)
        self._results, arrays = dict[str, Array](), dict[str, Array]()
        for name, buffer in self._schedule.outputs:
            value = side.graph.outputs[name]
            if buffer not in arrays:
                arrays[buffer] = np.empty(concrete_shape(value.shape, sizes), value.dtype.numpy)
                self._table.bind(buffer, address_of(arrays[buffer]))
            self._results[name] = arrays[buffer]

    def run(self, feeds: Mapping[str, int]) -> tuple[dict[str, Array], IndexOutOfRange | None]:
        """Run the side program of a debug mode; see ``SideProgram.run``."""
        for buffer in self._schedule.buffers:
            if buffer.role == "input":
                self._table.bind(buffer.name, feeds[buffer.label])
        try:
            self._table.run(self._arena)
        except IndexOutOfRange as error:
            return self._results, error
        return self._results, None


#: Compiles a graph without updates.
Compile = Callable[[Graph], SideProgram]
