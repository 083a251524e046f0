"""Choices between operands: ``where`` by a condition, maximum, minimum and ``clip`` by size.

The cotangent of an operand that was not chosen is masked, not multiplied by zero: whatever it
holds, it contributes nothing. Equal operands of ``maximum`` and ``minimum`` share the cotangent;
clipping gives all of it to x on the border, where its slope is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.nodes import Symbolic
from staticgrad.language.ir.op import Array, Constant
from staticgrad.language.ir.ranges import Range, RangeOf, Zero
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import Abs, signbit
from staticgrad.language.ops.cotangent import ZERO, Cotangent, Masked, unbroadcast_mask
from staticgrad.language.ops.elementwise import (
    ArrayLike,
    Elementwise,
    binary,
    lift_operand,
    promote_operands,
)
from staticgrad.language.ops.logic import (
    Lt,
    Relation,
    equal,
    greater,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
)
from staticgrad.language.ops.movement import broadcast_to
from staticgrad.language.ops.operands import as_value, floating, promoted_values
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import BOOL, DType
from staticgrad.support.building import within

#: From how many elements on, and for which item sizes, a choice is made on bits.
_FEW: Final = 1024
_WORDS: Final[dict[int, Any]] = {4: np.int32, 8: np.int64}


class Where(Elementwise, name="where"):
    """x where the condition holds, else y. Each branch takes the cotangent where it was chosen."""

    exact = True
    rounds_once = True
    kink = "a branch that is not taken contributes 0, whatever it holds"

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """The condition is converted to bool; x and y promote with each other."""
        condition, *branches = args
        kind = binding_kind(args)
        values = promote_operands(self, branches, kind)
        return (lift_operand(self.name, kind, condition, BOOL), *values)

    def met_dtype(self, *types: TensorType) -> DType:
        """Return the dtype of ``where``'s branches; its condition must be bool."""
        condition, *branches = types
        if condition.dtype is not BOOL:
            raise DTypeError(
                f"where: the condition is {condition.dtype.numpy}, not bool", hint="compare: x != 0"
            )
        return super().met_dtype(*branches)

    def reference(self, condition: Array, x: Array, y: Array) -> Any:
        return np.where(condition, x, y)

    def eager(self, condition: Array, x: Array, y: Array) -> Any:
        """Select by bits instead of branches: ten times faster where the choice varies."""
        if condition.size < _FEW or x.dtype.itemsize not in _WORDS:
            return np.where(condition, x, y)
        word = _WORDS[x.dtype.itemsize]
        out = np.empty(np.broadcast(condition, x, y).shape, x.dtype)
        bits, by_x, by_y = out.view(word), x.view(word), y.view(word)
        bits[...] = condition.view(np.int8)
        if x.ndim == 0 and by_x == 0:
            bits -= 1  # no bit where it holds, else all
            np.bitwise_and(by_y, bits, out=bits)
            return out
        np.negative(bits, out=bits)  # all bits where it holds, else none
        if y.ndim == 0 and by_y == 0:
            np.bitwise_and(by_x, bits, out=bits)
        else:
            np.bitwise_and(np.bitwise_xor(by_x, by_y), bits, out=bits)
            np.bitwise_xor(bits, by_y, out=bits)
        return out

    def scalar(self, condition: Expr, x: Expr, y: Expr) -> Expr:
        return select(condition, x, y)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, condition: Any, x: Any, y: Any
    ) -> tuple[Cotangent | None, ...]:
        return None, Masked(condition, ct), Masked(condition, ct, negated=True)

    def pushforward(self, tangents: Sequence[Any], out: Any, condition: Any, x: Any, y: Any) -> Any:
        _, by_x, by_y = tangents
        if by_x is None and by_y is None:
            return None
        return where(condition, ZERO if by_x is None else by_x, ZERO if by_y is None else by_y)

    def value_range(self, of: RangeOf, condition: Any, x: Any, y: Any) -> Range | None:
        """Bound ``where``: the union of its branches' ranges, narrowed by the condition."""
        of_x, of_y = of(x), of(y)
        relation, understood = condition.node.op, False
        if isinstance(relation, Relation):
            left, right = condition.node.args
            number = of(right).number
            if number is not None and x.key == left.key:
                of_x, understood = relation.refine(of_x, number), True
            if number is not None and y.key == left.key:
                of_y, understood = relation.refine(of_y, number, holds=False), True
        joined = of_x | of_y
        if not understood and (of_x.number or of_y.number):
            # Another number stands where this value was not wanted.
            return replace(joined, zero=min(joined.zero, Zero.MAYBE))
        return joined

    def source(self, condition: Any, x: Any, y: Any) -> Any:
        """x, of ``where(abs(x) < inf, x, 0)``, as shifts have it: 0 where x is not finite."""
        zero, test = y.node.op, condition.node
        if not (isinstance(zero, Constant) and zero.data.array.ndim == 0 and zero.data.array == 0):
            return None
        return x if isinstance(test.op, Lt) and isinstance(test.args[0].node.op, Abs) else None

    def operand_masks(self, mask: Any, out: Any, condition: Any, *branches: Any) -> tuple[Any, ...]:
        """The condition counts everywhere, a branch where it is chosen."""
        chosen = broadcast_to(condition, out.shape)
        masks = [chosen, logical_not(chosen)]
        if mask is not True:
            masks = [logical_and(branch, mask) for branch in masks]
        return (True, *(unbroadcast_mask(m, x.type) for m, x in zip(masks, branches, strict=True)))


