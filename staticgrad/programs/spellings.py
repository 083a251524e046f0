"""Transformations by the names of JAX and autograd: each is one of ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from inspect import BoundArguments
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.functions import aggregate
from staticgrad.functions.creation import input
from staticgrad.language.calls.arguments import public
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.operands import as_value
from staticgrad.language.trees import flatten, map_leaves, unflatten
from staticgrad.programs.arguments import signature_of
from staticgrad.programs.derivatives import grad
from staticgrad.programs.sparse import hvp, jacobian


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
def hessian_vector_product(
    y: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    allow_disconnected: bool = False,
) -> Callable[..., Any]:
    """Return the function of the arguments of ``y`` and a vector: ``sg.hvp`` by autograd's call.

    Args:
        y: a function that gives a floating number.
        argnums: the place of the argument by which it is differentiated, or a tuple of places.
        allow_disconnected: as in ``hvp``.

    Returns:
        A function ``(*args, v, **kwargs)``. ``v`` has the containers, shapes and dtypes of that
        argument (a tuple of several), and so has the result. SciPy takes it as ``hessp=``.

    Raises:
        ArgumentError: of the function, a call without a vector.
        GradientError, DisconnectedError: of the function, as ``hvp``.

    >>> product = sg.hessian_vector_product(lambda x, a: a * (x**3).sum())
    >>> product(np.array([2.0, 3.0]), 0.5, np.array([1.0, 10.0]))
    array([ 6., 90.])
    """

    def by_words(words: dict[str, Any], *args: Any) -> Any:
        return y(*args, **words)

    def after_words(place: int) -> int:
        return place + 1 if place >= 0 else place

    @public
    def hessian_vector_product(*args: Any, **kwargs: Any) -> Any:
        """Compute the product of the Hessian with the last argument, as autograd spells it."""
        if len(args) < 2:
            raise ArgumentError(
                f"hessian_vector_product: {len(args)} arguments, not those of the function and a"
                " vector",
                hint="sg.hessian_vector_product(f)(x, v)",
            )
        *at, v = args
        if not kwargs:
            return hvp(y, tuple(at), v, allow_disconnected, argnums=argnums)
        if isinstance(argnums, tuple):
            by: int | tuple[int, ...] = tuple(map(after_words, argnums))
        else:
            by = after_words(argnums)
        return hvp(by_words, (kwargs, *at), v, allow_disconnected, argnums=by)

    return hessian_vector_product


@public
def multigrad_dict(
    y: Callable[..., Any], allow_disconnected: bool = False
) -> Callable[..., dict[str, Any]]:
    """Return the function of gradients of ``y`` by all its arguments, in a dict by their names.

    Args:
        y: a function that gives a floating number. Its arguments are floating numbers, arrays or
            trees of them, those that a call leaves to defaults too.
        allow_disconnected: as in ``grad``.

    Returns:
        A function of the same arguments, by place or by name. Those of ``*args`` are a tuple,
        those of ``**kwargs`` a dict.

    Raises:
        GradientError, DisconnectedError: of the function, as ``grad``.

    >>> slopes = sg.multigrad_dict(lambda x, scale=3.0: scale * (x**2).sum())
    >>> slopes(np.array([1.0, 2.0]))
    {'x': array([ 6., 12.]), 'scale': np.float64(5.0)}
    """
    takes = signature_of(y)

    def by_name(named: dict[str, Any]) -> Any:
        bound = BoundArguments(takes, OrderedDict(named))
        return y(*bound.args, **bound.kwargs)

    gradient = grad(by_name, allow_disconnected=allow_disconnected)

    @public
    def multigrad_dict(*args: Any, **kwargs: Any) -> dict[str, Any]:
        """Compute the gradients by all arguments as a dict by name, as autograd spells it."""
        try:
            bound = takes.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"multigrad_dict: the function takes {takes}: {error}") from None
        bound.apply_defaults()
        gradients: dict[str, Any] = gradient(dict(bound.arguments))
        return gradients

    return multigrad_dict


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
    values = [
        input(f"x{place}", tuple(leaf.shape), str(leaf.dtype))
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        else leaf
        for place, leaf in enumerate(leaves)
    ]
    places, words = unflatten(tree, values)
    return map_leaves(
        lambda leaf: leaf.type if isinstance(leaf, Value) else leaf, f(*places, **words)
    )
