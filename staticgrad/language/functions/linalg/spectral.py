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
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.language.functions import aggregate
from staticgrad.language.functions.creation import ones_like, zeros_like
from staticgrad.language.ir.graph import Node, Symbolic, ancestors
from staticgrad.language.ops.arithmetic import absolute
from staticgrad.language.ops.custom import OF_BATCHES, custom_vjp
from staticgrad.language.ops.indexing import concatenate, part
from staticgrad.language.ops.linalg import adjoint, as_columns, as_rows, of_lower, reciprocal
from staticgrad.language.ops.logic import logical_and, logical_or
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import Broadcast, Reshape, broadcast_arrays, expand_dims
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
def spectral(product: Any, x: Any, values: Any, rows: Any, found: Any, *scalars: Any) -> Any:
    """Return ``product``, which is rows.T @ diag(found) @ rows, of the eigenvalues of x.

    ``found`` is a function of each of ``values`` (``function_of``), and of ``scalars``; x is read
    in its lower half.
    """
    return product


@spectral.rule
def _(
    ct: Any, out: Any, product: Any, x: Any, values: Any, rows: Any, found: Any, *scalars: Any
) -> tuple[Any, ...]:
    ct, own = _symmetric(ct), [*map(_unbatched, scalars)]

    def by_scalar(scalar: Any) -> Any:
        further = _slope_by(_unbatched(scalar), found, values)
        columns = as_columns(further)
        product = stop_gradient((adjoint(rows) * columns) @ rows)
        changed = spectral(product, x, values, rows, further, *own)
        return _total(ct * changed, scalar)

    by_x = of_lower(_moved(x, values, rows, found, ct, *own))
    return None, by_x, None, None, None, *map(by_scalar, scalars)


@custom_vjp(name="staticgrad.spectral_change")
def _moved(x: Any, values: Any, rows: Any, found: Any, change: Any, *scalars: Any) -> Any:
    """The change of the function as x changes by a symmetric ``change``."""
    factors = _factors(function_of(found, values), values)
    return adjoint(rows) @ (factors * _in_basis(rows, change)) @ rows


@_moved.rule
def _(
    ct: Any, out: Any, x: Any, values: Any, rows: Any, found: Any, change: Any, *scalars: Any
) -> tuple[Any, ...]:
    """The sum over i of f[w[k], w[i], w[j]] times products of elements (k, i) and (i, j)."""
    ct, own = _symmetric(ct), [*map(_unbatched, scalars)]

    def by_scalar(scalar: Any) -> Any:
        further = _slope_by(_unbatched(scalar), found, values)
        changed = _moved(x, values, rows, further, change, *own)
        return _total(ct * changed, scalar)

    one, other = _in_basis(rows, change), _in_basis(rows, ct)
    pairs = _to_the_left(one) * _to_the_right(other) + _to_the_left(other) * _to_the_right(one)
    curved = _curvatures(function_of(found, values), values)
    by_x = of_lower(adjoint(rows) @ aggregate.sum(curved * pairs, -2) @ rows)
    by_change = _moved(x, values, rows, found, ct, *own)
    return by_x, None, None, None, by_change, *map(by_scalar, scalars)


def odd_function(
    product: Any, x: Any, values: Any, left: Any, right: Any, found: Any, *scalars: Any
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
    both = concatenate([values, -maximum(values, least)], -1)
    columns = adjoint(left)
    rows = [concatenate([right, each], -1) for each in (columns, -columns)]
    size = where(both < 0.0, -both, both)
    of_size = function_of(found, values)(size)
    # Of a function that is not 0 at 0, or is infinitely steep there, nothing is known.
    steep = absolute(of_size) > _STEEP * least
    undefined = logical_and(both == -least, steep)
    odd = where(undefined, math.nan, where(both < 0.0, -of_size, of_size))
    basis = concatenate(rows, -2) * 0.5**0.5
    whole = spectral(blocks(product), blocks(x), both, basis, odd, *scalars)
    axis = whole.ndim - 1
    return part(part(whole, axis, 0, n), axis - 1, n, n)


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


OF_BATCHES.update(each.name for each in (spectral, _moved, some_vectors))


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + adjoint(x))


def _in_basis(rows: Any, x: Any) -> Any:
    return rows @ x @ adjoint(rows)


def _to_the_left(x: Any) -> Any:
    """x[k, i] at [k, i, j]."""
    return expand_dims(x, -1)


def _to_the_right(x: Any) -> Any:
    """x[i, j] at [k, i, j]."""
    return expand_dims(x, -3)


# -- the function of the eigenvalues ---------------------------------------------------------------


