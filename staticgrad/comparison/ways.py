"""The two ways of running a model: a tape written while it runs, and a graph compiled before.

Both start from the same values, see the same batches, draw the same random numbers and update by
the same rules. Each has ``step`` (one batch in, the loss out, parameters updated); those of a model
also ``forward`` (the loss alone) and ``gradients`` (of a batch, by name).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np

import staticgrad as sg
from staticgrad import optim
from staticgrad.analysis.binding import bind_sizes
from staticgrad.building import within
from staticgrad.comparison.model import BATCH, Array, Batch, Model
from staticgrad.comparison.programs import ComparedProgram, of_model
from staticgrad.eager import Generator, Tensor, no_grad
from staticgrad.errors import ArgumentError, GradientError, StaticgradError
from staticgrad.functions.trees import flatten
from staticgrad.ir.graph import Symbolic
from staticgrad.ir.plan import Plan

#: What is compared: a model, or a program of functions and modules.
Subject = Model | ComparedProgram
_SEED: Final = 0  # of the random numbers that a loss draws


class Way(Protocol):
    """An execution mode that can train."""

    def step(self, batch: Batch) -> float:
        """Run one step of the optimizer; return the loss before it."""
        ...

    def values(self) -> Mapping[str, Array]:
        """The parameters as they are now."""
        ...


class DefineByRun:
    """The tape: every operation runs at once, on NumPy arrays."""

    def __init__(self, model: Model) -> None:
        self._model, self._random = model, Generator(_SEED)
        self.parameters = {
            name: Tensor(array, requires_grad=True) for name, array in model.parameters.items()
        }
        self._steps = _optimizer(model).on(self.parameters.values())

    def step(self, batch: Batch) -> float:
        """Forward, backward, update, operation by operation; the update is in place."""
        loss = self._loss(batch)
        loss.backward()
        self._check_reached()
        self._steps.step()
        self._steps.zero_grad()
        self._random.advance()
        return float(loss.item())

    def forward(self, batch: Batch) -> float:
        """The loss, with nothing recorded."""
        with no_grad():
            found = float(self._loss(batch).item())
        self._random.state = (int(self._random.step), 0)
        return found

    def gradients(self, batch: Batch) -> Mapping[str, Array]:
        """The gradients that a backward pass leaves."""
        self._loss(batch).backward()
        self._random.state = (int(self._random.step), 0)
        self._check_reached()
        found: dict[str, Any] = {name: p.grad for name, p in self.parameters.items()}
        for parameter in self.parameters.values():
            parameter.zero_grad()
        return found

    def values(self) -> Mapping[str, Array]:
        """The arrays of the parameters."""
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def _loss(self, batch: Batch) -> Any:
        values = {name: Tensor.of(array) for name, array in batch.items()}
        with sg.eager_mode():
            loss = self._model.loss_of(self.parameters, values, self._random)
        if not isinstance(loss, Tensor):
            raise ArgumentError(
                f"the loss of {self._model.name!r} gives {type(loss).__name__} on tensors",
                hint="write it with sg functions and operators", at=self._model.origin,
            )  # fmt: skip
        return loss

    def _check_reached(self) -> None:
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                raise unused(self._model, name)


class DefineThenRun:
    """The graph: differentiated and compiled as a whole, then run in one call."""

    def __init__(
        self,
        model: Model,
        checkpoint: str = "store_all",
        graph: sg.Graph | None = None,
    ) -> None:
        self._model: Any = model
        self.graph = training_graph(model) if graph is None else graph
        self.compiled = sg.compile(self.graph, checkpoint=checkpoint, threads=1)

    def step(self, batch: Batch) -> float:
        """Call the compiled step once."""
        return float(self.compiled.run(batch)["loss"].item())

    def forward(self, batch: Batch) -> float:
        """Call the compiled loss once."""
        return float(self._forward.run(batch)["loss"].item())

    def gradients(self, batch: Batch) -> Mapping[str, Array]:
        """Call the compiled gradient once."""
        found: Mapping[str, Array] = self._gradients.run(batch)
        return found

    def sizes(self, size: int) -> dict[str, int]:
        """The named sizes of a batch of so many examples."""
        if not self.graph.sizes:
            return {}
        if [*self.graph.sizes] == [BATCH]:
            return {BATCH: size}
        return sizes_of(self.graph, self._model.draw(size, np.random.default_rng(0)))

    def plan(self, size: int) -> Plan:
        """The plan of a step at a batch size, known without running it."""
        return self.compiled.plan(**self.sizes(size))

    def values(self) -> Mapping[str, Array]:
        """The values of the graph's parameters."""
        wanted = self._model.parameters
        return {p.name: p.value for p in self.graph.parameters if p.name in wanted}

    @cached_property
    def _forward(self) -> sg.Compiled:
        outputs = {"loss": self.graph.outputs["loss"]}
        return sg.compile(sg.Graph(outputs, inputs=self.graph.inputs, name="forward"), threads=1)

    @cached_property
    def _gradients(self) -> sg.Compiled:
        loss = self.graph.outputs["loss"]
        wanted = {p.name: p for p in self.graph.parameters if p.name in self._model.parameters}
        slopes = sg.grad(loss, wanted)
        return sg.compile(sg.Graph(slopes, inputs=self.graph.inputs, name="gradients"), threads=1)


