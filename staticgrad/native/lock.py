"""The locks of native compilation.

LLVM has one process-wide lock of its own, so a single reentrant lock costs no parallelism, and
it leaves no order of locks to get wrong. It is held across a fork, so that no child starts in the
middle of a compilation.
"""

from __future__ import annotations

import logging  # noqa: F401  # its hooks have to be installed before ours, see below
import threading
from typing import Final

from staticgrad.support import forks
from staticgrad.support.forks import is_taken

LOCK: Final = threading.RLock()
#: Held by whoever calls LLVM, for a thread that holds ``LOCK`` (``native.jit``).
LIBRARY: Final = threading.RLock()


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
        return is_taken(LOCK) or is_taken(LIBRARY)


_at_fork: Final = _CompilerLocks()
# Who compiles may log: a fork that waits for the end of a compilation must not hold logging's lock.
forks.install_hooks()
