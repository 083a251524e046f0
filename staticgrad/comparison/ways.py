"""The two ways of running a program: a tape written while it runs, and a graph compiled before.

Both start from the same values, see the same batches, draw the same random numbers and update by
the same rules. Each has ``step`` (one batch in, the loss out, parameters updated) and ``values``;
those of a model also ``forward`` (the loss alone) and ``gradients`` (of a batch, by name).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

import staticgrad as sg
from staticgrad.analysis.binding import bind_sizes
from staticgrad.comparison.model import BATCH, Array, Batch, Model
from staticgrad.comparison.programs import SEED, ComparedProgram, rule_of, unused
from staticgrad.eager import Generator, Tensor, no_grad
from staticgrad.functions.trees import flatten
from staticgrad.ir.plan import Plan


class DefineByRun:
    """A model on the tape: every operation runs at once, on NumPy arrays."""

    def __init__(self, model: Model) -> None:
        self._model, self._random = model, Generator(SEED)
        self.parameters = {
            name: Tensor(array, requires_grad=True) for name, array in model.parameters.items()
        }
        self._steps = rule_of(model).on(self.parameters.values())

    def step(self, batch: Batch) -> float:
        """Run forward, backward and the update in place; return the loss."""
        loss = self._loss(batch)
        loss.backward()
        self._check_reached()
        self._steps.step()
        self._steps.zero_grad()
        self._random.advance()
        return float(loss.item())

    def forward(self, batch: Batch) -> float:
        """Return the loss, with nothing recorded."""
        with no_grad():
            found = float(self._loss(batch).item())
        self._random.state = (int(self._random.step), 0)
        return found

    def gradients(self, batch: Batch) -> Mapping[str, Array]:
        """Return the gradients that a backward pass leaves."""
        self._loss(batch).backward()
        self._random.state = (int(self._random.step), 0)
        self._check_reached()
        found: dict[str, Any] = {name: p.grad for name, p in self.parameters.items()}
        for parameter in self.parameters.values():
            parameter.zero_grad()
        return found

    def values(self) -> Mapping[str, Array]:
        """Return the arrays of the parameters."""
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def _loss(self, batch: Batch) -> Any:
        values = {name: Tensor.of(array) for name, array in batch.items()}
        with sg.eager_mode():
            return self._model.loss_of(self.parameters, values, self._random)

    def _check_reached(self) -> None:
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                raise unused(self._model, name)


class ProgramAtOnce:
    """A function of arrays on the tape, computed line by line from the start values."""

    def __init__(self, program: ComparedProgram) -> None:
        self._program = program
        program.restore()

    def step(self, batch: Batch) -> float:
        """Call it once; return the first of its results, or the mean of that."""
        return _as_number(self._program.at_once(batch))

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
        return float(self._forward.run(batch)["loss"].item())

    def gradients(self, batch: Batch) -> Mapping[str, Array]:
        """Call the compiled gradient once."""
        loss = self.graph.outputs["loss"]
        wanted = {p.name: p for p in self.graph.parameters if p.name in self._program.parameters}
        slopes = sg.Graph(sg.grad(loss, wanted), inputs=self.graph.inputs, name="gradients")
        found: Mapping[str, Array] = sg.compile(slopes, threads=1).run(batch)
        return found

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


def by_run(chosen: ComparedProgram) -> DefineByRun | ProgramAtOnce:
    """Return the program on the tape, with its start values."""
    if chosen.model is None or chosen.changes or chosen.graph is None:
        return ProgramAtOnce(chosen)
    return DefineByRun(chosen.model)


def _as_number(result: Any) -> float:
    """Return the first floating array of a result as one number."""
    arrays = [np.asarray(getattr(leaf, "data", leaf)) for leaf in flatten(result)[0]]
    first = next((a for a in arrays if a.dtype.kind == "f"), arrays[0])
    return float(first.item() if first.size == 1 else np.mean(first, dtype=np.float64))
