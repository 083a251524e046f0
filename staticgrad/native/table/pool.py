"""The process's pool of workers: its memory, its size, forks and the interpreter's end.

There is one, made when a table first has sections to share; its threads are made by the first such
section that runs (``pool_code``). A program that shares nothing costs nothing. Where a process has
no workers (not on Linux, or the jit is off), tables run alone. So do they while the background
compiles the code of the pool (``tiers``), which takes longer than the first runs of most programs.
"""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np

from staticgrad.native import has_shared_runs, shared_runs, tiers
from staticgrad.native.lock import LOCK
from staticgrad.native.system.workers import ThreadLibrary, are_possible
from staticgrad.native.table import pool_code, pool_policy
from staticgrad.native.table.pool_code import ENTRY, NBYTES
from staticgrad.native.table.pool_words import PLACES
from staticgrad.support import config
from staticgrad.support.exits import at_exit
from staticgrad.support.forks import AtFork
from staticgrad.support.records import dataclass

#: What a forked child finds as if nothing had ever run.
_COUNTED: Final = (
    "finished", "taken", "callers", "wake", "asleep", "alive", "alone_until", "ended",
)  # fmt: skip


@dataclass(frozen=True)
class PoolState:
    """The statistics of a pool: threads, shared sections, and penalties of stalls."""

    threads: int
    sections: int
    stalls: int


class Pool(AtFork):
    """The memory of a pool, which lives as long as the process does.

    ``run`` is the address of its code; 0 until that is compiled.
    """

    def __init__(self, run: int) -> None:
        super().__init__()
        room = np.zeros(NBYTES + pool_code.LINE, np.uint8)
        begin = -room.ctypes.data % pool_code.LINE
        self._words = room[begin : begin + NBYTES].view(np.int64)
        self.address = int(self._words.ctypes.data)
        self._threads = ThreadLibrary()
        for name, address in self._threads.addresses().items():
            self.set(name, address)
        self.set("run", run)
        self.set("spin", pool_policy.SPIN)
        self.set("patience", pool_policy.PATIENCE)
        self._set_balance()

    def get(self, name: str) -> int:
        """The word of a name."""
        return int(self._words[PLACES[name] // 8])

    def set(self, name: str, value: int) -> None:
        """Write the word of a name."""
        self._words[PLACES[name] // 8] = value

    def want(self, threads: int) -> None:
        """Let so many threads run at the same time, callers included; never fewer than before."""
        threads = min(threads, pool_code.MOST_WORKERS)
        if threads > self.get("seats"):
            self.set("seats", threads)
            self.set("wanted", threads - 1)

    def after_fork_in_child(self) -> None:
        """Forget the threads, which are not in the child; the memory is."""
        for name in _COUNTED:
            self.set(name, 0)
        self._words[PLACES["tickets"] // 8 :: pool_code.LINE // 8] &= ~0xFFFFFFFF
        self.set("wanted", max(0, self.get("seats") - 1))
        self._set_balance()

    def is_busy(self) -> bool:
        return bool(self.get("taken") or self.get("callers"))

    def _set_balance(self) -> None:
        self.set("balance", pool_policy.FIRST_BALANCE)
        self.set("penalty", pool_policy.LEAST_PENALTY)

    def end(self) -> None:
        """End the pool's threads and join them; later runs use the caller's thread alone."""
        wake = ctypes.c_int32.from_address(self.address + PLACES["wake"])
        self.set("ended", 1)
        # A worker reads the count, then ``ended``, and sleeps while the count is the same. On
        # aarch64 it may see the two plain stores in the other order, and would sleep forever. The
        # system's call begins with a full barrier.
        self._threads.wake_all(ctypes.addressof(wake))
        wake.value += 1
        self._threads.wake_all(ctypes.addressof(wake))
        for number in range(self.get("alive")):
            self._threads.join(int(self._words[(PLACES["threads"] + ENTRY * number) // 8]))
        self.set("alive", 0)

    @property
    def state(self) -> PoolState:
        """The statistics of the pool."""
        return PoolState(self.get("alive"), self.get("sections"), self.get("stalls"))


_pools: Final[list[Pool]] = []


def pool(threads: int) -> Pool | None:
    """Return the process's worker pool with at least so many threads; None if impossible.

    Raises as ``native.kernel`` does if its code cannot be compiled.
    """
    if not are_possible():
        return None
    with LOCK:
        if not _pools:
            is_later = config.current().tier == "auto" and not has_shared_runs()
            new_pool = Pool(0 if is_later else shared_runs())
            _pools.append(new_pool)
            at_exit(_at_exit)
            if is_later:
                tiers.later([_Code(new_pool)])
        _pools[0].want(threads)
        return _pools[0]


class _Code:
    """The code of a pool, compiled in the background; its few lines are not counted before."""

    lines: Final = 0

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def begin(self) -> None:
        """Nothing of it is begun early."""

    def end(self) -> None:
        """Compile the code; tables that have the pool share their sections from now on."""
        self._pool.set("run", shared_runs())


def present() -> Pool | None:
    """The pool if one has been made."""
    return _pools[0] if _pools else None


def _at_exit() -> None:
    _pools[0].end()
