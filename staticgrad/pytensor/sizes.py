"""Integers that PyTensor computes of shapes: its Ops as arithmetic of sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.bridges.operands import ForeignType
from staticgrad.bridges.sizes import arithmetic, compute_elements, compute_known
from staticgrad.bridges.tables import ForeignOperator
from staticgrad.extend import Dim
from staticgrad.pytensor.operators.indexing import read_key

#: The name of a scalar Op -> what computes it of integers and sizes.
_SCALARS: Final = arithmetic("""
    Add=add Sub=subtract Mul=multiply Neg=negative Identity=identity Cast=identity Second=second
    IntDiv=floor_divide Mod=remainder Maximum=maximum Minimum=minimum Clip=clip EQ=equal
    NEQ=not_equal LT=less GE=greater_equal GT=greater LE=less_equal Switch=where AND=logical_and
    OR=logical_or Invert=logical_not
""")


def compute_sizes(
    op: ForeignOperator, operands: Sequence[Any], out: tuple[ForeignType | None, ...]
) -> tuple[Any, ...] | None:
    """Compute the integers that an Op gives for known operands.

    Returns:
        Arrays; None if it is no arithmetic of sizes, or named sizes do not decide it.
    """
    compute: Callable[..., Any] | None
    if op.is_scalar:
        function = _SCALARS.get(op.name)
        compute = function and (lambda *xs: compute_elements(function, xs))
    else:
        of_op = _OPERATORS.get(op.name)
        compute = of_op and partial(of_op, op)
    kinds = [np.dtype(kind.dtype).kind if kind is not None else "" for kind in out]
    if compute is None or not set(kinds) <= {"i", "u", "b"}:
        return None
    kind = out[0]
    result = compute_known(compute, operands, "int64" if kind is None else kind.dtype)
    return None if result is None else (result,)


def computes_sizes(op: ForeignOperator) -> bool:
    """Return whether an Op is arithmetic of sizes if its operands are known."""
    return op.name in (_SCALARS if op.is_scalar else _OPERATORS)


def _elementwise(op: ForeignOperator, *operands: Any) -> Any:
    scalar_op = op.attributes["scalar_op"]
    if "fgraph" in scalar_op.attributes:
        return None
    function = _SCALARS.get(scalar_op.name)
    return None if function is None else compute_elements(function, operands)


def _reduce(op: ForeignOperator, x: Any) -> Any:
    kind, axis = op.attributes["scalar_op"].name, op.attributes.get("axis")
    if kind not in ("Add", "Mul") or (axis is not None and len(axis) != x.ndim):
        return None
    function = _SCALARS[kind]
    numbers = x.ravel().tolist()
    return np.asarray(function(*numbers) if numbers else int(kind == "Mul"), object)


def _join(op: ForeignOperator, *operands: Any) -> Any:
    axis = op.attributes.get("axis")
    if axis is None:
        axis, *operands = (int(operands[0]), *operands[1:])  # type: ignore[assignment]
    return np.concatenate([np.asarray(x, object) for x in operands], axis)


def _subtensor(op: ForeignOperator, x: Any, *operands: Any) -> Any:
    key = read_key(op.attributes["idx_list"], operands)
    if any(isinstance(part, slice) and _has_named_bound(part) for part in key):
        return None
    return np.asarray(x, object)[
        tuple(part if isinstance(part, slice) else int(part) for part in key)
    ]


def _update_elements(op: ForeignOperator, x: Any, y: Any, *operands: Any) -> Any:
    key = read_key(op.attributes["idx_list"], operands)
    if any(isinstance(part, slice) and _has_named_bound(part) for part in key):
        return None
    place = tuple(part if isinstance(part, slice) else int(part) for part in key)
    elements, new = np.array(x, object), y.item() if y.ndim == 0 else y
    elements[place] = new if op.attributes["set_instead_of_inc"] else elements[place] + new
    return elements


def _has_named_bound(part: slice) -> bool:
    return any(isinstance(bound, Dim) for bound in (part.start, part.stop, part.step))


def _dimshuffle(op: ForeignOperator, x: Any) -> Any:
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
