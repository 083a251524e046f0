"""Forks: the one registry of what a fork waits for and what a forked child resets.

A fork copies memory, but no thread except its own: in the child a lock that another thread held
would stay taken, a count of running calls would never fall, and the workers of a pool are missing.
Every lock, count and pool of this package is therefore an ``AtFork``.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final

_serial = count()
#: By the order of registration. One call copies it, where a WeakSet is walked step by step.
_members: Final[dict[int, weakref.ref[AtFork]]] = {}
#: Threads that are forking.
_forking: Final[set[int]] = set()


class AtFork:
    """State that a fork concerns. It is registered while it exists."""

    def __init__(self) -> None:
        number = next(_serial)
        _members[number] = weakref.ref(self, lambda _: _members.pop(number, None))

    def before_fork(self) -> None:
        """Wait until the state can be copied, and keep it like that."""

    def after_fork(self) -> None:
        """Undo ``before_fork`` in the parent."""

    def after_fork_in_child(self) -> None:
        """Undo ``before_fork``, and remove what other threads held or were doing."""

    def is_busy(self) -> bool:
        """Return whether a thread holds this or is running in it."""
        return False


class ProcessLock(AtFork):
    """A lock that a forked child finds free, although its holder's thread is only in the parent.

    It guards state that an interrupt may leave half written: each use writes all before it reads.
    Taken as ``with lock.mutex:``, which begins and ends inside the interpreter, so that no
    interrupt leaves it taken. Code that interrupts its holder may ask ``is_ours`` before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mutex = _reentrant()
        #: Whether this thread has taken it.
        self.is_ours: Callable[[], bool] = self.mutex._is_owned

    def try_to_take(self) -> bool:
        """Take it unless another thread has."""
        return bool(self.mutex.acquire(blocking=False))

    def after_fork_in_child(self) -> None:
        if not self.is_ours():
            self.mutex._at_fork_reinit()  # as the standard library does with its own

    def is_busy(self) -> bool:
        return is_taken(self.mutex)


def _reentrant() -> Any:
    """An RLock, whose type leaves out what the standard library's own conditions ask it."""
    return threading.RLock()


def is_taken(lock: Any) -> bool:
    """Return whether a thread, this one included, has taken an RLock."""
    if lock._is_owned() or not lock.acquire(blocking=False):
        return True
    lock.release()
    return False


def members() -> list[AtFork]:
    """Return everything registered, the oldest first."""
    return [member for reference in list(_members.values()) if (member := reference()) is not None]


def install_hooks() -> None:
    """Install the fork hooks of this registry before all hooks installed until now.

    A second installation does not make it run twice.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
        )


def _before_fork() -> None:
    thread = threading.get_ident()
    if thread not in _forking:
        _forking.add(thread)
        _call_all(member.before_fork for member in reversed(members()))


def _after_fork() -> None:
    thread = threading.get_ident()
    if thread in _forking:
        _forking.remove(thread)
        _call_all(member.after_fork for member in members())


def _after_fork_in_child() -> None:
    if threading.get_ident() in _forking:
        _forking.clear()
        _call_all(member.after_fork_in_child for member in members())


def _call_all(hooks: Iterable[Callable[[], None]]) -> None:
    """Call every fork hook, even if one raises: Python reports the error and forks anyway."""
    last: BaseException | None = None
    for hook in hooks:
        try:
            hook()
        except BaseException as error:
            last = error
    if last is not None:
        raise last


install_hooks()