class _Extremum(Elementwise):
    """The shared rule: the operand that wins takes the cotangent, equal operands half each.

    Where one is NaN none has won, and the derivative by both is NaN.
    """

    exact = True
    commutative = True
    kink = "equal operands take half of the cotangent each; where one is NaN, both take NaN"

    def loses(self, x: Any, y: Any) -> Value:
        """Return where x is not chosen although y is not NaN."""
        raise TypeError(f"op {self.name} does not say which operand loses")

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any, y: Any
    ) -> tuple[Cotangent | None, ...]:
        """Differentiate maximum or minimum: ct to the operand that wins, half to each at ties."""
        x_loses, y_loses = self.loses(x, y), self.loses(y, x)
        tie = where(equal(x, y), ct * 0.5, nan)
        share = where(logical_or(x_loses, y_loses), ct, tie)
        by_x = Masked(x_loses, share, negated=True) if needed[0] else None
        return by_x, Masked(y_loses, share, negated=True) if needed[1] else None

    def pushforward(self, tangents: Sequence[Any], out: Any, x: Any, y: Any) -> Any:
        """Push tangents through maximum or minimum: that of the operand that wins."""
        by_x, by_y = (ZERO if tangent is None else tangent for tangent in tangents)
        if by_x is ZERO and by_y is ZERO:
            return None
        left = where(self.loses(x, y), by_y, by_x)
        right = where(self.loses(y, x), by_x, by_y)
        is_number = equal(out, out)
        return where(is_number, (left + right) * 0.5, nan)


class Maximum(_Extremum, name="maximum"):
    """The larger of x and y; NaN if either is, +0 over -0. Equal operands share the gradient."""

    def reference(self, x: Array, y: Array) -> Any:
        larger = np.maximum(x, y)
        if larger.dtype.kind != "f":
            return larger
        return np.where((x == 0) & (y == 0), x + y, larger)  # -0 + +0 is +0

    def eager(self, x: Array, y: Array) -> Any:
        """NumPy's: of zeros of both signs either may win."""
        return np.maximum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | y if x.dtype is BOOL else x.maximum(y)

    def loses(self, x: Any, y: Any) -> Value:
        return less(x, y)

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        a, b = of(x), of(y)
        low = max(a.low, b.low)
        zero = Zero.NEVER if low > 0 or a.positive or b.positive else max(a.zero, b.zero)
        if low == 0 and zero is Zero.MAYBE:
            zero = Zero.CHOSEN
        return Range(low, max(a.high, b.high), zero)


class Minimum(_Extremum, name="minimum"):
    """The smaller of x and y; NaN if either is, -0 under +0. Equal operands share the gradient."""

    def reference(self, x: Array, y: Array) -> Any:
        smaller = np.minimum(x, y)
        if smaller.dtype.kind != "f":
            return smaller
        return np.where((x == 0) & (y == 0), -(-x + -y), smaller)  # -(+0 + -0) is -0

    def eager(self, x: Array, y: Array) -> Any:
        """NumPy's: of zeros of both signs either may win."""
        return np.minimum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y if x.dtype is BOOL else x.minimum(y)

    def loses(self, x: Any, y: Any) -> Value:
        return greater(x, y)

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        a, b = of(x), of(y)
        return Range(min(a.low, b.low), min(a.high, b.high), max(a.zero, b.zero))


