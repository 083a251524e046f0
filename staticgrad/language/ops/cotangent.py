"""Cotangent arithmetic, shared by the rules of ops and by reverse mode.

A cotangent is a Value, or a ``Masked`` one: behind ``where`` it counts only where the condition
holds, and the mask stays on through elementwise rules, so that a NaN or inf in the branch not taken
never meets a zero. This file knows how cotangents scale, add up and shrink to an operand's shape;
it does not know which op they belong to, and reaches other ops by their public names only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import GradientError, OpDefinitionError
from staticgrad.errors.wording import kind_of, quote
from staticgrad.language.calls.execution import is_holding
from staticgrad.language.ir.graph import BodyOp, Symbolic
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.basic import (
    add,
    astype,
    broadcast_to,
    full,
    logical_and,
    logical_not,
    logical_or,
    multiply,
    negative,
    reshape,
    sum_over,
    where,
)
from staticgrad.language.types.arrays import Shape, TensorType
from staticgrad.language.types.dtype import F32
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import operands_first

#: Partial derivatives that cost nothing: recognised by ``times``, never multiplied.
ONE: Final = 1.0
MINUS_ONE: Final = -1.0
ZERO: Final = 0.0

#: A derivative with respect to one operand: a value, a number, or None (carries no gradient).
Partial = Value | float | None


@dataclass(frozen=True, eq=False)
class Masked:
    """A cotangent that counts only where ``condition`` holds (with ``negated``: does not hold).

    ``value`` has the full shape; ``condition`` is bool and broadcasts to it. Where the mask is off
    ``value`` may be anything, NaN included.
    """

    condition: Value
    value: Value
    negated: bool = False

    @property
    def type(self) -> TensorType:
        return self.value.type

    def positive(self) -> Value:
        """The condition itself, as a value."""
        return not_(self.condition) if self.negated else self.condition

    @cached_property
    def plain_cotangent(self) -> Value:
        """The plain cotangent, zero where the mask is off; made once, however many ask for it."""
        branches = (ZERO, self.value) if self.negated else (self.value, ZERO)
        return where(self.condition, *branches)


class Support:
    """The elements of an operand that parts of it read, as a mask that is made when asked for.

    ``make`` gives the mask of a part, or of the supports ``below``, whose masks are made before.
    """

    def __init__(self, make: Callable[[], Any], *below: Support) -> None:
        self._make, self._below = make, below
        self._mask: Any = None

    def union(self, support: Support) -> Support:
        """Return the elements of both."""
        return Support(lambda: logical_or(self.mask, support.mask), self, support)

    @property
    def mask(self) -> Any:
        """Return the mask of elements where the cotangent counts, combined with outer ones."""

        def select_unmade(supports: Sequence[Support]) -> list[Support]:
            return [support for support in supports if support._mask is None]

        # of a long recurrence thousands stand below each other
        for support in operands_first(
            select_unmade([self]), lambda s: select_unmade(s._below[::-1])
        ):
            support._mask = support._make()
        return self._mask


class PartCotangent(Masked):
    """A cotangent of a value of which a part was read: it is 0 outside of the ``support``.

    ``value`` has those zeros. They stay what they are while partial derivatives are finite, and
    nothing is selected. Behind an op with poles (``Elementwise.has_poles``) a zero may have met an
    infinity, so the cotangent then is ``value`` where the support is, else 0.
    """

    support: Support
    met_pole: bool

    def __init__(self, support: Support, value: Value, met_pole: bool = False) -> None:
        set_field = object.__setattr__  # of a frozen dataclass
        set_field(self, "support", support)
        set_field(self, "value", value)
        set_field(self, "negated", False)
        set_field(self, "met_pole", met_pole)

    @property
    def condition(self) -> Any:
        return self.support.mask

    @cached_property
    def plain_cotangent(self) -> Value:
        """The plain cotangent."""
        return where(self.condition, self.value, ZERO) if self.met_pole else self.value

    def through(self, share: Cotangent, has_poles: bool) -> Cotangent:
        """Wrap a contribution computed from this cotangent's value, with its mask kept."""
        met_pole = self.met_pole or has_poles
        if not isinstance(share, Masked):
            return PartCotangent(self.support, share, met_pole)
        if not met_pole:
            return share
        return Masked(logical_and(self.condition, share.positive()), share.value)


Cotangent = Value | Masked


def not_(condition: AnyValue) -> AnyValue:
    """Elementwise logical not."""
    return logical_not(condition)


def same_value(a: Value, b: Value) -> bool:
    """Return whether two handles name the same value (never compares elements)."""
    return a is b or (isinstance(a, Symbolic) and isinstance(b, Symbolic) and a.key == b.key)


