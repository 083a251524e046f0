"""A set of locks that one program takes for each of its steps: all of them by one token, mostly.

As long as no other program uses one of the parameters, and nobody reads or sets one, a step need
not take their locks one by one. They are reserved for a holder, and its token takes them all, how
many they are. Whoever else wants one ends the reservation, and steps take their turns like anybody
else; ``SETTLED`` of them later the locks are reserved anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from staticgrad.storage.locks import (
    HERE,
    Holder,
    ReadWriteLock,
    acquire_all,
    is_inside_another,
    release_all,
    reserve,
)

_T = TypeVar("_T")
#: Runs that take the locks one by one before they are reserved. To reserve them costs about as
#: much as one such run, and in a loop that reads a parameter after each step it is in vain.
SETTLED: Final = 16


class LockSet:
    """Locks that are taken together again and again, by one thread at a time."""

    def __init__(self, locks: Iterable[tuple[ReadWriteLock, bool]]) -> None:
        """``locks``: (lock, whether to write), by rising ``serial``."""
        self._locks = list(locks)
        self._reserved = Holder(is_step=True)
        self._taken_in_turn = 0

    def run(self, work: Callable[[_T, Callable[[], object]], object], argument: _T) -> None:
        """Work on an argument with all locks held.

        Args:
            work: its second argument is a function that it calls before its first write.
            argument: its first.

        Raises:
            ReentryError: this code interrupts a step, and one of the locks is taken.
        """
        holder = self._reserved
        held = (
            holder.stands
            and (HERE.innermost is holder or _become_innermost(holder))
            and not holder.token.locked()  # or this code interrupts a step with the same locks
        )
        if held:
            holder.writing = holder.paused = held = False
            try:
                with holder.token:
                    # Another look: somebody may have come since, or an interruption, which has
                    # noted a holder of its own.
                    if holder.stands and HERE.innermost is holder:
                        held = True
                        work(argument, holder.begin_writing)
            finally:
                if not holder.stands:
                    release_all(self._locks, holder)
            if held:
                return
        if self._locks:
            self._run_in_turn(work, argument)
        else:
            work(argument, holder.begin_writing)

    def _run_in_turn(
        self, work: Callable[[_T, Callable[[], object]], object], argument: _T
    ) -> None:
        """As ``run``, where somebody else may hold or await some of the locks."""
        holder = Holder(is_step=True)
        try:
            with holder.token:
                acquire_all(self._locks, holder)
                work(argument, holder.begin_writing)
        finally:
            release_all(self._locks, holder)
        self._taken_in_turn += 1
        if self._taken_in_turn % SETTLED == 0:
            self._reserved = reserve(self._locks)


def _become_innermost(holder: Holder) -> bool:
    """Note a holder as the innermost of this thread, if it is this thread's and interrupts none."""
    if holder.thread != threading.get_ident() or is_inside_another():
        return False
    HERE.innermost = holder
    return True
