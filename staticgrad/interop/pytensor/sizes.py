"""Integers that PyTensor computes of shapes, as arithmetic of sizes while a program is built.

A known integer is an array of NumPy; where some of its elements are named sizes its element type is
``object``. What named sizes do not decide (``n < m``) is computed in the run.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np

from staticgrad.extend import Dim, Size
from staticgrad.extend.sizes import is_at_least, maximum, minimum
from staticgrad.interop.pytensor.operators.indexing import read_key
from staticgrad.interop.pytensor.operators.registry import Less, PyTensorOp, PyTensorType, is_known


class UndecidedError(Exception):
    """Named sizes do not decide it."""


def _less(a: Size, b: Size) -> Any:
    if is_at_least(b, a + 1):
        return True
    return False if is_at_least(a, b) else Less(a, b)


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


def _clip(x: Size, low: Size, high: Size) -> Size:
    return minimum(maximum(x, low), high)


#: The name of a scalar Op -> what computes it of integers and sizes.
_SCALARS: Final[dict[str, Callable[..., Any]]] = {
    "Add": lambda *xs: reduce(python.add, xs),
    "Sub": python.sub,
    "Mul": lambda *xs: reduce(python.mul, xs),
    "Neg": python.neg,
    "Identity": lambda x: x,
    "Cast": lambda x: x,
    "Second": lambda _, y: y,
    "IntDiv": _divide,
    "Mod": lambda a, b: a - _divide(a, b) * b,
    "Maximum": lambda *xs: reduce(maximum, xs),
    "Minimum": lambda *xs: reduce(minimum, xs),
    "Clip": _clip,
    "EQ": _equal,
    "NEQ": lambda a, b: not _equal(a, b),
    "LT": _less,
    "GE": lambda a, b: _less(b, a + 1),
    "GT": lambda a, b: _less(b, a),
    "LE": lambda a, b: _less(a, b + 1),
    "Switch": lambda which, a, b: _switch(which, a, b),
    "AND": lambda *xs: _truths(all, xs),
    "OR": lambda *xs: _truths(any, xs),
    "Invert": lambda x: _truths(lambda xs: not xs[0], (x,)),
}


def _switch(which: Any, a: Size, b: Size) -> Size:
    """Choose a size; of two that the comparison compares it is the smaller or the larger one."""
    if not isinstance(which, Less):
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


def compute_sizes(
    op: PyTensorOp, operands: Sequence[Any], out: tuple[PyTensorType | None, ...]
) -> tuple[Any, ...] | None:
    """Compute the integers that an Op gives for known operands.

    Returns:
        Arrays; None if it is no arithmetic of sizes, or named sizes do not decide it.
    """
    compute = _SCALARS.get(op.name) if op.is_scalar else _OPERATORS.get(op.name)
    kinds = [np.dtype(kind.dtype).kind if kind is not None else "" for kind in out]
    if compute is None or not set(kinds) <= {"i", "u", "b"} or not all(map(_is_whole, operands)):
        return None
    try:
        if op.is_scalar:
            result = _compute_elements(compute, operands)
        else:
            result = compute(op, *[np.asarray(x) if _is_array(x) else x for x in operands])
    except (UndecidedError, TypeError, ValueError, IndexError):
        return None
    if result is None:
        return None
    return (_narrow(result, out[0]),)


def _is_array(x: Any) -> bool:
    return x is not None and not isinstance(x, slice)


def _is_whole(x: Any) -> bool:
    """Return whether an operand is known, and has integers, sizes or truth values."""
    return is_known(x) and (not _is_array(x) or np.asarray(x).dtype.kind in "iubO")


def _narrow(x: Any, kind: PyTensorType | None) -> Any:
    """Return an array of integers of the result's element type if no element is a named size."""
    array = np.asarray(x)
    if array.dtype == object and not any(isinstance(n, Dim | Less) for n in array.ravel().tolist()):
        array = np.asarray(array.tolist(), kind.dtype if kind is not None else "int64")
    return array


def _compute_elements(function: Callable[..., Any], operands: Sequence[Any]) -> Any:
    arrays = [np.asarray(np.asarray(x).tolist(), object) for x in operands]
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


def _elementwise(op: PyTensorOp, *operands: Any) -> Any:
    scalar_op = op.attributes["scalar_op"]
    if "fgraph" in scalar_op.attributes:
        return None
    function = _SCALARS.get(scalar_op.name)
    return None if function is None else _compute_elements(function, operands)


def _reduce(op: PyTensorOp, x: Any) -> Any:
    kind, axis = op.attributes["scalar_op"].name, op.attributes.get("axis")
    if kind not in ("Add", "Mul") or (axis is not None and len(axis) != x.ndim):
        return None
    function = _SCALARS[kind]
    numbers = x.ravel().tolist()
    return np.asarray(function(*numbers) if numbers else int(kind == "Mul"), object)


def _join(op: PyTensorOp, *operands: Any) -> Any:
    axis = op.attributes.get("axis")
    if axis is None:
        axis, *operands = (int(operands[0]), *operands[1:])  # type: ignore[assignment]
    return np.concatenate([np.asarray(x, object) for x in operands], axis)


def _subtensor(op: PyTensorOp, x: Any, *operands: Any) -> Any:
    key = read_key(op.attributes["idx_list"], operands)
    if any(isinstance(part, slice) and _has_named_bound(part) for part in key):
        return None
    return np.asarray(x, object)[
        tuple(part if isinstance(part, slice) else int(part) for part in key)
    ]


def _update_elements(op: PyTensorOp, x: Any, y: Any, *operands: Any) -> Any:
    key = read_key(op.attributes["idx_list"], operands)
    if any(isinstance(part, slice) and _has_named_bound(part) for part in key):
        return None
    place = tuple(part if isinstance(part, slice) else int(part) for part in key)
    elements, new = np.array(x, object), y.item() if y.ndim == 0 else y
    elements[place] = new if op.attributes["set_instead_of_inc"] else elements[place] + new
    return elements


def _has_named_bound(part: slice) -> bool:
    return any(isinstance(bound, Dim) for bound in (part.start, part.stop, part.step))


def _dimshuffle(op: PyTensorOp, x: Any) -> Any:
    order = op.attributes["new_order"]
    x = np.transpose(x, [axis for axis in order if axis != "x"]) if x.ndim > 1 else x
    shape = iter(x.shape)
    return x.reshape([1 if axis == "x" else next(shape) for axis in order])


#: The name of an Op's class -> what computes it of arrays of integers and sizes.
_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "Elemwise": _elementwise,
    "MakeVector": lambda op, *xs: np.array([x.item() for x in xs], object),
    "TensorFromScalar": lambda op, x: x,
    "ScalarFromTensor": lambda op, x: x,
    "Join": _join,
    "Subtensor": _subtensor,
    "IncSubtensor": _update_elements,
    "DimShuffle": _dimshuffle,
    "Reshape": lambda op, x, shape: x.reshape([int(n) for n in shape.tolist()]),
    "Sum": _reduce,
    "Prod": _reduce,
    "SpecifyShape": lambda op, x, *shape: x,
    "Unbroadcast": lambda op, x: x,
    "DeepCopyOp": lambda op, x: x,
}
