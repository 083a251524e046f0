"""Two tiers of machine code: quick code for the first runs, full code as soon as it is compiled.

LLVM's level 0 takes about half of the time of its higher levels, and its code several times as
long. The kernels of a new program are therefore compiled at level 0 first. Their addresses are
those of jumps through a word in memory. A thread in the background compiles the same modules at
their full level, stores them on disk and writes the addresses of the full code into the words. No
table of a program changes, and results are bitwise identical: both tiers come from the same LLVM
IR, and LLVM does not reorder arithmetic at any level.

The code that shares rows among threads (``table.pool``) is compiled in the background, too: until
then, tables run in the thread of their caller.

The setting ``tier`` switches this off. ``wait`` returns when all code is full. A fork and the end
of the interpreter wait, too: a child has no thread that would go on, and the next process should
find the code on disk.
"""

from __future__ import annotations

import _thread
import ctypes
import math
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Final, Protocol

from staticgrad.native.constants import SHARED
from staticgrad.native.language.parts import Module, ModulePart, merge_modules, text_of
from staticgrad.native.lock import before_forks
from staticgrad.support import config, forks
from staticgrad.support.exits import at_exit
from staticgrad.support.records import NamedTuple

#: LLVM's level of quick code.
LEVEL: Final = 0
#: Lines of a function from which on its calls stay calls in quick code.
LONG: Final = 16
_NAME: Final = re.compile(r"@(\w+)")
_numbers: Final = count()


class Quick:
    """The quick code of one batch of modules, with the words that it jumps through.

    Its names begin with a number, as the full code of the same functions has theirs.
    """

    def __init__(self) -> None:
        self._prefix = f"quick{next(_numbers)}_"
        self._symbols: set[str] = set()
        self._words: dict[str, ctypes.c_void_p] = {}

    def add(self, symbol: str) -> None:
        """Declare a function of the batch; before the text of any module that calls it."""
        self._symbols.add(symbol)

    def name(self, symbol: str) -> str:
        """Return the name of a function's quick code."""
        return f"{self._prefix}{symbol}"

    def entry(self, symbol: str) -> str:
        """Return the name of the jump to a function's code; functions that are shared have none."""
        return f"jump_{self._prefix}{symbol}"

    def text(self, modules: Iterable[Module]) -> str:
        """Return the modules as one text, with the quick names, and the jumps to its functions."""
        parts = merge_modules(modules)
        text = _NAME.sub(self._rename_symbol, text_of(tuple(map(_disable_inlining, parts))))
        # Callers enter by a jump through a word, which later holds the address of the optimized
        # code.
        jumps = [self._jump(part) for part in parts if self._is_entry(part)]
        return "\n".join([text, *jumps])

    def _rename_symbol(self, match: re.Match[str]) -> str:
        return f"@{self.name(match[1])}" if match[1] in self._symbols else match[0]

    def _is_entry(self, part: ModulePart) -> bool:
        is_own = part.kind == "function" and part.name in self._symbols
        return is_own and not part.name.startswith(SHARED)

    def _jump(self, part: ModulePart) -> str:
        """Write a function that jumps to the current tier's address, in the word of ``part``."""
        word = self._words[part.name] = ctypes.c_void_p()
        result, _, signature = part.head.partition(" @")
        arguments = signature[signature.index("(") :]
        returned = "ret void" if result == "void" else f"ret {result} %result"
        called = "" if result == "void" else "%result = "
        return (
            f"define {result} @{self.entry(part.name)}{arguments} #0 {{\n"
            # acquire: the code's constants were written before its address
            "  %code = load atomic ptr, ptr inttoptr "
            f"(i64 {ctypes.addressof(word)} to ptr) acquire, align 8\n"
            f"  {called}musttail call {result} %code{arguments}\n  {returned}\n}}"
        )

    def direct(self, symbol: str, address: int) -> None:
        """Let calls of a function run the code at an address, from now on."""
        if symbol in self._words:
            # One aligned store. On aarch64, LLVM has flushed the code to memory with a barrier, and
            # its pages were not executable before, so that no processor has fetched older bytes.
            self._words[symbol].value = address


def _disable_inlining(part: ModulePart) -> ModulePart:
    """Return a part; a long function is called by quick code, as each copy is compiled anew."""
    if part.kind != "function" or part.body.count("\n") < LONG:
        return part
    return part._replace(attributes=part.attributes.replace("alwaysinline", "noinline"))


