"""Whole Jacobians and Hessians, and products with a Hessian.

Everything here is made of ``jvp`` and ``grad``. A matrix is one product over a batch of unit
vectors, as ``vmap`` builds it: the graph is as large as that of one product, whatever the sizes.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, overload

from staticgrad.autodiff.forward import jvp
from staticgrad.autodiff.reverse import grad
from staticgrad.autodiff.structure import (
    Key,
    Leaf,
    Structure,
    check_floating,
    leaves,
    mapped,
    not_a_value,
)
from staticgrad.building import within
from staticgrad.errors import ArgumentError, DisconnectedError
from staticgrad.ir.bodies import body_input
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Symbolic
from staticgrad.ir.value import Value
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.batching import moved_over_batch
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.types.dim import Size

_LINEAR: Final = (
    "the gradient of what is linear in a value does not depend on it\n"
    "allow_disconnected=True gives zeros there"
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
@public
def jacobian(y: Any, x: Any, mode: str | None = None, allow_disconnected: bool = False) -> Any:
    """The derivative of every element of ``y`` by every element of ``x``.

    ``jacobian(y, x)[i, j]`` is d y[i] / d x[j], with as many axes for i and j as y and x have. It
    takes one ``grad`` per element of y (``"reverse"``) or one ``jvp`` per element of x
    (``"forward"``), all at a time, over a batch of unit vectors, which holds so many derivatives of
    each intermediate value: prefer ``vjp``, ``jvp`` or ``hvp`` where a product is enough.

    Args:
        y: a floating value.
        x: a floating value, or a list, tuple or dict of them.
        mode: ``"forward"`` or ``"reverse"``; by default the one that takes fewer products.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.

    Returns:
        A value of shape ``y.shape + x.shape`` in the dtype of ``y`` (in reverse mode: of ``x``), in
        the containers of ``x``.

    Raises:
        GradientError: as ``grad``.
        DisconnectedError: as ``grad``.
        ArgumentError: another mode.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> y = sg.stack([x[0] * x[1], x[0] + 3.0 * x[1]])
    >>> sg.evaluate(jacobian(y, x), {"x": [5.0, 7.0]})
    array([[7., 5.],
           [1., 3.]])
    """
    if mode not in (None, "forward", "reverse"):
        raise ArgumentError(f"jacobian: mode={mode!r} is neither 'forward' nor 'reverse'")
    (output,) = _one(y, "jacobian")
    check_floating([output], "of")
    check_floating(leaves(x, "jacobian takes values to differentiate by"), "by")
    return mapped(x, lambda value: _matrix(output, value, mode, allow_disconnected))


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
@public
def hvp(y: Any, x: Any, v: Any, allow_disconnected: bool = False) -> Any:
    """The Hessian of ``y`` by ``x``, times ``v``, without the Hessian.

    Forward over reverse: the tangent of the gradient when x moves along v. It costs about as much
    as two gradients, and keeps fewer values than reverse over reverse would: nothing waits for a
    second way back.

    Args:
        y: a floating 0-d value.
        x: a floating value, or a list, tuple or dict of them.
        v: for each value of ``x`` a value or array of its type, in the containers of ``x``.
        allow_disconnected: zeros, instead of an error, where the gradient of ``y`` does not depend
            on ``x`` (it is linear in it), or y itself does not.

    Returns:
        The containers of ``x``, each product of exactly the type of what it belongs to.

    Raises:
        GradientError, DisconnectedError: as ``grad`` and ``jvp``.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hvp((x**3).sum(), x, [1.0, 10.0]), {"x": [2.0, 3.0]})
    array([ 12., 180.])
    """
    slope = grad(y, x, None, allow_disconnected)
    try:
        return jvp(slope, x, v, allow_disconnected)
    except DisconnectedError as error:
        error.hint = _LINEAR
        raise


@public
def hessian(y: Any, x: Any, allow_disconnected: bool = False) -> Value:
    """The second derivatives of ``y``, a 0-d value, by every pair of elements of ``x``, one value.

    The Jacobian of the gradient, forward over reverse: one ``hvp`` per element of x, all at a
    time. Prefer ``hvp`` where a product is enough. Blocks of several values:
    ``jacobian(grad(y, a), b)``.

    Returns:
        A value of shape ``x.shape + x.shape`` in the dtype of ``x``.

    Raises:
        GradientError, DisconnectedError: as ``jacobian``.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (2,), "float64")
    >>> sg.evaluate(hessian(x[0] ** 2 * x[1], x), {"x": [5.0, 7.0]})
    array([[14., 10.],
           [10.,  0.]])
    """
    (value,) = _one(x, "hessian")
    slope = grad(y, value, None, allow_disconnected)
    return jacobian(slope, value, "forward", allow_disconnected)


def _one(value: Any, caller: str) -> tuple[Symbolic]:
    if not isinstance(value, Symbolic):
        raise not_a_value(caller, value)
    return (value,)


def _matrix(y: Symbolic, x: Symbolic, mode: str | None, allow_disconnected: bool) -> Value:
    forward = mode == "forward" if mode else _is_smaller(x, y)
    along, across = (x, y) if forward else (y, x)
    count = prod(along.shape)
    shape = (*y.shape, *x.shape)
    with within(y.node.origin, max(y.node.order, x.node.order) + 1):
        if count == 0:
            return zeros_like_type(across.type.with_shape(shape))
        units = _units(along, count)
        unit = body_input("unit", along.type, y.node.origin, y.node.order)
    product: Any = (
        jvp(y, x, unit, allow_disconnected) if forward else grad(y, x, unit, allow_disconnected)
    )
    ((batch, has),) = moved_over_batch([product], unit, units, count)
    with within(y.node.origin, product.node.order):
        (batch,) = in_front(count, [batch], [has])
        matrix: Value = functions.reshape(
            functions.moveaxis(batch, 0, -1) if forward else batch, shape
        )
        return matrix


def _is_smaller(x: Symbolic, y: Symbolic) -> bool:
    """Whether x has fewer elements; a named size counts for more than any literal one."""
    return _count(x) < _count(y)


def _count(value: Symbolic) -> float:
    """How many elements; infinitely many if a named size decides."""
    count = prod(value.shape)
    return count if isinstance(count, int) else float("inf")


def _units(value: Symbolic, count: Size) -> Value:
    """A unit vector of the type of ``value`` for each of its elements, in C order."""
    places = functions.reshape(functions.iota((count,)), value.shape)
    numbers = functions.reshape(functions.iota((count,)), (count, *(1,) * value.ndim))
    return functions.astype(functions.equal(numbers, places), value.dtype)
