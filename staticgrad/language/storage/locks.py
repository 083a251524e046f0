"""Fair read-write locks, taken many at once, that survive forks and interrupts.

Waiting threads are served in the order of arrival: a thread that trains in a loop cannot keep
another from reading its parameters, nor a fork from happening. Locks are taken in the order of
their creation, so that no two holders of several wait for each other. A writer neither compiles nor
logs while it holds one: a fork may hold the locks of the compiler and of logging while it waits
here.

An interrupt anywhere leaves no lock held. A ``Holder`` holds what it took while its ``token`` is
locked, and ``with holder.token`` ends inside the interpreter, which no interrupt divides. What the
code behind it then tidies up, others also do for themselves: they pass over a holder whose token is
free, and look again every ``POLL`` seconds.

A program that takes the same locks again and again may *reserve* them: while nobody else wants one
of them, locking a token takes them all. Whoever looks at a reserved lock ends the reservation
first, and only then asks whether the token is locked; whoever has locked it checks
afterwards that the reservation is still valid. So one of the two sees the other, whoever comes
first. A reservation that has ended is never valid again.

Code that interrupts its own thread (a signal handler, a finalizer, a debugger's watch) may meet
what that thread holds. It may read: a step's own writes begin and end within one call that nothing
interrupts, so that it finds the old value or the new one. What it may not do raises ReentryError,
and it waits for no thread that might wait for it.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

from staticgrad.errors import ReentryError
from staticgrad.support import forks

#: Seconds after which who waits looks again: nobody wakes it if the one who would was interrupted.
POLL: Final = 0.05

_T = TypeVar("_T")
_serial = itertools.count()
#: Guards the state of every lock: held for a few instructions, taken once for many locks.
_state: Final = threading.RLock()
_locks: Final[weakref.WeakSet[ReadWriteLock]] = weakref.WeakSet()
#: Thread -> as what it holds the locks while it forks.
_forks: Final[dict[int, Holder]] = {}


class Holder:
    """A holder of locks: a step, or one access to one value. Made by its thread.

    It is used once.

    Attributes:
        token: locked while the holder holds what it took.
        paused: whether its thread runs code that interrupted it, and there needs other locks.
        outer: the innermost holder that it interrupts.
    """

    __slots__ = ("_writing", "is_step", "outer", "paused", "thread", "token")

    def __init__(self, is_step: bool) -> None:
        self.token = threading.Lock()
        self.thread = threading.get_ident()
        self.is_step = is_step
        self.paused = False
        self._writing = not is_step
        self.outer: Holder | None = None

    def is_live(self) -> bool:
        """True if it holds its locks."""
        return self.token.locked()

    @property
    def writing(self) -> bool:
        """True if it may be changing what it locked for writing."""
        return self._writing

    @property
    def stands(self) -> bool:
        """True if locks are reserved for it. Once revoked, a reservation stays so."""
        return False

    def stand(self) -> None:
        """Begin the reservation of the locks for this holder."""

    def take_back(self) -> None:
        """End the reservation."""

    def begin_writing(self) -> None:
        """Begin to write: from now on the arrays taken for writing may change at any moment."""
        self._writing = True
        if not self.stands:
            with _state:  # who saw before that nothing was being written has ended its copy
                pass


class _InnermostHolder(threading.local):
    """The holders of this thread: a chain, some of which may have ended."""

    innermost: Holder | None = None


HERE: Final = _InnermostHolder()


def is_inside_another() -> bool:
    """Return whether this code interrupts a holder or waiter of a lock in its own thread."""
    holder = HERE.innermost
    while holder is not None:
        if holder.is_live():
            return True
        holder = holder.outer
    return False


class _QueueEntry:
    """A place in the queue of one lock; its gate is open once the lock is held."""

    def __init__(self, holder: Holder, write: bool) -> None:
        self.holder, self.write = holder, write
        self.gate = threading.Lock()
        self.gate.acquire()


class ReadWriteLock:
    """Many readers or one writer, in the order of arrival.

    Attributes:
        name: what messages call that which it guards.
        serial: the place in the order in which several locks are taken.
        before_write: called once, by the next writer, when it holds the lock and has not written.
    """

    def __init__(self, name: str = "a value") -> None:
        self.name = name
        self.before_write: Callable[[], object] | None = None
        self._holders: dict[Holder, bool] = {}
        self._queue: deque[_QueueEntry] = deque()
        #: For whom it is reserved, and whether that one writes.
        self._reserved: tuple[Holder, bool] | None = None
        with _state:
            self.serial = next(_serial)
            _locks.add(self)

    def read(self, copy: Callable[[], _T]) -> _T:
        """Read a locked value by ``copy``, one uninterruptible call.

        It blocks only for a write that has begun: a step before its first write
        leaves the old value to be read.

        Raises:
            ReentryError: the reader interrupts a step, and another thread that writes the value
                waits inside an interruption of its own.
        """
        if self._is_reserved_here():
            with _state:
                if self._is_reserved_here():
                    return copy()
        holder = Holder(is_step=False)
        try:
            with holder.token:
                return self._read_in_turn(copy, holder, _register_holder(holder))
        finally:
            release_all(((self, False),), holder)

    def share(self, before_write: Callable[[], object]) -> bool:
        """Register ``before_write``, called before the next write; False if a write has begun.

        Until then the value stands still, and may be read without the lock.
        """

        def note() -> bool:
            with _state:
                self._end_reservation()
                if any(writes and holder.is_live() for holder, writes in self._holders.items()):
                    return False
                self.before_write = before_write
                return True

        return self.read(note)

    def write(self, change: Callable[[], object]) -> None:
        """Write a locked value by ``change``, one uninterruptible call, with exclusive access.

        Raises:
            ReentryError: code that interrupts a step sets what is in use by that step, or by one of
                another thread.
        """
        if self._is_reserved_here():
            with _state:
                if self._is_reserved_here():  # then nothing shares the value
                    change()
                    return
        holder = Holder(is_step=False)
        try:
            with holder.token:
                acquire_all(((self, True),), holder)
                change()
        finally:
            release_all(((self, True),), holder)

    def holders(self) -> list[Holder]:
        """Return those that hold it, or for which it is reserved; some may have ended."""
        return [*self._holders, *(self._reserved or ())[:1]]

    def _is_reserved_here(self) -> bool:
        """Return whether this thread has reserved the lock and runs no step.

        Then one call of this thread needs only to exclude other threads while it lasts, and
        a loop may look at its parameters, or set one, after each of its steps.
        """
        reserved = self._reserved
        if reserved is None:
            return False
        holder = reserved[0]
        is_here = holder.stands and holder.thread == threading.get_ident()
        return is_here and not holder.is_live()

    def _read_in_turn(self, copy: Callable[[], _T], holder: Holder, outer: Sequence[Holder]) -> _T:
        """Acquire the lock for reading and copy its value, in turn with other holders."""
        while True:
            in_the_middle = bool(outer) and _state_is_ours()
            with _state:
                if holder in self._holders:
                    break
                blockers = self._blockers(False, holder)
                if not any(blocker.writing for blocker in blockers):
                    if blockers or self._queue:
                        return copy()  # nobody begins to write while ``_state`` is ours
                    self._holders[holder] = False
                    break
                entry = None if in_the_middle else self._enqueue(holder, False, first=bool(outer))
            if outer and any(blocker.paused for blocker in blockers):
                raise _reentry(f"{self.name} is being written by a step that this read may hold up")
            if entry is None:
                time.sleep(POLL / 50)  # a writer ends without ``_state``, which we cannot give back
            else:
                entry.gate.acquire(timeout=POLL)
        return copy()

    def _blockers(self, write: bool, holder: Holder) -> list[Holder]:
        """Return the live holders of the lock that keep ``holder`` from reading or writing.

        Its own thread's are none for a reader; nor for a writer those that only access the value,
        in one call, before or after.
        """
        self._end_reservation()
        blockers = []
        for blocker, writes in self._holders.copy().items():
            foreign = blocker.thread != holder.thread or (write and blocker.is_step)
            if not blocker.is_live():
                self._holders.pop(blocker, None)
            elif blocker is not holder and foreign and (write or writes):
                blockers.append(blocker)
        return blockers

    def _is_used_elsewhere(self, holder: Holder) -> bool:
        """Return whether another thread holds the lock, waits for it, or has reserved it."""
        reserved = self._reserved
        return (
            bool(self._queue)
            or (reserved is not None and reserved[0].thread != holder.thread)
            or any(h.is_live() and h.thread != holder.thread for h in self._holders)
        )

    def _end_reservation(self) -> None:
        """Turn a reservation of the lock into a holder; safe to repeat after an interrupt."""
        if self._reserved is not None:
            holder, write = self._reserved
            holder.take_back()  # before the look at its token: see the text of this file
            if holder.is_live():
                self._holders[holder] = write
            self._reserved = None

    def _enqueue(self, holder: Holder, write: bool, first: bool) -> _QueueEntry:
        """Append ``holder`` to the lock's queue; its gate is open if it is next already."""
        for entry in self._queue.copy():
            if entry.holder is holder:
                break
        else:
            entry = _QueueEntry(holder, write)
            if first:
                self._queue.appendleft(entry)
            else:
                self._queue.append(entry)
        self._admit_next()
        return entry

    def _give_back(self, holder: Holder) -> None:
        self._holders.pop(holder, None)
        if self._queue:
            self._admit_next()

    def _admit_next(self) -> None:
        """Hand the lock to the next holders in the queue; safe to repeat after an interrupt."""
        while self._queue:
            entry = self._queue[0]
            if entry.holder.is_live():
                if entry.holder not in self._holders:
                    if self._blockers(entry.write, entry.holder):
                        return
                    self._holders[entry.holder] = entry.write
                with suppress(RuntimeError):  # an interruption has opened it meanwhile
                    entry.gate.release()
            with suppress(ValueError):  # as above
                self._queue.remove(entry)


