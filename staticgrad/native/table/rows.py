"""Runs rows of a step's table: one native call for many kernels and loops, the GIL released.

A row is eight int64 words, a ``Row``. Its function is called as ``f(record, own, begin, end)``,
where ``own`` points to the words of the worker that calls: the addresses of its scratch and check
words. They lie in the worker's block, ``Row.own`` bytes from its start, behind a ``Head``. Where
that names a pool, the rows of a section are shared with its workers (``pool_code``), by code that
is a separate object; otherwise, and if no worker helps, the caller runs all of a row in one
call. Rows without a function are loops and branches, which the caller follows by ``Head.control``
(``control_code``), a separate object, too: most programs have no such rows.

It saves the floating-point environment (MXCSR on x86-64, FPCR on aarch64), sets the default one -
round to nearest, denormals kept, no traps - and restores exactly what it found. With ``jit`` off
the addresses are tokens of Python callables.
"""

from __future__ import annotations

import ctypes
from typing import Final, Protocol

from staticgrad.native.constants import ROW_WORDS, Head, Row
from staticgrad.native.table import pool_code, pool_policy
from staticgrad.native.target import Target


class Driver(Protocol):
    """Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address.

    One that is native code has that code's ``address``.
    """

    def __call__(self, block: int, first: int, last: int) -> object:
        """Runs the rows, in order."""


_X86_ENTER: Final = """
  %saved.slot = alloca i32, align 4
  %default.slot = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %saved.slot)
  store i32 8064, ptr %default.slot, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %default.slot)
"""
_X86_LEAVE: Final = "  call void @llvm.x86.sse.ldmxcsr(ptr %saved.slot)\n"
_X86_DECLARE: Final = (
    "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)\n"
)
_ARM_ENTER: Final = """
  %saved = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
"""
_ARM_LEAVE: Final = "  call void @llvm.aarch64.set.fpcr(i64 %saved)\n"
_ARM_DECLARE: Final = (
    "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)\n"
)

_TEXT: Final = """{declare}
define void @{symbol}(ptr %block, i64 %first, i64 %last) #0 {{
entry:{enter}
  %table = load ptr, ptr %block, align 8
  %place.first = getelementptr [{words} x i64], ptr %table, i64 %first
  %place.last = getelementptr [{words} x i64], ptr %table, i64 %last
  %any = icmp slt i64 %first, %last
  br i1 %any, label %{begin}, label %done
{shared}row:
  %place = phi ptr [ %place.first, %{before} ], [ %following, %ran ]
  %function = load ptr, ptr %place, align 8
  %is.control = icmp eq ptr %function, null
  br i1 %is.control, label %control, label %call
control:
  %control.place = getelementptr i64, ptr %block, i64 {control}
  %follow = load ptr, ptr %control.place, align 8
  %jumped = call ptr %follow(ptr %block, ptr %place)
  br label %ran
call:
  %record.place = getelementptr i64, ptr %place, i64 1
  %record = load ptr, ptr %record.place, align 8
  %own.place = getelementptr i64, ptr %place, i64 2
  %own.offset = load i64, ptr %own.place, align 8
  %own = getelementptr i8, ptr %block, i64 %own.offset
  %total.place = getelementptr i64, ptr %place, i64 3
  %total = load i64, ptr %total.place, align 8
  call void %function(ptr %record, ptr %own, i64 0, i64 %total)
  %behind = getelementptr i64, ptr %place, i64 {words}
  br label %ran
ran:
  %following = phi ptr [ %jumped, %control ], [ %behind, %call ]
  %is.inside = icmp ult ptr %following, %place.last
  %is.row = icmp ne ptr %following, null
  %more = and i1 %is.inside, %is.row
  br i1 %more, label %row, label %done
done:
{leave}  ret void
}}
"""

#: The numbers of a row's words, and of a head's.
WORDS: Final = {
    **{name: number for number, name in enumerate(Row._fields)},
    **{f"head {name}": number for number, name in enumerate(Head._fields)},
    "words": ROW_WORDS,
}
_SHARED: Final = """head:
  %pool.place = getelementptr i64, ptr %block, i64 {pool}
  %pool = load ptr, ptr %pool.place, align 8
  %is.alone = icmp eq ptr %pool, null
  br i1 %is.alone, label %row, label %together
together:
  %run.place = getelementptr i8, ptr %pool, i64 {run}
  %run = load ptr, ptr %run.place, align 8
  %leads.place = getelementptr i64, ptr %block, i64 {control}
  %leads = load ptr, ptr %leads.place, align 8
  call void %run(ptr %pool, ptr %block, ptr %place.first, ptr %place.last, ptr %leads)
  br label %done
"""

SYMBOL: Final = "sg_run_table"
SHARED_SYMBOL: Final = "sg_run_shared"


def text(target: Target) -> str:
    """The driver as LLVM IR for a target, without the code of the pool and of loops."""
    control = Head._fields.index("control")
    if target.triple.startswith(("aarch64", "arm64")):
        parts = {"declare": _ARM_DECLARE, "enter": _ARM_ENTER, "leave": _ARM_LEAVE}
    else:
        parts = {"declare": _X86_DECLARE, "enter": _X86_ENTER, "leave": _X86_LEAVE}
    if pool_code.is_possible(target.triple):
        shared = _SHARED.format(
            pool=Head._fields.index("pool"), run=pool_code.PLACES["run"], control=control
        )
        parts |= {"begin": "head", "before": "head", "shared": shared}
    else:
        parts |= {"begin": "row", "before": "entry", "shared": ""}
    return _TEXT.format(symbol=SYMBOL, words=ROW_WORDS, control=control, **parts)


def shared_text(target: Target, symbol: str = SHARED_SYMBOL, points: bool = False) -> str:
    """The code of the pool, to whose address the word ``run`` in its memory is set.

    With ``points`` it has those of ``pool_code``.
    """
    policy = pool_policy.text(pool_code.numbers(WORDS), target)
    return pool_code.text(target.triple, WORDS, symbol, points) + policy


def shared_source(target: Target) -> str:
    """Return the parts of ``shared_text``, which identify it and take less time to write."""
    policy = pool_policy.source(pool_code.numbers(WORDS))
    return pool_code.text(target.triple, WORDS, SHARED_SYMBOL) + policy


def bind(address: int) -> Driver:
    """The driver at an address as a Python callable that releases the GIL while it runs."""
    words = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    driver = ctypes.CFUNCTYPE(None, *words)(address)
    driver.address = address  # type: ignore[attr-defined]
    return driver
