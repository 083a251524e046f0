"""Schedules: learning rates as formulas of the number of steps.

A schedule stands where a learning rate stands, ``SGD(cosine(0.1, steps=1000))``: the optimizer
counts its steps, and the rate is computed in the graph, in float64. Called with a number, an array
or a value it gives the rate there: ``cosine(0.1, 1000)(np.arange(1000))`` is what to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, pi
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from staticgrad.errors import ArgumentError, UnknownAttributeError
from staticgrad.errors.tracebacks import boundary, bounded
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.calls import Constructed, public
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.operands import is_number
from staticgrad.optim.hyperparameters import require, require_between, require_positive
from staticgrad.optim.present import tensor_of

_OF_SCHEDULES: Final = "an optimizer counts its steps: Adam(schedule); schedule(t) is the rate at t"


@bounded
@dataclass(frozen=True, eq=False, repr=False)
class RateSchedule(metaclass=Constructed):
    """A learning rate that depends on the number of steps.

    Args:
        formula: takes the number of steps that were done before, a 0-d float64 value, and gives
            the rate: a number or a 0-d floating value.

    Raises:
        ArgumentError: no function.

    >>> inverse = RateSchedule(lambda t: 0.1 / (1.0 + t))
    >>> inverse(0), inverse(3)
    (0.1, 0.025)
    """

    formula: Callable[[Any], Any]

    def __post_init__(self) -> None:
        """Check the formula."""
        if not callable(self.formula):
            raise ArgumentError(
                f"RateSchedule takes a function of a step's number, not {kind_of(self.formula)}",
                hint="sg.optim.constant(0.1) is a rate that stays",
            )

    if not TYPE_CHECKING:  # a type checker shall find what is not there

        @boundary
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise UnknownAttributeError(f"a schedule has no {name!r}", hint=_OF_SCHEDULES)

    def at(self, t: Any) -> Any:
        """The rate after ``t`` steps, a floating value or tensor.

        Raises:
            ArgumentError: the formula gives something else than a floating value or number.
        """
        rate = self.formula(t)
        if is_number(rate) or (isinstance(rate, Value) and rate.dtype.is_float):
            return rate
        raise ArgumentError(f"{self!r} gives {shown(rate)}, not a floating value")

    def __call__(self, t: Any) -> Any:
        """The rate after ``t`` steps: a number of a number, an array of an array."""
        if isinstance(t, Value):
            return self.at(functions.astype(t, "float64"))
        steps = np.asarray(t, "float64")
        found = np.broadcast_to(np.asarray(self.at(tensor_of(steps))), steps.shape)
        return found if found.shape else float(found)

    def __repr__(self) -> str:
        if not isinstance(self.formula, partial):
            return f"RateSchedule({getattr(self.formula, '__qualname__', self.formula)})"
        said = ", ".join(f"{name}={given!r}" for name, given in self.formula.keywords.items())
        return f"{self.formula.func.__name__.removeprefix('_')}({said})"


@public
def constant(rate: float) -> RateSchedule:
    """The same rate in every step.

    Args:
        rate: 0 or more.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: a rate that is not 0 or more.

    >>> import staticgrad as sg
    >>> sg.optim.SGD(constant(0.1)).learning_rate
    constant(rate=0.1)
    """
    _check(rate)
    return RateSchedule(partial(_constant, rate=rate))


@public
def step_decay(rate: float, every: float, factor: float = 0.1) -> RateSchedule:
    """``rate * factor**floor(t / every)``.

    Args:
        rate: of the first steps.
        every: after how many steps it is multiplied.
        factor: by what.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: ``every`` or ``factor`` is not positive.

    >>> import staticgrad as sg
    >>> rate = step_decay(1.0, every=10)
    >>> [float(sg.evaluate(rate(sg.constant(t))).round(3)) for t in (0.0, 9.0, 10.0, 25.0)]
    [1.0, 1.0, 0.1, 0.01]
    """
    _check(rate, every=every, factor=factor)
    return RateSchedule(partial(_step_decay, rate=rate, every=every, factor=factor))


@public
def exponential(rate: float, factor: float, every: float = 1) -> RateSchedule:
    """``rate * factor**(t / every)``.

    Args:
        rate: of the first step.
        factor: by what it is multiplied in ``every`` steps.
        every: a number of steps.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: ``every`` or ``factor`` is not positive.

    >>> import staticgrad as sg
    >>> rate = exponential(1.0, 0.25, every=2)
    >>> [float(sg.evaluate(rate(sg.constant(t)))) for t in (0.0, 1.0, 2.0)]
    [1.0, 0.5, 0.25]
    """
    _check(rate, every=every, factor=factor)
    return RateSchedule(partial(_exponential, rate=rate, factor=factor, every=every))


@public
def cosine(rate: float, steps: float, least: float = 0.0) -> RateSchedule:
    """Half a cosine from ``rate`` to ``least``, where it stays: Loshchilov and Hutter (2017), eq 5.

    ``least + (rate - least) * (1 + cos(pi * min(t / steps, 1))) / 2``

    Args:
        rate: of the first step.
        steps: how many it takes down to the least.
        least: the last rate.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: ``steps`` is not positive, or a rate not 0 or more.

    >>> import staticgrad as sg
    >>> rate = cosine(1.0, steps=10)
    >>> [float(sg.evaluate(rate(sg.constant(t))).round(3)) for t in (0.0, 5.0, 10.0, 20.0)]
    [1.0, 0.5, 0.0, 0.0]
    """
    _check(rate, steps=steps)
    require_between(least, "least", 0, inf, "0 or more")
    return RateSchedule(partial(_cosine, rate=rate, steps=steps, least=least))


@public
def warm_up(then: RateSchedule | float, steps: float) -> RateSchedule:
    """A line up to the first rate of ``then``, and behind it ``then`` from its beginning.

    ``(t + 1) / (steps + 1) * then(0)`` in the first ``steps`` steps, then ``then(t - steps)``.

    Args:
        then: a schedule, or a rate.
        steps: how many the line takes.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: ``steps`` is not positive; ``then`` is no schedule or rate.

    >>> import staticgrad as sg
    >>> rate = warm_up(1.0, steps=3)
    >>> [float(sg.evaluate(rate(sg.constant(t))).round(3)) for t in (0.0, 1.0, 2.0, 3.0, 9.0)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    following = then if isinstance(then, RateSchedule) else constant(then)
    require_positive(steps, "steps")
    return RateSchedule(partial(_warm_up, then=following, steps=steps))


@public
def one_cycle(
    rate: float, steps: float, rise: float = 0.3, first: float = 25.0, last: float = 1e4
) -> RateSchedule:
    """Half a cosine up to ``rate`` and one down: Smith and Topin (2019).

    Args:
        rate: the highest, 0 or more.
        steps: of the whole cycle.
        rise: the part of them that goes up.
        first: it begins at ``rate / first``.
        last: it ends at ``rate / first / last``.

    Returns:
        A schedule, for ``learning_rate`` of an optimizer.

    Raises:
        ArgumentError: a negative rate, another that is not positive, ``rise`` outside of (0, 1).

    >>> import staticgrad as sg
    >>> rate = one_cycle(1.0, steps=10)
    >>> [float(sg.evaluate(rate(sg.constant(t))).round(3)) for t in (0.0, 3.0, 10.0)]
    [0.04, 1.0, 0.0]
    """
    _check(rate, steps=steps, first=first, last=last)
    require_positive(rise, "rise")
    require(rise < 1, "rise", f"in (0, 1), not {rise}")
    given = {"rate": rate, "steps": steps, "rise": rise, "first": first, "last": last}
    return RateSchedule(partial(_one_cycle, **given))


def _check(rate: Any, **positive: Any) -> None:
    require_between(rate, "rate", 0, inf, "0 or more")
    for name, given in positive.items():
        require_positive(given, name)


# -- formulas, of t as a value -------------------------------------------------------------------


def _constant(t: Any, rate: float) -> Any:
    return rate


def _step_decay(t: Any, rate: float, every: float, factor: float) -> Any:
    return rate * functions.power(factor, functions.floor(t / every))


def _exponential(t: Any, rate: float, factor: float, every: float) -> Any:
    return rate * functions.power(factor, t / every)


def _cosine(t: Any, rate: float, steps: float, least: float) -> Any:
    return _half_cosine(rate, least, t / steps)


def _warm_up(t: Any, then: RateSchedule, steps: float) -> Any:
    rising = (t + 1.0) / (steps + 1.0) * then.at(t * 0.0)
    return functions.where(t < steps, rising, then.at(functions.maximum(t - steps, 0.0)))


def _one_cycle(t: Any, rate: float, steps: float, rise: float, first: float, last: float) -> Any:
    up = rise * steps
    begin = rate / first
    rising = _half_cosine(begin, rate, t / up)
    falling = _half_cosine(rate, begin / last, (t - up) / (steps - up))
    return functions.where(t < up, rising, falling)


def _half_cosine(begin: float, end: float, part: Any) -> Any:
    """From ``begin`` to ``end`` while ``part`` goes from 0 to 1; ``end`` beyond."""
    angle = pi * functions.clip(part, 0.0, 1.0)
    return end + (begin - end) * (0.5 * (1.0 + functions.cos(angle)))
