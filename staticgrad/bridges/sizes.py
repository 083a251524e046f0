"""Integers that programs of other libraries compute of shapes, as arithmetic of sizes.

A known integer is an array of NumPy; where some of its elements are named sizes its element type is
``object``. What named sizes do not decide (``n < m``) is computed in the run.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Sequence
from functools import reduce
from math import ceil, floor
from typing import Any, Final

import numpy as np

from staticgrad.bridges.operands import SizeComparison, is_known
from staticgrad.errors import ExportError
from staticgrad.extend import Dim, Size
from staticgrad.extend.sizes import is_at_least, maximum, minimum


class UndecidedError(Exception):
    """Named sizes do not decide it."""


def _less(a: Size, b: Size) -> Any:
    if is_at_least(b, a + 1):
        return True
    return False if is_at_least(a, b) else SizeComparison(a, b)


def _equal(a: Size, b: Size) -> bool:
    if a == b:
        return True
    if is_at_least(a, b + 1) or is_at_least(b, a + 1):
        return False
    raise UndecidedError


def _divide(a: Size, b: Size) -> Size:
    if isinstance(b, int) and b > 0:
        return a // b
    raise UndecidedError


def _switch(which: Any, a: Size, b: Size) -> Size:
    """Choose a size; of two that the comparison compares it is the smaller or the larger one."""
    if not isinstance(which, SizeComparison):
        return a if which else b
    difference = which.left - which.right
    if a - b in (difference, difference + 1):
        return b + minimum(a - b, 0)
    if b - a in (difference, difference + 1):
        return b + maximum(a - b, 0)
    raise UndecidedError


def _truths(of: Callable[[Any], bool], xs: Sequence[Any]) -> bool:
    """Combine truth values; bits of integers are not sizes."""
    if all(isinstance(x, bool) for x in xs):
        return bool(of(xs))
    raise UndecidedError


def _rounding(function: Callable[[Any], int]) -> Callable[[Any], Any]:
    return lambda a: a if isinstance(a, Dim) else function(a)


#: What computes a size of sizes, by one name for all libraries.
ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "add": lambda *xs: reduce(python.add, xs),
    "subtract": python.sub,
    "multiply": lambda *xs: reduce(python.mul, xs),
    "negative": python.neg,
    "absolute": _rounding(abs),
    "identity": lambda x: x,
    "second": lambda _, y: y,
    "floor_divide": _divide,
    "remainder": lambda a, b: a - _divide(a, b) * b,
    "power": lambda a, b: a**b,
    "floor": _rounding(floor),
    "ceil": _rounding(ceil),
    "maximum": lambda *xs: reduce(maximum, xs),
    "minimum": lambda *xs: reduce(minimum, xs),
    "clip": lambda x, low, high: minimum(maximum(x, low), high),
    "equal": _equal,
    "not_equal": lambda a, b: not _equal(a, b),
    "less": _less,
    "greater_equal": lambda a, b: _less(b, a + 1),
    "greater": lambda a, b: _less(b, a),
    "less_equal": lambda a, b: _less(a, b + 1),
    "where": _switch,
    "logical_and": lambda *xs: _truths(all, xs),
    "logical_or": lambda *xs: _truths(any, xs),
    "logical_not": lambda x: _truths(lambda xs: not xs[0], (x,)),
}


def arithmetic(names: str) -> dict[str, Callable[..., Any]]:
    """Return what computes sizes by the names of a library: ``"Add=add Sub=subtract"``."""
    pairs = [entry.partition("=") for entry in names.split()]
    return {theirs: ARITHMETIC[ours or theirs] for theirs, _, ours in pairs}


def compute_elements(function: Callable[..., Any], operands: Sequence[Any]) -> Any:
    """Apply a function of sizes to the elements of arrays, which are broadcast."""
    arrays = [np.asarray(np.asarray(x).tolist(), object) for x in operands]
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


def compute_known(
    function: Callable[..., Any], operands: Sequence[Any], dtype: str = "int64"
) -> Any:
    """Compute integers of known operands.

    Args:
        function: of arrays of integers and sizes, slices and None.
        operands: of a call.
        dtype: the element type of the result if no element is a named size.

    Returns:
        An array; None if an operand is not known or has no integers, or if named sizes do not
        decide it.

    Raises:
        ExportError: the function refuses the operands.
    """
    if not all(map(_is_whole, operands)):
        return None
    try:
        result = function(*[np.asarray(x) if _is_array(x) else x for x in operands])
    except ExportError:
        raise
    except (UndecidedError, TypeError, ValueError, IndexError):
        return None
    return None if result is None else size_array(result, dtype)


def size_array(elements: Any, dtype: str = "int64") -> np.ndarray[Any, Any]:
    """Return an array of sizes; of integers if no element is a named size."""
    array = np.asarray(elements)
    if not array.size:
        return array.astype(dtype)
    if array.dtype == object and not any(
        isinstance(n, Dim | SizeComparison) for n in array.ravel().tolist()
    ):
        array = np.asarray(array.tolist(), dtype)
    return array


def _is_array(x: Any) -> bool:
    return x is not None and not isinstance(x, slice)


def _is_whole(x: Any) -> bool:
    """Return whether an operand is known, and has integers, sizes or truth values."""
    return is_known(x) and (not _is_array(x) or np.asarray(x).dtype.kind in "iubO")
