"""Parameters' storage: an aligned buffer that graphs read and update, and the lock around it.

A store outlives every graph that names it; its layout (C-contiguous, 64-byte aligned) never
changes.
Runs take a read or write lock of each store they touch, in creation order, so two cannot deadlock.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import ParameterValueError, SymbolicValueError
from staticgrad.ir.dtype import as_dtype, whole_bools
from staticgrad.ir.types import TensorType
from staticgrad.message import kind_of, shown, why_no_array

ALIGNMENT: Final = 64  # bytes: a cache line, and the widest vector
_serial = itertools.count()


def aligned_bytes(count: int) -> npt.NDArray[np.uint8]:
    """``count`` bytes that start on a 64-byte border; uninitialised."""
    raw = np.empty(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count]


#: Guards the state of every lock: held for a few instructions, taken once for many locks.
_state: Final = threading.RLock()
_locks: Final[weakref.WeakSet[ReadWriteLock]] = weakref.WeakSet()


class ReadWriteLock:
    """Many readers or one writer; writers wait for readers. Not re-entrant.

    What is held is held by a *holder*, any object. Giving back what is not held does nothing, so
    that ``release`` in a ``finally`` is right wherever in ``acquire`` an interrupt came.
    """

    def __init__(self) -> None:
        self._readers: set[object] = set()
        self._writer: object = None
        self._writing_thread = 0
        self._gates: list[threading.Lock] = []  # one per waiting thread, locked while it waits
        with _state:
            _locks.add(self)

    def acquire(self, write: bool, holder: object) -> None:
        """Wait until no writer (and for a writer, no reader) holds the lock, then hold it."""
        acquire_all(((self, write),), holder)

    def release(self, holder: object) -> None:
        """Give back what ``holder`` holds, and wake all that wait."""
        release_all(((self, False),), holder)

    def _new_gate(self) -> threading.Lock:
        """A gate to wait at until somebody gives the lock back."""
        gate = threading.Lock()
        gate.acquire()
        self._gates.append(gate)
        return gate

    def _open_gates(self) -> None:
        while self._gates:
            if self._gates[-1].locked():
                self._gates[-1].release()
            self._gates.pop()


def acquire_all(locks: Sequence[tuple[ReadWriteLock, bool]], holder: object) -> None:
    """Hold all of (lock, whether to write), one after the other, waiting where one is taken."""
    held = 0
    while held < len(locks):
        with _state:
            for lock, write in locks[held:]:
                if lock._writer is not None or (write and lock._readers):
                    gate = lock._new_gate()
                    break
                if write:
                    lock._writing_thread = threading.get_ident()
                    lock._writer = holder
                else:
                    lock._readers.add(holder)
                held += 1
            else:
                return
        gate.acquire()


def release_all(locks: Iterable[tuple[ReadWriteLock, bool]], holder: object) -> None:
    """Give back what ``holder`` holds of ``locks``, and wake all that wait."""
    with _state:
        for lock, _ in locks:
            if lock._writer is holder:
                lock._writer = None
            lock._readers.discard(holder)
            if lock._gates:
                lock._open_gates()


def _before_fork() -> None:
    """Wait until no other thread writes a parameter, so that the child's are old or new."""
    while True:
        _state.acquire()
        here = threading.get_ident()
        for lock in _locks:
            if lock._writer is not None and lock._writing_thread != here:
                gate = lock._new_gate()
                break
        else:
            return
        _state.release()
        gate.acquire()


def _in_the_child() -> None:
    """The threads that held or awaited locks are not here."""
    for lock in _locks:
        lock._writer = None
        lock._readers.clear()
        lock._gates.clear()
    _state.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_state.release, after_in_child=_in_the_child
    )


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
        self.array[...] = whole_bools(source)

    def read(self) -> npt.NDArray[Any]:
        """A copy of the current value."""
        holder = object()
        try:
            self.lock.acquire(False, holder)
            return self.array.copy()
        finally:
            self.lock.release(holder)

    def write(self, value: npt.ArrayLike) -> None:
        """Set the value; nothing changes if shape or dtype do not fit.

        Raises:
            ParameterValueError: another shape, or a dtype that would lose information.
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
        holder = object()
        try:
            self.lock.acquire(True, holder)
            self.array[...] = whole_bools(source)
        finally:
            self.lock.release(holder)

    def _as_array(self, value: Any) -> npt.NDArray[Any]:
        """``value`` as an array of numbers."""
        try:
            found = np.asarray(value)
            if found.dtype.kind in "biufc":
                return found
            why = "None is none" if value is None else f"{shown(value)} is {kind_of(value)}"
        except SymbolicValueError:
            why = f"{shown(value)} is symbolic: it has no numbers before a run"
        except ValueError as error:
            why = why_no_array(error)
        raise ParameterValueError(
            f"parameter {self.name!r} takes an array of numbers; {why}",
            hint="sg.Graph(updates={w: value}) sets it to what a graph computes"
            if "symbolic" in why
            else f"an array of shape {self.array.shape} and dtype {self.type.dtype.numpy.name}",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (ParameterStore, (self.name, self.read()))
