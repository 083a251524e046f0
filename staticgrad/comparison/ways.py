"""The two ways of running a model: a tape written while it runs, and a graph compiled before.

Both start from the same values and do the same plain gradient descent with the same rules. Each has
``step``: one batch in, the loss out, parameters updated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

import staticgrad as sg
from staticgrad.comparison.models import Array, Model
from staticgrad.eager import Tensor


class Way(Protocol):
    """A model that can be trained."""

    def step(self, batch: Mapping[str, Array]) -> float:
        """One step of gradient descent; the loss before it."""
        ...


class DefineByRun:
    """The tape: every operation runs at once, on NumPy arrays."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.parameters = {
            name: Tensor(array, requires_grad=True, dtype=array.dtype)
            for name, array in model.parameters.items()
        }

    def step(self, batch: Mapping[str, Array]) -> float:
        """Forward, backward, update, operation by operation."""
        values = {name: Tensor.of(array) for name, array in batch.items()}
        loss = self._model.loss(self.parameters, values)
        loss.backward()
        for parameter in self.parameters.values():
            assert parameter.grad is not None
            rate = parameter.data.dtype.type(self._model.learning_rate)
            parameter.data -= rate * parameter.grad
            parameter.zero_grad()
        return float(loss.item())


class DefineThenRun:
    """The graph: differentiated and compiled as a whole, then run in one call."""

    def __init__(
        self, model: Model, checkpoint: str = "store_all", graph: sg.Graph | None = None
    ) -> None:
        self.graph = training_graph(model) if graph is None else graph
        self.compiled = sg.compile(self.graph, checkpoint=checkpoint)

    def step(self, batch: Mapping[str, Array]) -> float:
        """One call of the compiled step."""
        return float(self.compiled.run(batch)["loss"])


def training_graph(model: Model) -> sg.Graph:
    """The joint graph of a step: loss, gradients, updates; the first axis is the size ``batch``."""
    sample = model.batch(2, np.random.default_rng(0))
    inputs = {
        name: sg.input(name, ("batch", *array.shape[1:]), array.dtype)
        for name, array in sample.items()
    }
    parameters = {name: sg.parameter(name, array) for name, array in model.parameters.items()}
    loss = model.loss(parameters, inputs)
    slopes = sg.grad(loss, parameters)
    updates: dict[Any, Any] = {
        parameter: parameter - model.learning_rate * slopes[name]
        for name, parameter in parameters.items()
    }
    return sg.Graph({"loss": loss}, updates, name="step")
