"""Functions that code of the runtime calls, for which the kernel language has no words.

Addresses are words. ``load_acquire(at)``, ``store_release(at, value)``, ``load_in_order(at)`` and
``store_in_order(at, value)`` (one order for all threads) are atomic. So are ``fetch_add(at, n)``,
which returns the word before, and ``swap_if(at, old, new)``, a truth: whether the word was ``old``.
``called3(function, a, b, c)`` is the result of a C function at an address, and ``status3`` one that
is an ``int``. ``root()`` is the address of a word of the object's own. ``pause()`` lets the other
thread of the core run.

``enter_environment()`` sets the default floating-point environment (round to nearest, denormals
kept, no traps) and returns the one before, ``leave_environment(before)`` restores it exactly
(MXCSR on x86-64, FPCR and FPSR on aarch64). ``has_default_environment()`` is a truth.
"""

from __future__ import annotations

from typing import Final

from staticgrad.native.constants import ENTRY
from staticgrad.native.language.frontend import ir_helper, module_of
from staticgrad.native.language.kinds import NOTHING, TRUTH, WORD, Kind
from staticgrad.native.language.parts import INTERNAL, Module, ModulePart, external, merge_modules
from staticgrad.native.language.translation import Helper
from staticgrad.native.source import RuntimeCode
from staticgrad.native.target import Target

_PLACE: Final = "  %place = inttoptr i64 %a0 to ptr\n"
_ORDERS: Final = {"load_acquire": "acquire", "load_in_order": "seq_cst"}
_STORE_ORDERS: Final = {"store_release": "release", "store_in_order": "seq_cst"}
_COUNTS: Final = range(9)
_X86: Final = {
    "enter_environment": """  %slot = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %short = load i32, ptr %slot, align 4
  store i32 8064, ptr %slot, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  %before = zext i32 %short to i64
  ret i64 %before""",
    "leave_environment": """  %slot = alloca i32, align 4
  %short = trunc i64 %a0 to i32
  store i32 %short, ptr %slot, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void""",
    # all but the flags
    "has_default_environment": """  %slot = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %word = load i32, ptr %slot, align 4
  %modes = and i32 %word, 65472
  %default = icmp eq i32 %modes, 8064
  ret i1 %default""",
    "pause": "  call void @llvm.x86.sse2.pause()\n  ret void",
}
_X86_CALLS: Final = (
    external("llvm.x86.sse.stmxcsr", "void", ("ptr",)),
    external("llvm.x86.sse.ldmxcsr", "void", ("ptr",)),
    external("llvm.x86.sse2.pause", "void", ()),
)
_ARM: Final = {
    # the flags of exceptions, which are a register of their own, in the upper half
    "enter_environment": """  %modes = call i64 @llvm.aarch64.get.fpcr()
  %flags = call i64 @llvm.aarch64.get.fpsr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  %upper = shl i64 %flags, 32
  %before = or i64 %modes, %upper
  ret i64 %before""",
    "leave_environment": """  %modes = and i64 %a0, 4294967295
  %flags = lshr i64 %a0, 32
  call void @llvm.aarch64.set.fpcr(i64 %modes)
  call void @llvm.aarch64.set.fpsr(i64 %flags)
  ret void""",
    "has_default_environment": """  %word = call i64 @llvm.aarch64.get.fpcr()
  %default = icmp eq i64 %word, 0
  ret i1 %default""",
    "pause": "  call void @llvm.aarch64.hint(i32 1)\n  ret void",
}
_ARM_CALLS: Final = (
    external("llvm.aarch64.get.fpcr", "i64", ()),
    external("llvm.aarch64.set.fpcr", "void", ("i64",)),
    external("llvm.aarch64.get.fpsr", "i64", ()),
    external("llvm.aarch64.set.fpsr", "void", ("i64",)),
    external("llvm.aarch64.hint", "void", ("i32",)),
)
_ROOT: Final = ModulePart("sg_root", "variable", "global i64 0, align 8", linkage=INTERNAL)
_RESULTS: Final = {
    "enter_environment": WORD, "leave_environment": NOTHING, "has_default_environment": TRUTH,
    "pause": NOTHING,
}  # fmt: skip


def is_arm(target: Target) -> bool:
    """Return whether a target is aarch64, not x86-64."""
    return target.triple.startswith(("aarch64", "arm64"))


def functions_of(target: Target) -> dict[str, Helper]:
    """Return the system functions (threads, atomics, clocks) that runtime code calls, by name."""
    swapped = "  %both = cmpxchg ptr %place, i64 %a1, i64 %a2 acq_rel monotonic, align 8\n"
    added = "  %old = atomicrmw add ptr %place, i64 %a1 seq_cst, align 8\n  ret i64 %old"
    won = "  %won = extractvalue { i64, i1 } %both, 1\n  ret i1 %won"
    bodies: dict[str, tuple[Kind, int, str]] = {
        "fetch_add": (WORD, 2, _PLACE + added),
        "swap_if": (TRUTH, 3, _PLACE + swapped + won),
        "root": (WORD, 0, f"  ret i64 ptrtoint (ptr @{_ROOT.name} to i64)"),
    }
    for name, order in _ORDERS.items():
        load = f"  %found = load atomic i64, ptr %place {order}, align 8\n  ret i64 %found"
        bodies[name] = WORD, 1, _PLACE + load
    for name, order in _STORE_ORDERS.items():
        store = f"  store atomic i64 %a1, ptr %place {order}, align 8\n  ret void"
        bodies[name] = NOTHING, 2, _PLACE + store
    for count in _COUNTS:
        arguments = ", ".join(f"i64 %a{number + 1}" for number in range(count))
        bodies[f"called{count}"] = (
            WORD, count + 1, f"{_PLACE}  %found = call i64 %place({arguments})\n  ret i64 %found"
        )  # fmt: skip
        bodies[f"status{count}"] = (
            WORD, count + 1, f"{_PLACE}  %short = call i32 %place({arguments})\n"
            "  %found = sext i32 %short to i64\n  ret i64 %found"
        )  # fmt: skip
    instructions, calls = (_ARM, _ARM_CALLS) if is_arm(target) else (_X86, _X86_CALLS)
    for name, body in instructions.items():
        bodies[name] = _RESULTS[name], int("%a0" in body), body
    helpers = {}
    for name, (result, count, body) in bodies.items():
        uses = {part.name: part for part in (*calls, _ROOT) if f"@{part.name}" in body}
        helpers[name] = ir_helper(name, result, count, body, uses)
    return helpers


def module(code: RuntimeCode, target: Target, linkage: str = "") -> Module:
    """Build the LLVM module of a source of the runtime."""
    beside = functions_of(target)
    for key, callee in code.beside.items():
        name = f"code_of_{key}"
        beside[name] = ir_helper(name, WORD, 0, f"  ret i64 ptrtoint (ptr @{callee.symbol} to i64)")
    functions = code.source.functions()
    kinds = (WORD,) * len(functions[ENTRY].procedure.parameters)
    entry_module = module_of(functions, code.symbol, target, kinds, beside, linkage)
    return merge_modules(
        [entry_module, *(module(callee, target, INTERNAL) for callee in code.beside.values())]
    )
