"""Ordinary differential equations: fixed and adaptive Runge-Kutta steps, as loops of the graph.

The gradient goes through the steps that were taken: of the fixed method through all of them, of the
adaptive one through those that a bound on their number allows (``while_loop``). It is that of the
numbers that were computed, to rounding, and keeps the state of every step. With ``adjoint=True`` it
is the solution of the adjoint equation, which is solved backwards by the same method and keeps
nothing of the steps: it differs from the gradient of the numbers by the error of the method, of the
fixed one of fourth order in the step, of the adaptive one about its tolerances. The adaptive one
finds the states again from the last one, and what decays forwards grows on the way back: for stiff
or chaotic equations take the gradient through the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from staticgrad.language.functions import aggregate
from staticgrad.language.functions.call_types import R
from staticgrad.language.functions.creation import zeros_like
from staticgrad.language.functions.loops import adjoint as adjoints
from staticgrad.language.functions.loops.loops import check_function, fori_loop, scan, while_loop
from staticgrad.language.functions.operand_kinds import by_all_operands
from staticgrad.language.functions.tracing import check_structure, named_after
from staticgrad.language.functions.trees import Tree, flatten, mapped, unflatten
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import absolute
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.indexing import concatenate
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.ops.operands import NonNegativeFloat, PositiveInt, as_value
from staticgrad.language.ops.selection import minimum, where
from staticgrad.language.ops.transcendental import sqrt
from staticgrad.language.types.dim import maximum
from staticgrad.language.types.dtype import F64, promote
from staticgrad.support.errors import ArgumentError, CarryError, DTypeError, RankError
from staticgrad.support.errors.tracebacks import called_name, names_messages
from staticgrad.support.errors.wording import kind_of, shown

__all__ = ["rk4", "rk45"]


#: The derivative of a state (a tree) at a time, perhaps with further arguments.
Slope = Callable[..., Any]

#: J. R. Dormand and P. J. Prince, "A family of embedded Runge-Kutta formulae", 1980: nodes, stages,
#: and the difference between the solutions of fifth and fourth order. The last stage is the fifth.
_NODES: Final = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES: Final = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR: Final = (
    71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40,
)  # fmt: skip
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 5.0


@by_all_operands
def rk4(
    f: Callable[..., R],
    y: Any,
    times: Any,
    steps: PositiveInt = 1,
    *,
    args: Sequence[Any] = (),
    adjoint: bool = False,
) -> R:
    """Solve ``y' = f(t, y, *args)`` by the classical method of fourth order.

    Args:
        f: takes a time, a state and ``args``, returns the state's derivative in the state's
            containers and dtypes.
        y: the state at ``times[0]``, a tree of values; integers become float64.
        times: ascending or descending, a vector of one or more; the solution is given at each.
        steps: equal steps from one time to the next.
        args: what f takes besides, a tuple: values, trees of them, or anything else. Gradients go
            through them, as through values that f reads from around it.
        adjoint: the gradient is solved backwards, from one time to the one before by as many steps,
            each time from the state of the solution. The state has one floating dtype then.

    Returns:
        The states, stacked along a new first axis: ``y`` itself comes first.

    Raises:
        ArgumentError: no function, no times, or no steps.
        RankError: times that are not a vector.
        CarryError: the derivative has other containers, or a dtype that the state cannot take.
        ArgumentError, DTypeError: ``adjoint`` of tensors, or of states of several dtypes.

    >>> y = rk4(lambda t, y: -y, sg.constant(1.0), np.linspace(0.0, 1.0, 11))
    >>> bool(abs(sg.evaluate(y)[-1] - np.exp(-1.0)) < 1e-6)
    True
    """
    times = as_value(times)
    if times.ndim != 1:
        raise RankError(f"rk4: times is {times.type}, not a vector")
    if times.shape[0] == 0:
        raise ArgumentError("rk4: times is empty, and the state is given at the first of them")
    y, f = _equation(f, y, args)
    if adjoint:
        return adjoints.fixed(rk4, f, y, times, steps)

    def between(y: Any, ends: Any) -> tuple[Any, Any]:
        start, end = ends
        h = (end - start) / steps

        def step(i: Any, y: Any) -> Any:
            return _rk4_step(f, start + i * h, y, h)

        y = step(0.0, y) if steps == 1 else fori_loop(0, steps, step, y)
        return y, y

    _, later = scan(between, y, (times[:-1], times[1:]))
    return mapped(lambda first, rest: concatenate([first[None], rest], 0), y, later)


def _equation(f: Slope, y: Any, args: Any) -> tuple[Any, Slope]:
    """Return the first state, in floats, and a derivative that checks its own result."""
    name = called_name()
    if not isinstance(args, tuple | list):
        raise ArgumentError(
            f"{name}: args is {kind_of(args)}, not a tuple",
            hint="args=(a,) for f(t, y, a)",
        )
    check_function("f", f, "t", "y", *(f"arg{k}" for k in range(len(args))))
    leaves, tree = flatten(y)
    values = [as_value(leaf) for leaf in leaves]
    floats = [v if v.dtype.is_float else astype(v, F64) for v in values]

    def slope(t: Any, state: Any) -> Any:
        return _checked(name, f(t, state, *args), state, tree)

    return unflatten(tree, floats), named_after(f, slope)


@names_messages
def _checked(name: str, slope: Any, state: Any, tree: Tree) -> Any:
    """The derivative of a state, in its shape."""
    found, shape = flatten(slope)
    check_structure(shape, tree)
    for place, (each, of) in enumerate(zip(found, flatten(state)[0], strict=True)):
        if not isinstance(each, Value):
            continue
        if promote(each.dtype, of.dtype) != of.dtype:
            raise CarryError(
                f"{name}: the derivative is {shown(each)}, of a state {of.type}",
                hint=f"begin with y in {each.dtype.name}, or return it .astype({of.dtype.name!r})",
            )
        if each.shape != of.shape:
            found[place] = broadcast_to(each, of.shape)
    return unflatten(tree, found)


def _rk4_step(f: Slope, t: Any, y: Any, h: Any) -> Any:
    one = f(t, y)
    two = f(t + h / 2, _moved(y, h / 2, one))
    three = f(t + h / 2, _moved(y, h / 2, two))
    four = f(t + h, _moved(y, h, three))
    return mapped(
        lambda y, a, b, c, d: y + _like(h / 6, y) * (a + 2 * b + 2 * c + d),
        y,
        one,
        two,
        three,
        four,
    )


def _moved(y: Any, h: Any, slope: Any) -> Any:
    return mapped(lambda y, slope: y + _like(h, y) * slope, y, slope)


def _like(h: Any, y: Any) -> Any:
    return astype(h, y.dtype)


@by_all_operands
def rk45(
    f: Slope,
    y: Any,
    start: Any,
    end: Any,
    *,
    rtol: NonNegativeFloat = 1e-6,
    atol: NonNegativeFloat = 1e-9,
    first: float | None = None,
    max_steps: Any = 1000,
    args: Sequence[Any] = (),
    adjoint: bool = False,
) -> Any:
    """Solve ``y' = f(t, y, *args)`` up to ``end``, by Dormand-Prince steps of bounded error.

    Args:
        f, y, args: as of ``rk4``; the state at ``start``.
        start, end: times; the end may lie before the start.
        rtol, atol: a step is taken where the root mean square of its error over
            ``atol + rtol * abs(y)`` is at most 1.
            The next one is ``0.9 * error**-0.2`` times as long, at least 0.2 and at most 5.
        first: the first step to try; a hundredth of the way by default.
        max_steps: steps to try at most, those that fail included. A solution that needs more ends
            before ``end``: it is NaN.
        adjoint: the gradient is solved backwards, with the same tolerances and at most as many
            steps, and stores none of them. It has no ``jvp``.

    Returns:
        The state at ``end``. The gradient goes through the steps that were taken; the sizes of
        steps count as given.

    Raises:
        ArgumentError: no function, or a tolerance below 0.
        CarryError: as ``rk4``.
        ArgumentError, DTypeError: ``adjoint`` of tensors, or of states of several dtypes.

    >>> y = rk45(lambda t, y: -y * y, sg.constant(1.0), 0.0, 3.0, max_steps=200)
    >>> bool(abs(sg.evaluate(y) - 0.25) < 1e-6)
    True
    """
    y, f = _equation(f, y, args)
    for leaf in flatten(y)[0]:
        if leaf.dtype.is_storage:
            raise DTypeError(
                f"rk45: the state is {leaf.type}: errors of its steps are below the rounding",
                hint="y.astype('float32'); sg.ode.rk4 takes steps of a fixed size",
            )
    if adjoint:
        options = {"rtol": rtol, "atol": atol, "first": first, "max_steps": max_steps}
        return adjoints.adaptive(rk45, f, y, start, end, options)
    return _adaptive(f, y, start, end, rtol, atol, first, max_steps)


def _adaptive(
    f: Slope, y: Any, start: Any, end: Any, rtol: float, atol: float, first: Any, max_steps: Any
) -> Any:
    """The state at the end, by trials of steps."""
    state_dtype = flatten(y)[0][0].dtype
    start, end = (astype(as_value(each), state_dtype) for each in (start, end))
    whole = stop_gradient(end - start)
    way = 0.01 if first is None else first / absolute(whole)

    def test(state: Any) -> Any:
        return state[0] < 1.0

    def trial(state: Any) -> Any:
        part, step, y = state  # the completed fraction of the interval, and the step as a fraction
        step = minimum(step, 1.0 - part)
        found, error = _trial(f, start + part * (end - start), y, step * (end - start), rtol, atol)
        error = stop_gradient(error)
        good = error <= 1.0
        after = where(step >= 1.0 - part, 1.0, part + step)
        factor = _SAFETY * selection.maximum(error, 1e-10) ** -0.2
        # NaN fails, and the next step is the least part of this one.
        factor = where(factor >= _LEAST, minimum(factor, _MOST), _LEAST)
        kept = mapped(lambda new, old: where(good, new, old), found, y)
        return where(good, after, part), step * factor, kept

    zero = zeros_like(whole)
    done, _, last = while_loop(test, trial, (zero, zero + way, y), max_steps)
    return mapped(lambda each: where(done >= 1.0, each, float("nan")), last)


def _trial(f: Slope, t: Any, y: Any, h: Any, rtol: float, atol: float) -> tuple[Any, Any]:
    """Return the state after a step, and the ratio of its error to the tolerance."""
    slopes: list[Any] = []
    found = y
    for node, stage in zip(_NODES, _STAGES, strict=True):
        found = _combined(y, h, stage, slopes)
        slopes.append(f(t + node * h, found))
    nothing = mapped(zeros_like, y)
    errors, _ = flatten(_combined(nothing, h, _ERROR, slopes))
    before, after = flatten(y)[0], flatten(found)[0]
    squares, count = [], 0
    for error, one, other in zip(errors, before, after, strict=True):
        scale = atol + rtol * selection.maximum(absolute(one), absolute(other))
        squares.append(aggregate.sum((error / scale) ** 2))
        count = count + error.size
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    return found, sqrt(total / maximum(count, 1))  # an empty state has no error


def _combined(y: Any, h: Any, weights: tuple[float, ...], slopes: list[Any]) -> Any:
    """``y + h * sum(weight * slope)``."""
    used = [(w, s) for w, s in zip(weights, slopes, strict=True) if w]
    if not used:
        return y

    def combined(y: Any, *parts: Any) -> Any:
        total = used[0][0] * parts[0]
        for (weight, _), part in zip(used[1:], parts[1:], strict=True):
            total = total + weight * part
        return y + _like(h, y) * total

    return mapped(combined, y, *(slope for _, slope in used))


namespace(globals())
