"""First values of parameters, by name.

With fans the numbers of inputs and outputs of a unit, [in, out]:

    uniform            +-1 / sqrt(in)              LeCun et al., "Efficient backprop", 1998
    xavier_uniform     +-sqrt(6 / (in + out))      Glorot and Bengio, AISTATS 2010
    xavier_normal      sd sqrt(2 / (in + out))
    kaiming_uniform    +-sqrt(6 / in)              He et al., ICCV 2015
    kaiming_normal     sd sqrt(2 / in)
    normal             sd 1;  small_normal: sd 0.02, of language models
    orthogonal         rows or columns orthonormal Saxe et al., ICLR 2014
    zeros, ones
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod, sqrt
from threading import current_thread, main_thread
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import Array, Parameter, did_you_mean, integer, public, quote, raised_inside
from staticgrad.extend.building import running_session
from staticgrad.extend.functions import parameter

#: A name, or a function of a shape and a generator of NumPy that gives an array.
Initial = str | Callable[..., Any]
#: A number, or a generator of NumPy; None: the process' own (``manual_seed``).
Seed = int | np.random.Generator | None


#: Elements that no process can address: 2**47 bytes are what x86-64 and aarch64 give it.
_MOST: Final = 2**45


class _Process:
    """The source of first values in threads that have seeded none of their own."""

    random = np.random.default_rng(0)


_process: Final = _Process()
_seeded: Final[ContextVar[np.random.Generator | None]] = ContextVar("seeded", default=None)


@public
def manual_seed(seed: int) -> None:
    """Seed the first values of modules made from here on in this process.

    A thread that calls it has a source of its own from then on, so that models built in a pool of
    threads do not depend on their order. Other threads share the source of the main thread.

    Args:
        seed: a number from 0 on.

    >>> sg.nn.manual_seed(0)
    >>> first = sg.nn.Linear(2, 2).weight.value
    >>> sg.nn.manual_seed(0)
    >>> bool((sg.nn.Linear(2, 2).weight.value == first).all())
    True
    """
    random = _make_generator(seed)
    _seeded.set(random)
    if current_thread() is main_thread():
        _process.random = random


@contextmanager
def seed_first_values(seed: int) -> Iterator[None]:
    """Inside, the first values of modules follow from ``seed``; afterwards the source goes on."""
    token = _seeded.set(_make_generator(seed))
    try:
        yield
    finally:
        _seeded.reset(token)


def source(seed: Seed) -> np.random.Generator:
    """The generator that a seed names."""
    return (_seeded.get() or _process.random) if seed is None else _make_generator(seed)


def _make_generator(seed: Seed) -> np.random.Generator:
    """Make NumPy's generator of a seed, or return a generator unchanged."""
    try:
        return np.random.default_rng(seed)  # a generator is itself
    except (TypeError, ValueError):
        raise ArgumentError(
            f"seed={quote(seed)} is not a seed",
            hint="a whole number from 0 on, or a generator: np.random.default_rng(0)",
        ) from None


def _orthogonal(random: Any, shape: tuple[int, ...], fans: tuple[int, int]) -> Array:
    """Draw an orthogonal matrix of this shape: the Q of a normal matrix, with signs fixed."""
    rows = shape[0] if shape else 1
    flat = random.normal(size=(rows, prod(shape[1:])))
    tall = flat.T if rows < flat.shape[1] else flat
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r))
    matrix: Array = (q.T if rows < flat.shape[1] else q).reshape(shape)
    return matrix


def _uniform_within(bound: Callable[[int, int], float]) -> Callable[..., Array]:
    def drawn(random: Any, shape: tuple[int, ...], fans: tuple[int, int]) -> Array:
        end = bound(*fans)
        samples: Array = random.uniform(-end, end, shape)
        return samples

    return drawn


def _spread(sd: Callable[[int, int], float]) -> Callable[..., Array]:
    return lambda random, shape, fans: random.normal(0.0, sd(*fans), shape)


INITIAL: Final[dict[str, Callable[..., Array]]] = {
    "uniform": _uniform_within(lambda fan_in, out: 1.0 / sqrt(max(fan_in, 1))),
    "xavier_uniform": _uniform_within(lambda fan_in, out: sqrt(6.0 / max(fan_in + out, 1))),
    "xavier_normal": _spread(lambda fan_in, out: sqrt(2.0 / max(fan_in + out, 1))),
    "kaiming_uniform": _uniform_within(lambda fan_in, out: sqrt(6.0 / max(fan_in, 1))),
    "kaiming_normal": _spread(lambda fan_in, out: sqrt(2.0 / max(fan_in, 1))),
    "normal": _spread(lambda fan_in, out: 1.0),
    "small_normal": _spread(lambda fan_in, out: 0.02),
    "orthogonal": _orthogonal,
    "zeros": lambda random, shape, fans: np.zeros(shape),
    "ones": lambda random, shape, fans: np.ones(shape),
}


def first_value(
    name: str,
    shape: tuple[int, ...],
    how: Initial,
    fans: tuple[int, int],
    random: np.random.Generator,
    dtype: Any,
) -> Parameter:
    """Make a parameter with first values of this kind (uniform, xavier, zeros, a function)."""
    shape = tuple([s if s.__class__ is int else integer("size", s, of=name) for s in shape])
    if shape and min(shape) < 0:
        raise ArgumentError(f"{name}: a shape of {shape}: sizes are 0 or more")
    if prod(shape) > _MOST:
        raise ArgumentError(f"{name}: a shape of {quote(shape)} does not fit in memory")
    initializer: object = how
    if callable(how):
        array = np.asarray(_call_initializer(how, name, shape, random))
    elif isinstance(initializer, str) and initializer in INITIAL:
        array = INITIAL[initializer](random, shape, fans)
    else:
        raise ArgumentError(
            f"{name}: init={quote(how)} is unknown",
            hint=did_you_mean(str(how), [*INITIAL])
            or f"one of {', '.join(INITIAL)}, or a function",
        )
    if array.shape != shape:
        raise ArgumentError(f"{name}: init gives shape {array.shape}, not {shape}")
    first = parameter(name, array, dtype)
    noted = running_session()
    if noted is not None and random is source(None) and initializer not in ("zeros", "ones"):
        noted.drawn.append(first)
    return first


def _call_initializer(
    how: Callable[..., Any], name: str, shape: tuple[int, ...], random: np.random.Generator
) -> Any:
    """Call the user's function for a parameter's first values; explain a wrong signature."""
    try:
        return how(shape, random)
    except TypeError as error:
        if raised_inside(error):
            raise
    raise ArgumentError(
        f"{name}: init is called with a shape and a generator of NumPy",
        hint="init=lambda shape, random: random.normal(scale=0.1, size=shape)",
    )


def weight_and_bias(
    name: str,
    shape: tuple[int, ...],
    bias: int | None,
    fans: tuple[int, int],
    init_dtype_seed: tuple[Initial, Any, Seed],
) -> tuple[Parameter, Parameter | None]:
    """Make the weight and the bias of a layer with first values; the bias may be None."""
    init, dtype, seed = init_dtype_seed
    random = source(seed)
    weight = first_value(f"{name}.weight", shape, init, fans, random, dtype)
    if bias is None:
        return weight, None
    return weight, first_value(f"{name}.bias", (bias,), "uniform", fans, random, dtype)
