"""Checks of loops that stop at a bound of their iterations, before they have reached their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgrad.errors import DTypeError, ShapeError
from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.operands import as_value
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, F64


class ReachedEnd(Op, name="reached_end"):
    """The first operand; the run ends with an error unless all its elements are true.

    The second operand, float64 of the same shape, holds what the error tells of each element. No
    gradient flows: results go through ``where(reached, result, nan)``, so that the check runs
    wherever they, or their derivatives, are computed.

    Args:
        loop: the key of the error's wording (``native/libraries/limits.py``).
        limit: the bound, as text.
    """

    loop: str
    limit: str
    differentiable = False
    exact = True

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        """Operands as they are: nothing promotes."""
        return lift_all(args)

    def infer(self, reached: TensorType, value: TensorType) -> TensorType:
        if reached.dtype is not BOOL or value.dtype is not F64:
            raise DTypeError(f"{self.name}: takes bool and float64, not {reached} and {value}")
        if reached.shape != value.shape:
            raise ShapeError(f"{self.name}: {reached} and {value} have different shapes")
        return reached

    def reference(self, reached: Array, value: Array) -> Any:
        """Check eagerly that a loop ended before its bound of iterations; else raise."""
        missed = np.flatnonzero(~reached)
        if missed.size:
            from staticgrad.native.libraries import limits

            number = int(missed[0])
            raise limits.failure(self._routine, number, limits.bits_of(value.reshape(-1)[number]))
        return np.array(reached)

    @property
    def _routine(self) -> str:
        return f"{self.loop}:{self.limit}"

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return CallForm(f"limit:{self._routine}", checks=True, total=product(out.shape), flops=1)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return self(*in_front(size, args, over))


def reached_end(loop: str, limit: Any, reached: Any, value: Any) -> Any:
    """Return ``reached``, checked at run time; ``value`` is what the error tells."""
    reported = stop_gradient(astype(as_value(value), F64))
    return ReachedEnd(loop, str(limit))(reached, reported)
