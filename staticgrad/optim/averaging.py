"""Averages of parameters over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from staticgrad.extend import (
    Fraction,
    NonNegativeFloat,
    Parameter,
    deprecated_attribute,
    make_boundaries,
    public,
)
from staticgrad.extend.building import running_session
from staticgrad.extend.ops import astype, minimum
from staticgrad.functions import parameter
from staticgrad.optim.optimizer import in_compute_dtype, listed_parameters
from staticgrad.optim.schedules import tensor_of


@make_boundaries
class Average:
    """An exponential moving average of parameters: Polyak and Juditsky (1992) with forgetting.

    a' = decay * a + (1 - decay) * p', with p' the parameter after the step, and a at first the
    parameter as it is. The decay of step t (from 0) is at most (1 + t) / (warm_up + t).

    Attributes:
        averages: parameter -> its average, a parameter ``<parameter>.average``.

    >>> w = sg.parameter("w", 1.0)
    >>> mean = Average([w], decay=0.5)
    >>> w.value = 3.0
    >>> mean.update()
    >>> float(mean.averages[w].value)
    2.0
    """

    @public
    def __init__(
        self,
        params: Any,
        decay: Fraction = 0.999,
        warm_up: NonNegativeFloat = 0.0,
        name: str = "average",
    ) -> None:
        """Averages that begin at the values of now.

        Args:
            params: parameters in containers, or what has a method ``parameters()``.
            decay: in [0, 1). warm_up: forget faster in the beginning; 10 is usual, 0 is not at all.
            name: begins the name of the step counter, which ``warm_up`` needs.
        """
        self.decay, self.warm_up = decay, warm_up
        self.averages = {
            p: parameter(f"{p.name}.average", p.value.astype(p.dtype.compute.numpy))
            for p in listed_parameters(params)
        }
        for p, average in self.averages.items():
            average.store.belong_to(p.store, "average")
        self.count = parameter(f"{name}.step", 0) if warm_up else None

    def parameters(self) -> list[Parameter]:
        """Its state."""
        return [*self.averages.values(), *([] if self.count is None else [self.count])]

    def updates(self, updates: Mapping[Parameter, Any]) -> dict[Parameter, Any]:
        """The averages after a step that makes these ``updates`` of parameters.

        For ``sg.Graph(outputs, {**updates, **average.updates(updates)})``.
        """
        return self._after({p: updates.get(p, p) for p in self.averages}, lambda p: p)

    def update(self) -> None:
        """Add the present parameters to the moving average: at each call of a traced function.

        In a function, call it after ``opt.minimize(loss)``, whose new values it averages.
        """
        noted = running_session()
        if noted is not None:
            from staticgrad.extend.tensors import next_values

            new = {p.node: value for p, value in noted.updates}
            new_values = {p: new.get(p.node, p) for p in self.averages}
            with next_values(noted) if noted.computes else nullcontext():
                averages = self._after(new_values, lambda p: p)
            for p, value in averages.items():
                p.update(value)
            return
        now = {p: tensor_of(p.value) for p in self.averages}
        for p, value in self._after(now, lambda p: tensor_of(p.value)).items():
            p.value = np.asarray(value)

    applied = deprecated_attribute("0.2", "average_parameters")

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Set the parameters to their averages inside of this context; restore them afterwards."""
        values = {p: p.value for p in self.averages}
        try:
            for p, mean in self.averages.items():
                p.value = mean.value.astype(p.dtype.numpy)
            yield
        finally:
            for p, value in values.items():
                p.value = value

    def _after(self, new: Mapping[Parameter, Any], now: Any) -> dict[Parameter, Any]:
        """Return the next moving averages, given new values of the parameters."""
        decay: Any = self.decay
        averages: dict[Parameter, Any] = {}
        if self.count is not None:
            t = astype(now(self.count), "float64")
            decay = minimum((1.0 + t) / (self.warm_up + t), self.decay)
            averages[self.count] = now(self.count) + 1
        for p, mean in self.averages.items():
            factor = decay.astype(mean.dtype) if self.count is not None else decay
            averages[mean] = factor * now(mean) + (1.0 - factor) * in_compute_dtype(new[p], p)
        return averages
