"""Read-write locks that are fair, taken many at once, and left whole by forks and interrupts.

Who waits is served in the order of arrival: a thread that trains in a loop cannot keep another from
reading its parameters, nor a fork from happening. Locks are taken in the order of their creation,
so that no two holders of several wait for each other. Who writes under one neither compiles nor
logs, for a fork may have taken the locks of both before it waits here.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

_serial = itertools.count()
#: Guards the state of every lock: held for a few instructions, taken once for many locks.
_state: Final = threading.RLock()
_locks: Final[weakref.WeakSet[ReadWriteLock]] = weakref.WeakSet()
#: Thread -> as what it holds the locks while it forks.
_forks: Final[dict[int, object]] = {}


@dataclass(eq=False)
class _Turn:
    """A place in the queue of one lock; its gate is open once the lock is held."""

    holder: object
    write: bool
    thread: int = field(default_factory=threading.get_ident)
    gate: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.acquire()


class ReadWriteLock:
    """Many readers or one writer, in the order of arrival. Not re-entrant.

    What is held is held by a *holder*, any object. Giving back what is not held does nothing, so
    that ``release`` in a ``finally`` is right wherever in ``acquire`` an interrupt came.

    Attributes:
        serial: the place in the order in which several locks are taken.
    """

    def __init__(self) -> None:
        self._readers: set[object] = set()
        self._writer: object = None
        self._writing_thread = 0
        self._queue: deque[_Turn] = deque()
        with _state:
            self.serial = next(_serial)
            _locks.add(self)

    def acquire(self, write: bool, holder: object) -> None:
        """Wait until no writer (and for a writer, no reader) holds the lock, then hold it."""
        acquire_all(((self, write),), holder)

    def release(self, holder: object) -> None:
        """Give back what ``holder`` holds, and let in who is next."""
        release_all(((self, False),), holder)

    def _is_free_for(self, write: bool) -> bool:
        return self._writer is None and not (write and self._readers)

    def _take(self, write: bool, holder: object, thread: int) -> None:
        if write:
            self._writing_thread = thread
            self._writer = holder
        else:
            self._readers.add(holder)

    def _give_back(self, holder: object) -> None:
        if self._writer is holder:
            self._writer = None
        self._readers.discard(holder)
        if self._queue:
            self._let_in(leaving=holder)

    def _let_in(self, leaving: object) -> None:
        """Hand the lock to who is next. Right from the start again after an interrupt."""
        for turn in [turn for turn in self._queue if turn.holder is leaving]:
            self._queue.remove(turn)
        while self._queue:
            turn = self._queue[0]
            if turn.holder is not self._writer and turn.holder not in self._readers:
                if not self._is_free_for(turn.write):
                    return
                self._take(turn.write, turn.holder, turn.thread)
            if turn.gate.locked():
                turn.gate.release()
            self._queue.popleft()


def acquire_all(locks: Sequence[tuple[ReadWriteLock, bool]], holder: object) -> None:
    """Hold all of (lock, whether to write), waiting where one is taken.

    Args:
        locks: by rising ``serial``.
        holder: any object that holds none of them.
    """
    thread = threading.get_ident()
    waiting = iter(locks)
    while True:
        with _state:
            for lock, write in waiting:
                if lock._queue or not lock._is_free_for(write):
                    turn = _Turn(holder, write, thread)
                    lock._queue.append(turn)
                    break
                lock._take(write, holder, thread)
            else:
                return
        turn.gate.acquire()


def release_all(locks: Iterable[tuple[ReadWriteLock, bool]], holder: object) -> None:
    """Give back what ``holder`` holds of ``locks`` or waits for, and let in who is next."""
    with _state:
        for lock, _ in locks:
            lock._give_back(holder)


def _before_fork() -> None:
    """Wait until no other thread writes, so that what the child sees is old or new.

    A fork reads every lock, ahead of all that wait. Returns with ``_state`` held.
    """
    here, holder = threading.get_ident(), object()
    interrupt: BaseException | None = None
    _state.acquire()
    _forks[here] = holder
    while (turn := _next_for_fork(here, holder)) is not None:
        _state.release()
        try:
            turn.gate.acquire()
        except BaseException as error:  # Python only reports it and forks: so wait all the same
            interrupt = error
        _state.acquire()
    if interrupt is not None:
        raise interrupt


def _next_for_fork(here: int, holder: object) -> _Turn | None:
    """Read the locks that can be read, up to the first that another thread writes."""
    for lock in sorted(_locks, key=lambda lock: lock.serial):
        if holder in lock._readers or (lock._writer is not None and lock._writing_thread == here):
            continue
        if lock._writer is not None:
            turn = _Turn(holder, write=False)
            lock._queue.appendleft(turn)
            return turn
        lock._readers.add(holder)
    return None


def _in_the_parent() -> None:
    holder = _forks.pop(threading.get_ident())
    for lock in _locks:
        lock._give_back(holder)
    _state.release()


def _in_the_child() -> None:
    """The threads that held or awaited locks are not here."""
    for lock in _locks:
        lock._writer = None
        lock._readers.clear()
        lock._queue.clear()
    _forks.clear()
    _state.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_in_the_parent, after_in_child=_in_the_child
    )
