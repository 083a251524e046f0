"""Solutions of differential equations between their steps: dense output, and events that end them.

The grid of steps is found first, without gradients. Then a scan makes these steps again, each with
a polynomial of the part of the step: gradients go through it, and the sizes of steps count as
given. An event is a zero of a function of the polynomial of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import NamedTuple, as_value, quote
from staticgrad.extend.functions import (
    arange,
    by_all_operands,
    zeros_like,
)
from staticgrad.extend.loops import (
    bounded_iterations,
    cond,
    fori_loop,
    is_eager,
    scan,
    while_loop,
)
from staticgrad.extend.ops import (
    absolute,
    astype,
    clip,
    concatenate,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    reshape,
    searchsorted,
    sign,
    stack,
    stop_gradient,
    where,
)
from staticgrad.extend.trees import map_leaves
from staticgrad.functions import aggregate

#: Halvings of a step in which an event lies, by the bytes of an element of time.
_HALVINGS = {4: 24, 8: 53}


class Crossing:
    """A function of a time and a state whose zero ends a solution."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function, self._args = function, args
        self.direction = getattr(function, "direction", 0)

    def __call__(self, t: Any, y: Any) -> Any:
        value = as_value(self._function(t, y, *self._args))
        if value.shape and value.size != 1:
            raise ArgumentError(
                f"solve: the event {quote(self._function)} gives {value.type}, not one number",
                hint="events=[one, two] are several",
            )
        return astype(reshape(value, ()), t.dtype)


class IvpSolution(NamedTuple):
    """The times and states of ``solve_ivp``, by SciPy's names.

    Args:
        t: the times, a vector.
        y: the states at them, along the last axis.
    """

    t: Any
    y: Any


class OdeSolution(NamedTuple):
    """The solution of an equation, a function of time between its start and its end.

    A named tuple of values: ``sg.function`` returns one of arrays, which is called as well.

    Args:
        ts: the times that were asked for.
        ys: the states at them; NaN behind the end.
        t: the time of the end: the last of the times, or where an event or ``max_steps`` ended it.
        y: the state there.
        event: the number of the event that ended it; -1 of none.
        steps: how many steps were taken.
        grid: the times between steps; those behind the last one are equal.
        pieces: the state at the beginning of each step, and what the powers of the part of the step
            are multiplied by.
    """

    ts: Any
    ys: Any
    t: Any
    y: Any
    event: Any
    steps: Any
    grid: Any
    pieces: Any

    def __call__(self, t: Any) -> Any:
        """Return the state at a time, or the states at a vector of times.

        NaN before the start and behind the end.
        """
        return _interpolate(self.grid, self.pieces, self.t, self.steps, t)


@by_all_operands
def _interpolate(grid: Any, pieces: Any, end: Any, steps: Any, t: Any) -> Any:
    """Evaluate an ODE's dense output at a time or a vector of times."""
    grid, end, steps = as_value(grid), as_value(end), as_value(steps)
    t = astype(as_value(t), grid.dtype)
    if t.ndim > 1:
        raise RankError(
            f"a OdeSolution is called with {t.type}, and takes a time or a vector of them"
        )
    direction = where(grid[-1] >= grid[0], 1.0, -1.0).astype(grid.dtype)
    place = searchsorted(stop_gradient(direction * grid), stop_gradient(direction * t), "right") - 1
    place = clip(place, 0, maximum(steps, 1) - 1)
    states = _evaluate_step(_step_of_grid(grid, pieces, place), t)
    return mask_states(
        logical_and(direction * t >= direction * grid[0], direction * t <= direction * end), states
    )


def mask_states(valid: Any, states: Any) -> Any:
    """Return states, a tree of values, with NaN where ``valid`` is false.

    Their first axes are those of ``valid``.
    """

    def mask(state: Any) -> Any:
        shape = (*valid.shape, *[1] * (state.ndim - valid.ndim))
        return where(reshape(valid, shape), state, float("nan"))

    return map_leaves(mask, states)


def _step_of_grid(grid: Any, pieces: Any, place: Any) -> tuple[Any, Any, Any]:
    """Return the start, length and polynomial of the steps of an ODE's dense output."""
    start = grid[place]
    return (
        start,
        grid[place + 1] - start,
        [map_leaves(lambda power: as_value(power)[place], p) for p in pieces],
    )


def _evaluate_step(row: tuple[Any, Any, Any], t: Any) -> Any:
    start, h, pieces = row
    part = where(h == 0, 0.0, (t - start) / where(h == 0, 1.0, h))
    return _evaluate_polynomial(pieces, part)


