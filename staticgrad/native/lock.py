"""The locks of native compilation.

One reentrant lock covers all state of this package, which leaves no order of locks to get wrong.
LLVM emits code in several threads at once; each holds one place of ``LIBRARY``. A fork holds the
lock and all places, so that no child starts in the middle of a compilation; the interpreter's end
waits for them, too, because LLVM then destroys what emission uses.
"""

from __future__ import annotations

import logging  # noqa: F401  # its hooks have to be installed before ours, see below
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

from staticgrad.native.system.processors import allowed_processors
from staticgrad.support import forks
from staticgrad.support.exits import at_exit
from staticgrad.support.forks import is_taken

LOCK: Final = threading.RLock()


class Library:
    """Places of threads that call LLVM. Taken as a whole, all of them: nobody calls it then."""

    def __init__(self, places: int) -> None:
        self.places = tuple(threading.RLock() for _ in range(places))
        self._next = count()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of a limited number of places for compilation, first come, first served."""
        for place in self.places:
            if place.acquire(blocking=False):
                break
        else:
            place = self.places[next(self._next) % len(self.places)]
            place.acquire()
        try:
            yield
        finally:
            place.release()

    def __enter__(self) -> None:
        for place in self.places:
            place.acquire()

    def __exit__(self, *error: object) -> None:
        for place in self.places:
            place.release()

    def take_at_exit(self) -> None:
        """Take it for good, as LLVM destroys what its calls use: an interrupt has to wait."""
        for place in self.places:
            while not is_owned(place):
                with suppress(KeyboardInterrupt):
                    place.acquire()

    def is_busy(self) -> bool:
        """Return whether a thread calls LLVM."""
        return any(map(is_taken, self.places))


def is_owned(lock: threading.RLock = LOCK) -> bool:
    """Return whether this thread has taken a lock."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]


#: Memory that LLVM takes grows with the places, whatever the number of processors.
LIBRARY: Final = Library(min(4, allowed_processors() + 1))


#: What a fork does before it takes the locks, unless its thread has them.
before_forks: Final[list[Callable[[], None]]] = []


class _CompilerLocks(forks.AtFork):
    """``LOCK`` and ``LIBRARY``, which a fork holds."""

    def before_fork(self) -> None:
        if not is_owned():
            for handler in before_forks:
                handler()
        LOCK.acquire()
        LIBRARY.__enter__()

    def after_fork(self) -> None:
        LIBRARY.__exit__()
        LOCK.release()

    after_fork_in_child = after_fork

    def is_busy(self) -> bool:
        return is_taken(LOCK) or LIBRARY.is_busy()


_at_fork: Final = _CompilerLocks()
# Who compiles may log: a fork that waits for the end of a compilation must not hold logging's lock.
forks.install_hooks()
at_exit(LIBRARY.take_at_exit)
