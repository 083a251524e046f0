"""L-BFGS: quasi-Newton steps of a function that is given whole, in a loop of the graph.

Nocedal and Wright, Numerical Optimization (2nd ed.), algorithms 7.4 and 7.5. The step along a
direction is found by bisection until the strong Wolfe conditions hold (ibid., 3.7), as Lewis and
Overton have it (Math. Program. 141, 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Final

from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.extend import (
    NamedTuple,
    Parameter,
    PositiveFloat,
    PositiveInt,
    Settings,
    Value,
    check_fields,
    dataclass,
    functions,
    kind_of,
    make_boundaries,
    public,
    ranks,
)
from staticgrad.extend.functions import ones_like
from staticgrad.extend.gradients import grad
from staticgrad.extend.ops import (
    absolute,
    astype,
    concatenate,
    logical_and,
    logical_not,
    logical_or,
    minimum,
    ravel,
    reshape,
    stack,
    where,
)
from staticgrad.extend.parameters import ComplexParameter, stored_of
from staticgrad.extend.ranks import means
from staticgrad.extend.trees import flatten, unflatten, with_complex_values
from staticgrad.optim.data_parallel import synchronize
from staticgrad.optim.optimizer import RankOptions

#: Required decrease of the loss, and of the slope, to accept a step: c1 and c2 (Wolfe).
_FALL: Final = 1e-4
_FLATTER: Final = 0.9
#: Trials along one direction.
_TRIALS: Final = 30
#: Pairs of steps and changes of the gradient whose product is not larger say nothing of curvature.
_LEAST_CURVATURE: Final = 1e-10


class Minimized(NamedTuple):
    """The result of a search.

    Attributes:
        x: the point, in the containers of the start.
        value: the loss there.
        slope: the largest element of the gradient there.
        iterations: the number of steps; converged: True if the slope is below the tolerance.
    """

    x: Any
    value: Value
    slope: Value
    iterations: Value
    converged: Value


class _Evaluation(NamedTuple):
    """A place, the loss and the gradient there."""

    x: Any
    value: Any
    slope: Any


@make_boundaries
@dataclass(frozen=True)
class LBFGS(Settings):
    """L-BFGS, for losses of all data: few evaluations of an exact gradient, no learning rate.

    The loss is a function of what it is minimised by, for it is evaluated at several places. In a
    graph all steps are iterations of one loop; of tensors the same rule runs at once.

    Args:
        max_iter: the maximum number of steps.
        history_size: how many steps the Hessian is estimated from.
        tolerance_grad: where no element of the gradient is larger the search ends.

    >>> def rosenbrock(x):
    ...     return ((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2).sum()
    >>> found = sg.function(lambda x: sg.optim.LBFGS().minimum(rosenbrock, x))(np.zeros(4))
    >>> found.x.round(4), bool(found.converged)
    (array([1., 1., 1., 1.]), True)
    """

    max_iter: PositiveInt = 100
    history_size: PositiveInt = 10
    tolerance_grad: PositiveFloat = 1e-6

    def __post_init__(self) -> None:
        check_fields(self)

    def minimum(self, f: Callable[..., Any], start: Any, *args: Any) -> Minimized:
        """The place near ``start`` at which ``f(x, *args)`` is smallest.

        Args:
            f: takes x, in the containers of ``start``, and gives one floating number.
            start: values, tensors or arrays of one floating dtype: one of them, or dicts, lists,
                tuples or a module of them.
            args: what else ``f`` takes.

        Returns:
            The place, the loss and the largest slope there; values, or of tensors tensors.
        """
        return self._search(_Space(f, start, args))

    def _search(self, space: _Space) -> Minimized:
        from staticgrad.extend.loops import while_loop

        first = space.at(space.begin)
        steps = stack([space.begin * 0.0] * self.history_size)
        state = (first, (steps, steps), space.count(0), space.count(1))

        def goes_on(state: Any) -> Any:
            at, _, iterations, moves = state
            return logical_and(
                logical_and(iterations < self.max_iter, moves > 0),
                logical_not(_largest(at.slope) <= self.tolerance_grad),
            )

        def further(state: Any) -> Any:
            """Take an L-BFGS step: direction, line search, new history if curved upward."""
            at, pairs, iterations, _ = state
            along = -_times_inverse(at.slope, *pairs)
            reached, has_moved = _search_line(space, at, along, iterations)
            step, change = reached.x - at.x, reached.slope - at.slope
            curves = (step * change).sum() > _LEAST_CURVATURE * (change * change).sum()
            pairs = tuple(
                where(curves, concatenate([history[1:], new[None]]), history)
                for history, new in zip(pairs, (step, change), strict=True)
            )
            moves = astype(has_moved, iterations.dtype)
            return reached, pairs, iterations + moves, moves

        at, _, iterations, _ = while_loop(goes_on, further, state)
        least = _largest(at.slope)
        return Minimized(
            space.tree(at.x), at.value, least, iterations, least <= self.tolerance_grad
        )

    @public
    def minimize(
        self,
        f: Callable[..., Any],
        params: Any = (),
        *args: Any,
        data_parallel: bool = False,
        rows: Any = None,
    ) -> Minimized:
        """Let parameters become those of the minimum: at each call of a traced function, or now.

        Args:
            f: takes ``params`` with other values in them: a module gives one of its class.
            params: a module, or parameters in containers.
            args: what else ``f`` takes.
            data_parallel, rows: as in ``Optimizer.minimize``: the processes of an MPI job search
                together, by the means of their losses and gradients over the rows of all. The
                result's loss and slope are those means.
        """
        owners = flatten(params, keep_complex=True)[0]
        for owner in owners:
            if not isinstance(owner, Parameter | ComplexParameter):
                raise ArgumentError(f"LBFGS.minimize: {kind_of(owner)} is not a parameter")
        space = _Space(f, params, args, data_parallel, rows)
        if data_parallel and ranks.job().ranks > 1:
            synchronize(ranks.job(), map(stored_of, owners), is_late=space.begin.computes)
        minimum = self._search(space)
        for parameter, value in zip(owners, flatten(minimum.x, keep_complex=True)[0], strict=True):
            parameter.update(value)
        return minimum


class _Space:
    """A function of containers, as one of a vector; of several ranks their mean."""

    def __init__(
        self,
        f: Any,
        start: Any,
        args: tuple[Any, ...],
        data_parallel: bool = False,
        rows: Any = None,
    ) -> None:
        if isinstance(f, Value) or not callable(f):
            what = "a value" if isinstance(f, Value) else kind_of(f)
            raise ArgumentError(
                f"LBFGS: the loss is {what}, not a function: it is evaluated at several places",
                hint="LBFGS().minimize(lambda model: loss(model(x), y), model)",
            )
        self._f, self._args = f, args
        self._data_parallel, self._rows = data_parallel, rows
        leaves, self._shape = flatten(with_complex_values(start))
        values = [ravel(leaf) for leaf in leaves]
        self._shapes = [leaf.shape for leaf in leaves]
        if not leaves:
            raise ArgumentError(
                "LBFGS: there are no parameters",
                hint="LBFGS().minimize(lambda model: loss(model(x), y), model)",
            )
        dtypes = {value.dtype for value in values}
        if len(dtypes) > 1 or not values[0].dtype.is_float or values[0].dtype.is_storage:
            names = ", ".join(sorted(map(str, dtypes)))
            raise DTypeError(f"LBFGS: moves values of one floating dtype, not {names}")
        self.begin: Any = _detach(concatenate(values) if len(values) > 1 else values[0])

    def tree(self, x: Any) -> Any:
        leaves, first = [], 0
        for shape in self._shapes:
            size = prod(shape)
            leaves.append(reshape(x[first : first + size], shape))
            first += size
        return unflatten(self._shape, leaves)

    def count(self, number: int) -> Any:
        return functions.sum(self.begin * 0.0).astype("int64") + number

    def at(self, x: Any) -> _Evaluation:
        """Evaluate the loss and its gradient at a point of the L-BFGS search."""
        if not x.computes:
            variable = x * 1.0
            value = self._value(variable)
            return _Evaluation(x, *self._over_ranks(value, grad(value, [variable])[0]))
        from staticgrad.eager import Tensor, enable_grad
        from staticgrad.extend.tapes import grad as of_tape

        with enable_grad():
            leaf = Tensor(x.array, requires_grad=True)
            value = self._value(leaf)
            (slope,) = of_tape([value], [leaf])
        return _Evaluation(x, *self._over_ranks(_detach(value), _detach(slope)))

    def _over_ranks(self, value: Any, slope: Any) -> tuple[Any, ...]:
        """Return the loss and the gradient; of a search of several ranks their means."""
        ways = RankOptions.of(value, self._data_parallel, False, self._rows)
        if not ways.data_parallel or (count := ranks.job().ranks) == 1:
            return value, slope
        return means(count, [value, slope], ways.rows)

    def _value(self, x: Any) -> Any:
        value = self._f(self.tree(x), *self._args)
        if not isinstance(value, Value) or value.shape != ():
            what = value.type if isinstance(value, Value) else kind_of(value)
            raise ShapeError(f"LBFGS: the loss is {what}, not one number")
        return value.astype(x.dtype)


def _detach(x: Any) -> Any:
    return x.detach() if x.computes else x


def _largest(slope: Any) -> Any:
    return functions.max(absolute(slope))


def _times_inverse(slope: Any, steps: Any, changes: Any) -> Any:
    """Multiply a gradient by the estimated inverse Hessian; rows of zeros are unused steps.

    The two loops of algorithm 7.4, each a loop of the graph along the history.
    """
    from staticgrad.extend.loops import scan

    products = (steps * changes).sum(1)
    is_used = products > 0.0
    inverses = where(is_used, 1.0 / where(is_used, products, 1.0), 0.0)

    def first_loop(q: Any, pair: Any) -> Any:
        step, change, inverse = pair
        part = inverse * (step * q).sum()
        return q - part * change, part

    def up(r: Any, pair: Any) -> Any:
        step, change, inverse, part = pair
        return r + step * (part - inverse * (change * r).sum()), None

    q, parts = scan(first_loop, slope, (steps, changes, inverses), reverse=True)
    size = (changes[-1] * changes[-1]).sum()
    scale = where(is_used[-1], products[-1] / where(is_used[-1], size, 1.0), 1.0)
    return scan(up, scale * q, (steps, changes, inverses, parts))[0]


def _search_line(
    space: _Space, at: _Evaluation, along: Any, iterations: Any
) -> tuple[_Evaluation, Any]:
    """Search along a direction for a point of the strong Wolfe conditions; say if it moved.

    Between a step that is too short and one that is too long the middle is tried; while none was
    too long, the double. Where no trial is good the last place that is lower counts.
    """
    from staticgrad.extend.loops import while_loop

    falls = (at.slope * along).sum()
    shorter = minimum(1.0, 1.0 / functions.sum(absolute(at.slope)))
    first = where(iterations > 0, ones_like(shorter), shorter)
    nothing = first * 0.0
    state = (at, first, nothing, nothing, space.count(0), space.count(0))

    def goes_on(state: Any) -> Any:
        *_, tries, is_good = state
        return logical_and(tries < _TRIALS, is_good < 1)

    def further(state: Any) -> Any:
        """Try one step size of the line search: bisect a bracket, or double without one."""
        _, size, low, high, tries, _ = state
        trial = space.at(at.x + size * along)
        rise = (trial.slope * along).sum()
        fell = trial.value <= at.value + _FALL * size * falls
        too_long = logical_or(logical_not(fell), rise > -_FLATTER * falls)
        too_short = logical_and(logical_not(too_long), rise < _FLATTER * falls)
        is_good = logical_not(logical_or(too_long, too_short))
        high = where(too_long, size, high)
        low = where(too_short, size, low)
        between = where(high > 0.0, 0.5 * (low + high), 2.0 * size)
        size = where(is_good, size, between)
        return trial, size, low, high, tries + 1, is_good.astype(tries.dtype)

    reached, *_ = while_loop(goes_on, further, state)
    is_lower = logical_and(reached.value < at.value, falls < 0.0)
    accepted = _Evaluation(
        *[where(is_lower, new, old) for new, old in zip(reached, at, strict=True)]
    )
    return accepted, is_lower
