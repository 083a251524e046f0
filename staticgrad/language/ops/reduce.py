"""The reductions: sum, max, min, and, or, xor over axes, which the result drops.

A sum adds in the order that ``ir/summation.py`` defines; for the others it does not matter.
Choosing axes and dtypes, and what is made of these, is in ``aggregate.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan, prod
from typing import Any, ClassVar

import numpy as np

from staticgrad.errors import AxisError, DTypeError, EmptyReductionError
from staticgrad.language.ir.forms import COMBINERS, Form, Reduce
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.ranges import Range, RangeOf, Zero
from staticgrad.language.ir.summation import tree_sum
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.basic import where
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.cotangent import elements_reaching
from staticgrad.language.ops.logic import equal, greater, less, logical_not
from staticgrad.language.ops.movement import Broadcast, reshape
from staticgrad.language.ops.operands import kept_axes, shape_without
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import as_dtype


class Reduction(Op):
    """Elements combined over ``axes`` (ascending, at least one), which the result drops."""

    kind: ClassVar[str] = ""
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        canonical = self.axes and list(self.axes) == sorted(set(self.axes))
        if not canonical or not all(0 <= axis < x.rank for axis in self.axes):
            raise AxisError(f"{self.name}: {self.axes} are not ascending axes of {x}")
        return x.with_shape(shape_without(x, self.axes))

    def spread(self, reduced: Any, x: Any) -> Value:
        """A value of the result's shape, repeated to the shape of x."""
        return Broadcast(x.shape, kept_axes(x.ndim, self.axes))(reduced)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axes=tuple(axis + 1 for axis in self.axes))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Reduce(self.kind, self.axes)