def _evaluate_polynomial(pieces: Sequence[Any], part: Any) -> Any:
    """Evaluate a step's dense-output polynomial by Horner's rule."""

    def evaluate_leaf(*powers: Any) -> Any:
        first = powers[0]
        x = astype(reshape(part, (*part.shape, *[1] * (first.ndim - part.ndim))), first.dtype)
        total = powers[-1]
        for power in reversed(powers[:-1]):
            total = total * x + power
        return total

    return map_leaves(evaluate_leaf, *pieces)


def cubic(y: Any, h: Any, y_end: Any, first: Any, last: Any) -> list[Any]:
    """The cubic of a step that has the states and slopes of both ends, by powers from the first."""

    def step_like(y: Any) -> Any:
        return astype(h, y.dtype)

    return [
        map_leaves(lambda y, slope: step_like(y) * slope, y, first),
        map_leaves(
            lambda y, z, d0, d1: 3 * (z - y) - step_like(y) * (2 * d0 + d1), y, y_end, first, last
        ),
        map_leaves(
            lambda y, z, d0, d1: step_like(y) * (d0 + d1) - 2 * (z - y), y, y_end, first, last
        ),
    ]


def solve_with_fixed_steps(
    step: Callable[..., Any], f: Any, y: Any, times: Any, steps: int, events: Sequence[Crossing]
) -> OdeSolution:
    """Solve with ``steps`` equal steps from each time to the next."""
    lengths = (times[1:] - times[:-1])[:, None] / steps
    begins = times[:-1][:, None] + lengths * arange(steps, dtype=times.dtype, like=times)
    grid = concatenate([reshape(begins, (-1,)), times[-1:]], 0)

    def advance(t: Any, y: Any, h: Any) -> Any:
        slope = f(t, y)
        next_y = step(f, t, y, h, slope)
        return next_y, cubic(y, h, next_y, slope, f(t + h, next_y))

    count = grid.shape[0] - 1
    number, hits = as_value(count), _no_hits(events)
    if events:

        def step_with_events(carry: Any, ends: Any) -> Any:
            y, values = carry
            t, next_t = ends
            y = step(f, t, y, next_t - t)
            next_values = [event(next_t, y) for event in events]
            return (y, next_values), _find_crossings(events, values, next_values)

        first = (y, [event(grid[0], y) for event in events])
        _, crossed = scan(step_with_events, first, (grid[:-1], grid[1:]))
        crossings = stop_gradient(stack(crossed, -1))
        numbers = arange(count, like=crossings)
        number = aggregate.min(where(aggregate.any(crossings, 1), numbers + 1, count))
        hits = crossings[number - 1]
        grid = where(arange(count + 1, like=crossings) <= number, grid, grid[number])
    return _solve_on_grid(advance, f, y, times, grid, number, hits, events)


def solve_adaptively(
    control: Any, f: Any, y: Any, times: Any, events: Sequence[Crossing]
) -> OdeSolution:
    """Solve by an adaptive method, whose steps also end at the requested times."""
    times = astype(times, control.dtype_of(y))
    last = times.shape[0] - 1
    max_steps = bounded_iterations(control.max_steps)

    def test(state: Any) -> Any:
        place, _, _, _, _, _, hits, _ = state
        go = place < last
        for hit in hits:
            go = logical_and(go, logical_not(hit))
        return go

    def trial(state: Any) -> Any:
        """Try an adaptive step and record it in the grid, with events that it meets."""
        place, part, step, y, values, count, hits, grid = state
        start = times[place]
        interval = times[place + 1] - start
        length = where(interval == 0, 1.0, absolute(interval))
        tried = step / length
        size = minimum(tried, 1.0 - part)
        next_y, error, _ = control.trial(f, start + part * interval, y, size * interval)
        good = error <= 1.0
        ends = size >= 1.0 - part
        part = where(good, where(ends, 1.0, part + size), part)
        arrives = logical_and(good, ends)
        accepted = map_leaves(lambda new, old: where(good, new, old), next_y, y)
        next_values = [event(start + part * interval, accepted) for event in events]
        hits = _find_crossings(events, values, next_values)
        grid = grid.at[count + where(good, 1, 0)].set(astype(place, part.dtype) + part)
        count = count + where(good, 1, 0)
        step = control.following(tried, size, error) * length
        place = place + where(arrives, 1, 0)
        return place, where(arrives, 0.0, part), step, accepted, next_values, count, hits, grid

    zero = as_value(0)
    nothing = zeros_like(stop_gradient(times[0]))
    initial = (
        zero,
        nothing,
        control.first_step(times[0], times[-1]),
        y,
        [event(times[0], y) for event in events],
        zero,
        _no_hits(events),
        nothing + zeros_like(nothing, shape=(max_steps + 1,)),
    )
    final = while_loop(test, trial, initial, max_steps)
    place, _, _, _, _, count, hits, places = final
    count, places = stop_gradient(count), stop_gradient(places)
    if is_eager([count]):  # the number of steps is known
        max_steps = int(count.item())
        places = places[: max_steps + 1]
    numbers = arange(max_steps + 1, like=count)
    places = where(numbers <= count, places, places[count])
    intervals = minimum(astype(places, count.dtype), maximum(as_value(last), 1) - 1)
    upper = minimum(intervals + 1, last)
    grid = times[intervals] + (places - astype(intervals, places.dtype)) * (
        times[upper] - times[intervals]
    )
    if control.fails:
        ended = place >= last
        for hit in hits:
            ended = logical_or(ended, hit)
        ended = control.check_end(ended, grid[-1])
        grid, count = mask_states(ended, grid), where(ended, count, -1)

    def advance(t: Any, y: Any, h: Any) -> Any:
        """Make one step of the recorded grid again, with its polynomial; empty steps do nothing."""

        def take_step() -> Any:
            next_y, _, slopes = control.trial(f, t, y, h)
            return next_y, control.pieces(y, h, next_y, slopes)

        def skip_step() -> Any:
            return y, [map_leaves(zeros_like, y) for _ in range(control.degree)]

        return cond(h == 0, skip_step, take_step)

    return _solve_on_grid(advance, f, y, times, grid, count, hits, events)


