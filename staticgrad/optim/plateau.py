"""A learning rate that falls where a measure no longer does."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from staticgrad.errors.tracebacks import bounded
from staticgrad.functions import parameter
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter, Symbolic
from staticgrad.ir.session import running_session
from staticgrad.optim.hyperparameters import (
    require,
    require_between,
    require_count,
    require_positive,
)
from staticgrad.optim.present import tensor_of
from staticgrad.optim.schedules import RateSchedule


@bounded
class Plateau(RateSchedule):
    """A learning rate that is multiplied by ``factor`` where a measure stands still.

    The measure is what ``observe`` is given, once for each step or each epoch: a loss to be small.
    It stands still where it was not below the smallest one by ``gain`` for more than ``patience``
    times in a row. Its state is no part of an optimizer's: ``sg.save(path, {"opt": opt, "rate":
    rate})`` keeps both.

    Attributes:
        rate, best, waited: the state, 0-d parameters.

    >>> rate = Plateau(0.1, factor=0.5, patience=0)
    >>> [rate.observe(loss) or float(rate.rate.value) for loss in (3.0, 2.0, 2.0, 1.0)]
    [0.1, 0.1, 0.05, 0.05]
    """

    def __init__(
        self,
        rate: float,
        factor: float = 0.1,
        patience: int = 10,
        least: float = 0.0,
        gain: float = 0.0,
        name: str = "plateau",
    ) -> None:
        """A rate that has seen nothing.

        Args:
            rate: the first, and ``least`` the last.
            factor: in (0, 1).
            patience, gain: when the measure stands still.
            name: begins the names of its parameters.

        Raises:
            ArgumentError: a number outside of its range; it is named.
        """
        require_between(rate, "rate", 0, inf, "0 or more")
        require_positive(factor, "factor")
        require(factor < 1, "factor", f"in (0, 1), not {factor}")
        require_count(patience, "patience", 0)
        for given, word in ((least, "least"), (gain, "gain")):
            require_between(given, word, 0, inf, "0 or more")
        self.__dict__.update(factor=factor, patience=patience, least=float(least), gain=gain)
        self.__dict__.update(
            rate=parameter(f"{name}.rate", np.float64(rate)),
            best=parameter(f"{name}.best", np.float64(inf)),
            waited=parameter(f"{name}.waited", np.int64(0)),
        )
        super().__init__(self._rate)

    rate: Parameter
    best: Parameter
    waited: Parameter

    def _rate(self, t: Any) -> Any:
        return self.rate

    def parameters(self) -> list[Parameter]:
        """Its state."""
        return [self.rate, self.best, self.waited]

    def updates(self, measure: Any) -> dict[Parameter, Any]:
        """Its state after it has seen a 0-d ``measure``: for ``sg.Graph(..., updates=...)``."""
        return dict(zip(self.parameters(), self._next(measure, *self.parameters()), strict=True))

    def observe(self, measure: Any) -> None:
        """See a measure: at each call of a function that is traced, of a number at once."""
        if isinstance(measure, Symbolic) or running_session() is not None:
            for p, value in self.updates(measure).items():
                p.update(value)
            return
        state = [tensor_of(p.value) for p in self.parameters()]
        given = tensor_of(measure, "float64")
        for p, value in zip(self.parameters(), self._next(given, *state), strict=True):
            p.value = np.asarray(value)

    def _next(self, measure: Any, rate: Any, best: Any, waited: Any) -> tuple[Any, Any, Any]:
        where, own = functions.where, vars(self)
        now = functions.astype(measure, "float64")
        better = now < best - own["gain"]
        count = where(better, 0, waited + 1)
        falls = count > own["patience"]
        lower = functions.maximum(rate * own["factor"], own["least"])
        return where(falls, lower, rate), where(better, now, best), where(falls, 0, count)

    def __repr__(self) -> str:
        return f"Plateau(rate={float(self.rate.value)})"