def acquire_all(locks: Sequence[tuple[ReadWriteLock, bool]], holder: Holder) -> None:
    """Acquire read or write locks together, waiting where one is taken.

    Args:
        locks: by rising ``serial``.
        holder: its token is locked already.

    Raises:
        ReentryError: this code interrupts a step, and one of the locks is taken.
    """
    _acquire(locks, holder)
    for lock, write in locks:
        if write and lock.before_write is not None:
            lock.before_write()
            lock.before_write = None


def _acquire(locks: Sequence[tuple[ReadWriteLock, bool]], holder: Holder) -> None:
    """Acquire locks one after the other, waiting in the queue of one that is taken."""
    outer = _register_holder(holder)
    if outer:
        for lock, write in locks:
            _acquire_inside(lock, write, holder)
        return
    waiting = iter(locks)
    while True:
        with _state:
            for lock, write in waiting:
                if (lock._holders or lock._queue or lock._reserved) and (
                    lock._queue or lock._blockers(write, holder)
                ):
                    entry = lock._enqueue(holder, write, first=False)
                    break
                lock._holders[holder] = write
            else:
                return
        while not entry.gate.acquire(timeout=POLL):
            with _state:
                lock._admit_next()


def _acquire_inside(lock: ReadWriteLock, write: bool, holder: Holder) -> None:
    """Acquire a lock for code that interrupts a holder of its own thread.

    It waits for nothing but accesses of other threads, which are short; a step might wait for what
    is interrupted here.
    """
    while True:
        in_the_middle = _state_is_ours()
        with _state:
            blockers = lock._blockers(write, holder)
            if not blockers:
                lock._holders[holder] = write
                return
            if in_the_middle or any(b.is_step or b.paused for b in blockers):
                raise _reentry(f"{lock.name} is in use by a step, and this code interrupts one")
            entry = lock._enqueue(holder, write, first=True)
        entry.gate.acquire(timeout=POLL)


