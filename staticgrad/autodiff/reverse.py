"""Reverse mode: the gradient of one value, as new nodes of the graph it lives in.

Walks from ``y`` back to what it is differentiated by, each node once, users before producers, and
asks each op for its VJP. The new nodes are ordinary: they carry the forward node's line, their
``order`` is one above what was differentiated, and they can be differentiated again. This file
knows no op; the arithmetic of cotangents is in ``ops.cotangent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from inspect import signature
from typing import Any

import numpy as np

from staticgrad.autodiff.cone import Cone, ValueKey, cone_between, disconnected, named
from staticgrad.autodiff.structure import leaves, mapped
from staticgrad.errors import GradientError, OpDefinitionError
from staticgrad.ir.dim import Size, equal
from staticgrad.ir.graph import Node, Symbolic, building_order, constant
from staticgrad.ir.op import Op
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops.cotangent import ZERO, add_cotangents, resolve, zeros_like_type
from staticgrad.source import attribute_to


def grad(y: Any, wrt: Any, seed: Any = None, allow_disconnected: bool = False) -> Any:
    """The gradient of ``y`` with respect to each value in ``wrt``.

    Args:
        y: a floating value; 0-d unless a seed is given.
        wrt: a value (input, parameter or intermediate), or a list, tuple or dict of them.
        seed: the cotangent of ``y``, a value or array of y's type; 1 by default. The result is
            then the product of the seed with the Jacobian.
        allow_disconnected: zeros, instead of an error, for what no differentiable path leads to.

    Returns:
        One value for one value, else the containers of ``wrt``; each gradient has exactly the type
        of what it belongs to. An intermediate counts as if it could vary by itself.

    Raises:
        GradientError: ``y`` is not floating, or not 0-d and has no seed; the seed does not fit;
            ``wrt`` holds something without gradient; an op on the way has no rule.
        DisconnectedError: the only paths to a wanted value lead through ops that pass no gradient
            on (comparisons, ``floor``, integers, ``stop_gradient``), or there is none. It names
            the line at which the path dies.

    >>> import staticgrad as sg
    >>> x = sg.input("x", (), "float64")
    >>> sg.evaluate(grad(x**3, x), {"x": 2.0})
    array(12.)
    """
    _check_output(y, seed)
    wanted = list(leaves(wrt))
    if not allow_disconnected:
        _check_floating(wanted)
    cone = cone_between(y, [value for value in wanted if value.dtype.is_float])
    with building_order(cone.order + 1):
        with attribute_to(y.node.origin):
            start = _seed(y, seed)
        sweep = _Sweep(cone, {value.key for value in wanted})
        found = sweep.run(y, start)
        for value in wanted:
            if found.get(value.key) is None and not allow_disconnected:
                raise disconnected(y, value, sweep.blocked)
        return mapped(wrt, lambda value: _or_zeros(found.get(value.key), value))


class _Sweep:
    """One walk backwards: pending cotangents by value, and what came of the wanted ones."""

    def __init__(self, cone: Cone, wanted: set[ValueKey]) -> None:
        self.cone, self.wanted = cone, wanted
        self.pending: dict[ValueKey, Any] = {}
        self.blocked: set[tuple[ValueKey, Node]] = set()

    def run(self, y: Symbolic, seed: Symbolic) -> dict[ValueKey, Any]:
        """The cotangent of every wanted value that a path leads to, given that of ``y``."""
        found: dict[ValueKey, Any] = {}
        if y.key not in self.cone.active:
            return found
        self.pending[y.key] = seed
        for node in reversed(self.cone.nodes):
            cotangents = [self.pending.pop((node, i), None) for i in range(len(node.types))]
            if all(ct is None for ct in cotangents):
                continue
            with attribute_to(node.origin):
                for index, ct in enumerate(cotangents):
                    if ct is not None and (node, index) in self.wanted:
                        # The mask itself goes on: no gradient depends on who else is asked for.
                        found[node, index] = resolve(ct)
                self.hand_back(node, cotangents)
        return found

    def hand_back(self, node: Node, cotangents: list[Any]) -> None:
        """Give the operands of ``node`` their share; a fixed order of addition follows from it."""
        wanted = tuple(arg.key in self.cone.active for arg in node.args)
        if not any(wanted):
            return
        shares = _vjp(node, cotangents, wanted)
        for arg, share, want in zip(node.args, shares, wanted, strict=True):
            if not want:
                continue
            if share is None:
                self.blocked.add((arg.key, node))
                continue
            share = _fitting(share, arg, node)
            before = self.pending.get(arg.key)
            self.pending[arg.key] = share if before is None else add_cotangents([before, share])


def _vjp(node: Node, cotangents: list[Any], wanted: tuple[bool, ...]) -> tuple[Any, ...]:
    """The op's rule, with cotangents as it expects them; its answer checked."""
    op = node.op
    if type(op).vjp is Op.vjp:
        raise GradientError(f"op {op.name} has no derivative rule", at=node.origin)
    cts = [ZERO if ct is None else ct if op.elementwise else resolve(ct) for ct in cotangents]
    single = len(node.types) == 1
    outs = node.values
    ct, out = (cts[0], outs[0]) if single else (tuple(cts), outs)
    options = {"wanted": wanted} if _takes_wanted(type(op).vjp) else {}
    shares: Any = op.vjp(ct, out, *node.args, **options)
    if not isinstance(shares, tuple) or len(shares) != len(node.args):
        raise OpDefinitionError(
            f"{op.name}: vjp gives {shares!r}, not a tuple of {len(node.args)} cotangents",
            at=node.origin,
        )
    return shares


