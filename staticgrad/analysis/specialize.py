"""An op for one run: its symbolic sizes as integers, its floating attributes widened to float64.

Works on any op through its fields, so that no op needs to know about it: sizes may stand in an
attribute itself, in a tuple, or in a tensor type. The references in ``ops/`` see integers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from staticgrad.ir.op import Op
from staticgrad.types.constant import ArrayData
from staticgrad.types.dim import Dim, evaluate
from staticgrad.types.dtype import F64, DType
from staticgrad.types.tensor import TensorType


def at_sizes(op: Op, sizes: Mapping[str, int]) -> Op:
    """``op`` with every symbolic size in its attributes replaced by its value."""
    return _mapped(op, lambda leaf: evaluate(leaf, sizes) if isinstance(leaf, Dim) else leaf)


def in_float64(op: Op) -> Op:
    """``op`` with every floating dtype and constant in its attributes widened to float64."""
    return _mapped(op, _widened)


def _widened(leaf: Any) -> Any:
    if isinstance(leaf, DType):
        return F64 if leaf.is_float else leaf
    if isinstance(leaf, ArrayData) and leaf.dtype.is_float:
        return ArrayData(leaf.array, F64)
    return leaf


def _mapped(op: Op, change: Callable[[Any], Any]) -> Op:
    """``op`` with ``change`` applied to each leaf of its attributes; itself if nothing changed."""
    changed = {}
    for name in op.__dataclass_fields__:
        before = getattr(op, name)
        after = _map_leaves(before, change)
        if after is not before:
            changed[name] = after
    return replace(op, **changed) if changed else op


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, TensorType):
        dtype, shape = change(value.dtype), _map_leaves(value.shape, change)
        same = dtype is value.dtype and shape is value.shape
        return value if same else TensorType(dtype, shape)
    if isinstance(value, tuple):
        mapped = tuple(_map_leaves(item, change) for item in value)
        return value if all(a is b for a, b in zip(mapped, value, strict=True)) else mapped
    return change(value)
