"""The locks of native compilation, and locks that a forked child finds free.

LLVM has one process-wide lock of its own, so a single reentrant lock costs no parallelism, and
it leaves no order of locks to get wrong. It is held across a fork, so that no child starts in the
middle of a compilation.
"""

from __future__ import annotations

import logging  # noqa: F401  # its hooks have to be installed before ours, see below
import threading
from collections.abc import Callable
from typing import Any, Final

from staticgrad import forks

LOCK: Final = threading.RLock()
#: Held by whoever calls LLVM, for a thread that holds ``LOCK`` (``native.undisturbed``).
LIBRARY: Final = threading.RLock()


class ProcessLock(forks.AtFork):
    """A lock that a forked child finds free, although its holder's thread is only in the parent.

    It guards state that an interrupt may leave half written: each use writes all before it reads.
    Taken as ``with lock.taken:``, which begins and ends inside the interpreter, so that no
    interrupt leaves it taken. Code that interrupts its holder may ask ``is_ours`` before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken = _reentrant()
        #: Whether this thread has taken it.
        self.is_ours: Callable[[], bool] = self.taken._is_owned

    def try_to_take(self) -> bool:
        """Take it unless another thread has."""
        return bool(self.taken.acquire(blocking=False))

    def after_fork_in_child(self) -> None:
        if not self.is_ours():
            self.taken._at_fork_reinit()  # as the standard library does with its own

    def is_busy(self) -> bool:
        return _is_taken(self.taken)


def _reentrant() -> Any:
    """An RLock, whose type leaves out what the standard library's own conditions ask it."""
    return threading.RLock()


def _is_taken(lock: Any) -> bool:
    """Whether a thread, this one included, has taken an RLock."""
    if lock._is_owned() or not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


class _CompilerLocks(forks.AtFork):
    """``LOCK`` and ``LIBRARY``, which a fork holds."""

    def before_fork(self) -> None:
        LOCK.acquire()
        LIBRARY.acquire()

    def after_fork(self) -> None:
        LIBRARY.release()
        LOCK.release()

    after_fork_in_child = after_fork

    def is_busy(self) -> bool:
        return _is_taken(LOCK) or _is_taken(LIBRARY)


_at_fork: Final = _CompilerLocks()
# Who compiles may log: a fork that waits for the end of a compilation must not hold logging's lock.
forks.install_hooks()
