"""Derivatives of solutions of linear systems, whatever solves them: ``sg.linalg.cg`` and others.

Where A x = b, a cotangent of x gives that of b by a solve with the transposed matrix, and those of
the operands of A by the product at the solution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from staticgrad.language.ops.custom import custom_vjp
from staticgrad.programs.derivatives import grad, vjp

_numbers: Final = itertools.count()
Function = Callable[..., Any]


def transpose_linear(apply: Function) -> Function:
    """Return the transpose of a function that is linear in its first argument, a vector."""

    def product(v: Any, *operands: Any) -> Any:
        with recording(v):
            at = leaf(v * 0.0)
            return vjp(apply(at, *operands), at, v, allow_disconnected=True)

    return product


def linear(operator: Any, solve: Function, b: Any, x0: Any) -> tuple[Any, Any]:
    """Solve a linear system by ``solve``, differentiated by the transposed system.

    Args:
        operator: the system (``sg.linalg, iterative.py``).
        solve: gives the solution and a number for whether the system is transposed, a right-hand
            side, a first guess and the operands of the operator.
        b, x0: the right-hand side, and the first guess.
    """
    return _linear(operator, solve, (b, x0, operator.operands), False)


def _linear(operator: Any, solve: Function, system: tuple[Any, ...], back: bool) -> tuple[Any, Any]:
    """Solve a linear system or its transpose, with the custom derivative rule."""
    b, x0, operands = system
    numbers: list[Any] = []

    def solve_and_count(right: Any, first: Any, *operands: Any) -> Any:
        x, number = solve(back, right, first, operands)
        numbers.append(number)
        return x

    solution = custom_vjp(solve_and_count, name=f"staticgrad.linear.{next(_numbers)}")

    @solution.rule
    def _(ct: Any, out: Any, right: Any, first: Any, *operands: Any) -> tuple[Any, ...]:
        """Differentiate a linear solve: solve the transpose, then pull the operator back."""
        by_right, _ = _linear(operator, solve, (ct, ct * 0.0, operands), not back)
        with recording(out):
            leaves = [leaf(operand) if operand.dtype.is_float else operand for operand in operands]
            targets = [value for value in leaves if value.dtype.is_float]
            apply = operator.transposed if back else operator.apply
            pulled = apply(out, *leaves)
            slopes = iter(
                vjp(pulled, targets, -by_right, allow_disconnected=True) if targets else ()
            )
        return (
            by_right,
            None,
            *(next(slopes) if operand.dtype.is_float else None for operand in operands),
        )

    return solution(b, x0, *operands), numbers[0]


def slope(function: Function, x: Any) -> Any:
    """Return the derivative of a function of one number, at a number."""
    with recording(x):
        at = leaf(x)
        return grad(function(at), at, allow_disconnected=True)


def leaf(x: Any) -> Any:
    """A value equal to x that derivatives by x stop at: x itself may depend on operands."""
    if x.computes and not x.requires_grad:
        from staticgrad.eager.tensor import Tensor  # who has tensors has loaded it

        return Tensor(x.data, requires_grad=True)
    return x * 1.0


@contextmanager
def recording(x: Any) -> Iterator[None]:
    """Record on the tape in this context what is computed of tensors."""
    if not x.computes:
        yield
        return
    from staticgrad.eager.tape import enable_grad  # who has tensors has loaded it

    with enable_grad():
        yield
