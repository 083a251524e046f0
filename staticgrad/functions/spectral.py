"""Functions of matrices, V f(w) V' or U f(s) V', with derivatives where values are equal.

The derivative of eigenvectors does not exist there, that of the function does: in the basis of the
eigenvectors it multiplies element (i, j) of a change by the divided difference f[w[i], w[j]], which
is f'(w[i]) for equal eigenvalues. Second derivatives take those of three points. Further ones are
taken of these formulas, and are NaN where eigenvalues are equal.

Sources: Daleckii and Krein, Integration and differentiation of functions of Hermitian operators,
1965; Higham, Functions of Matrices, 2008, section 3.2; McCurdy, Ng and Parlett, Accurate
computation of divided differences of the exponential function, 1984.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from staticgrad.functions import aggregate
from staticgrad.functions.creation import ones_like, zeros_like
from staticgrad.language.ir.nodes import Node, Symbolic, ancestors
from staticgrad.language.ops.arithmetic import absolute
from staticgrad.language.ops.custom import OF_BATCHES, custom_vjp
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import concatenate, part
from staticgrad.language.ops.linalg import adjoint, as_columns, as_rows, of_lower, reciprocal
from staticgrad.language.ops.logic import logical_and, logical_or
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import (
    Broadcast,
    Reshape,
    broadcast_arrays,
    expand_dims,
    reshape,
)
from staticgrad.language.ops.selection import maximum, where
from staticgrad.support.upward import up

#: What a batch may put between elements that are the same ones.
MOVING: Final = (Broadcast, Reshape)
#: Errors of a function of an eigenvalue, in units of the last place.
_ULPS: Final = 8.0
#: A steeper function at 0 counts as one with a step.
_STEEP: Final = 1e10
Function = Callable[[Any], Any]


@custom_vjp(name="staticgrad.spectral")
def spectral(
    product: Any, x: Any, values: Any, rows: Any, function_values: Any, *scalars: Any
) -> Any:
    """Return ``product``, which is rows.T @ diag(function_values) @ rows, of the eigenvalues of x.

    ``function_values`` is a function of each of ``values`` (``function_of``), and of ``scalars``;
    only the lower half of x is read.
    """
    return product


@spectral.rule
def _(
    ct: Any,
    out: Any,
    product: Any,
    x: Any,
    values: Any,
    rows: Any,
    function_values: Any,
    *scalars: Any,
) -> tuple[Any, ...]:
    """Differentiate f(matrix) by scalars of f: its slope on the eigenvalues."""
    ct, unbatched = _symmetric(ct), [*map(_remove_batch, scalars)]

    def by_scalar(scalar: Any) -> Any:
        slopes, read = _slope_by(_remove_batch(scalar), function_values, values, unbatched)
        columns = as_columns(slopes)
        product = stop_gradient((adjoint(rows) * columns) @ rows)
        return _total(ct * spectral(product, x, values, rows, slopes, *read), scalar)

    by_x = of_lower(_spectral_change(x, values, rows, function_values, ct, *unbatched))
    return None, by_x, None, None, None, *_of_distinct(by_scalar, scalars)


@custom_vjp(name="staticgrad.spectral_change")
def _spectral_change(
    x: Any, values: Any, rows: Any, function_values: Any, change: Any, *scalars: Any
) -> Any:
    """The change of the function as x changes by a symmetric ``change``."""
    factors = _factors(function_of(function_values, values, scalars), values)
    return adjoint(rows) @ (factors * _change_basis(rows, change)) @ rows


@_spectral_change.rule
def _(
    ct: Any,
    out: Any,
    x: Any,
    values: Any,
    rows: Any,
    function_values: Any,
    change: Any,
    *scalars: Any,
) -> tuple[Any, ...]:
    """Differentiate the derivative of f(matrix): sums of second divided differences."""
    ct, unbatched = _symmetric(ct), [*map(_remove_batch, scalars)]

    def by_scalar(scalar: Any) -> Any:
        slopes, read = _slope_by(_remove_batch(scalar), function_values, values, unbatched)
        return _total(ct * _spectral_change(x, values, rows, slopes, change, *read), scalar)

    change_in_basis, ct_in_basis = _change_basis(rows, change), _change_basis(rows, ct)
    pairs = _expand_last(change_in_basis) * _expand_middle(ct_in_basis) + _expand_last(
        ct_in_basis
    ) * _expand_middle(change_in_basis)
    curved = _curvatures(function_of(function_values, values, unbatched), values)
    by_x = of_lower(adjoint(rows) @ aggregate.sum(curved * pairs, -2) @ rows)
    by_change = _spectral_change(x, values, rows, function_values, ct, *unbatched)
    return by_x, None, None, None, by_change, *_of_distinct(by_scalar, scalars)


def odd_function(
    product: Any, x: Any, values: Any, left: Any, right: Any, function_values: Any, *scalars: Any
) -> Any:
    """Return ``product``, which is left @ diag(found) @ right, of the singular values of square x.

    It is a block of the odd function of [[0, x.T], [x, 0]], a symmetric matrix with the singular
    values and their negatives as eigenvalues. A singular value of 0 is taken for two numbers.
    """
    zeros, n = zeros_like(x), x.shape[-1]

    def blocks(block: Any) -> Any:
        """[[0, block.T], [block, 0]]."""
        above = concatenate([zeros, adjoint(block)], -1)
        return concatenate([above, concatenate([block, zeros], -1)], -2)

    least = float(np.finfo(values.dtype.numpy).tiny)
    all_values = concatenate([values, -maximum(values, least)], -1)
    columns = adjoint(left)
    rows = [concatenate([right, side], -1) for side in (columns, -columns)]
    size = where(all_values < 0.0, -all_values, all_values)
    of_size = function_of(function_values, values, scalars)(size)
    # Of a function that is not 0 at 0, or is infinitely steep there, nothing is known.
    steep = absolute(of_size) > _STEEP * least
    undefined = logical_and(all_values == -least, steep)
    odd = where(undefined, math.nan, where(all_values < 0.0, -of_size, of_size))
    basis = concatenate(rows, -2) * 0.5**0.5
    block_matrix = spectral(blocks(product), blocks(x), all_values, basis, odd, *scalars)
    axis = block_matrix.ndim - 1
    return part(part(block_matrix, axis, 0, n), axis - 1, n, n)


@custom_vjp(name="staticgrad.some_eigenvectors")
def some_vectors(vectors: Any, x: Any, values: Any, rows: Any, chosen: Any) -> Any:
    """Return ``vectors``, the rows of eigenvectors of x, of which the ``chosen`` ones are read."""
    return vectors


@some_vectors.rule
def _(ct: Any, out: Any, vectors: Any, x: Any, values: Any, rows: Any, chosen: Any) -> Any:
    gaps = reciprocal(as_columns(values) - as_rows(values))
    zero = np.zeros((), values.dtype.numpy)
    turned = where(as_columns(chosen), gaps * (rows @ adjoint(ct)), zero)
    return None, of_lower(adjoint(rows) @ turned @ rows), None, None, None


OF_BATCHES.update(function.name for function in (spectral, _spectral_change, some_vectors))


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + adjoint(x))


def _change_basis(rows: Any, x: Any) -> Any:
    return rows @ x @ adjoint(rows)


def _expand_last(x: Any) -> Any:
    """x[k, i] at [k, i, j]."""
    return expand_dims(x, -1)


def _expand_middle(x: Any) -> Any:
    """x[i, j] at [k, i, j]."""
    return expand_dims(x, -3)


# -- the function of the eigenvalues ---------------------------------------------------------------


def function_of(
    function_values: Any,
    values: Any,
    scalars: Sequence[Any],
    copies: Mapping[Any, Any] = MappingProxyType({}),
) -> Function:
    """Return the elementwise function that computes ``function_values`` from ``values``.

    It reads the ``scalars``, also those that are computed from ``values``, as they are, or
    ``copies`` of them, by their keys. It gives NaN if no elementwise ops lead from one to the
    other.
    """
    source, starts = values, {values.key}
    while _is_repeated(source):
        source = source.node.args[0]
        starts.add(source.key)
    reached, between = {*starts, *copies}, []
    ends = dict.fromkeys(_remove_batch(scalar).node for scalar in scalars)
    oldest = min([source.node.serial, *map(_serial, ends)])
    nodes = ancestors([function_values], ends, oldest)
    for node in sorted(nodes, key=_serial):
        if any(arg.key in reached for arg in node.args) and Symbolic(node).key not in starts:
            between.append(node)
            reached.add(Symbolic(node).key)
    is_elementwise = all(isinstance(node.op, (Elementwise, *MOVING)) for node in between)
    if not is_elementwise or (function_values.key not in reached and function_values.ndim):
        return lambda points: points * math.nan

    def function(points: Any) -> Any:
        """Evaluate the traced scalar function at points with more axes."""
        extra_axes = points.ndim - values.ndim
        at_points = dict.fromkeys(starts, points)
        of_scalars = dict(copies)  # and what is computed from them alone

        def operand(value: Any) -> Any:
            """A value of the function, or what it is of a batch of scalars."""
            if value.key in at_points:
                return at_points[value.key]
            value = of_scalars.get(value.key, value)
            for _ in range(extra_axes if value.ndim else 0):
                value = expand_dims(value, -1)
            return value

        for node in between:
            key = Symbolic(node).key
            if not any(arg.key in at_points for arg in node.args):
                of_scalars[key] = node.op(*(of_scalars.get(arg.key, arg) for arg in node.args))
            elif isinstance(node.op, MOVING):
                at_points[key] = operand(node.args[0])
            else:
                at_points[key] = node.op(*map(operand, node.args))
        return operand(function_values)

    return function


def _of_distinct(by_scalar: Callable[[Any], Any], scalars: Sequence[Any]) -> list[Any]:
    """Return the derivatives by scalars; by one that is among them twice, the first has it all."""
    keys = [_remove_batch(scalar).key for scalar in scalars]
    is_first = [key not in keys[:place] for place, key in enumerate(keys)]
    return [by_scalar(s) if first else None for s, first in zip(scalars, is_first, strict=True)]


def _remove_batch(scalar: Any) -> Any:
    """Return the scalar that the function reads, which a batch may have repeated."""
    while _is_repeated(scalar):
        scalar = scalar.node.args[0]
    return scalar


def _is_repeated(value: Any) -> bool:
    """Return whether a value is another one with batch axes in front."""
    op = value.node.op
    if not isinstance(op, Broadcast):
        return False
    of = value.node.args[0]
    return op.axes == (*range(value.ndim - of.ndim, value.ndim),) and of.ndim < value.ndim


def _total(x: Any, scalar: Any) -> Any:
    """Sum matrices, and over the batch axes that a scalar does not have."""
    return aggregate.sum(x, (*range(x.ndim - 2 - scalar.ndim), x.ndim - 2, x.ndim - 1))


def _serial(node: Node) -> int:
    return node.serial


def _slope_by(
    scalar: Any, function_values: Any, values: Any, scalars: Sequence[Any]
) -> tuple[Any, Sequence[Any]]:
    """Return the derivative of the function by one of its scalars, for each of the values.

    With it, return the scalars that it reads. They are copies: one scalar may be computed from
    another, as the sum of a softmax from the maximum, and stays while that one moves.
    """
    copies = {s.key: reshape(expand_dims(s, 0), s.shape) for s in scalars}
    function = function_of(function_values, values, scalars, copies)(values)
    variable = copies[scalar.key]
    if variable.node not in ancestors([function]):
        return values * math.nan, scalars
    slopes = _push_tangent(function, variable) + 0.0 * values
    nodes = {*ancestors([slopes])}
    return slopes, [copy for copy in copies.values() if copy.node in nodes]


def _push_tangent(function_values: Any, variable: Any) -> Any:
    """Return the tangent of ``function_values`` where each element of ``variable`` moves by 1."""
    push = up("staticgrad.autodiff.forward").push_forward
    (tangent,) = push([function_values], [(variable, ones_like(variable))])
    return zeros_like(function_values) if tangent is None else tangent


def _slope(function: Function) -> Function:
    """Return the derivative of a function of one element."""
    return lambda points: _push_tangent(function(points), points)


# -- divided differences ---------------------------------------------------------------------------


#: Places in [0, 1] and weights of Gauss's quadrature, by the number of its points.
_GAUSS: Final = {
    2: [(0.5 - math.sqrt(1 / 12), 0.5), (0.5 + math.sqrt(1 / 12), 0.5)],
    3: [(0.5 - math.sqrt(0.15), 5 / 18), (0.5, 4 / 9), (0.5 + math.sqrt(0.15), 5 / 18)],
}


def _factors(function: Function, values: Any) -> Any:
    """f[w[i], w[j]]."""
    rows, columns = broadcast_arrays(as_rows(values), as_columns(values))
    return _difference(function, rows, columns)


def _difference(function: Function, a: Any, b: Any) -> Any:
    """f[a, b]: the mean of the slope between a and b where f(b) - f(a) cancels."""
    slope, gap = _slope(function), b - a
    # f[a, b] is the mean of f' between both. Gauss's rule with three places is exact up to degree
    # five.
    mean = sum(weight * slope(a + place * gap) for place, weight in _GAUSS[3])
    return _choose_difference(mean, gap, function(a), function(b))


def _curvatures(function: Function, values: Any) -> Any:
    """Compute second divided differences f[w[k], w[i], w[j]] of eigenvalues."""
    a, b, c = broadcast_arrays(
        as_rows(as_rows(values)), as_rows(as_columns(values)), as_columns(as_columns(values))
    )
    # Hermite and Genocchi's formula: the integral of f'' over the triangle of a, b and c.
    curvature, rule = _slope(_slope(function)), _GAUSS[2]
    mean = sum(
        weight * across * place * curvature(a + place * (b - a + further * (c - b)))
        for place, weight in rule
        for further, across in rule
    )
    # The other way is by the differences on both sides of the one in the middle.
    factors = _factors(function, values)
    ab, bc, ac = _expand_last(factors), _expand_middle(factors), expand_dims(factors, -2)
    a_is, b_is = _lies_between(a, b, c), _lies_between(b, a, c)
    gap = where(b_is, c - a, where(a_is, c - b, b - a))
    left, right = where(b_is, ab, where(a_is, ab, ac)), where(b_is, bc, where(a_is, ac, bc))
    return _choose_difference(mean, gap, left, right)


def _lies_between(middle: Any, a: Any, b: Any) -> Any:
    return (middle - a) * (middle - b) <= 0.0


def _choose_difference(mean: Any, gap: Any, left: Any, right: Any) -> Any:
    """Return a divided difference, or ``mean`` where rounding dominates it.

    They differ where the quadrature has missed a step, a kink, or a pole nearby.
    """
    change = right - left
    rounding = _ULPS * float(np.finfo(gap.dtype.numpy).eps)
    size = absolute(left) + absolute(right)
    is_rounding = absolute(mean * gap - change) <= rounding * size
    is_rounding = logical_or(is_rounding, gap == 0.0)
    return where(is_rounding, mean, change / where(is_rounding, 1.0, gap))