class BackgroundWork(Protocol):
    """Work that the background does: ``begin`` may be called early and twice."""

    @property
    def lines(self) -> int:
        """The lines of text that LLVM compiles for it."""

    def begin(self) -> None:
        """Begin what other threads do of it."""

    def end(self) -> None:
        """Do the rest, in order."""


#: Seconds until the background begins where no run has ended before (``begin``), at least: it
#: should take no time from a first run, unless that is long.
DELAY: Final = 0.5
#: Seconds in which LLVM compiles a line of its text to full code (Zen 3, 2026-11: 80 to 90 us). The
#: background begins once a run has taken as long as full code of all lines: a run that ends earlier
#: shares its processors with nobody, and a longer one takes at most about twice its shortest time.
LINE: Final = 8e-5
#: Seconds after which a thread that has not ended is looked at again.
PATIENCE: Final = 0.1
_waiting: Final[list[BackgroundWork]] = []
_guard: Final = forks.ProcessLock()


class _Background(NamedTuple):
    """The thread in the background, a lock that it holds, and one that delays it."""

    thread: threading.Thread
    ended: _thread.LockType
    delay: _thread.LockType


#: The thread in the background while there is one.
_running: Final[list[_Background]] = []


def is_waiting() -> bool:
    """Return whether code is still to be replaced."""
    return any(background.thread.is_alive() for background in [*_running])


def later(works: Iterable[BackgroundWork]) -> None:
    """Queue optimized-code compilations for the background thread, in order."""
    with _guard.mutex:
        _waiting.extend(works)
        if is_waiting() or not _waiting:
            return
        ended, delay = _thread.allocate_lock(), _thread.allocate_lock()
        ended.acquire()
        delay.acquire()
        thread = threading.Thread(target=_work, args=(ended, delay), name="full code", daemon=True)
        _running[:] = [_Background(thread, ended, delay)]
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # no more threads: the quick code stays
            _forget()


def _seconds_of_delay() -> float:
    """Return how long the background waits for a run to end."""
    with _guard.mutex:
        return max(DELAY, LINE * sum(work.lines for work in _waiting))


def _work(ended: _thread.LockType, delay: _thread.LockType) -> None:
    """Compile queued optimized code in the background; after an error baseline code stays."""
    started = time.monotonic()
    try:
        # What is queued meanwhile makes the delay longer.
        while (seconds := started + _seconds_of_delay() - time.monotonic()) > 0:
            if delay.acquire(timeout=seconds):
                break
        while True:
            with _guard.mutex:
                if not _waiting:
                    _running.clear()
                    return
                work = _waiting[0]
            try:
                work.end()
            except BaseException as error:  # whatever it is, nobody else would catch it
                with suppress(Exception):  # a setting that is wrong by now
                    config.log("cache", "quick code stays: %r", error)
            finally:
                with _guard.mutex:
                    # Others may have been added meanwhile.
                    _waiting[:] = [pending for pending in _waiting if pending is not work]
    finally:
        ended.release()


def begin() -> None:
    """Let the background begin, as a run has ended or somebody waits."""
    for _, _, delay in [*_running]:
        if delay.locked():
            with suppress(RuntimeError):  # another thread has released it
                delay.release()


def wait() -> None:
    """Wait until all optimized code is in place; several threads compile what is left.

    Where something has ended the thread, another one takes its place, unless nothing was done.
    """
    fewest = math.inf
    while True:
        with _guard.mutex:
            works, running = [*_waiting], [*_running]
        if not running:
            return
        ((thread, ended, _),) = running
        if thread is threading.current_thread():
            return
        if thread.is_alive():
            begin()
            with suppress(Exception):  # the thread has the same error, and logs it
                for work in works:
                    work.begin()
            while thread.is_alive():
                if ended.acquire(timeout=PATIENCE):
                    ended.release()
                    break
        elif works and len(works) < fewest:
            fewest = len(works)
            later(())
        else:
            _forget()


def _wait_at_exit() -> None:
    try:
        wait()
    finally:
        _waiting.clear()  # an interrupt ends the thread, too


def _forget() -> None:
    _waiting.clear()
    _running.clear()


class _Forks(forks.AtFork):
    """A child has no thread in the background."""

    def after_fork_in_child(self) -> None:
        _forget()


_at_fork: Final = _Forks()
before_forks.append(wait)
at_exit(_wait_at_exit)