def map_cotangent(ct: Cotangent, function: Callable[[Any], Value]) -> Cotangent:
    """``function`` applied under the mask, if there is one. It must keep the shape."""
    if isinstance(ct, PartCotangent):
        return PartCotangent(ct.support, function(ct.value), ct.met_pole)
    if isinstance(ct, Masked):
        return Masked(ct.condition, function(ct.value), ct.negated)
    return function(ct)


def times(ct: Cotangent, partial: Value | float) -> Cotangent:
    """Multiply a cotangent by a partial derivative under its mask; 1 and -1 need no product."""
    if isinstance(partial, float):
        if partial == ONE:
            return ct
        if partial == MINUS_ONE:
            return map_cotangent(ct, negative)
        if partial == ZERO:
            return zeros_like_type(ct.type, ct if isinstance(ct, Value) else ct.value)
    return map_cotangent(ct, lambda value: multiply(value, partial))


def resolve(ct: Cotangent) -> Value:
    """The cotangent as a plain value: zero where the mask is off."""
    return ct.plain_cotangent if isinstance(ct, Masked) else ct


def under(outer: Cotangent, inner: Cotangent) -> Cotangent:
    """Combine the masks of two cotangents: both must hold."""
    if not isinstance(outer, Masked):
        return inner
    if inner is outer.value:
        return outer
    if not isinstance(inner, Masked):
        return Masked(outer.condition, inner, outer.negated)
    if outer.negated == inner.negated and same_value(outer.condition, inner.condition):
        return inner
    condition = logical_and(outer.positive(), inner.positive())
    return Masked(condition, inner.value)


def add_cotangents(cotangents: Sequence[Cotangent]) -> Cotangent:
    """Sum cotangent contributions from left to right.

    Under one condition the sum keeps the mask; a condition and its opposite meet in one select; two
    other masks give a sum that counts where either holds, so that a NaN outside both stays outside.
    """
    if not cotangents:
        raise ValueError("the sum of no cotangents has no type")
    total = cotangents[0]
    for ct in cotangents[1:]:
        total = _add(total, ct)
    return total


def _add(a: Cotangent, b: Cotangent) -> Cotangent:
    """Add two cotangents; under different masks each is zeroed outside of its own."""
    plus = add
    if isinstance(a, PartCotangent) and isinstance(b, PartCotangent):
        return PartCotangent(a.support.union(b.support), plus(a.plain_cotangent, b.plain_cotangent))
    if not (isinstance(a, Masked) and isinstance(b, Masked)) or PartCotangent in (type(a), type(b)):
        return plus(resolve(a), resolve(b))
    if same_value(a.condition, b.condition):
        if a.negated == b.negated:
            return Masked(a.condition, plus(a.value, b.value), a.negated)
        branches = (b.value, a.value) if a.negated else (a.value, b.value)
        return where(a.condition, *branches)
    either = logical_or(a.positive(), b.positive())
    return Masked(either, plus(resolve(a), resolve(b)))


def shares_of(
    op: Op, cts: Sequence[Any], outs: Sequence[Any], args: Sequence[Any], needed: tuple[bool, ...]
) -> tuple[Any, ...]:
    """Apply an op's vjp rule: one cotangent contribution (or None) per operand.

    Nothing is built for operands that are not ``needed``, where the rule can leave them out. The
    rule of a narrow float computes in its compute dtype, and each share is rounded once at its end.
    """
    if not op.has_rule:
        raise GradientError(f"op {op.name} has no derivative rule")
    types = None
    for arg in args:
        if arg.type.dtype.is_storage:
            types = [operand.type for operand in args]
            if rounds_between(op):
                cts, outs, args = (
                    tuple(map(widen_cotangent, values)) for values in (cts, outs, args)
                )
            break
    if len(cts) == 1:
        ct, out = cts[0] if op.elementwise else resolve(cts[0]), outs[0]
    else:
        ct, out = tuple([ZERO if ct is None else resolve(ct) for ct in cts]), tuple(outs)
    shares: Any = op.cotangents(ct, out, args, needed)
    if not isinstance(shares, tuple) or len(shares) != len(args):
        raise OpDefinitionError(
            f"{op.name}: vjp gives {quote(shares)}, not a tuple of {len(args)} cotangents"
        )
    for share, arg in zip(shares, args, strict=True):
        check_share(op, "derivative rule", share, arg)
    if types is not None:
        shares = tuple(map(in_dtype_of, shares, types))
    if op.reads_part == "some" or (op.reads_part and isinstance(cts[0], Masked)):
        return tuple(
            [_part_contribution(op, k, s, cts[0], outs[0], args) for k, s in enumerate(shares)]
        )
    return shares


def rounds_between(op: Op, has_several_terms: bool = False) -> bool:
    """Return whether a vjp rule of narrow floats would round between its terms.

    ``has_several_terms``: it adds up terms of several tangents.
    """
    return (
        (has_several_terms or not op.rounds_once)
        and not op.rule_is_foreign
        and not isinstance(op, BodyOp)
    )


