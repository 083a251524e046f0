"""Rows of indexing, and of the updates at an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import staticgrad.functions as sg
from staticgrad.bridges.tables import unsupported_variant
from staticgrad.extend import Dim, Size
from staticgrad.extend.sizes import maximum, minimum
from staticgrad.pytensor.operators.registry import (
    PyTensorType,
    is_known,
    operator,
    size,
    value,
)


def read_key(idx_list: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
    """Return the key of an index: slices, and the operands at their axes.

    Args:
        idx_list: for each axis the number of its operand, or a slice of numbers of operands.
        operands: of the Op, without the array.

    Raises:
        ExportError: only a run computes the bound of a slice.
    """

    def read_bound(number: Any) -> Any:
        if number is None:
            return None
        if not is_known(operands[number]):  # as a named size it would be a plan for each number
            raise unsupported_variant("a bound of a slice that only a run computes")
        return size(operands[number], "a bound of a slice")

    return [
        slice(read_bound(part.start), read_bound(part.stop), read_bound(part.step))
        if isinstance(part, slice)
        else operands[part]
        for part in idx_list
    ]


def _index(x: Any, idx_list: Sequence[Any], operands: Sequence[Any]) -> tuple[Any, ...]:
    """Return the key of an index of x as staticgrad takes it.

    Raises:
        ExportError: only a run computes a bound of a slice, or how many elements a mask has.
    """
    key: list[Any] = []
    axis = -1
    for part in read_key(idx_list, operands):
        is_mask = is_known(part) and np.asarray(part).dtype.kind == "b"
        axis += np.ndim(part) if is_mask else 1
        if isinstance(part, slice):
            key.append(part)
        elif not is_known(part):
            if part.dtype.name == "bool":
                raise unsupported_variant("a mask that only a run computes")
            key.append(part)
        else:
            array = np.asarray(part)
            if array.ndim == 0 and array.dtype.kind != "b":
                number = array.item()
                is_named = isinstance(number, Dim)
                key.append(_count_from_start(number, x.shape[axis]) if is_named else int(number))
            else:
                key.append(value(array) if array.dtype == object else array)
    return tuple(key)


def _count_from_start(index: Dim, size: Size) -> Size:
    """Return an index that is arithmetic of sizes, and may be negative, as one from the start."""
    is_negative = minimum(maximum(-index, 0), 1)
    return index + size * is_negative


@operator("Subtensor", "AdvancedSubtensor")
def _subtensor(x: Any, *operands: Any, idx_list: Sequence[Any]) -> Any:
    x = value(x)
    return x[_index(x, idx_list, operands)]


@operator("AdvancedSubtensor1")
def _rows(x: Any, rows: Any) -> Any:
    x = value(x)
    return x[_index(x, (0,), (rows,))]


@operator("IncSubtensor", "AdvancedIncSubtensor")
def _update(
    x: Any,
    y: Any,
    *operands: Any,
    idx_list: Sequence[Any],
    set_instead_of_inc: bool,
    out: PyTensorType,
    ignore_duplicates: bool = False,
) -> Any:
    x = value(x, out.dtype)
    selected = _spread_over_mask(x, value(y, out.dtype), read_key(idx_list, operands))
    if selected is not None:
        mask, new = selected
        return sg.where(mask, new if set_instead_of_inc else x + new, x)
    target = x.at[_index(x, idx_list, operands)]
    y = value(y, out.dtype)
    if set_instead_of_inc:
        return target.set(y)
    if ignore_duplicates:  # NumPy's x[key] += y
        return target.set(target.get() + y)
    return target.add(y)


def _spread_over_mask(x: Any, y: Any, key: Sequence[Any]) -> tuple[Any, Any] | None:
    """Return a mask that a run computes and what is written where it holds, as arrays like x.

    Returns:
        None if the key is not one mask, or if y has an element for each that the mask selects.
    """
    masks = [part for part in key if not isinstance(part, slice)]
    if len(masks) != 1 or is_known(masks[0]) or masks[0].dtype.name != "bool":
        return None
    if any(part != slice(None) for part in key if isinstance(part, slice)):
        return None
    (mask,) = masks
    first = next(axis for axis, part in enumerate(key) if part is mask)
    trailing = x.ndim - first - mask.ndim
    if y.ndim > trailing:
        axis = y.ndim - trailing - 1
        if y.shape[axis] != 1:
            return None
        y = sg.expand_dims(y, tuple(range(axis, axis + mask.ndim - 1))) if mask.ndim > 1 else y
    mask = sg.expand_dims(mask, tuple(range(mask.ndim, mask.ndim + trailing))) if trailing else mask
    return mask, y


@operator("AdvancedIncSubtensor1")
def _update_rows(x: Any, y: Any, rows: Any, *, set_instead_of_inc: bool, out: PyTensorType) -> Any:
    return _update(x, y, rows, idx_list=(0,), set_instead_of_inc=set_instead_of_inc, out=out)
