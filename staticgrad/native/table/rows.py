"""Runs rows of a step's table: one native call for many kernels and loops, the GIL released.

A row is eight int64 words, a ``Row``. Its function is called as ``f(record, own, begin, end)``,
where ``own`` points to the words of the worker that calls: the addresses of its scratch and check
words. They lie in the worker's block at the offset ``Row.scratch``, behind a ``Head``. Where that
names a pool, the rows of a section are shared with its workers (``pool_code``), by code that
is a separate object; otherwise, and if no worker helps, the caller runs all of a row in one
call. Rows without a function are loops and branches, which the caller follows by ``Head.control``
(``control_code``), a separate object, too: most programs have no such rows.

It saves the floating-point environment (MXCSR on x86-64, FPCR and FPSR on aarch64), sets the
default one - round to nearest, denormals kept, no traps - and restores exactly what it found. With
``jit`` off the addresses are tokens of Python callables.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Final, Protocol

from staticgrad.native.constants import SIZE_OF_ROW, Head, Row
from staticgrad.native.source import PythonSource, RuntimeCode
from staticgrad.native.table.control_code import at, run_row
from staticgrad.native.table.pool_words import PoolWord

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        call,
        called2,
        enter_environment,
        leave_environment,
        load_acquire,
        ptr_i64,
    )


class Driver(Protocol):
    """Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address.

    One that is native code has that code's ``address``.
    """

    def __call__(self, block: int, first: int, last: int) -> object:
        """Runs the rows, in order."""


SYMBOL: Final = "sg_run_table"


def run_table(block: int, first: int, last: int) -> None:
    """Run rows of a step's table: the dispatch loop, in native code."""
    environment = enter_environment()
    head = ptr_i64(block)
    control = at(head, Head.control)
    place = at(head, Head.table) + SIZE_OF_ROW * first
    end = at(head, Head.table) + SIZE_OF_ROW * last
    pool = at(head, Head.pool)
    if pool != 0 and first < last:
        shared = load_acquire(pool + 8 * PoolWord.RUN)  # written when the code has been loaded
        if shared != 0:
            call(shared, pool, block, place, end, control)
            place = end
    while place < end and place != 0:
        if at(ptr_i64(place), Row.function) == 0:
            place = called2(control, block, place)
        else:
            place = run_row(block, place)
    leave_environment(environment)


@functools.cache
def code() -> RuntimeCode:
    """The driver, without the code of the pool and of loops."""
    return RuntimeCode(SYMBOL, PythonSource(run_table))


def bind(address: int) -> Driver:
    """The driver at an address as a Python callable that releases the GIL while it runs."""
    words = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    driver = ctypes.CFUNCTYPE(None, *words)(address)
    driver.address = address  # type: ignore[attr-defined]
    return driver