def _no_hits(events: Sequence[Crossing]) -> list[Any]:
    return [as_value(False) for _ in events]


def _find_crossings(
    events: Sequence[Crossing], values_before: Sequence[Any], values_after: Sequence[Any]
) -> list[Any]:
    """Return which events of an ODE crossed zero between two states."""
    results = []
    for event, value_before, value_after in zip(events, values_before, values_after, strict=True):
        rises = logical_and(value_before < 0, value_after >= 0)
        falls = logical_and(value_before > 0, value_after <= 0)
        crossings = {1: rises, -1: falls, 0: logical_or(rises, falls)}
        results.append(crossings[event.direction])
    return results


def _solve_on_grid(
    advance: Callable[..., Any],
    f: Any,
    y: Any,
    times: Any,
    grid: Any,
    count: Any,
    hits: Sequence[Any],
    events: Sequence[Crossing],
) -> OdeSolution:
    """Recompute an ODE's steps on a fixed grid, and locate the event in the last."""

    def advance_step(y: Any, ends: Any) -> Any:
        start, end = ends
        next_y, pieces = advance(start, y, end - start)
        return next_y, [y, *pieces]

    last, pieces = scan(advance_step, y, (grid[:-1], grid[1:]))
    t, number = grid[-1], as_value(-1)
    if events:
        row = _step_of_grid(grid, pieces, maximum(count, 1) - 1)
        parts = [_locate_zero(event, row, hit) for event, hit in zip(events, hits, strict=True)]
        part = parts[0]
        number = where(hits[0], 0, number)
        for place, (event_part, hit) in enumerate(zip(parts[1:], hits[1:], strict=True), 1):
            earlier = logical_and(hit, logical_or(number < 0, event_part < part))
            part, number = where(earlier, event_part, part), where(earlier, place, number)
        start, h, powers = row
        t = where(number >= 0, start + part * h, t)
        inside = _evaluate_polynomial(powers, part)
        last = map_leaves(
            lambda at_event, at_end: where(number >= 0, at_event, at_end), inside, last
        )
    ys = _interpolate(grid, pieces, t, count, times)
    arrives = logical_and(number < 0, t == times[-1])

    def replace_ends(first: Any, states: Any, last: Any) -> Any:
        end = where(arrives, last, states[-1])[None]
        return concatenate([first[None], states[1:-1], end], 0)

    ys = map_leaves(replace_ends, y, ys, last)
    return OdeSolution(times, ys, t, last, number, count, grid, pieces)


def _locate_zero(event: Crossing, row: tuple[Any, Any, Any], hit: Any) -> Any:
    """Locate an event's zero in a step: bisection, then two Newton steps.

    They are exact for first and second derivatives, since they begin at the zero.
    """
    from staticgrad.extend.linear_systems import slope  # of events alone

    start, h, pieces = row

    def value(part: Any) -> Any:
        return event(start + part * h, _evaluate_polynomial(pieces, part))

    zero = zeros_like(start)
    first = value(zero)

    def halve(_: Any, state: Any) -> Any:
        low, high = state
        middle = (low + high) / 2
        same = sign(value(middle)) == sign(first)
        return where(same, middle, low), where(same, high, middle)

    _, part = fori_loop(0, _HALVINGS[start.dtype.itemsize], halve, (zero, zero + 1.0))
    part = stop_gradient(part)
    for _ in range(2):
        by_part = slope(value, part)
        part = part - where(hit, value(part), 0.0) / where(hit, by_part, 1.0)
    return part
