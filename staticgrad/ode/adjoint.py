"""Gradients of solutions of differential equations by the adjoint method.

The gradient with respect to a state obeys an equation of its own, which is solved backwards beside
the state and the sums that parameters get: L. S. Pontryagin et al. 1962; R. T. Q. Chen et al.,
"Neural ordinary differential equations", 2018. Nothing of the steps that were taken is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.extend import DType, Graph, Symbolic, TensorType, as_value, called_name
from staticgrad.extend.derivatives import CustomFunction
from staticgrad.extend.functions import zeros_like
from staticgrad.extend.loops import (
    Trace,
    Traced,
    body_input,
    body_of,
    call_traced,
    inline_body,
    is_eager,
    scan,
)
from staticgrad.extend.ops import astype, concatenate, reshape, stack
from staticgrad.extend.trees import flatten, unflatten
from staticgrad.functions import aggregate

#: The derivative of a vector at a time.
Slope = Callable[[Any, Any], Any]


class Equation:
    """``y' = f(t, y)`` of a state as one vector, with all that f reads from outside as operands.

    Attributes:
        vector: the first state.
        operands: the values that f closes over.
    """

    vector: Any
    operands: tuple[Symbolic, ...]

    def __init__(self, f: Slope, y: Any, time: DType) -> None:
        """The equation."""
        leaves, self._tree = flatten(y)
        if is_eager(leaves):
            raise ArgumentError(
                f"{called_name()}: adjoint=True is for values of a graph, not for tensors"
            )
        values = [as_value(leaf) for leaf in leaves]
        kinds = {value.dtype for value in values}
        if len(kinds) != 1 or not next(iter(kinds)).is_float:
            types = ", ".join(str(value.type) for value in values)
            raise DTypeError(
                f"{called_name()}: adjoint=True takes a state of one floating dtype: {types}"
            )
        self._types = [value.type for value in values]
        self.vector = _ravel_leaves(values)
        trace = Trace()
        inputs = (trace.input("t", TensorType(time, ())), trace.input("y", self.vector.type))
        slope, _ = call_traced(f, inputs[0], self.state(inputs[1]))
        trace.parts.append(Traced(inputs, (_ravel_leaves(slope),)))
        (part,), captured = trace.close(once=False)
        self.operands = tuple(captured)
        self.body = body_of(part.inputs, {"slope": part.results[0]})
        self._back = _build_pullback(self.body)

    def slope(self, t: Any, y: Any, operands: Sequence[Any]) -> Any:
        """The derivative of the vector."""
        return inline_body(self.body, [t, y, *operands])[0]

    def pulled_back(self, t: Any, y: Any, operands: Sequence[Any], ct: Any) -> list[Any]:
        """The cotangents of the vector and of the ``moving`` operands, given that of the slope."""
        return list(inline_body(self._back, [t, y, *operands, ct]))

    @property
    def moving(self) -> list[int]:
        """The places of the operands that may have a gradient."""
        return [k for k, value in enumerate(self.operands) if value.dtype.is_float]

    def state(self, vector: Any) -> Any:
        """The state of a vector, or those of vectors along axes before the last."""
        parts, start = [], 0
        for kind in self._types:
            part = vector[..., start : start + kind.size]
            parts.append(reshape(part, (*vector.shape[:-1], *kind.shape)))
            start = start + kind.size
        return unflatten(self._tree, parts)

    def backwards(self, operands: Sequence[Any]) -> Callable[[Any, Any], Any]:
        """The derivative of (state, its cotangent, sums of the operands' cotangents) at a time."""

        def slope(t: Any, state: Any) -> Any:
            y, ct, _ = state
            by_y, *by_operands = self.pulled_back(t, y, operands, ct)
            return self.slope(t, y, operands), -by_y, tuple(-share for share in by_operands)

        return slope

    def cotangents(self, sums: Sequence[Any]) -> tuple[Any, ...]:
        """Return the cotangents of all operands, given those of the ``moving`` ones."""
        by_place = dict(zip(self.moving, sums, strict=True))
        return tuple(by_place.get(k) for k in range(len(self.operands)))

    def zeros(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """Return zeros to accumulate the cotangents of the moving operands in."""
        return tuple(zeros_like(operands[k]) for k in self.moving)


def _ravel_leaves(leaves: Sequence[Any]) -> Any:
    flat = [reshape(leaf, (leaf.size,)) for leaf in leaves]
    return flat[0] if len(flat) == 1 else concatenate(flat, 0)


def _build_pullback(body: Graph) -> Graph:
    """Build the pullback of an ODE's right-hand side: its cotangents by reverse mode.

    The time has none.
    """
    from staticgrad.extend.gradients import pull_back_stably  # of gradients alone

    inputs = [body_input(v.node.label, v.type, v.node.origin, v.node.order) for v in body.inputs]
    (result,) = inline_body(body, inputs)
    ct = body_input("ct", result.type, result.node.origin, result.node.order)
    targets = [value for value in inputs[1:] if value.dtype.is_float]
    cotangents = pull_back_stably([(result, ct)], targets)
    shares: list[Any] = [
        zeros_like(value) if share is None else share
        for value, share in zip(targets, cotangents, strict=True)
    ]
    return body_of([*inputs, ct], {f"y{place}": share for place, share in enumerate(shares)})


def over_times(solve: Callable[..., Any], key: str, f: Slope, y: Any, times: Any) -> Any:
    """Return the states at times, with a gradient by the adjoint method: back from time to time.

    At each time the state is that of the solution, so that an error of the way back does not grow
    over all of it.

    Args:
        solve: the method, a function of an equation, a state and times.
        key: what is different of methods that differ.
    """
    times = as_value(times)
    equation = Equation(f, y, times.dtype)

    def solution(vector: Any, times: Any, *operands: Any) -> Any:
        return solve(lambda t, y: equation.slope(t, y, operands), vector, times)

    def rule(ct: Any, out: Any, vector: Any, times: Any, *operands: Any) -> tuple[Any, ...]:
        """Differentiate an ODE's solution by the adjoint equation, solved backward in time."""
        slope = equation.backwards(operands)

        def step_back(carry: Any, interval: Any) -> Any:
            by_y, sums = carry
            ct_end, y, end, start = interval
            solution = solve(slope, (y, by_y + ct_end, sums), stack([end, start]))
            by_time = aggregate.sum(ct_end * equation.slope(end, y, operands))
            return (solution[1][-1], tuple(leaf[-1] for leaf in solution[2])), by_time

        first = (zeros_like(vector), equation.zeros(operands))
        slices = (ct[1:], out[1:], times[1:], times[:-1])
        (by_y, sums), by_time = scan(step_back, first, slices, reverse=True)
        by_start = -aggregate.sum(by_y * equation.slope(times[0], vector, operands))
        by_times = concatenate([by_start[None], by_time], 0)
        by_times = astype(by_times, times.dtype)
        return by_y + ct[0], by_times, *equation.cotangents(sums)

    function = CustomFunction(solution, f"ode.{key}.{equation.body.digest}")
    function.rule(rule)
    return equation.state(function(equation.vector, times, *equation.operands))