def function_of(found: Any, values: Any) -> Function:
    """The function of one element that ``found`` is of ``values``: by ops on elements alone.

    NaN where it is not seen how one is computed of the other.
    """
    source, starts = values, {values.key}
    while _is_repeated(source):
        source = source.node.args[0]
        starts.add(source.key)
    reached, between = {*starts}, []
    for node in sorted(ancestors([found], oldest=source.node.serial), key=_serial):
        if any(arg.key in reached for arg in node.args) and Symbolic(node).key not in starts:
            between.append(node)
            reached.add(Symbolic(node).key)
    if found.key not in reached and found.ndim:
        return lambda points: points * math.nan

    def function(points: Any) -> Any:
        further = points.ndim - values.ndim
        new = dict.fromkeys(starts, points)

        def operand(value: Any) -> Any:
            """A value of the function, or what it is of a batch of scalars."""
            for _ in range(further if value.key not in new and value.ndim else 0):
                value = expand_dims(value, -1)
            return new.get(value.key, value)

        for node in between:
            if not isinstance(node.op, MOVING):
                new[Symbolic(node).key] = node.op(*map(operand, node.args))
            else:
                new[Symbolic(node).key] = operand(node.args[0])
        return operand(found)

    return function


def _unbatched(scalar: Any) -> Any:
    """The scalar that the function reads, which a batch may have repeated."""
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
    """The sums of matrices, and over the batch axes that a scalar does not have."""
    return aggregate.sum(x, (*range(x.ndim - 2 - scalar.ndim), x.ndim - 2, x.ndim - 1))


def _serial(node: Node) -> int:
    return node.serial


def _slope_by(scalar: Any, found: Any, values: Any) -> Any:
    """The derivative of the function by one of its scalars, for each of the values."""
    function = function_of(found, values)(values)
    if scalar.node not in ancestors([function]):
        return values * math.nan
    return _pushed(function, scalar) + 0.0 * values


def _pushed(found: Any, moved: Any) -> Any:
    """The tangent of ``found`` where each element of ``moved`` moves by 1."""
    push = up("staticgrad.autodiff.forward").pushed_forward
    (tangent,) = push([found], [(moved, ones_like(moved))])
    return zeros_like(found) if tangent is None else tangent


def _slope(function: Function) -> Function:
    """The derivative of a function of one element."""
    return lambda points: _pushed(function(points), points)


# -- divided differences ---------------------------------------------------------------------------


def _gauss(count: int) -> list[tuple[float, float]]:
    """Places in [0, 1] and weights of Gauss's quadrature."""
    places, weights = np.polynomial.legendre.leggauss(count)
    return [(float(x + 1) / 2, float(w) / 2) for x, w in zip(places, weights, strict=True)]


def _factors(function: Function, values: Any) -> Any:
    """f[w[i], w[j]]."""
    rows, columns = broadcast_arrays(as_rows(values), as_columns(values))
    return _difference(function, rows, columns)


def _difference(function: Function, a: Any, b: Any) -> Any:
    """f[a, b]: the mean of the slope between a and b where f(b) - f(a) cancels."""
    slope, gap = _slope(function), b - a
    mean = sum(weight * slope(a + place * gap) for place, weight in _gauss(3))
    return _chosen(mean, gap, function(a), function(b))


def _curvatures(function: Function, values: Any) -> Any:
    """f[w[k], w[i], w[j]] at [k, i, j]."""
    a, b, c = broadcast_arrays(
        as_rows(as_rows(values)), as_rows(as_columns(values)), as_columns(as_columns(values))
    )
    curvature, rule = _slope(_slope(function)), _gauss(2)
    mean = sum(
        weight * across * place * curvature(a + place * (b - a + further * (c - b)))
        for place, weight in rule
        for further, across in rule
    )
    # The other way is by the differences on both sides of the one in the middle.
    factors = _factors(function, values)
    ab, bc, ac = _to_the_left(factors), _to_the_right(factors), expand_dims(factors, -2)
    a_is, b_is = _lies_between(a, b, c), _lies_between(b, a, c)
    gap = where(b_is, c - a, where(a_is, c - b, b - a))
    left, right = where(b_is, ab, where(a_is, ab, ac)), where(b_is, bc, where(a_is, ac, bc))
    return _chosen(mean, gap, left, right)


def _lies_between(middle: Any, one: Any, other: Any) -> Any:
    return (middle - one) * (middle - other) <= 0.0


def _chosen(mean: Any, gap: Any, left: Any, right: Any) -> Any:
    """``mean`` where it is (right - left) / gap but for rounding, which that is full of; else that.

    They differ where the quadrature has missed a step, a kink, or a pole nearby.
    """
    change = right - left
    rounding = _ULPS * float(np.finfo(gap.dtype.numpy).eps)
    size = absolute(left) + absolute(right)
    near = absolute(mean * gap - change) <= rounding * size
    near = logical_or(near, gap == 0.0)
    return where(near, mean, change / where(near, 1.0, gap))