def hold_or_copy(
    locks: Sequence[ReadWriteLock], holder: Holder, copy: Callable[[], object]
) -> Literal["held", "copied"] | ReadWriteLock:
    """Hold all locks for reading, or call ``copy`` at a moment when nobody writes.

    It copies where another thread has, wants or has reserved one of them, and where this code
    interrupts a holder of its own thread; it never waits.

    Args:
        holder: its token is locked already.

    Returns:
        What it has done. A lock whose value is being written: nothing is done then.
    """
    outer = _register_holder(holder)
    with _state:
        is_shared = bool(outer) or any(lock._is_used_elsewhere(holder) for lock in locks)
        for lock in locks:
            if any(blocker.writing for blocker in lock._blockers(False, holder)):
                return lock
        if is_shared:
            copy()  # nobody begins to write while ``_state`` is ours
            return "copied"
        for lock in locks:
            lock._holders[holder] = False
        return "held"


def _reentry(text: str) -> ReentryError:
    return ReentryError(
        text,
        hint="a signal handler or finalizer may read parameters; the rest belongs between steps: "
        "let it set a flag that the program's loop looks at",
    )


def _live(holder: Holder | None) -> list[Holder]:
    """Return the holders in a chain that hold locks, innermost first."""
    holders = []
    while holder is not None:
        if holder.is_live():
            holders.append(holder)
        holder = holder.outer
    return holders


