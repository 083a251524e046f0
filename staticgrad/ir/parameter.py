"""Parameters' storage: an aligned buffer that graphs read and update, and the lock around it.

A store outlives every graph that names it; its layout (C-contiguous, 64-byte aligned) never
changes. Runs take a read or write lock of each store that they touch (``staticgrad.ir.locks``).

Values are read, set and published in calls that run no Python code in between: a signal handler,
which Python runs between two of its own instructions, finds the old value or the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from operator import setitem
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import ParameterValueError, SymbolicValueError
from staticgrad.ir.arrays import array_of
from staticgrad.ir.dtype import as_dtype, whole_bools
from staticgrad.ir.locks import ReadWriteLock
from staticgrad.ir.types import TensorType
from staticgrad.message import kind_of, shown

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector


def aligned_bytes(count: int) -> npt.NDArray[np.uint8]:
    """``count`` bytes that start on a 64-byte border; uninitialised."""
    raw = np.empty(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count]


def write_together(places: Sequence[npt.NDArray[Any]], values: Sequence[npt.NDArray[Any]]) -> None:
    """Write each value, of its place's dtype and shape, in one call that no interrupt divides."""
    one: Callable[..., None] = setitem
    deque(map(one, places, repeat(...), values), maxlen=0)


class ParameterStore:
    """The current value of one parameter: name, type, bytes, lock."""

    def __init__(self, name: str, initial: npt.ArrayLike) -> None:
        source = array_of(initial, f"parameter {name!r}", ParameterValueError)
        dtype = as_dtype(source.dtype)
        self.name = name
        self.type = TensorType(dtype, source.shape)
        self.lock = ReadWriteLock(f"parameter {name!r}")
        raw = aligned_bytes(source.size * dtype.itemsize)
        self.array: npt.NDArray[Any] = raw.view(dtype.numpy).reshape(source.shape)
        self.array[...] = whole_bools(source)

    def read(self) -> npt.NDArray[Any]:
        """A copy of the current value: from before a step that has not come to its first write, of
        whichever thread it is, from after it where code of its own thread interrupts it later.
        """
        return self.lock.read(self.array.copy)

    def write(self, value: npt.ArrayLike) -> None:
        """Set the value, wholly or not at all; nothing changes if shape or dtype do not fit.

        Raises:
            MaskedArrayError: a masked array.
            ParameterValueError: another shape, or a dtype that would lose information.
            ReentryError: code that interrupts a step sets what a step is using.
        """
        source = self._as_array(value)
        if source.shape != self.array.shape:
            raise ParameterValueError(
                f"parameter {self.name!r} has shape {self.array.shape}, got {source.shape}",
                hint="a parameter keeps its shape; make a new one for another shape",
            )
        if not np.can_cast(source.dtype, self.array.dtype, "same_kind"):
            raise ParameterValueError(
                f"parameter {self.name!r} is {self.type.dtype.numpy.name}, got {source.dtype}",
                hint=f"convert it first: value.astype({self.type.dtype.numpy.name!r})",
            )
        fitting = whole_bools(source).astype(self.array.dtype, copy=False)
        self.lock.write(partial(setitem, self.array, ..., fitting))

    def _as_array(self, value: Any) -> npt.NDArray[Any]:
        """``value`` as an array of numbers."""
        try:
            found = array_of(value, f"parameter {self.name!r}", ParameterValueError)
            if found.dtype.kind in "biufc":
                return found
            why = "None is none" if value is None else f"{shown(value)} is {kind_of(value)}"
        except SymbolicValueError:
            why = f"{shown(value)} is symbolic: it has no numbers before a run"
        raise ParameterValueError(
            f"parameter {self.name!r} takes an array of numbers; {why}",
            hint="sg.Graph(updates={w: value}) sets it to what a graph computes"
            if "symbolic" in why
            else f"an array of shape {self.array.shape} and dtype {self.type.dtype.numpy.name}",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (ParameterStore, (self.name, self.read()))
