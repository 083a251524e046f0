"""The value of an op for a storage dtype: computed in the compute dtype, rounded once.

A value of a storage dtype is rounded where it comes about, whether it is then stored or not: so
its bits do not depend on fusion. References are written for dtypes that have arithmetic; this
module applies them to the others; lowering does the same to the expressions of elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad.errors import StaticgradError
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.forms import MOVES
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import TensorType, convert_array
from staticgrad.language.types.dtype import DType, as_dtype

Run = Callable[..., Any]


def round_results(
    run: Run, op: Op, types: Sequence[TensorType], outs: Sequence[TensorType]
) -> Callable[..., Any]:
    """Wrap an op's evaluation so that results in a storage dtype (bfloat16) are rounded once.

    ``run`` itself where no operand and no result has a storage dtype, or elements are only moved.
    """
    if not any(t.dtype.is_storage for t in (*types, *outs)):
        return run
    try:
        if isinstance(op.form(*outs, *types), MOVES):
            return run
    except StaticgradError:  # an op without kernels
        pass

    def widely(*arguments: Any) -> Any:
        results = run(*[widen_array(argument) for argument in arguments])
        if not isinstance(results, tuple):
            return _narrow(results, outs[0])
        pairs = zip(results, outs, strict=True)
        return tuple([_narrow(array, out) for array, out in pairs])

    return widely


def element(scalar: Callable[..., Expr], dtype: DType, *elements: Expr) -> Expr:
    """Return the result of ``scalar`` for elements, as a value of ``dtype``."""
    result = scalar(*[operand.cast(operand.dtype.compute) for operand in elements])
    return result.cast(dtype) if dtype.is_storage else result


def widen_array(argument: Any) -> Any:
    """An array of a storage dtype in its compute dtype; anything else as it is."""
    if not isinstance(argument, np.ndarray | np.generic):
        return argument
    dtype = as_dtype(argument.dtype)
    return convert_array(np.asarray(argument), dtype.compute) if dtype.is_storage else argument


def _narrow(array: Any, out: TensorType) -> Any:
    """A result in its storage dtype. Of another dtype it stays, for others to complain about."""
    result = np.asarray(array)
    has_compute_dtype = out.dtype.is_storage and as_dtype(result.dtype) is out.dtype.compute
    return convert_array(result, out.dtype) if has_compute_dtype else array
