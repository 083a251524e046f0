"""The same elements laid out otherwise in memory: as feeds, and as views inside a graph.

A kernel must give the same bytes whatever the strides, alignment and byte order of what it reads.
This file knows arrays and movement functions, no op under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array

View = Callable[[Any], Any]


def _misaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = (1 - raw.ctypes.data) % 64
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array: Array) -> Array:
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


def _reversed(array: Array) -> Array:
    flip = (slice(None, None, -1),) * array.ndim
    return np.asarray(array[flip].copy()[flip])


#: Name -> the same elements in another layout; a 0-d array may come back as it was.
LAYOUTS: Final[dict[str, Callable[[Array], Array]]] = {
    "Fortran": lambda a: a.copy("F"),
    "reversed": _reversed,
    "strided": lambda a: np.repeat(a, 2, -1)[..., ::2] if a.ndim else a,
    "inside a larger array": lambda a: np.pad(a, 3)[(slice(3, -3),) * a.ndim],
    "misaligned": _misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "byte-swapped and reversed": lambda a: _reversed(a.astype(a.dtype.newbyteorder())),
    "read-only": _read_only,
}


def guarded(array: Array, filler: int) -> Array:
    """The same elements between bytes of ``filler``, which nobody may read."""
    room = 256
    raw = np.full(array.nbytes + 2 * room + 64, filler, np.uint8)
    start = room + (-raw.ctypes.data - room) % 64
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


#: Name -> the same elements with other bytes before and behind them.
SURROUNDED: Final[dict[str, Callable[[Array], Array]]] = {
    f"among bytes {filler:#x}": partial(guarded, filler=filler) for filler in (0, 0x55, 0xFF)
}


def repeated(array: Array) -> Array:
    """Every row the first one, without memory of its own: a stride of zero along the first axis."""
    return np.broadcast_to(array[:1], array.shape) if array.ndim and array.shape[0] else array


def views(array: Array) -> Iterator[tuple[str, Array, View]]:
    """Name, what to feed, and the view of it that has the elements of ``array``."""
    if not array.ndim:
        return
    reverse = (slice(None, None, -1),) * array.ndim
    yield "reversed", np.ascontiguousarray(array[reverse]), lambda x: x[reverse]
    axes = tuple(reversed(range(array.ndim)))
    if array.ndim > 1:
        feed = np.ascontiguousarray(array.transpose(axes))
        yield "transposed", feed, lambda x: functions.transpose(x, axes)
    yield "strided", np.repeat(array, 2, -1), lambda x: x[..., ::2]
    inside = (slice(1, -1),) * array.ndim
    yield "part of a larger one", np.pad(array, 1), lambda x: x[inside]
