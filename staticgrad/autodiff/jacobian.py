"""Whole Jacobians and Hessians, and products with a Hessian.

Everything here is made of ``jvp`` and ``grad``. A matrix is one product over a batch of unit
vectors, as ``vmap`` builds it: the graph is as large as that of one product, whatever the sizes.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final, Literal

from staticgrad.autodiff.forward import jvp
from staticgrad.autodiff.reverse import grad
from staticgrad.autodiff.structure import check_floating, leaves, not_a_value
from staticgrad.errors import DisconnectedError
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.bodies import body_input
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.batching import substitute_batches
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.movement import moveaxis, reshape
from staticgrad.language.ops.positions import iota
from staticgrad.language.trees import check_real, check_whole, map_leaves
from staticgrad.support.building import within

#: Which products give the elements of a Jacobian.
Direction = Literal["forward", "reverse"]
_LINEAR: Final = (
    "the gradient of what is linear in a value does not depend on it\n"
    "allow_disconnected=True gives zeros there"
)


@public
def jacobian(
    y: Any, x: Any, mode: Direction | None = None, allow_disconnected: bool = False
) -> Any:
    """The derivative of every element of ``y`` by every element of ``x``."""
    check_real(y, x)
    if not isinstance(y, Symbolic):
        raise not_a_value(y)
    check_floating([y], "of")
    check_floating(leaves(x, "jacobian takes values to differentiate by"), "by")
    return map_leaves(lambda value: _build_jacobian(y, value, mode, allow_disconnected), x)


@public
def hvp(y: Any, x: Any, v: Any, allow_disconnected: bool = False) -> Any:
    """The Hessian of ``y`` by ``x``, times ``v``, as ``sg.hvp`` says."""
    check_whole(x)
    slope = grad(y, x, None, allow_disconnected)
    try:
        return jvp(slope, x, v, allow_disconnected)
    except DisconnectedError as error:
        error.hint = _LINEAR
        raise


@public
def hessian(y: Any, x: Any, allow_disconnected: bool = False) -> Any:
    """The second derivatives of ``y`` by every pair of elements of ``x``."""
    check_real(x)
    if not isinstance(x, Symbolic):
        raise not_a_value(x)
    return jacobian(grad(y, x, None, allow_disconnected), x, "forward", allow_disconnected)


@in_graphs()
def _build_jacobian(
    y: Symbolic, x: Symbolic, mode: Direction | None, allow_disconnected: bool
) -> Value:
    """Build a Jacobian: batch one jvp or vjp over the unit vectors of the smaller side."""
    forward = mode == "forward" if mode else (_count(x) < _count(y))
    along, across = (x, y) if forward else (y, x)
    count = prod(along.shape)
    shape = (*y.shape, *x.shape)
    with within(y.node.origin, max(y.node.order, x.node.order) + 1):
        if count == 0:
            return zeros_like_type(across.type.with_shape(shape))
        # A unit vector of the type of `value` for each of its elements, in C order.
        places = reshape(iota((count,)), along.shape)
        numbers = reshape(iota((count,)), (count, *(1,) * along.ndim))
        units = astype(equal(numbers, places), along.dtype)
        unit = body_input("unit", along.type, y.node.origin, y.node.order)
    product: Any = (
        jvp(y, x, unit, allow_disconnected) if forward else grad(y, x, unit, allow_disconnected)
    )
    ((batch, has),) = substitute_batches([product], {unit.key: (units, True)}, count)
    with within(y.node.origin, product.node.order):
        (batch,) = in_front(count, [batch], [has])
        matrix: Value = reshape(moveaxis(batch, 0, -1) if forward else batch, shape)
        return matrix


def _count(value: Symbolic) -> float:
    """Return the number of elements; infinity if it depends on a named size."""
    count = prod(value.shape)
    return count if isinstance(count, int) else float("inf")