@cache
def _takes_wanted(rule: Callable[..., Any]) -> bool:
    """Whether an op's rule can be told which operands need a cotangent, to build no others."""
    return "wanted" in signature(rule).parameters


def _fitting(share: Any, arg: Symbolic, node: Node) -> Any:
    """``share`` with exactly the type of ``arg``: sizes that agree only by a guard are renamed.

    Raises:
        OpDefinitionError: the op's rule gives another dtype or rank, or sizes that cannot agree.
    """
    if isinstance(share, float) and share == ZERO:  # a rule that hands on an unused cotangent
        return zeros_like_type(arg.type)
    if share.type == arg.type:
        return share
    fits = share.type.dtype == arg.dtype and len(share.type.shape) == arg.ndim
    if not fits or not all(map(_may_agree, share.type.shape, arg.shape)):
        raise OpDefinitionError(
            f"{node.op.name}: vjp gives a cotangent {share.type} for an operand {arg.type}",
            at=node.origin,
        )
    return FUNCTIONS["reshape"](resolve(share), arg.shape)


def _may_agree(left: Size, right: Size) -> bool:
    return equal(left, right, f"sizes {left} and {right} must agree")


def _or_zeros(found: Symbolic | None, value: Symbolic) -> Value:
    if found is not None:
        return found
    with attribute_to(value.node.origin):
        return zeros_like_type(value.type)


def _check_output(y: Any, seed: Any) -> None:
    if not isinstance(y, Symbolic):
        raise GradientError(f"grad differentiates a value of a graph, not {y!r}")
    if not y.dtype.is_float:
        raise GradientError(
            f"{named(y)} is {y.type}: only floating values have derivatives",
            hint="differentiate what it was made from, before the conversion",
            related=[("of", str(y.type), y.node.origin)],
        )
    if seed is None and y.shape:
        raise GradientError(
            f"{named(y)} has shape {y.type}, not one element: its gradient needs a seed",
            hint="reduce it first, y.sum(), or pass seed= with the cotangent of y",
            related=[("of", str(y.type), y.node.origin)],
        )


def _check_floating(wanted: Iterable[Symbolic]) -> None:
    for value in wanted:
        if not value.dtype.is_float:
            raise GradientError(
                f"{named(value)} is {value.type}: there is no gradient with respect to it",
                hint="leave it out, or pass allow_disconnected=True for zeros",
                related=[("by", str(value.type), value.node.origin)],
            )


def _seed(y: Symbolic, seed: Any) -> Symbolic:
    """The cotangent of ``y`` as a value of y's type."""
    if seed is None:
        return constant(1.0, y.dtype)
    given = seed if isinstance(seed, Symbolic) else _seed_constant(y, seed)
    if given.type != y.type:
        raise GradientError(
            f"the seed is {given.type}, {named(y)} is {y.type}: they must be equal",
            related=[
                ("seed", str(given.type), given.node.origin),
                ("of", str(y.type), y.node.origin),
            ],
        )
    return given


def _seed_constant(y: Symbolic, seed: Any) -> Symbolic:
    array = np.asarray(seed)
    if array.dtype.kind not in "biuf":
        raise GradientError(f"the seed is {seed!r}, not a value or array of type {y.type}")
    return constant(array, y.dtype)