def where(
    condition: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue] | None = None,
    y: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Select x where the condition is true (not zero), else y; all broadcast, x and y promote.

    A gradient counts only where its operand was chosen, even if the other one is NaN.

    Args:
        condition: bools, or numbers, which are true where they are not zero.
        x, y: the values to choose from.

    Raises:
        ArgumentError: only the condition is given (NumPy returns the indices of True).

    >>> sg.evaluate(sg.where([True, False], [1.0, 2.0], 0.0))
    array([1., 0.])
    """
    if x is None or y is None:
        raise ArgumentError(
            "where takes a condition and the values to choose from",
            hint="sg.where(condition, x, y); how many places a condition is true at is only known\n"
            "in a run, so that they cannot be a value: sum(where(condition, x, 0)) is one",
        )
    return Where()(condition, x, y)


maximum = binary(Maximum, "sg.maximum([1.0, 5.0], 3.0)", "array([3., 5.])")
minimum = binary(Minimum, "sg.minimum([1.0, 5.0], 3.0)", "array([1., 3.])")


class Relu(Elementwise, name="relu"):
    """x, but 0 where x <= 0; NaN of NaN. Its derivative reads the result alone: 0 where it is <= 0.

    The mask is a value of the forward part: ``passes.residuals`` stores it only where the result
    itself is not stored for what follows.
    """

    kinds = "iuf"
    exact = True
    rounds_once = True
    kink = "the derivative at 0 is 0, at NaN 1"

    def reference(self, x: Array) -> Any:
        return np.where(x <= 0, x.dtype.type(0), x)

    def scalar(self, x: Expr) -> Expr:
        return select(x <= 0, literal(0, x.dtype), x)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any
    ) -> tuple[Cotangent | None, ...]:
        order = out.node.order if isinstance(out, Symbolic) else None
        with within(order=order):
            off = less_equal(out, 0)
        return (Masked(off, ct, negated=True),)

    def pushforward(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        (tangent,) = tangents
        if tangent is None or tangent is ZERO:
            return None
        return where(less_equal(out, 0), 0, tangent)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        operand_range = of(x)
        low, high = max(operand_range.low, 0.0), max(operand_range.high, 0.0)
        return Range(low, high, Zero.NEVER if operand_range.low > 0 else Zero.CHOSEN)


class _Bounded(Elementwise):
    """x, or the border where x lies beyond it; the one that is chosen takes the cotangent.

    Where the border is NaN it is chosen; x is where only x is NaN.
    """

    exact = True
    kink = "the derivative by x on the border is 1, by the border 0"

    def beyond(self, x: Any, border: Any) -> Value:
        """Return where the border is chosen, NaN aside."""
        raise TypeError(f"op {self.name} does not say what lies beyond its border")

    def _border_chosen(self, x: Any, border: Any) -> Value:
        nan = not_equal(border, border)
        return logical_or(self.beyond(x, border), nan)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any, border: Any
    ) -> tuple[Cotangent | None, ...]:
        at_border = self._border_chosen(x, border)
        return Masked(at_border, ct, negated=True), Masked(at_border, ct)

    def pushforward(self, tangents: Sequence[Any], out: Any, x: Any, border: Any) -> Any:
        by_x, by_border = (ZERO if tangent is None else tangent for tangent in tangents)
        if by_x is ZERO and by_border is ZERO:
            return None
        return where(self._border_chosen(x, border), by_border, by_x)


class AtLeast(_Bounded, name="at_least"):
    """x, but ``low`` where x is below it; NaN wins, +0 over -0. Slope 1 by x on the border."""

    def reference(self, x: Any, low: Any) -> Any:
        return Maximum().reference(x, low)

    def scalar(self, x: Any, low: Any) -> Any:
        return Maximum().scalar(x, low)

    def beyond(self, x: Any, border: Any) -> Value:
        return less(x, border)

    def value_range(self, of: RangeOf, x: Any, low: Any) -> Range | None:
        return Maximum().value_range(of, x, low)


class AtMost(_Bounded, name="at_most"):
    """x, but ``high`` where x is above it; NaN wins, -0 under +0. Slope 1 by x on the border."""

    def reference(self, x: Any, high: Any) -> Any:
        return Minimum().reference(x, high)

    def scalar(self, x: Any, high: Any) -> Any:
        return Minimum().scalar(x, high)

    def beyond(self, x: Any, border: Any) -> Value:
        return greater(x, border)

    def value_range(self, of: RangeOf, x: Any, high: Any) -> Range | None:
        return Minimum().value_range(of, x, high)


def clip(
    x: ArrayLike[AnyValue],
    min: ArrayLike[AnyValue] | None = None,
    max: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """x held between ``min`` and ``max`` (None: no border), broadcast; dtypes promote.

    NaN stays, and a border that is NaN gives NaN. Where min > max, max. The slope by x is 1 inside
    and on the borders; beyond, the border takes the gradient.

    Args:
        x: numbers.
        min, max: the borders, which broadcast; None for none.

    Returns:
        The elements, in the dtype in which all meet.

    >>> sg.evaluate(sg.clip([-2.0, 0.5, 2.0], 0.0, 1.0))
    array([0. , 0.5, 1. ])
    """
    value = x
    if min is not None:
        value = AtLeast()(value, min)
    if max is not None:
        value = AtMost()(value, max)
    return as_value(value)


def copysign(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """The magnitude of x with the sign of y, broadcast; always floating.

    Derivative by x: 1 where the signs agree, else -1, at zero too; by y none.

    >>> sg.copysign([1.0, 2.0], [-1.0, 1.0])
    array([-1.,  2.])
    """
    left, right = (floating(v) for v in promoted_values((x, y)))
    same_sign = equal(signbit(left), signbit(right))
    return where(same_sign, left, -left)