def _register_holder(holder: Holder) -> list[Holder]:
    """Register a lock holder of this thread; return those that it interrupts."""
    outer = _live(HERE.innermost)
    for interrupted in outer:
        interrupted.paused = True
    holder.outer = outer[0] if outer else None
    HERE.innermost = holder
    return outer


def _leave(holder: Holder) -> None:
    outer = [live for live in _live(HERE.innermost) if live is not holder]
    if outer:
        outer[0].paused = False
    HERE.innermost = outer[0] if outer else None


def release_all(locks: Iterable[tuple[ReadWriteLock, bool]], holder: Holder) -> None:
    """Release the locks that ``holder`` holds or waits for, and admit the next ones.

    Its token has been given back before. Harmless where it holds nothing.
    """
    _leave(holder)
    with _state:
        for lock, _ in locks:
            lock._give_back(holder)


def reserve(locks: Iterable[tuple[ReadWriteLock, bool]], holder: Holder) -> None:
    """Reserve locks for a new holder if all are free.

    It takes them from whom they were reserved for before. How it is used stands in
    ``storage.reservation``.
    """
    if is_inside_another() or _state_is_ours():
        return
    with _state:
        for lock, _ in locks:
            lock._end_reservation()
            if lock._holders or lock._queue or lock.before_write is not None:
                return
        holder.stand()  # before a lock names it, because an interruption may end it at once
        for lock, write in locks:
            lock._reserved = holder, write


def _state_is_ours() -> bool:
    """Return whether this thread holds ``_state``: an interrupt came during its use."""
    ours: Any = _state
    return bool(ours._is_owned())


# -- forks ----------------------------------------------------------------------------------------


class _AtFork(forks.AtFork):
    """All locks: the child sees every parameter as it was before or after a write."""

    def before_fork(self) -> None:
        """Wait before a fork until no other thread is writing a locked value.

        A fork reads every lock, ahead of all that wait. Returns with ``_state`` held.
        """
        holder = Holder(is_step=False)
        holder.token.acquire()
        interrupt: BaseException | None = None
        in_the_middle = _state_is_ours()
        _state.acquire()
        _forks[holder.thread] = holder
        _register_holder(holder)
        while (lock := _next_for_fork(holder)) is not None:
            try:
                if in_the_middle:
                    time.sleep(POLL / 50)  # as in ``ReadWriteLock._read``
                else:
                    entry = lock._enqueue(holder, False, first=True)
                    _state.release()
                    try:
                        entry.gate.acquire(timeout=POLL)
                    finally:
                        _state.acquire()
            except BaseException as error:  # Python only reports it and forks: so wait all the same
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def after_fork(self) -> None:
        holder = _forks.pop(threading.get_ident())
        holder.token.release()
        _leave(holder)
        for lock in _locks:
            lock._give_back(holder)
        _state.release()

    def after_fork_in_child(self) -> None:
        """Reset all locks in a forked child, where other threads are gone."""
        for lock in _locks:
            lock._end_reservation()
            lock._holders.clear()
            lock._queue.clear()
        _leave(_forks[threading.get_ident()])
        _forks.clear()
        _state.release()

    def is_busy(self) -> bool:
        holders = [holder for lock in list(_locks) for holder in lock.holders()]
        return _state_is_ours() or any(holder.is_live() for holder in holders)


def _next_for_fork(holder: Holder) -> ReadWriteLock | None:
    """Acquire free locks for reading before a fork; return the first being written, if any."""
    for lock in sorted(_locks, key=lambda lock: lock.serial):
        if holder not in lock._holders:
            blockers = lock._blockers(False, holder)
            if any(blocker.writing and not blocker.paused for blocker in blockers):
                return lock
            if not blockers:
                lock._holders[holder] = False
    return None


_at_fork: Final = _AtFork()
