"""Solutions of equations as functions of what stands in them: the implicit function theorem.

Where F(x, a) = 0 the solution x depends on a, and dx = -(dF/dx)^-1 (dF/da) da, whatever found it
(Griewank and Walther, Evaluating Derivatives, chapter 15). So nothing of the iteration is kept, and
gradients cost one linear solve. Public as ``sg.implicit``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, Literal

from staticgrad import linalg
from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.extend import (
    NamedTuple,
    Value,
    as_value,
    called_name,
    kind_of,
    like,
    namespace,
    present,
)
from staticgrad.extend.derivatives import custom_vjp
from staticgrad.extend.dtypes import F32, F64
from staticgrad.extend.functions import eye
from staticgrad.extend.linear_systems import leaf, recording
from staticgrad.extend.loops import while_loop
from staticgrad.extend.ops import (
    absolute,
    astype,
    logical_and,
    logical_not,
    ravel,
    reached_end,
    reshape,
    stack,
    transpose,
    where,
)
from staticgrad.extend.parameters import check_real
from staticgrad.extend.sizes import suggest_least_sizes
from staticgrad.functions import aggregate
from staticgrad.programs.derivatives import grad
from staticgrad.programs.sparse import jacobian

__all__ = ["argmin", "fixed_point", "root"]

#: Residuals below these count as none, by the bytes of an element.
_TOLERANCES: Final = {4: 1e-5, 8: 1e-10}
_numbers: Final = itertools.count()
Function = Callable[..., Any]
#: What becomes of steps that do not arrive: an error, NaN, or the last of them.
Failure = Literal["raise", "nan", "last"]


def root(
    f: Function,
    x0: Any,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 50,
    on_failure: Failure = "raise",
) -> Any:
    """The x at which ``f(x, *args)`` is zero, by Newton's method from ``x0``.

    Args:
        f: takes x and the operands, gives as many numbers as x has, in its shape. Whatever floating
            it reads beside must be among the operands.
        x0: the first guess: a real floating value, array or tensor of any shape; it gets no
            gradient.
        args: operands, by which the solution is differentiated.
        tol: stop where no residual is larger; by default 1e-10, in float32 1e-5.
        max_steps: stop after so many steps.
        on_failure: if the residual is above ``tol`` then, "raise" ends the run with an error, "nan"
            gives NaN, and "last" the last step, whose derivative is not that of a solution.

    Returns:
        The solution, in the type of ``x0``.

    Raises:
        ConvergenceError: in the run, ``max_steps`` steps do not reach ``tol``.
        ArgumentError: no function. GradientError: ``f`` reads floating values that are no operands.
        DTypeError: ``x0`` is of another type than float32 and float64, or what ``f`` gives is
            complex; operands may be complex.

    >>> import numpy as np, staticgrad as sg
    >>> a = sg.input("a", (), "float64")
    >>> x = root(lambda x, a: x * x - a, sg.constant(1.0, "float64"), a)
    >>> [round(float(y), 6) for y in sg.evaluate([x, sg.grad(x, a)], {"a": 4.0})]
    [2.0, 0.25]
    """
    _check(f)

    def solve(x: Any, *operands: Any) -> Any:
        def step(at: Any) -> Any:
            residual, slopes = _linearize(f, at, operands)
            return at - _solve_linear(slopes, residual)

        return _repeat_until_small(step, lambda at: f(at, *operands), x, limits)[0]

    limits = _Limits("root", tol, max_steps, on_failure)
    return _implicit(f, solve, x0, args)


@like(root)
def fixed_point(
    f: Function,
    x0: Any,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 1000,
    on_failure: Failure = "raise",
) -> Any:
    """The x that ``f(x, *args)`` gives back, by repeating it from ``x0``.

    The residual, which the tolerance is for, is ``x - f(x, *args)``.

    >>> import staticgrad as sg
    >>> a = sg.input("a", (), "float64")
    >>> x = fixed_point(lambda x, a: sg.cos(a * x), sg.constant(0.5, "float64"), a)
    >>> [round(float(y), 6) for y in sg.evaluate([x, sg.grad(x, a)], {"a": 1.0})]
    [0.739085, -0.297474]
    """
    _check(f)

    def residual(x: Any, *operands: Any) -> Any:
        return x - f(x, *operands)

    def solve(x: Any, *operands: Any) -> Any:
        def step(at: Any) -> Any:
            return f(at, *operands)

        return _repeat_until_small(step, lambda at: residual(at, *operands), x, limits)[0]

    limits = _Limits("fixed_point", tol, max_steps, on_failure)
    return _implicit(residual, solve, x0, args)


@like(root)
def argmin(
    f: Function,
    x0: Any,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 100,
    on_failure: Failure = "raise",
) -> Any:
    """The x at which ``f(x, *args)``, one number, is smallest near ``x0``.

    Newton's method with Levenberg's damping: a step that is not lower is not taken, and the damping
    grows. The Hessian is dense. The residual, which the tolerance is for, is the gradient.

    Args:
        f: takes x and the operands, gives one number. Whatever floating it reads beside must be
            among the operands.

    >>> import numpy as np, staticgrad as sg
    >>> a = sg.input("a", (2,), "float64")
    >>> x = argmin(lambda x, a: ((x - a) ** 2).sum() + (x**4).sum(), np.zeros(2), a)
    >>> y, slopes = sg.evaluate([x, sg.grad(x.sum(), a)], {"a": [3.0, 0.0]})
    >>> np.round(y, 6), np.round(slopes, 6)
    (array([1., 0.]), array([0.142857, 1.      ]))
    """
    _check(f)

    def slope(x: Any, *operands: Any) -> Any:
        with recording(x):
            at = leaf(x)
            return grad(f(at, *operands), at)

    def solve(x: Any, *operands: Any) -> Any:
        """Minimize by damped Newton steps (Levenberg-Marquardt)."""

        def step(state: Any) -> Any:
            """Take a damped Newton step if it lowers the function; else increase the damping."""
            at, damping = state
            gradient, hessian = _linearize(slope, at, operands)
            damped = hessian + damping * eye(hessian.shape[0], dtype=at.dtype, like=at)
            candidate = at - _solve_linear(damped, gradient)
            lower = f(candidate, *operands) <= f(at, *operands)
            changed = where(lower, damping * 0.1, damping * 10.0 + 1e-6)
            return where(lower, candidate, at), changed

        begin = aggregate.sum(x * 0.0) + 1e-3
        return _repeat_until_small(step, lambda at: slope(at, *operands), (x, begin), limits)[0]

    limits = _Limits("argmin", tol, max_steps, on_failure)
    return _implicit(slope, solve, x0, args)


# -- one solver, one derivative --------------------------------------------------------------------


def _check(f: Any) -> None:
    """Refuse an argument of ``sg.implicit`` that is not a function."""
    if isinstance(f, Value) or not callable(f):
        what = "a value" if isinstance(f, Value) else kind_of(f)
        name = called_name()
        raise ArgumentError(
            f"{name}: f is {what}, not a function",
            hint=f"sg.implicit.{name}(lambda x, a: ..., x0, a)",
        )


def _implicit(residual: Function, solve: Function, x0: Any, args: tuple[Any, ...]) -> Any:
    """Differentiate a solution by the implicit function theorem, whatever ``solve`` does."""
    check_real(x0)
    if not isinstance(x0, float):
        dtype = as_value(x0).dtype
        if dtype not in (F32, F64):
            raise DTypeError(
                f"{called_name()}: x0 is of {dtype.name}, not of float32 or float64",
                hint="x0.astype('float64')",
            )
    solution = custom_vjp(solve, name=f"staticgrad.implicit.{next(_numbers)}")

    @solution.rule
    def _(ct: Any, out: Any, first: Any, *operands: Any) -> tuple[Any, ...]:
        """Solve the transposed linearization for a cotangent, and pull it back to operands."""
        with recording(out):
            _, slopes = _linearize(residual, out, operands)
            back = _solve_linear(transpose(slopes), ct)
            leaves = [leaf(operand) if operand.dtype.is_float else operand for operand in operands]
            targets = [value for value in leaves if value.dtype.is_float]
            pulled = aggregate.sum(residual(out, *leaves) * -back)
            gradients = iter(grad(pulled, targets, allow_disconnected=True) if targets else ())
        return (
            None,
            *(next(gradients) if operand.dtype.is_float else None for operand in operands),
        )

    return solution(x0, *args)


class _Limits(NamedTuple):
    """When the steps of a function end, and what becomes of those that do not arrive."""

    function: str
    tol: float | None
    max_steps: int
    on_failure: Failure


def _repeat_until_small(
    step: Function, measure: Function, begin: Any, limits: _Limits
) -> tuple[Any, ...]:
    """Repeat ``step`` until no element of the measure is above the tolerance.

    A step takes a solution, or a tuple that begins with one, and gives the next; the result is a
    tuple.
    """
    first = begin if isinstance(begin, tuple) else (begin,)
    least = limits.tol or _TOLERANCES.get(first[0].dtype.numpy.itemsize, 1e-3)

    def residual(x: Any) -> Any:
        return _detach(aggregate.max(absolute(measure(x)), initial=0.0))

    def is_far(state: Any) -> Any:
        _, largest, count = state
        return logical_and(count < limits.max_steps, logical_not(largest <= least))

    def further(state: Any) -> Any:
        previous, _, count = state
        next_state = step(previous if isinstance(begin, tuple) else previous[0])
        next_state = tuple(map(_detach, next_state if isinstance(begin, tuple) else (next_state,)))
        return next_state, residual(next_state[0]), count + 1

    count = aggregate.sum(astype(first[0], "int64") * 0)
    (x, *more), largest, _ = while_loop(is_far, further, (first, residual(first[0]), count))
    arrived = largest <= least
    if limits.on_failure == "raise":
        loop = f"implicit.{limits.function}.newton"
        arrived = reached_end(loop, limits.max_steps, arrived, largest)
    return x if limits.on_failure == "last" else where(arrived, x, float("nan")), *more


def _linearize(f: Function, x: Any, operands: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a function's value at x, and its Jacobian there as a matrix."""
    with recording(x):
        at = leaf(x)
        result = f(at, *operands)
        check_real(result, of="implicit")
        if not isinstance(result, Value) or result.shape != x.shape:
            what = result.type if isinstance(result, Value) else kind_of(result)
            shape = getattr(result, "shape", ())
            raise ArgumentError(
                f"implicit: f gives {what} for x of type {x.type}, not its shape",
                hint=suggest_least_sizes(shape, x.shape),
            )
        if x.computes:
            flat = ravel(result)
            rows = [ravel(grad(flat[k], at)) for k in range(x.size)]
            return result, stack(rows)
        return result, reshape(jacobian(result, at), (x.size, x.size))


def _solve_linear(matrix: Any, right: Any) -> Any:
    """The solution of a linear system, in the shape of its right side."""
    solution = linalg.solve(matrix, ravel(right))
    return reshape(solution, right.shape)


def _detach(x: Any) -> Any:
    """A state for the next step: of tensors without the tape."""
    return x.detach() if x.computes else x


namespace(globals(), operands=present)
