"""Library calls that an interrupt would break, made in threads that get no interrupts.

llvmlite frees an object and notes that only afterwards: a signal handler that raises in between
(Ctrl-C) makes it free the object twice, which ends the process. Python runs signal handlers in the
main thread only, and an exception that is sent to a thread is raised in that thread only.

    text = run_uninterrupted(work)       # what work() returns
    call = begin(work)                   # at the same time as what follows
    text = call.result()

As many calls run at once as ``LIBRARY`` has places; the others wait for one.

Each of them makes dozens of calls of LLVM, and takes the interpreter's lock after each. A thread
that runs Python keeps the lock for the switch interval, 5 ms by default, so a module would wait
longer for the lock than LLVM takes. The interval is shorter while calls run.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, Generic, TypeVar

from staticgrad.native.lock import LIBRARY

#: Seconds after which a thread is asked for again that does not begin.
PATIENCE: Final = 0.1
#: Seconds after which a thread that runs Python hands the interpreter's lock to another one.
INTERVAL: Final = 0.0005
_T = TypeVar("_T")


class LibraryCall(Generic[_T]):
    """One call: its work, and the result or the error."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work, self._context = work, copy_context()
        self._results: list[_T] = []
        self._error: BaseException | None = None
        self._is_done = False
        self._claim = threading.RLock()  # of the thread that does it
        self._ended = threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        """Run the library call unless another thread has begun it; a fork waits for it."""
        if not self._claim.acquire(blocking=False):
            return
        self._claim.release()  # a thread that waits for a place may be missing after a fork
        with LIBRARY.place(), _short_intervals:
            if not self._claim.acquire(blocking=False):
                return
            try:
                _thread_state.is_inside = True
                self._results.append(self._context.run(self._work))
            except BaseException as error:
                self._error = error
            finally:
                self._is_done = True
                self._ended.release()
                _thread_state.is_inside = False

    def run_in_thread(self) -> None:
        """Run the call in a thread that gets no interrupts; if it dies, another may run it."""
        try:
            with suppress(BaseException):  # whoever asks for the result has the same error
                self.run()
        finally:
            while not self._is_done and self._claim._is_owned():  # type: ignore[attr-defined]
                self._claim.release()

    def cancel(self) -> None:
        """Leave it undone, unless it has begun; nobody may ask for its result then."""
        self._claim.acquire(blocking=False)

    def result(self) -> _T:
        """Return the call's result or raise its error; a pending interrupt is raised after it.

        A thread that has not begun after ``PATIENCE`` never will: an exception sent to this thread
        while that one was made was raised in that one.
        """
        interrupt: BaseException | None = None
        while not self._is_done:
            try:
                if not self._ended.acquire(timeout=PATIENCE):
                    self.run()
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        if self._error is not None:
            raise self._error
        return self._results[0]


class _ShortIntervals:
    """The switch interval of the process while threads make calls, and as it was behind the last.

    An interval that is set meanwhile stays. Where an interrupt came before it was set back, the
    next call does that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._previous_interval = self._short_interval = INTERVAL
        self._is_short = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                if not (self._is_short and sys.getswitchinterval() == self._short_interval):
                    self._previous_interval = sys.getswitchinterval()
                self._is_short = True
                sys.setswitchinterval(min(self._previous_interval, INTERVAL))
                self._short_interval = sys.getswitchinterval()
            self._threads += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                if sys.getswitchinterval() == self._short_interval:
                    sys.setswitchinterval(self._previous_interval)
                self._is_short = False


_short_intervals: Final = _ShortIntervals()


class _ThreadState(threading.local):
    is_inside = False


_thread_state: Final = _ThreadState()


def is_undisturbed() -> bool:
    """Return whether this thread makes such a call; a finalizer may run in the middle of it."""
    return _thread_state.is_inside


def run_uninterrupted(work: Callable[[], _T]) -> _T:
    """Return or raise what ``work`` does. It takes no lock that its caller may hold."""
    return work() if _thread_state.is_inside else begin(work).result()


def begin(work: Callable[[], _T]) -> LibraryCall[_T]:
    """Return a call of ``work``, which another thread begins now if it can."""
    call = LibraryCall(work)
    # without more threads (the interpreter ends, too little memory) whoever asks for it does it
    with suppress(RuntimeError):
        _thread.start_new_thread(call.run_in_thread, ())
    return call
