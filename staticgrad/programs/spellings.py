"""Transformations by the names of JAX and autograd: each is one of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgrad.language.functions import aggregate
from staticgrad.language.functions.creation import input
from staticgrad.language.functions.trees import flatten, mapped, unflatten
from staticgrad.language.ir.calls import public
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.operands import as_value
from staticgrad.programs.derivatives import grad
from staticgrad.programs.sparse import jacobian


@public
def jacfwd(y: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return the function of Jacobians of ``y``: ``sg.jacobian`` in forward mode.

    >>> sg.jacfwd(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return jacobian(y, argnums, mode="forward")


@public
def jacrev(y: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return the function of Jacobians of ``y``: ``sg.jacobian`` in reverse mode.

    >>> sg.jacrev(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return jacobian(y, argnums, mode="reverse")


@public
def elementwise_grad(
    y: Callable[..., Any], argnums: int | tuple[int, ...] = 0
) -> Callable[..., Any]:
    """Return the function of derivatives of an elementwise function, in the shape of its argument.

    It is the gradient of the sum of all results, of any function.

    >>> sg.elementwise_grad(sg.tanh)(np.array([0.0, 100.0]))
    array([1., 0.])
    """

    def total(*args: Any, **kwargs: Any) -> Any:
        return aggregate.sum(as_value(y(*args, **kwargs)))

    return grad(total, argnums)


@public
def eval_shape(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the types of what ``f`` gives, without computing it: each has ``shape`` and ``dtype``.

    Args:
        f: a function of trees of values, that gives one.
        args, kwargs: arrays, values, or whatever has a ``shape`` and a ``dtype``; anything else is
            given to ``f`` as it is.

    >>> sg.eval_shape(lambda a, b: {"y": a @ b}, np.ones((2, 3)), np.ones((3, 4)))
    {'y': f64[2, 4]}
    """
    leaves, tree = flatten((args, kwargs))
    given = [
        input(f"x{place}", tuple(leaf.shape), str(leaf.dtype))
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        else leaf
        for place, leaf in enumerate(leaves)
    ]
    places, words = unflatten(tree, given)
    return mapped(lambda leaf: leaf.type if isinstance(leaf, Value) else leaf, f(*places, **words))
