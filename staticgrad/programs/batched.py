"""``vmap``: a function of single elements as one over batches of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of
from staticgrad.functions.batching import over_elements
from staticgrad.functions.call_types import (
    Gradient,
    OfArrays,
    OfValue,
    P,
    R,
    ValueAndGradient,
)
from staticgrad.ir.value import Value
from staticgrad.programs.arguments import TELLS_NAMES, without_defaults
from staticgrad.programs.transformed import Transformed, made_once
from staticgrad.types.dim import Dim


@overload
def vmap(
    f: Gradient[P], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Gradient[P]: ...
@overload
def vmap(
    f: ValueAndGradient[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> ValueAndGradient[P, R]: ...
@overload
def vmap(
    f: OfValue[P], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> OfValue[P]: ...
@overload
def vmap(
    f: OfArrays[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Callable[P, R]: ...
@overload
def vmap(
    f: Callable[P, R], in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None
) -> Callable[P, R]: ...
def vmap(f: Any, in_axes: Any = 0, out_axes: Any = 0, *, axis_size: Any = None) -> Any:
    """``f`` over batches: what it gives for each element along an axis, stacked, without a loop.

    ``f`` is written for one element and is called once, with values of an element's shape; what it
    builds is computed for all elements at a time. It may close over values and parameters, hold
    loops and branches, take gradients, and be mapped again. What it draws at random is drawn for
    each element apart, with the bits of ``sg.map``. In a branch on a condition that differs
    among elements all cases are computed, and a ``while_loop`` computes until its test fails for
    all of them; what an element does not take is left out.

    Args:
        f: takes trees of values and returns one: dicts, lists, tuples, named tuples,
            dataclasses and None.
        in_axes: the axis of elements in each argument; None for one that all elements share,
            whatever it is. One for all arguments, or a tuple of one for each; where an argument is
            a tree, one for all of it or a tree of the same containers. Arguments by keyword have
            their elements along their first axis.
        out_axes: where the axis of elements stands in each result, likewise. A result that depends
            on no element is repeated for each; with None it is given once.
        axis_size: how many elements there are; by default the size of the axes. It may be a named
            size.

    Returns:
        The function over batches: values of a graph give values of a graph, tensors tensors, and
        arrays arrays, by a program that is traced and compiled as under ``sg.function``.

    Raises:
        ArgumentError: no argument has an axis of elements; ``in_axes`` or ``out_axes`` do not fit
            the containers; a result depends on elements where ``out_axes`` is None.
        AxisError: there is no such axis.
        ShapeError: axes of elements of different sizes. Of named ones a run checks it.

    >>> import numpy as np, staticgrad as sg
    >>> vmap(lambda x, y: x @ y)(np.eye(2), np.ones((2, 2)))
    array([1., 1.])
    >>> w, x = sg.input("w", (3,), "float64"), sg.input("x", ("n", 3), "float64")
    >>> slopes = vmap(lambda each: sg.grad((w @ each) ** 2, w))(x)
    >>> sg.evaluate(slopes, {"w": [1.0, 0.0, 0.0], "x": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})
    array([[ 2.,  4.,  6.],
           [32., 40., 48.]])
    """
    if isinstance(f, Value) or not callable(f):
        what = "a value" if isinstance(f, Value) else kind_of(f)
        raise ArgumentError(
            f"vmap: f is {what}, not a function", hint="sg.vmap(lambda x: ...)(batch)"
        )

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], direct: bool) -> Any:
        return over_elements(f, args, kwargs, (in_axes, out_axes), axis_size)

    def made() -> Transformed:
        found = Transformed(f, "vmap", rule)
        found.__signature__ = without_defaults(f)  # for whoever traces a call of it
        vars(found)[TELLS_NAMES] = True  # those have their elements in front, whatever in_axes says
        return found

    if isinstance(axis_size, Dim):
        return made()
    return made_once(f, ("vmap", repr(in_axes), repr(out_axes), repr(axis_size)), made)