class Sum(Reduction, name="sum"):
    """The sum over ``axes``, in the dtype of x; 0 if empty. Integers wrap."""

    positive = "kept"
    exact = True
    rounds_once = True
    kind = "sum"

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype.is_bool:
            raise DTypeError("sum: bools are counted as integers", hint="x.astype('int64')")
        return super().infer(x)

    def reference(self, x: Array) -> Any:
        return tree_sum(x, self.axes)

    def eager(self, x: Array) -> Any:
        """NumPy's own order of adding up, several times faster than the tree written out."""
        if x.size == 0 or x.dtype.kind != "f":
            return np.add.reduce(x, self.axes, dtype=x.dtype)
        return np.add.reduce(x, self.axes, dtype=x.dtype, initial=-0.0)  # -0.0 is what changes none

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (self.spread(ct, x) if out.dtype.is_float else None,)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        return self(tangents[0]) if out.dtype.is_float and tangents[0] is not None else None

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).sum()

    def operand_masks(self, mask: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """The elements of a sum that counts."""
        float_mask = mask is not True and out.dtype.is_float
        return (elements_reaching(self, mask, out, x) if float_mask else True,)


class Extreme(Reduction):
    """Maximum or minimum over ``axes``. All elements equal to it share the cotangent equally.

    Where the result is NaN, all elements have the derivative NaN. Of no elements, ``neutral`` gives
    what loses against everything (-inf for a maximum of floats) where there is an error otherwise.
    """

    exact = True
    kink = "all elements equal to the result share the cotangent equally; NaN for all if it is NaN"
    axes: tuple[int, ...]
    neutral: bool = False

    def infer(self, x: TensorType) -> TensorType:
        """Infer a reduction's type: the shape without the axes; a guard against empty axes."""
        out = super().infer(x)
        if self.neutral:
            return out
        count = prod(x.shape[axis] for axis in self.axes)
        what = {"max": "largest", "min": "smallest"}.get(self.kind, self.kind)  # of argmax, too
        text = f"the {what} of no elements: {_axes_text(self.axes)} of {x}"
        if not dims.at_least(count, 1, text):
            raise EmptyReductionError(text, hint="an empty axis has none")
        return out

    def least(self, x: Array) -> Any:
        """Return the initial value: the neutral element, or None if an empty axis is an error."""
        return COMBINERS[self.kind].identity(as_dtype(x.dtype)) if self.neutral else None

    def loses(self, x: Any, out: Any) -> Value:
        """Return where an element is not the one chosen."""
        raise TypeError(f"op {self.name} does not say which elements lose")

    def weights(self, out: Any, x: Any) -> tuple[Value, Any]:
        """Return which elements lose to a max or min, and how many tie for each result.

        NaN where the result is: a NaN has won against nothing.
        """
        lost = self.loses(x, self.spread(out, x))
        chosen = logical_not(lost)
        count = Sum(self.axes)(astype(chosen, out.dtype))
        return lost, where(equal(out, out), count, nan)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """An equal share of the cotangent for each element that was chosen."""
        if not out.dtype.is_float:
            return (None,)
        lost, count = self.weights(out, x)
        return (where(lost, 0.0, self.spread(ct / count, x)),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """The mean tangent of the elements that were chosen."""
        if not out.dtype.is_float or tangents[0] is None:
            return None
        lost, count = self.weights(out, x)
        return Sum(self.axes)(where(lost, 0.0, tangents[0])) / count

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return a if a.low >= 0 or a.high <= 0 else replace(a, zero=Zero.MAYBE)


class Max(Extreme, name="max"):
    """The largest element over ``axes``: NaN wins, +0 is above -0. On bools: any."""

    positive = "kept"
    kind = "max"

    def reference(self, x: Array) -> Any:
        return _extreme(np.maximum, x, self.axes, self.least(x), zero=np.logical_and)

    def eager(self, x: Array) -> Any:
        """NumPy's: of zeros of both signs either may win."""
        return np.maximum.reduce(x, self.axes, initial=self.least(x))

    def loses(self, x: Any, out: Any) -> Value:
        return less(x, out)


class Min(Extreme, name="min"):
    """The smallest element over ``axes``: NaN wins, -0 is below +0. On bools: all."""

    kind = "min"

    def reference(self, x: Array) -> Any:
        return _extreme(np.minimum, x, self.axes, self.least(x), zero=np.logical_or)

    def eager(self, x: Array) -> Any:
        """NumPy's: of zeros of both signs either may win."""
        return np.minimum.reduce(x, self.axes, initial=self.least(x))

    def loses(self, x: Any, out: Any) -> Value:
        return greater(x, out)


class BitReduction(Reduction):
    """A reduction of the bits of integers, or of bools, by one logical function; no gradient."""

    exact = True
    differentiable = False

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype.is_float:
            raise DTypeError(f"{self.name}: takes bools or integers, got {x}")
        return super().infer(x)

    def reference(self, x: Array) -> Any:
        return self.ufunc.reduce(x, self.axes)

    @property
    def ufunc(self) -> np.ufunc:
        """NumPy's function of two elements."""
        return {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[self.kind]


class ReduceAnd(BitReduction, name="reduce_and"):
    """The bits that all elements over ``axes`` have; every bit if there are no elements."""

    kind = "and"


class ReduceOr(BitReduction, name="reduce_or"):
    """The bits that at least one element over ``axes`` has; none if there are no elements."""

    kind = "or"


class ReduceXor(BitReduction, name="reduce_xor"):
    """The bits that an odd number of elements over ``axes`` have."""

    kind = "xor"


def _extreme(
    choose: np.ufunc, x: Array, axes: tuple[int, ...], least: Any, zero: np.ufunc
) -> Array:
    """Reduce to max or min by NumPy; ``zero`` combines the signs of zeros."""
    extreme = np.asarray(choose.reduce(x, axis=axes, initial=least))
    if x.dtype.kind != "f":
        return extreme
    # Elements that are not zero vote neutrally: for `and` with True, for `or` with False.
    negative = np.where(x == 0, np.signbit(x), zero is np.logical_and)
    signed = np.where(zero.reduce(negative, axis=axes), x.dtype.type(-0.0), x.dtype.type(0.0))
    return np.asarray(np.where(extreme == 0, signed, extreme))


def _axes_text(axes: tuple[int, ...]) -> str:
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def reduce_axes(
    kind: Callable[[tuple[int, ...]], Reduction], x: AnyValue, axes: tuple[int, ...], keepdims: bool
) -> AnyValue:
    """Reduce x over ``axes``, or return x where there are none; ``keepdims`` keeps axes of size 1.

    Args:
        kind: the class of the reduction.
    """
    if not axes:
        return x
    out = kind(axes)(x)
    return with_axes(out, x, axes) if keepdims else out


def with_axes(reduced: AnyValue, x: AnyValue, axes: tuple[int, ...]) -> AnyValue:
    """The reduced value of x with axes of size 1 where x has the reduced ``axes``."""
    return reshape(reduced, tuple(1 if k in axes else size for k, size in enumerate(x.shape)))
