"""Derivatives of tensors by tensors: what ``sg.grad``, ``jvp`` and related functions are on a tape.

A tape runs backwards only. Forward mode is two walks: the cotangents of the moved tensors are
linear in those of the results, so what differentiates them by these, with tangents as seeds, are
the tangents of the results (J. Townsend, "A new trick for calculating Jacobian vector products").
The first walk is made once for all directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.eager import tape
from staticgrad.eager.differentiate import grad
from staticgrad.eager.rowwise import stacked_rows
from staticgrad.eager.tape import enable_grad, no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import DisconnectedError, GradientError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.ops.movement import moveaxis, reshape
from staticgrad.language.trees import (
    Tree,
    check_real,
    check_whole,
    flatten,
    map_leaves,
    match_leaves,
    pairs_in,
    unflatten,
)
from staticgrad.language.types.arrays import TensorType

Tensors = Sequence[Tensor]
_ZEROS: Final = "allow_disconnected=True gives zeros there"


def reads_others(ys: Tensors, stands: Tensors) -> bool:
    """Return whether results depend on tensors that need gradients, beside ``stands``."""
    stand_edges = {stand.edge for stand in stands}
    edges = [edge for node in tape.nodes_behind(y.edge for y in ys) for edge in node.operands]
    edges += [y.edge for y in ys]
    return any(edge and edge.node is None and edge not in stand_edges for edge in edges)


def cotangents(
    ys: Tensors, by: Tensors, cts: Any, allow_disconnected: bool, again: bool
) -> list[Tensor]:
    """Return the cotangents of ``by``, given those of ``ys`` (None: 1, for one-element results).

    ``again``: to be differentiated in turn; else the tape is kept where there are ``cts``.
    """
    _check_floating(ys)
    seeds = [None] * len(ys) if cts is None else cts
    pairs = [(y, ct) for y, ct in zip(ys, seeds, strict=True) if y.edge is not None]
    if not (pairs or allow_disconnected):
        raise _disconnected_error()
    if not pairs:
        return [_zeros(tensor.type) for tensor in by]
    try:
        return list(
            grad(
                [y for y, _ in pairs],
                list(by),
                [ct for _, ct in pairs],
                create_graph=again,
                retain_graph=again or cts is not None,
                allow_disconnected=allow_disconnected,
            )
        )
    except DisconnectedError:
        raise _disconnected_error() from None


class Tangents:
    """Tangents of results, for directions in which the tensors before them may move."""

    def __init__(self, ys: Tensors, by: Tensors, allow_disconnected: bool) -> None:
        """Raises GradientError, DisconnectedError: as ``cotangents``; the former of each result."""
        _check_floating(ys)
        self._ys, self._allow = ys, allow_disconnected
        self._live = [y for y in ys if y.edge is not None]
        self.cts = [Tensor(np.zeros(y.shape), True, y.dtype) for y in self._live]
        if not allow_disconnected and len(self._live) < len(ys):
            raise _disconnected_error()
        with enable_grad():
            self.slopes = cotangents(self._live, by, self.cts, True, True)
        if not allow_disconnected and any(slope.edge is None for slope in self.slopes):
            raise _disconnected_error()

    def along(self, directions: Tensors, again: bool) -> list[Tensor]:
        """Push tangents of the inputs forward through the tape, and return those of the results."""
        ways = lift_derivatives("tangent", self.slopes, directions)
        moving = [
            (slope, way)
            for slope, way in zip(self.slopes, ways, strict=True)
            if slope.edge is not None
        ]
        slopes, ways = [slope for slope, _ in moving], [way for _, way in moving]
        tangents_of_live = iter(
            cotangents(slopes, self.cts, ways, self._allow, again) if moving else []
        )
        live = {id(y): next(tangents_of_live, None) for y in self._live}
        tangents = [live.get(id(y)) for y in self._ys]
        return [_zeros(y.type) if t is None else t for y, t in zip(self._ys, tangents, strict=True)]


def matrices(
    y: Tensor, by: Tensors, mode: str | None, allow_disconnected: bool, again: bool
) -> list[Tensor]:
    """Compute the Jacobian of a tensor by others: row by row, or by columns if these are fewer."""
    columns = sum(tensor.size for tensor in by)
    forward = mode == "forward" if mode else columns < y.size
    _check_floating([y])
    if not (y.size and columns) or (allow_disconnected and y.edge is None):
        return [_zeros(y.type.with_shape((*y.shape, *tensor.shape))) for tensor in by]
    with enable_grad() if again else no_grad():
        if not forward:
            parts = _gradient_rows(y, by, allow_disconnected, again)
        else:
            tangents = Tangents([y], by, allow_disconnected)
            transposed = [
                _gradient_rows(slope, tangents.cts, allow_disconnected, again)[0]
                for slope in tangents.slopes
            ]
            parts = [moveaxis(matrix, 0, -1) for matrix in transposed]
        pairs = zip(parts, by, strict=True)
        return [reshape(part, (*y.shape, *tensor.shape)) for part, tensor in pairs]


def _gradient_rows(y: Tensor, by: Tensors, allow_disconnected: bool, again: bool) -> list[Any]:
    """Compute the gradient of each element of a tensor, stacked along a first axis."""

    def row(ct: Tensor) -> list[Tensor]:
        return cotangents([y], by, [ct], allow_disconnected, again)

    def absent(x: Tensor) -> Tensor:
        if not allow_disconnected:
            raise _disconnected_error()
        return _zeros(x.type)

    if y.edge is None:
        count = int(y.size)
        return [_zeros(x.type.with_shape((count, *x.shape))) for x in map(absent, by)]
    return stacked_rows(y, by, row, absent)


# -- values that are tensors, in containers -------------------------------------------------------


def gradients(y: Any, wrt: Any, seed: Any, allow_disconnected: bool) -> Any:
    """``sg.grad`` of a tensor, by tensors or parameters, in their containers; differentiable."""
    return _by(wrt, allow_disconnected, lambda by, allow: cotangents([y], by, [seed], allow, True))


def vjp(y: Any, x: Any, ct: Any, allow_disconnected: bool) -> Any:
    """``sg.vjp`` of tensors."""
    ys, tree = flatten(y)
    cts = lift_derivatives("cotangent", ys, match_leaves("cotangent", ct, tree, Tensor))
    return _by(x, allow_disconnected, lambda by, allow: cotangents(ys, by, cts, allow, True))


def jvp(y: Any, x: Any, tangent: Any, allow_disconnected: bool) -> Any:
    """``sg.jvp`` of tensors."""
    ys, of = flatten(y)
    by, tree = _lift_leaves(x)
    ways = match_leaves("tangent", tangent, tree, Tensor)
    allow = allow_disconnected or bool(pairs_in(of, ys) or pairs_in(tree, by))
    return unflatten(of, Tangents(ys, by, allow).along(ways, True))


def jacobian(y: Any, x: Any, mode: str | None, allow_disconnected: bool) -> Any:
    """``sg.jacobian`` of a tensor."""
    check_real(y, x)
    return _by(x, allow_disconnected, lambda by, allow: matrices(y, by, mode, allow, True))


def hessian(y: Any, x: Any, allow_disconnected: bool) -> Any:
    """``sg.hessian`` of a tensor."""
    check_real(x)
    (slope,) = cotangents([y], [x], None, allow_disconnected, True)
    return matrices(slope, [x], "reverse", allow_disconnected, True)[0]


def hvp(y: Any, x: Any, v: Any, allow_disconnected: bool) -> Any:
    """``sg.hvp`` of a tensor: reverse over reverse."""
    by, tree = _lift_leaves(x)
    ways = lift_derivatives("tangent", by, match_leaves("tangent", v, tree, Tensor))
    allow = allow_disconnected or bool(pairs_in(tree, by))
    slopes = cotangents([y], by, None, allow, True)
    return unflatten(tree, cotangents(slopes, by, ways, allow, True), conjugate=True)


def _lift_leaves(x: Any) -> tuple[list[Any], Tree]:
    """The tensors to differentiate by, and their containers."""
    check_whole(x)
    return flatten(map_leaves(Tensor.lift, x))


def _by(x: Any, allow: bool, rule: Callable[[list[Any], bool], list[Tensor]]) -> Any:
    """Return the results of a rule; a part of a complex tensor may have no path."""
    stands, tree = _lift_leaves(x)
    results = rule(stands, allow or bool(pairs_in(tree, stands)))
    return unflatten(tree, results, conjugate=True)


# -- what is refused ------------------------------------------------------------------------------


def lift_derivatives(what: str, tensors: Tensors, arrays: Sequence[Any]) -> list[Tensor]:
    """Return cotangents or tangents as tensors of the types of their values; convert arrays."""
    lifted = [Tensor.lift(array, of.dtype) for array, of in zip(arrays, tensors, strict=True)]
    for tensor, of in zip(lifted, tensors, strict=True):
        if tensor.type != of.type:
            raise GradientError(
                f"{called_name()}: a {what} is {tensor.type}, what it belongs to is {of.type}: they"
                " must be equal"
            )
    return lifted


def _check_floating(ys: Tensors) -> None:
    """Refuse to differentiate what is no tensor of floats."""
    for y in ys:
        if not isinstance(y, Tensor):
            raise GradientError(f"{called_name()} differentiates tensors, not {quote(y)}")
        if not y.dtype.is_float:
            raise GradientError(
                f"{called_name()}: a tensor {y.type} is to be differentiated: only floating values"
                " have derivatives",
                hint="differentiate what it was made from, before the conversion",
            )


def _disconnected_error() -> DisconnectedError:
    return DisconnectedError(
        f"{called_name()}: no differentiable path leads from what moves to a result",
        hint="comparisons, floor, integers, stop_gradient and tensors that were made from arrays"
        f" end one\n{_ZEROS}",
    )


def _zeros(type: TensorType) -> Tensor:
    return Tensor(np.zeros(type.shape, type.dtype.numpy))
