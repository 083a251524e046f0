"""Which operands and results a derivative rule reads: found by running it once, on types alone.

A rule is written over values, so it also runs on a kind of value that has a type and nothing else.
What it hands to an op, or on as a cotangent, it reads; what it only asks for a shape it does not.
No array and no node is made. A rule that does not run this way is taken to read everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from staticgrad.ir.op import Op, as_array
from staticgrad.ir.value import Value
from staticgrad.ops.cotangent import Masked, shares_of
from staticgrad.types.dtype import DType, as_dtype
from staticgrad.types.tensor import TensorType

Flags = tuple[bool, ...]


class TypedOnly(Value):
    """A value of which only the type is known; it remembers whether somebody read it."""

    __slots__ = ("read", "type")

    type: TensorType

    def __init__(self, type: TensorType) -> None:
        self.type, self.read = type, False

    @classmethod
    def bind(cls, op: Op, args: tuple[Any, ...]) -> Any:
        """An outline of the result; the operands have been read."""
        _mark(args)
        inferred = op.infer(*[arg.type for arg in args])
        if isinstance(inferred, tuple):
            return tuple(map(TypedOnly, inferred))
        return TypedOnly(inferred)

    @classmethod
    def lift(cls, data: object, like: DType | None = None) -> Self:
        """The outline of an array or number."""
        if isinstance(data, TypedOnly):
            return data  # type: ignore[return-value]
        array = as_array(data)
        return cls(TensorType(as_dtype(array.dtype) if like is None else like, array.shape))


def rule_reads(
    op: Op, types: Iterable[TensorType], outs: Iterable[TensorType], needed: Flags
) -> tuple[Flags, Flags]:
    """For each operand and for each result of ``op``: whether its rule reads the elements.

    Args:
        op: the op; its rule need not exist.
        types: of the operands.
        outs: of the results.
        needed: for which operands cotangents are asked.
    """
    args, results = list(map(TypedOnly, types)), list(map(TypedOnly, outs))
    if op.rule_is_foreign:
        return (True,) * len(args), (True,) * len(results)
    try:
        shares = shares_of(op, [TypedOnly(out.type) for out in results], results, args, needed)
        _mark(share for share, need in zip(shares, needed, strict=True) if need)
    except Exception:  # a rule from outside may need more than types
        return (True,) * len(args), (True,) * len(results)
    return tuple([arg.read for arg in args]), tuple([out.read for out in results])


def _mark(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, Masked):
            _mark((value.condition, value.value))
        elif isinstance(value, TypedOnly):
            value.read = True