def widen_cotangent(value: Any) -> Any:
    """Widen a narrow-float value or cotangent to its compute dtype."""
    if value is None or value.__class__ is float or not value.type.dtype.is_storage:
        return value
    kind: TensorType = value.type
    dtype = kind.dtype.compute
    if value.__class__ in STAND_INS:
        stand_in: Any = STAND_INS[value.__class__]
        return stand_in(kind.with_dtype(dtype))
    return map_cotangent(value, lambda x: astype(x, dtype))


def in_dtype_of(share: Any, type: TensorType) -> Any:
    """Round a cotangent or tangent to the narrow float of ``type`` if it is wider."""
    dtype = type.dtype
    if share is None or share.__class__ is float or not dtype.is_storage:
        return share
    if share.type.dtype is not dtype.compute:
        return share
    return map_cotangent(share, lambda x: astype(x, dtype))


def _part_contribution(
    op: Op, place: int, share: Any, ct: Any, out: Any, args: Sequence[Any]
) -> Any:
    """Return a linear op's cotangent contribution to an operand that it reads a part of."""
    if not isinstance(share, Value):
        return share

    def mask() -> Any:
        everywhere = full(out.shape, np.bool_(True), out)
        counts = broadcast_to(ct.positive(), out.shape) if isinstance(ct, Masked) else everywhere
        return resolve(op.vjp(astype(counts, out.dtype), out, *args)[place]) != 0

    return PartCotangent(Support(mask), share)


def rule_name(op: Op) -> str:
    """Whose derivative rule it is: the op's, or one of the user's own."""
    return str(getattr(op, "rule", op.name))


def check_share(op: Op, what: str, share: Any, of: Any) -> None:
    """Refuse a derivative rule's result that is neither None nor a value like ``of``."""
    if share is None or (type(share) is float and share == ZERO):
        return
    value = share.value if isinstance(share, Masked) else share
    alike = isinstance(value, Symbolic) == isinstance(of, Symbolic) or is_holding()
    if isinstance(value, Value) and alike:
        return
    raise OpDefinitionError(
        f"{rule_name(op)}: its {what} gives {kind_of(share)} for {of.type}, {quote(share)}",
        hint="a value computed from the rule's own operands; None where there is no gradient",
    )


def unbroadcast(ct: Cotangent, type: TensorType) -> Cotangent:
    """Sum a cotangent over the axes along which its operand was broadcast.

    Sums over the axes that were added or stretched. The mask stays if the shape does. Sizes that
    agree only by a guard are brought to the operand's own by a reshape.
    """
    if ct.type is type:
        return ct
    if ct.type.dtype is not type.dtype:
        ct = map_cotangent(ct, lambda value: astype(value, type.dtype))
    if ct.type.shape == type.shape:
        return ct
    value = resolve(ct)
    axes = stretched_axes(value.shape, type.shape)
    if axes:
        value = sum_over(value, axes)
    return value if value.shape == type.shape else reshape(value, type.shape)


def stretched_axes(shape: Shape, operand: Shape) -> tuple[int, ...]:
    """Return the axes that broadcasting added to ``operand`` or stretched from size 1."""
    added = len(shape) - len(operand)
    stretched = (
        added + axis
        for axis, (full, size) in enumerate(zip(shape[added:], operand, strict=True))
        if size == 1 and full != 1
    )
    return (*range(added), *stretched)


#: Classes of values without elements, for operands that a rule does not read: made of a type.
STAND_INS: Final[dict[type, Callable[[TensorType], Any]]] = {}
#: Kind of values -> from a function that is linear in tangents of operands, these operands and a
#: cotangent of what it gives to their shares of it.
TRANSPOSES: Final[dict[Any, Callable[..., tuple[Any, ...]]]] = {}


def zeros_like_type(type: TensorType, like: AnyValue | None = None) -> AnyValue:
    """Zeros of ``type``, of the same kind of value as ``like`` (symbolic by default)."""
    kind: Any = Symbolic if like is None else binding_kind((like,))
    zero = kind.lift(ZERO, type.dtype)
    return zero if not type.shape else broadcast_to(zero, type.shape)


def unbroadcast_mask(mask: Any, kind: TensorType) -> Any:
    """A mask of a result as one of an operand that was broadcast to it."""
    if mask.shape == kind.shape:
        return mask
    counts = unbroadcast(astype(mask, F32), TensorType(F32, kind.shape))
    return resolve(counts) != 0


def elements_reaching(op: Op, mask: Any, out: Any, x: Any, *indices: Any) -> Any:
    """Return which elements of ``x`` a linear op brings to elements of the result in ``mask``."""
    return resolve(op.vjp(astype(mask, out.dtype), out, x, *indices)[0]) != 0
