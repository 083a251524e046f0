"""A set of locks that one program takes for each of its steps: all of them by one token, mostly.

As long as no other program uses one of the parameters, and no other thread reads or sets one, a
step need not take their locks one by one. They are reserved for a holder, and its token takes them
all, how many they are. Whoever else wants one ends the reservation, and steps take their turns like
anybody else; ``SETTLED`` of them later the locks are reserved anew.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import numpy as np

from staticgrad.language.storage.locks import (
    HERE,
    Holder,
    ReadWriteLock,
    acquire_all,
    is_inside_another,
    release_all,
    reserve,
)
from staticgrad.native.entry.words import HoldWord

_T = TypeVar("_T")
#: Runs that take the locks one by one before they are reserved. To reserve them costs about as
#: much as one such run, and where another thread reads a parameter after each it is in vain.
SETTLED: Final = 16
#: Whether a processor's lock instruction orders a store before it and a read behind it.
_STORES_IN_ORDER: Final = platform.machine().lower() in ("x86_64", "amd64")


#: Numbers that each run reads: members of an enumeration take longer.
_STANDS, _RUNNING, _WRITING = map(int, (HoldWord.STANDS, HoldWord.RUNNING, HoldWord.WRITING))


class Reserved(Holder):
    """A holder for which locks are reserved: it is used again and again while that ``stands``.

    Its ``words`` (``native.entry.words.Hold``) are shared with native steps, which hold what is
    reserved without its token, while ``RUNNING`` is 1.
    """

    __slots__ = ("_words", "words")

    def __init__(self) -> None:
        super().__init__(is_step=True)
        self.words = np.zeros(len(HoldWord), np.int64)
        self._words = self.words.data
        self._words[HoldWord.THREAD] = self.thread

    def is_live(self) -> bool:
        """True if it holds its locks; a native step has no token."""
        return self.token.locked() or self._words[_RUNNING] != 0

    @property
    def writing(self) -> bool:
        """True if it may be writing; on weakly ordered CPUs, from a native step's start on."""
        words = self._words
        return self._writing or words[_WRITING if _STORES_IN_ORDER else _RUNNING] != 0

    @property
    def stands(self) -> bool:
        """True if the locks are reserved for it."""
        return self._words[_STANDS] != 0

    def stand(self) -> None:
        """Begin the reservation of the locks."""
        self._words[_STANDS] = 1

    def take_back(self) -> None:
        """End the reservation; what is read behind this has been written before a step saw it."""
        self._words[_STANDS] = 0
        threading.Lock().acquire()  # its instruction ends the store before a later read begins

    def begin_step(self) -> None:
        """Clear the state of the last step."""
        self._writing = self.paused = False


class LockSet:
    """Locks that are taken together again and again, by one thread at a time."""

    def __init__(self, locks: Iterable[tuple[ReadWriteLock, bool]]) -> None:
        """``locks``: (lock, whether to write), by rising ``serial``."""
        self._locks = list(locks)
        self._reserved = Reserved()
        self._taken_in_turn = 0

    @property
    def holder(self) -> Reserved | None:
        """The holder that the locks are or were reserved for; None if there are no locks."""
        return self._reserved if self._locks else None

    def end_native_step(self) -> None:
        """Let in who waits for the locks, where the reservation was taken back during a step."""
        if not self._reserved.stands:
            release_all(self._locks, self._reserved)

    def run(self, work: Callable[[_T, Callable[[], object]], object], argument: _T) -> None:
        """Run a step's work with the locks of its parameters held.

        Args:
            work: its second argument is a function that it calls before its first write.
            argument: its first.

        Raises:
            ReentryError: this code interrupts a step, and one of the locks is taken.
        """
        holder = self._reserved
        is_held = (
            holder.stands
            and (HERE.innermost is holder or _become_innermost(holder))
            and not holder.is_live()  # or this code interrupts a step with the same locks
        )
        if is_held:
            holder.begin_step()
            is_held = False
            try:
                with holder.token:
                    # Another look: somebody may have come since, or an interruption, which has
                    # noted a holder of its own.
                    if holder.stands and HERE.innermost is holder:
                        is_held = True
                        work(argument, holder.begin_writing)
            finally:
                if not holder.stands:
                    release_all(self._locks, holder)
            if is_held:
                return
        if self._locks:
            self._run_in_turn(work, argument)
        else:
            work(argument, holder.begin_writing)

    def _run_in_turn(
        self, work: Callable[[_T, Callable[[], object]], object], argument: _T
    ) -> None:
        """Run a step's work when other holders may have or await some of its locks."""
        holder = Holder(is_step=True)
        try:
            with holder.token:
                acquire_all(self._locks, holder)
                work(argument, holder.begin_writing)
        finally:
            release_all(self._locks, holder)
        self._taken_in_turn += 1
        if self._taken_in_turn % SETTLED == 0:
            holder = Reserved()
            reserve(self._locks, holder)
            self._reserved = holder  # none that an interrupt kept from being noted everywhere


def _become_innermost(holder: Holder) -> bool:
    """Note a holder as the innermost of this thread, if it is this thread's and interrupts none."""
    if holder.thread != threading.get_ident() or is_inside_another():
        return False
    HERE.innermost = holder
    return True
