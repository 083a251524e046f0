"""A product whose second factor lies in panels: a few columns of all rows, one panel after another.

Nobody writes it: ``preparation/panels.py`` puts it where the same matrix is multiplied by again
and again, so that tiles read what lies one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from staticgrad.errors import DTypeError, ShapeError
from staticgrad.ir.forms import Contract, Form
from staticgrad.ir.op import Array
from staticgrad.ops.batch_axis import lined_up
from staticgrad.ops.contract import MatMul
from staticgrad.ops.movement import reshape, transpose
from staticgrad.ops.operands import BilinearOp
from staticgrad.types.dim import Size
from staticgrad.types.tensor import TensorType


class PanelMatMul(BilinearOp, name="panel_matmul"):
    """a @ b, where b is stored as panels [n / c, k, c] of c columns: [m, n] of [m, k]."""

    flops: ClassVar[int] = 2  # per element and inner index

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        """The dtype of the operands."""
        if a.dtype is not b.dtype or a.dtype.is_bool:
            raise DTypeError(f"panel_matmul: takes numbers of one dtype, not {a} and {b}")
        if a.rank != 2 or b.rank != 3 or a.shape[1] != b.shape[1]:
            raise ShapeError(f"panel_matmul: {a} and {b} are no matrix and its panels")
        return TensorType(a.dtype, (a.shape[0], b.shape[0] * b.shape[2]))

    def reference(self, a: Array, b: Array) -> Any:
        with np.errstate(all="ignore"):
            panels, inner, columns = b.shape
            whole = b.swapaxes(0, 1).reshape(inner, panels * columns)
            return np.matmul(np.ascontiguousarray(a), whole)

    def vjp(self, ct: Any, out: Any, a: Any, b: Any) -> tuple[Any, ...]:
        """Those of the product, with the gradient of b in panels too."""
        if not out.dtype.is_float:
            return None, None
        panels, inner, columns = b.shape
        by_b = reshape(MatMul(True, False)(a, ct), (inner, panels, columns))
        whole = reshape(transpose(b, (1, 0, 2)), (inner, panels * columns))
        return MatMul(False, True)(ct, whole), transpose(by_b, (1, 0, 2))

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Rows of a batch times one matrix are rows of one product; others take b as a whole."""
        a, b = args
        if not over[1]:
            rows = reshape(a, (prod(a.shape[:-1]), a.shape[-1]))
            found = self(rows, b)
            return reshape(found, (*a.shape[:-1], found.shape[-1]))
        batch, panels, inner, columns = b.shape
        whole = reshape(transpose(b, (0, 2, 1, 3)), (batch, inner, panels * columns))
        return MatMul(False, False)(*lined_up((a, whole), over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Contract(False, False, panels=True)
