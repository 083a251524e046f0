"""A program as its users write it: a function of arrays to a number, and arrays to try it on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class Program:
    """One program and what may be asked of it.

    ``named`` says which axes of which arguments are one size of any extent. ``near`` is the error
    allowed in float64, of the largest element, ``single`` that in float32. ``slopes`` is false
    where the program jumps or stops gradients, so that they are no differences; ``second`` where
    its second derivatives are zero, undefined, or would take long.
    """

    function: Callable[..., Any]
    make: Callable[[Random], list[Any]]
    named: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    near: float = 1e-9
    single: float = 3e-3
    slopes: bool = True
    second: bool = True

    def arguments(self):
        return [np.asarray(argument) for argument in self.make(np.random.default_rng(7))]


#: Every program, by its name.
PROGRAMS = {}


def program(make, **asked):
    """Files the function below it."""

    def register(function):
        assert function.__name__ not in PROGRAMS
        PROGRAMS[function.__name__] = Program(function, make, **asked)
        return function

    return register


def normal(random, *shape):
    return np.asarray(random.normal(size=shape))


def whole(random, end, *shape):
    return random.integers(0, end, size=shape)
