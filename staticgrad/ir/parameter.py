"""Parameters' storage: an aligned buffer that graphs read and update, and the lock around it.

A store outlives every graph that names it; its layout (C-contiguous, 64-byte aligned) never changes.
Runs take a read or write lock of each store they touch, in creation order, so two cannot deadlock.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import FeedError
from staticgrad.ir.dtype import as_dtype
from staticgrad.ir.types import TensorType

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector
_serial = itertools.count()


def aligned_bytes(count: int) -> npt.NDArray[np.uint8]:
    """``count`` bytes that start on a 64-byte border; uninitialised."""
    raw = np.empty(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count]


class ReadWriteLock:
    """Many readers or one writer; writers wait for readers. Not re-entrant."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writing = False

    def acquire(self, write: bool) -> None:
        """Wait until no writer (and for a writer, no reader) holds the lock."""
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not (write and self._readers))
            if write:
                self._writing = True
            else:
                self._readers += 1

    def release(self, write: bool) -> None:
        """Give back what ``acquire`` with the same argument took."""
        with self._condition:
            if write:
                self._writing = False
            else:
                self._readers -= 1
            self._condition.notify_all()


class ParameterStore:
    """The current value of one parameter: name, type, bytes, lock."""

    def __init__(self, name: str, initial: npt.ArrayLike) -> None:
        source = np.asarray(initial)
        dtype = as_dtype(source.dtype)
        self.name = name
        self.serial = next(_serial)
        self.type = TensorType(dtype, source.shape)
        self.lock = ReadWriteLock()
        raw = aligned_bytes(source.size * dtype.itemsize)
        self.array: npt.NDArray[Any] = raw.view(dtype.numpy).reshape(source.shape)
        self.array[...] = source

    def read(self) -> npt.NDArray[Any]:
        """A copy of the current value."""
        self.lock.acquire(write=False)
        try:
            return self.array.copy()
        finally:
            self.lock.release(write=False)

    def write(self, value: npt.ArrayLike) -> None:
        """Set the value; nothing changes if shape or dtype do not fit.

        Raises:
            FeedError: another shape, or a dtype that would lose information.
        """
        source = np.asarray(value)
        if source.shape != self.array.shape:
            raise FeedError(
                f"parameter {self.name!r} has shape {self.array.shape}, got {source.shape}",
                hint="a parameter keeps its shape; make a new one for another shape",
            )
        if not np.can_cast(source.dtype, self.array.dtype, "same_kind"):
            raise FeedError(
                f"parameter {self.name!r} is {self.type.dtype.numpy.name}, got {source.dtype}",
                hint=f"convert it first: value.astype({self.type.dtype.numpy.name!r})",
            )
        self.lock.acquire(write=True)
        try:
            self.array[...] = source
        finally:
            self.lock.release(write=True)

    def __reduce__(self) -> tuple[object, ...]:
        return (ParameterStore, (self.name, self.read()))
