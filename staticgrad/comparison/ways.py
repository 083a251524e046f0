"""The two ways of running a program: a tape written while it runs, and a graph compiled before.

Both start from the same values, see the same batches, draw the same random numbers and update by
the same rules. Each has ``step`` (one batch in, the loss out, parameters updated), ``forward`` (the
loss alone, of a program that is trained) and ``values``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.analysis.binding import bind_sizes
from staticgrad.comparison.programs import BATCH, Array, Batch, ComparedProgram
from staticgrad.eager import no_grad
from staticgrad.functions.trees import flatten
from staticgrad.ir.plan import Plan


class DefineByRun:
    """A program on the tape, computed line by line on NumPy arrays from the start values."""

    def __init__(self, program: ComparedProgram) -> None:
        self._program = program
        program.restore()

    def step(self, batch: Batch) -> float:
        """Call it once; return the first of its results, or the mean of that."""
        return _as_number(self._program.at_once(batch))

    def forward(self, batch: Batch) -> float:
        """Return the loss, with nothing recorded."""
        assert self._program.loss is not None
        with no_grad():
            return _as_number(self._program.loss.eagerly(*batch.values()))

    def values(self) -> Mapping[str, Array]:
        """Return the current values of the parameters."""
        return {p.name: p.value for p in self._program.graph.parameters if p.dtype.is_float}


class DefineThenRun:
    """The graph: differentiated and compiled as a whole, over parameters of its own."""

    def __init__(self, program: ComparedProgram, checkpoint: str = "store_all") -> None:
        self._program = program
        self.graph = program.own_graph()
        self.compiled = sg.compile(self.graph, checkpoint=checkpoint, threads=1)
        self._run, self._retraces = self.compiled.run, program.retraces

    def step(self, batch: Batch) -> float:
        """Call the compiled program, or that for these sizes if each has a graph."""
        if self._retraces:
            return _as_number(self._program.function(*batch.values()))
        loss = self._run(batch)["loss"]
        return float(loss.item()) if loss.size == 1 else _as_number(loss)

    def forward(self, batch: Batch) -> float:
        """Call the compiled loss once."""
        return _as_number(self._forward.run(batch)["loss"])

    def sizes(self, size: int) -> dict[str, int]:
        """Return the named sizes of a batch of ``size`` examples."""
        if {*self.graph.sizes} <= {BATCH}:
            return dict.fromkeys(self.graph.sizes, size)
        batch = self._program.draw(size, np.random.default_rng(0))
        return bind_sizes(self.graph, {name: array.shape for name, array in batch.items()})

    def plan(self, size: int) -> Plan:
        """Return the plan of a step at a batch size, known without running it."""
        return self.compiled.plan(**self.sizes(size))

    def values(self) -> Mapping[str, Array]:
        """Return the current values of the parameters."""
        graph = self._program.graph if self._retraces else self.graph
        return {p.name: p.value for p in graph.parameters if p.dtype.is_float}

    @cached_property
    def _forward(self) -> sg.Compiled:
        outputs = {"loss": self.graph.outputs["loss"]}
        return sg.compile(sg.Graph(outputs, inputs=self.graph.inputs, name="forward"), threads=1)


def _as_number(result: Any) -> float:
    """Return the first floating array of a result as one number."""
    arrays = [np.asarray(getattr(leaf, "data", leaf)) for leaf in flatten(result)[0]]
    first = next((a for a in arrays if a.dtype.kind == "f"), arrays[0])
    return float(first.item() if first.size == 1 else np.mean(first, dtype=np.float64))
