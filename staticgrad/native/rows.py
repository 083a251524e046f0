"""Runs rows of a step's table: one native call for many kernels, the GIL released.

A row is six int64 words, a ``Row``. Its function is called as ``f(record, own, begin, end)``, where
``own`` points to the words of the worker that calls: the addresses of its scratch and check words.
They lie in the worker's block, ``Row.own`` bytes from its start; the block's first word is the
address of the table. This driver is one worker: it runs all of a row in one call, and has nobody to
wait for.

It saves the floating-point environment (MXCSR on x86-64, FPCR on aarch64), sets the default one -
round to nearest, denormals kept, no traps - and restores exactly what it found. With ``jit`` off
the addresses are tokens of Python callables.
"""

from __future__ import annotations

import ctypes
from typing import Final, Protocol

from staticgrad.native.constants import ROW_WORDS
from staticgrad.native.target import Target


class Driver(Protocol):
    """Runs rows ``first`` to ``last`` (exclusive), as the worker whose block is at an address."""

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
  br i1 %any, label %row, label %done
row:
  %place = phi ptr [ %place.first, %entry ], [ %following, %row ]
  %function = load ptr, ptr %place, align 8
  %record.place = getelementptr i64, ptr %place, i64 1
  %record = load ptr, ptr %record.place, align 8
  %own.place = getelementptr i64, ptr %place, i64 2
  %own.offset = load i64, ptr %own.place, align 8
  %own = getelementptr i8, ptr %block, i64 %own.offset
  %total.place = getelementptr i64, ptr %place, i64 3
  %total = load i64, ptr %total.place, align 8
  call void %function(ptr %record, ptr %own, i64 0, i64 %total)
  %following = getelementptr i64, ptr %place, i64 {words}
  %more = icmp ult ptr %following, %place.last
  br i1 %more, label %row, label %done
done:
{leave}  ret void
}}
"""

SYMBOL: Final = "sg_run_table"


def text(target: Target) -> str:
    """The driver as LLVM IR for a target."""
    if target.triple.startswith(("aarch64", "arm64")):
        parts = {"declare": _ARM_DECLARE, "enter": _ARM_ENTER, "leave": _ARM_LEAVE}
    else:
        parts = {"declare": _X86_DECLARE, "enter": _X86_ENTER, "leave": _X86_LEAVE}
    return _TEXT.format(symbol=SYMBOL, words=ROW_WORDS, **parts)


def bind(address: int) -> Driver:
    """The driver at an address as a Python callable that releases the GIL while it runs."""
    words = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return ctypes.CFUNCTYPE(None, *words)(address)
