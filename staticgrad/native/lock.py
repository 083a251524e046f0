"""Locks and forks: the locks of native compilation, and locks that a child finds free.

LLVM has one process-wide lock of its own, so a single reentrant lock costs no parallelism, and
it leaves no order of locks to get wrong. It is held across a fork, so that no child starts in the
middle of a compilation.
"""

from __future__ import annotations

import logging  # noqa: F401  # its handlers of forks are registered before ours, so ours come first
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

LOCK: Final = threading.RLock()
#: Held by whoever calls LLVM, for a thread that holds ``LOCK`` (``native.undisturbed``).
LIBRARY: Final = threading.RLock()
_free_in_children: Final[weakref.WeakSet[ProcessLock]] = weakref.WeakSet()


class ProcessLock:
    """A lock that a forked child finds free, although its holder's thread is only in the parent.

    It guards state that an interrupt may leave half written: each use writes all before it reads.
    Taken as ``with lock.taken:``, which begins and ends inside the interpreter, so that no
    interrupt leaves it taken. Code that interrupts its holder may ask ``is_ours`` before.
    """

    def __init__(self) -> None:
        self.taken = _reentrant()
        #: Whether this thread has taken it.
        self.is_ours: Callable[[], bool] = self.taken._is_owned
        _free_in_children.add(self)

    def try_to_take(self) -> bool:
        """Take it unless another thread has."""
        return bool(self.taken.acquire(blocking=False))


def _reentrant() -> Any:
    """An RLock, whose type leaves out what the standard library's own conditions ask it."""
    return threading.RLock()


def _in_the_child() -> None:
    for lock in _free_in_children:
        if not lock.is_ours():
            lock.taken._at_fork_reinit()  # as the standard library does with its own
    _after_fork()


def _before_fork() -> None:
    LOCK.acquire()
    LIBRARY.acquire()


def _after_fork() -> None:
    LIBRARY.release()
    LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_the_child
    )
