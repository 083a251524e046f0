"""Jacobians and Hessians of values and of functions, and products with a Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from staticgrad.autodiff import jacobian as of_values
from staticgrad.autodiff.structure import Key, Leaf, Structure
from staticgrad.functions.call_types import Fed, Gradient, OfArrays, OfValue, P
from staticgrad.ir.calls import public
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.value import Value
from staticgrad.programs.derivatives import are_tensors, rules_of_functions, rules_of_tensors
from staticgrad.programs.places import (
    FIRST,
    AnyFunction,
    Wrt,
    check_value,
    chosen,
    given,
    is_function,
    takes_argnums,
)


@overload
def jacobian(
    y: Value, x: Value, mode: str | None = None, allow_disconnected: bool = False
) -> Value: ...
@overload
def jacobian(
    y: Value, x: list[Leaf], mode: str | None = None, allow_disconnected: bool = False
) -> list[Value]: ...
@overload
def jacobian(
    y: Value, x: tuple[Leaf, ...], mode: str | None = None, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def jacobian(
    y: Value, x: dict[Key, Leaf], mode: str | None = None, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def jacobian(
    y: Value, x: Structure, mode: str | None = None, allow_disconnected: bool = False
) -> Any: ...
@overload
def jacobian(  # type: ignore[overload-overlap]
    y: Gradient[P], *, mode: str | None = None, allow_disconnected: bool = False
) -> OfValue[P]: ...
@overload
def jacobian(
    y: Callable[P, Value], *, mode: str | None = None, allow_disconnected: bool = False
) -> Gradient[P]: ...
@overload
def jacobian(
    y: Callable[P, Value],
    argnums: tuple[int, int],
    mode: str | None = None,
    allow_disconnected: bool = False,
) -> OfArrays[P, tuple[Value, Value]]: ...
@overload
def jacobian(
    y: Callable[P, Any], argnums: Wrt = 0, mode: str | None = None, allow_disconnected: bool = False
) -> OfArrays[P, Any]: ...
@public
@takes_argnums("x")
def jacobian(
    y: Any,
    x: Any = FIRST,
    mode: str | None = None,
    allow_disconnected: bool = False,
    *,
    argnums: Any = None,
) -> Any:
    """The derivative of every element of ``y`` by every element of ``x``.

    ``jacobian(y, x)[i, j]`` is d y[i] / d x[j], with as many axes for i and j as y and x have. It
    takes one ``grad`` per element of y (``"reverse"``) or one ``jvp`` per element of x
    (``"forward"``), all at a time, over a batch of unit vectors, which holds so many derivatives of
    each intermediate value: prefer ``vjp``, ``jvp`` or ``hvp`` where a product is enough.

    Args:
        y: a floating value. Or a function that gives floating values in containers.
        x: a floating value, or a list, tuple or dict of them. Of a function the second argument is
            ``argnums``.
        mode: ``"forward"`` or ``"reverse"``; by default the one that takes fewer products.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.
        argnums: of a function, as in ``grad``.

    Returns:
        A value of shape ``y.shape + x.shape`` in the dtype of ``y`` (in reverse mode: of ``x``), in
        the containers of ``x``. Of a function a function, whose result has such a Jacobian for each
        value in the containers of what it gives.

    Raises:
        GradientError, DisconnectedError: as ``grad``.
        ArgumentError: another mode.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> y = sg.stack([x[0] * x[1], x[0] + 3.0 * x[1]])
    >>> sg.evaluate(jacobian(y, x), {"x": [5.0, 7.0]})
    array([[7., 5.],
           [1., 3.]])
    >>> jacobian(lambda x: x**2)(np.array([5.0, 7.0]))
    array([[10.,  0.],
           [ 0., 14.]])
    """
    of_values.check_mode(mode)
    if not is_function(y):
        check_value("jacobian", argnums)
    if are_tensors(y) and x is not FIRST:
        return rules_of_tensors().jacobian(y, x, mode, allow_disconnected)
    if not is_function(y):
        return of_values.jacobian(y, *given(x, mode, allow_disconnected))
    return rules_of_functions().jacobian(y, chosen("x", x, argnums), mode, allow_disconnected)


@overload
def hessian(y: Value, x: Value, allow_disconnected: bool = False) -> Value: ...
@overload
def hessian(y: Callable[P, Value], *, allow_disconnected: bool = False) -> OfValue[P]: ...
@overload
def hessian(
    y: Callable[P, Any], argnums: Wrt = 0, allow_disconnected: bool = False
) -> OfArrays[P, Any]: ...
@public
@takes_argnums("x")
def hessian(
    y: Any, x: Any = FIRST, allow_disconnected: bool = False, *, argnums: Any = None
) -> Any:
    """The second derivatives of ``y``, a 0-d value, by every pair of elements of ``x``, one value.

    The Jacobian of the gradient, forward over reverse: one ``hvp`` per element of x, all at a
    time. Prefer ``hvp`` where a product is enough. Blocks of several values:
    ``jacobian(grad(y, a), b)``.

    Args:
        y: a floating value of one element, or a function that gives one.
        x: a floating value. Of a function the second argument is ``argnums``.
        allow_disconnected: zeros, instead of an error, where the gradient does not depend on ``x``.
        argnums: of a function, as in ``grad``.

    Returns:
        A value of shape ``x.shape + x.shape`` in the dtype of ``x``. Of a function a function; of
        several arrays its result has containers within containers, a block for each pair.

    Raises:
        GradientError, DisconnectedError: as ``jacobian``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hessian(x[0] ** 2 * x[1], x), {"x": [5.0, 7.0]})
    array([[14., 10.],
           [10.,  0.]])
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([5.0, 7.0]))
    array([[14., 10.],
           [10.,  0.]])
    """
    if not is_function(y):
        check_value("hessian", argnums)
    if are_tensors(y) and x is not FIRST:
        return rules_of_tensors().hessian(y, x, allow_disconnected)
    if not is_function(y):
        return of_values.hessian(y, *given(x, allow_disconnected))
    return rules_of_functions().hessian(y, chosen("x", x, argnums), allow_disconnected)


@overload
def hvp(y: Value, x: Value, v: Any, allow_disconnected: bool = False) -> Value: ...
@overload
def hvp(y: Value, x: list[Leaf], v: Any, allow_disconnected: bool = False) -> list[Value]: ...
@overload
def hvp(
    y: Value, x: tuple[Leaf, ...], v: Any, allow_disconnected: bool = False
) -> tuple[Value, ...]: ...
@overload
def hvp(
    y: Value, x: dict[Key, Leaf], v: Any, allow_disconnected: bool = False
) -> dict[Key, Value]: ...
@overload
def hvp(y: Value, x: Structure, v: Any, allow_disconnected: bool = False) -> Any: ...
@overload
def hvp(y: AnyFunction, x: Fed, v: Any, allow_disconnected: bool = False) -> Array: ...
@overload
def hvp(y: AnyFunction, x: AnyValue, v: Any, allow_disconnected: bool = False) -> AnyValue: ...
@overload
def hvp(
    y: AnyFunction,
    x: Any,
    v: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any: ...
@public
def hvp(
    y: Any,
    x: Any,
    v: Any,
    allow_disconnected: bool = False,
    *,
    argnums: int | tuple[int, ...] | None = None,
) -> Any:
    """The Hessian of ``y`` by ``x``, times ``v``, without the Hessian.

    Forward over reverse: the tangent of the gradient when x moves along v. It costs about as much
    as two gradients, and keeps fewer values than reverse over reverse would: nothing waits for a
    second way back.

    Args:
        y: a floating 0-d value, or a function that gives one.
        x: a floating value, or a list, tuple or dict of them. Of a function the argument at which
            it is taken, or a tuple of all arguments.
        v: for each value of ``x`` a value or array of its type, in the containers of ``x``.
        allow_disconnected: zeros, instead of an error, where the gradient of ``y`` does not depend
            on ``x`` (it is linear in it), or y itself does not.
        argnums: of a function, as in ``vjp``; ``v`` is of these arguments alone.

    Returns:
        The containers of ``x``, each product of exactly the type of what it belongs to.

    Raises:
        GradientError, DisconnectedError: as ``grad`` and ``jvp``.

    >>> import numpy as np, staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hvp((x**3).sum(), x, [1.0, 10.0]), {"x": [2.0, 3.0]})
    array([ 12., 180.])
    >>> hvp(lambda x: (x**3).sum(), np.array([2.0, 3.0]), np.array([1.0, 10.0]))
    array([ 12., 180.])
    """
    if not is_function(y):
        check_value("hvp", argnums)
    if are_tensors(y):
        return rules_of_tensors().hvp(y, x, v, allow_disconnected)
    if not is_function(y):
        return of_values.hvp(y, x, v, allow_disconnected)
    return rules_of_functions().hvp(y, x, v, allow_disconnected, argnums)
