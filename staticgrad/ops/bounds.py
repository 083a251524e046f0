"""Values held between borders: clip, and the extrema that overlook NaN.

Unlike ``maximum`` and ``minimum``, whose equal operands share the cotangent, clipping gives all of
it to x on the border: its slope there is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.cotangent import ZERO, Cotangent, Masked
from staticgrad.ops.elementwise import Elementwise, Operand
from staticgrad.ops.operands import as_value, promoted_values
from staticgrad.ops.selection import Maximum, Minimum, where


class _Bounded(Elementwise):
    """x, or the border where x lies beyond it; the one that is chosen takes the cotangent.

    Where the border is NaN it is chosen; x is where only x is NaN.
    """

    exact = True
    kink = "the derivative by x on the border is 1, by the border 0"

    def beyond(self, x: Any, border: Any) -> Value:
        """Where the border is chosen, NaN aside."""
        raise TypeError(f"op {self.name} does not say what lies beyond its border")

    def _moved(self, x: Any, border: Any) -> Value:
        nan = functions.not_equal(border, border)
        return functions.logical_or(self.beyond(x, border), nan)

    def pullback(
        self, ct: Any, wanted: Sequence[bool], out: Any, x: Any, border: Any
    ) -> tuple[Cotangent | None, ...]:
        moved = self._moved(x, border)
        return Masked(moved, ct, negated=True), Masked(moved, ct)

    def pushforward(self, tangents: Sequence[Any], out: Any, x: Any, border: Any) -> Any:
        by_x, by_border = (ZERO if tangent is None else tangent for tangent in tangents)
        if by_x is ZERO and by_border is ZERO:
            return None
        return where(self._moved(x, border), by_border, by_x)


class AtLeast(_Bounded, name="at_least"):
    """x, but ``low`` where x is below it; NaN wins, +0 over -0. Slope 1 by x on the border."""

    def reference(self, x: Any, low: Any) -> Any:
        return Maximum().reference(x, low)

    def scalar(self, x: Any, low: Any) -> Any:
        return Maximum().scalar(x, low)

    def beyond(self, x: Any, border: Any) -> Value:
        return functions.less(x, border)


class AtMost(_Bounded, name="at_most"):
    """x, but ``high`` where x is above it; NaN wins, -0 under +0. Slope 1 by x on the border."""

    def reference(self, x: Any, high: Any) -> Any:
        return Minimum().reference(x, high)

    def scalar(self, x: Any, high: Any) -> Any:
        return Minimum().scalar(x, high)

    def beyond(self, x: Any, border: Any) -> Value:
        return functions.greater(x, border)


# -- public functions -----------------------------------------------------------------------------


def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Value:
    """x held between ``min`` and ``max`` (None: no border), broadcast; dtypes promote.

    NaN stays, and a border that is NaN gives NaN. Where min > max, max. The slope by x is 1 inside
    and on the borders; beyond, the border takes the gradient.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: a Python integer that the other operand's dtype cannot hold.
    """
    value = x
    if min is not None:
        value = AtLeast()(value, min)
    if max is not None:
        value = AtMost()(value, max)
    return as_value("clip", value)


def fmax(x: Operand, y: Operand) -> Value:
    """The larger of x and y, the other one where one is NaN; equal operands share the gradient.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return _overlooking("fmax", Maximum(), x, y)


def fmin(x: Operand, y: Operand) -> Value:
    """The smaller of x and y, the other one where one is NaN; equal operands share the gradient.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return _overlooking("fmin", Minimum(), x, y)


def _overlooking(op: str, choose: Elementwise, x: Operand, y: Operand) -> Value:
    left, right = promoted_values(op, (x, y))
    if not left.dtype.is_float:
        return choose(left, right)
    nan = functions.not_equal
    chosen = where(nan(right, right), left, choose(left, right))
    return where(nan(left, left), right, chosen)