class ProgramAtOnce:
    """A program of functions and modules, computed line by line."""

    def __init__(self, program: ComparedProgram) -> None:
        """Its parameters begin with their start values."""
        self._program = program
        program.restore()

    def step(self, batch: Batch) -> float:
        """One call; the first of its results, or the mean of that."""
        return _as_number(self._program.at_once(batch))

    def values(self) -> Mapping[str, Array]:
        """The parameters as they are now."""
        return {p.name: p.value for p in self._program.graph.parameters if p.dtype.is_float}


class ProgramThenRun(DefineThenRun):
    """The graph of a program, over parameters of its own."""

    def __init__(self, program: ComparedProgram, checkpoint: str = "store_all") -> None:
        self._model: Any = program
        self.graph = program.own_graph()
        self.compiled = sg.compile(self.graph, checkpoint=checkpoint, threads=1)

    def step(self, batch: Batch) -> float:
        """One call of the compiled program; where each size has a graph, of the one for these."""
        if self._model.retraces:
            return _as_number(self._model.function(*batch.values()))
        return _as_number(self.compiled.run(batch)["loss"])

    def values(self) -> Mapping[str, Array]:
        """The values of the graph's parameters."""
        graph = self._model.graph if self._model.retraces else self.graph
        return {p.name: p.value for p in graph.parameters if p.dtype.is_float}


def comparable(chosen: Subject) -> Subject:
    """A subject as it is compared: a model of changing sizes or without a graph is a program."""
    if not isinstance(chosen, Model):
        return chosen
    batches = [chosen.draw(chosen.batch_size, np.random.default_rng(k)) for k in range(4)]
    shapes = {tuple(array.shape for array in batch.values()) for batch in batches}
    names = {size for shape in chosen.shapes.values() for size in shape if isinstance(size, str)}
    if len(shapes) > 1 or names - {BATCH}:
        return of_model(chosen)
    try:
        training_graph(chosen)
    except StaticgradError as error:
        try:
            DefineByRun(chosen).step(batches[0])
        except Exception:
            raise error from None
        return of_model(chosen)
    return chosen


def sizes_of(graph: sg.Graph, batch: Batch) -> dict[str, int]:
    """The named sizes of a graph that runs with this batch."""
    return bind_sizes(graph, {name: array.shape for name, array in batch.items()})


def by_run(chosen: Subject) -> DefineByRun | ProgramAtOnce:
    """Return the program or model on the tape."""
    return DefineByRun(chosen) if isinstance(chosen, Model) else ProgramAtOnce(chosen)


def then_run(chosen: Subject, checkpoint: str = "store_all") -> DefineThenRun:
    """Return the program or model, compiled."""
    if isinstance(chosen, Model):
        return DefineThenRun(chosen, checkpoint)
    return ProgramThenRun(chosen, checkpoint)


def graph_of(chosen: Subject) -> sg.Graph:
    """Its graph, whose nodes have the user's lines."""
    return training_graph(chosen) if isinstance(chosen, Model) else chosen.graph


def _as_number(result: Any) -> float:
    """The first floating array of a result, as one number."""
    arrays = [np.asarray(getattr(leaf, "data", leaf)) for leaf in flatten(result)[0]]
    first = next((a for a in arrays if a.dtype.kind == "f"), arrays[0])
    return float(first.item() if first.size == 1 else np.mean(first, dtype=np.float64))


def training_graph(model: Model) -> sg.Graph:
    """The joint graph of a step: loss, gradients, updates; examples are counted by ``batch``.

    Raises:
        GradientError: a parameter that the loss does not depend on.
        ArgumentError: a loss that is no symbolic value.
    """
    sample = model.draw(model.batch_size, np.random.default_rng(0))
    shapes = model.input_shapes(sample)
    with within(model.origin):
        inputs = {name: sg.input(name, shapes[name], a.dtype) for name, a in sample.items()}
        parameters = {name: sg.parameter(name, a) for name, a in model.parameters.items()}
        random = sg.random.Generator(_SEED)
    loss = model.loss_of(parameters, inputs, random)
    if not isinstance(loss, Symbolic):
        raise ArgumentError(
            f"the loss of {model.name!r} gives {type(loss).__name__} on symbolic values",
            hint="write it with sg functions and operators", at=model.origin,
        )  # fmt: skip
    with within(model.origin):
        used = {p.name for p in sg.Graph(loss).parameters}
        for name in parameters:
            if name not in used:
                raise unused(model, name)
        slopes = sg.grad(loss, parameters)
        updates = _updates(model, parameters, slopes)
        drawn = random.updates if model.is_random else {}
        given = list(inputs.values())  # also those that the loss does not read
        return sg.Graph({"loss": loss}, {**updates, **drawn}, inputs=given, name="step")


def _updates(model: Model, parameters: Any, slopes: Mapping[str, Any]) -> dict[Any, Any]:
    by_parameter = dict(zip(parameters.values(), slopes.values(), strict=True))
    if model.optimizer is None and model.max_norm is None:
        return {p: p - model.learning_rate * slope for p, slope in by_parameter.items()}
    return _optimizer(model).apply(by_parameter)


def _optimizer(model: Model) -> optim.Optimizer:
    rule = model.optimizer or optim.SGD(model.learning_rate)
    return rule if model.max_norm is None else replace(rule, max_norm=model.max_norm)


def unused(model: Model, name: str) -> GradientError:
    """Return the error for a parameter that no gradient reaches."""
    return GradientError(
        f"the loss of {model.name!r} does not depend on parameter {name!r}",
        hint="leave it out of Model.parameters, or use it", at=model.origin,
    )  # fmt: skip
