"""Schedules: learning rates as formulas of the number of steps.

A schedule can replace a learning rate, ``SGD(cosine(0.1, steps=1000))``: the optimizer
counts its steps, and the rate is computed in the graph, in float64. Called with a number, an array
or a value it gives the rate there: plot ``cosine(0.1, 1000)(np.arange(1000))``.

Each schedule is a class of its settings, with bounds, and a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log as log_of, pi
from typing import Annotated, Any, TypeVar, dataclass_transform

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import (
    Argument,
    NonNegativeFloat,
    NonNegativeInt,
    OpenFraction,
    Parameter,
    PositiveFloat,
    PositiveInt,
    Settings,
    Symbolic,
    Value,
    called_name,
    check_fields,
    dataclass,
    describe_operands,
    is_number,
    kind_of,
    make_boundaries,
    non_negative,
    public,
    quote,
)
from staticgrad.extend.building import running_session
from staticgrad.extend.ops import astype, clip, cos, floor, log, maximum, power, where
from staticgrad.functions import parameter

T = TypeVar("T")


@make_boundaries
class RateSchedule(Settings):
    """A learning rate that depends on the number of steps.

    Args:
        formula: takes the number of steps that were done before, a 0-d float64 value, and gives
            the rate: a number or a 0-d floating value.

    >>> inverse = RateSchedule(lambda t: 0.1 / (1.0 + t))
    >>> inverse(0), inverse(3)
    (0.1, 0.025)
    """

    formula: Callable[[Any], Any]

    def __init__(self, formula: Callable[[Any], Any]) -> None:
        if not callable(formula):
            raise ArgumentError(
                f"RateSchedule takes a function of a step's number, not {kind_of(formula)}",
                hint="sg.optim.constant(0.1) is a rate that stays",
            )
        self.formula = formula

    def at(self, t: Any) -> Any:
        """The rate after ``t`` steps, a floating value or tensor."""
        rate = self.formula(t)
        if is_number(rate) or (isinstance(rate, Value) and rate.dtype.is_float):
            return rate
        raise ArgumentError(f"{self!r} gives {quote(rate)}, not a floating value")

    def __call__(self, t: Any) -> Any:
        """The rate after ``t`` steps: a number of a number, an array of an array."""
        if isinstance(t, Value):
            return self.at(astype(t, "float64"))
        steps = np.asarray(t, "float64")
        rates = np.broadcast_to(np.asarray(self.at(tensor_of(steps))), steps.shape)
        return rates if rates.shape else float(rates)

    def __repr__(self) -> str:
        return f"RateSchedule({getattr(self.formula, '__qualname__', self.formula)})"


@dataclass_transform(frozen_default=True, eq_default=False)
def schedule(cls: type[T]) -> type[T]:
    """Make a class of settings with bounds, and a formula of them, a schedule."""
    if "__post_init__" not in vars(cls):
        cls.__post_init__ = check_fields  # type: ignore[attr-defined]
    return make_boundaries(dataclass(frozen=True, eq=False)(cls))


def read_rate(word: str, rate: Any) -> Any:
    """Check a learning rate: a nonnegative number, a 0-d value or a schedule."""
    if isinstance(rate, RateSchedule):
        return rate
    if isinstance(rate, Value):
        if rate.shape or not rate.dtype.is_float:
            raise ArgumentError(
                f"{called_name()}: {word} is {rate.type}, not a 0-d floating value",
                related=describe_operands(rate),
            )
        return rate
    if callable(rate):
        raise ArgumentError(
            f"{called_name()}: {word} is {quote(rate)}, not a number",
            hint="a rate by the number of steps: sg.optim.RateSchedule(lambda t: 0.1 / (1.0 + t))",
        )
    return non_negative(word, rate)


Rate = Annotated[Any, Argument(read_rate)]


def _read_steps(word: str, steps: Any) -> Any:
    if not isinstance(steps, tuple | list):
        raise ArgumentError(f"{called_name()}: {word} is {quote(steps)}, not a tuple of numbers")
    return tuple(non_negative(word, step) for step in steps)


Steps = Annotated[tuple[float, ...], Argument(_read_steps)]
#: Added to a logarithm that is a whole number but for rounding, before its floor is taken.
_WHOLE: float = 1e-9


def rate_for(rate: Any, p: Any) -> Any:
    """The learning rate in the dtype of a step of ``p``; a number stays a weak operand."""
    return rate.astype(p.dtype.compute) if isinstance(rate, Value) else rate


def tensor_of(data: Any, dtype: Any = None) -> Any:
    """A tensor of an array or number, for formulas that also make graphs."""
    from staticgrad.eager import Tensor  # lazy: only needed to compute at once

    return Tensor.of(np.asarray(data, dtype))


@schedule
class constant(RateSchedule):  # noqa: N801 - called as a function
    """Return the same rate in every step.

    >>> sg.optim.SGD(constant(0.1)).learning_rate
    constant(rate=0.1)
    """

    rate: NonNegativeFloat

    def formula(self, t: Any) -> Any:
        return self.rate


@schedule
class step_decay(RateSchedule):  # noqa: N801 - called as a function
    """``rate * factor**floor(t / every)``: multiplied after every so many steps.

    >>> rate = sg.optim.step_decay(0.1, 10)
    >>> [round(float(rate(n)), 4) for n in (0, 10, 20)]
    [0.1, 0.01, 0.001]
    """

    rate: NonNegativeFloat
    every: PositiveFloat
    factor: PositiveFloat = 0.1

    def formula(self, t: Any) -> Any:
        return self.rate * power(self.factor, floor(t / self.every))


@schedule
class exponential(RateSchedule):  # noqa: N801 - called as a function
    """``rate * factor**(t / every)``: multiplied by ``factor`` in ``every`` steps.

    >>> rate = exponential(1.0, 0.25, every=2)
    >>> [float(sg.evaluate(rate(sg.constant(t)))) for t in (0.0, 1.0, 2.0)]
    [1.0, 0.5, 0.25]
    """

    rate: NonNegativeFloat
    factor: PositiveFloat
    every: PositiveFloat = 1

    def formula(self, t: Any) -> Any:
        return self.rate * power(self.factor, t / self.every)


@schedule
class cosine(RateSchedule):  # noqa: N801 - called as a function
    """Half a cosine from ``rate`` to ``least``, where it stays: Loshchilov and Hutter (2017), eq 5.

    ``least + (rate - least) * (1 + cos(pi * min(t / steps, 1))) / 2``

    Args:
        rate: of the first step.
        steps: how many it takes down to the least.
        least: the last rate.

    >>> rate = cosine(1.0, steps=10)
    >>> [float(sg.evaluate(rate(sg.constant(t))).round(3)) for t in (0.0, 5.0, 10.0, 20.0)]
    [1.0, 0.5, 0.0, 0.0]
    """

    rate: NonNegativeFloat
    steps: PositiveFloat
    least: NonNegativeFloat = 0.0

    def formula(self, t: Any) -> Any:
        return _half_cosine(self.rate, self.least, t / self.steps)


@schedule
class multi_step(RateSchedule):  # noqa: N801 - called as a function
    """``rate`` multiplied by ``factor`` at each of some steps, as torch's MultiStepLR.

    >>> rate = multi_step(1.0, (3, 5), factor=0.5)
    >>> [rate(t) for t in (2, 3, 4, 5)]
    [1.0, 0.5, 0.5, 0.25]

    Args:
        milestones: the numbers of steps, counted from 0, in any order.
    """

    rate: NonNegativeFloat
    milestones: Steps
    factor: PositiveFloat = 0.1

    def formula(self, t: Any) -> Any:
        count = sum(where(t >= step, 1.0, 0.0) for step in self.milestones)
        return self.rate * power(self.factor, count)


@schedule
class linear(RateSchedule):  # noqa: N801 - called as a function
    """A line from ``rate`` to ``last`` in ``steps`` steps, where it stays, as torch's LinearLR.

    >>> rate = linear(1.0, 0.5, steps=2)
    >>> [rate(t) for t in (0, 1, 2, 3)]
    [1.0, 0.75, 0.5, 0.5]
    """

    rate: NonNegativeFloat
    last: NonNegativeFloat
    steps: PositiveFloat

    def formula(self, t: Any) -> Any:
        return self.rate + (self.last - self.rate) * clip(t / self.steps, 0.0, 1.0)


@schedule
class polynomial(RateSchedule):  # noqa: N801 - called as a function
    """``rate * (1 - t / steps)**power``, 0 behind, as torch's PolynomialLR.

    >>> rate = polynomial(1.0, steps=4, power=2.0)
    >>> [rate(t) for t in (0, 2, 4, 5)]
    [1.0, 0.25, 0.0, 0.0]
    """

    rate: NonNegativeFloat
    steps: PositiveFloat
    power: PositiveFloat = 1.0

    def formula(self, t: Any) -> Any:
        return self.rate * power(1.0 - clip(t / self.steps, 0.0, 1.0), self.power)


@schedule
class cosine_restarts(RateSchedule):  # noqa: N801 - called as a function
    """``cosine`` again after every ``steps`` steps, each time ``longer`` times as long.

    Loshchilov and Hutter (2017), section 3; as torch's CosineAnnealingWarmRestarts.

    >>> rate = cosine_restarts(1.0, steps=2, longer=2)
    >>> [round(rate(t), 3) for t in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 1.0, 0.5, 1.0]

    Args:
        rate, least: of the first step of each cosine, and of its end.
        steps: of the first cosine.
        longer: a whole number from 1 on.
    """

    rate: NonNegativeFloat
    steps: PositiveFloat
    longer: PositiveInt = 1
    least: NonNegativeFloat = 0.0

    def formula(self, t: Any) -> Any:
        """Compute the learning rate of cosine cycles with warm restarts at step t."""
        if self.longer == 1:
            return _half_cosine(self.rate, self.least, t / self.steps - floor(t / self.steps))
        # cosine k begins at steps * (longer**k - 1) / (longer - 1)
        grown = t * ((self.longer - 1.0) / self.steps) + 1.0
        k = floor(log(grown) * (1.0 / log_of(self.longer)) + _WHOLE)
        length = self.steps * power(float(self.longer), k)
        begin = (length - self.steps) / (self.longer - 1.0)
        return _half_cosine(self.rate, self.least, (t - begin) / length)


@schedule
class warm_up(RateSchedule):  # noqa: N801 - called as a function
    """A line up to the first rate of ``then``, and behind it ``then`` from its beginning.

    ``(t + 1) / (steps + 1) * then(0)`` in the first ``steps`` steps, then ``then(t - steps)``;
    ``then`` is a schedule, or a rate.

    >>> rate = sg.optim.warm_up(0.1, 9)
    >>> [round(float(rate(n)), 4) for n in (0, 4, 20)]
    [0.01, 0.05, 0.1]
    """

    then: RateSchedule | float
    steps: PositiveFloat

    def __post_init__(self) -> None:
        if not isinstance(self.then, RateSchedule):
            object.__setattr__(self, "then", constant(self.then))
        check_fields(self)

    def formula(self, t: Any) -> Any:
        then: Any = self.then  # a number is made a schedule above
        rising = (t + 1.0) / (self.steps + 1.0) * then.at(t * 0.0)
        later = then.at(maximum(t - self.steps, 0.0))
        return where(t < self.steps, rising, later)


@schedule
class one_cycle(RateSchedule):  # noqa: N801 - called as a function
    """Half a cosine up to ``rate`` and one down: Smith and Topin (2019), as torch's OneCycleLR.

    It begins at ``rate / first``, is ``rate`` at step ``rise * steps - 1``, counted from 0, and
    ``rate / first / last`` in the last of ``steps`` steps, where it stays.

    >>> rate = one_cycle(1.0, steps=10, rise=0.4, first=5.0, last=10.0)
    >>> [round(rate(t), 3) for t in (0, 3, 9, 10)]
    [0.2, 1.0, 0.02, 0.02]
    """

    rate: NonNegativeFloat
    steps: PositiveFloat
    rise: OpenFraction = 0.3
    first: PositiveFloat = 25.0
    last: PositiveFloat = 1e4

    def formula(self, t: Any) -> Any:
        top = self.rise * self.steps - 1.0
        begin = self.rate / self.first
        falling = _half_cosine(self.rate, begin / self.last, (t - top) / (self.steps - 1.0 - top))
        if top <= 0.0:
            return falling
        return where(t < top, _half_cosine(begin, self.rate, t / top), falling)


def _half_cosine(begin: float, end: float, part: Any) -> Any:
    angle = pi * clip(part, 0.0, 1.0)
    return end + (begin - end) * (0.5 * (1.0 + cos(angle)))


@make_boundaries
class Plateau(RateSchedule):
    """A learning rate that is multiplied by ``factor`` when a metric stops improving.

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

    @public
    def __init__(
        self,
        rate: NonNegativeFloat,
        factor: OpenFraction = 0.1,
        patience: NonNegativeInt = 10,
        least: NonNegativeFloat = 0.0,
        gain: NonNegativeFloat = 0.0,
        name: str = "plateau",
    ) -> None:
        """Make a rate that has seen nothing.

        Args:
            rate: the first, and ``least`` the last.
            factor: in (0, 1).
            patience, gain: when the measure stands still.
            name: begins the names of its parameters.
        """
        self.factor, self.patience, self.least, self.gain = factor, patience, float(least), gain
        self.rate = parameter(f"{name}.rate", np.float64(rate))
        self.best = parameter(f"{name}.best", np.float64(inf))
        self.waited = parameter(f"{name}.waited", np.int64(0))
        super().__init__(self._rate)

    def _rate(self, t: Any) -> Any:
        return self.rate

    def parameters(self) -> list[Parameter]:
        """Its state."""
        return [self.rate, self.best, self.waited]

    def updates(self, measure: Any) -> dict[Parameter, Any]:
        """Its state after it has seen a 0-d ``measure``: for ``sg.Graph(..., updates=...)``."""
        return dict(zip(self.parameters(), self._next(measure, *self.parameters()), strict=True))

    def observe(self, measure: Any) -> None:
        """Record a validation measure for a plateau schedule, at each call of a traced function."""
        if isinstance(measure, Symbolic) or running_session() is not None:
            for p, value in self.updates(measure).items():
                p.update(value)
            return
        state = [tensor_of(p.value) for p in self.parameters()]
        measured = tensor_of(measure, "float64")
        for p, value in zip(self.parameters(), self._next(measured, *state), strict=True):
            p.value = np.asarray(value)

    def _next(self, measure: Any, rate: Any, best: Any, waited: Any) -> tuple[Any, Any, Any]:
        now = astype(measure, "float64")
        better = now < best - self.gain
        count = where(better, 0, waited + 1)
        falls = count > self.patience
        lower = maximum(rate * self.factor, self.least)
        return where(falls, lower, rate), where(better, now, best), where(falls, 0, count)

    def __repr__(self) -> str:
        return f"Plateau(rate={float(self.rate.value)})"
