"""Products of bfloat16 in float32: multiply-adds for which subnormal numbers are zero.

``fma_flushed`` rounds once. Subnormal operands are zeros of their sign, and so is a result whose
size is below 2**-126 after it was rounded to 24 digits. ``dot2_bf16`` is two of them::

    dot2_bf16(acc, a, b) = fma_flushed(low(a), low(b), fma_flushed(high(a), high(b), acc))

This is what AVX512-BF16 computes (``vdpbf16ps``), and what x86-64 computes by its FMA in an
environment in which subnormal operands and results are zero. Between ``flush_subnormals`` and
``restore_subnormals``, which set and restore it, code for x86-64 has no other instructions.
Elsewhere results are tested: a result of at most 2**-126 is computed again from larger operands,
where the rounding to 24 digits shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import ELEMENTS, NOTHING, WORD, Kind, Vector, vector
from staticgrad.native.language.lane_operations import in_registers
from staticgrad.native.language.operations import choose, compare, define

#: Bits of MXCSR: subnormal results are zero, subnormal operands are zero.
_FLUSH: Final = 0x8040
_LEAST: Final = 2.0**-126
_EXPONENT: Final = 0x7F800000
_SIGN: Final = 0x80000000
_HIGH: Final = 0xFFFF0000
#: Factors by which an operand of a product, and its addend, are enlarged. No operand overflows: if
#: the result is tiny, the product is below 2**-58, and its factors below 2**68.
_ENLARGED: Final = (2.0**32, 2.0**64)


def _fma_result(a: Kind, b: Kind, c: Kind) -> Kind | None:
    return a if isinstance(a, Vector) and a.element.name == "f32" and a == b == c else None


def _dot_result(acc: Kind, a: Kind, b: Kind) -> Kind | None:
    if not isinstance(acc, Vector) or acc.element.name != "f32":
        return None
    return acc if a == b == vector("u32", acc.lanes) else None


def _fma_flushed(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    (kind, *_), (a, b, c) = kinds, map(str, values)
    assert isinstance(kind, Vector)
    return _multiply_add(out, kind, a, b, c)


def _multiply_add(out: Emitter, kind: Vector, a: str, b: str, c: str) -> str:
    """Emit a multiply-add that flushes: by the environment, or by tests of operands and result."""
    if out.flushes:
        return _fma(out, kind, a, b, c)
    a, b, c = (_flush_operand(out, kind, value) for value in (a, b, c))
    result = _fma(out, kind, a, b, c)
    factor, addend = (text.constant(kind, number) for number in _ENLARGED)
    enlarged = [
        out.do(f"fmul {kind.llvm} {value}, {by}")
        for value, by in ((a, factor), (b, factor), (c, addend))
    ]
    least = [text.constant(kind, number) for number in (_LEAST, _LEAST * _ENLARGED[1])]
    size, exact_size = (
        out.intrinsic(kind.llvm, f"llvm.fabs.{text.suffix(kind)}", [(kind.llvm, value)])
        for value in (result, _fma(out, kind, *enlarged))
    )
    at_most = compare(out, kind, ("ole", "le"), size, least[0])
    below = compare(out, kind, ("olt", "lt"), exact_size, least[1])
    bits = "i1" if kind.lanes == 1 else f"<{kind.lanes} x i1>"
    tiny = out.do(f"and {bits} {at_most}, {below}")
    return choose(out, kind, tiny, _zero_of_sign(out, kind, result), result)


def _fma(out: Emitter, kind: Vector, *operands: str) -> str:
    name = f"llvm.fma.{text.suffix(kind)}"
    return out.intrinsic(kind.llvm, name, [(kind.llvm, value) for value in operands])


def _flush_operand(out: Emitter, kind: Vector, value: str) -> str:
    words = vector("u32", kind.lanes)
    bits = out.do(f"bitcast {kind.llvm} {value} to {words.llvm}")
    exponent = out.do(f"and {words.llvm} {bits}, {text.constant(words, _EXPONENT)}")
    is_small = compare(out, words, ("oeq", "eq"), exponent, text.constant(words, 0))
    return choose(out, kind, is_small, _zero_of_sign(out, kind, value), value)


def _zero_of_sign(out: Emitter, kind: Vector, value: str) -> str:
    words = vector("u32", kind.lanes)
    bits = out.do(f"bitcast {kind.llvm} {value} to {words.llvm}")
    sign = out.do(f"and {words.llvm} {bits}, {text.constant(words, _SIGN)}")
    return out.do(f"bitcast {words.llvm} {sign} to {kind.llvm}")


def _dot2(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit the product of pairs: one instruction where the target has it, else two."""
    kind, (acc, a, b) = kinds[0], map(str, values)
    assert isinstance(kind, Vector)
    words = vector("u32", kind.lanes)
    if out.target.has_dot2_bf16:
        bits = [out.do(f"bitcast {words.llvm} {value} to {kind.llvm}") for value in (a, b)]
        return in_registers(out, kind, [acc, *bits], _dot2_instruction)
    highs, lows = [], []
    for value in (a, b):
        high = out.do(f"and {words.llvm} {value}, {text.constant(words, _HIGH)}")
        low = out.do(f"shl {words.llvm} {value}, {text.constant(words, 16)}")
        highs.append(out.do(f"bitcast {words.llvm} {high} to {kind.llvm}"))
        lows.append(out.do(f"bitcast {words.llvm} {low} to {kind.llvm}"))
    first = _multiply_add(out, kind, highs[0], highs[1], acc)
    return _multiply_add(out, kind, lows[0], lows[1], first)


def _dot2_instruction(out: Emitter, register: Vector, values: Sequence[str]) -> str:
    pairs = f"<{2 * register.lanes} x bfloat>"
    acc, *operands = values
    packed = [out.do(f"bitcast {register.llvm} {value} to {pairs}") for value in operands]
    name = f"llvm.x86.avx512bf16.dpbf16ps.{register.lanes * register.element.bits}"
    return out.intrinsic(register.llvm, name, [(register.llvm, acc), *((pairs, p) for p in packed)])


def _flush(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit the change of the environment, and return the one before."""
    if not out.target.is_x86:
        return 0
    slot = out.allocate(ELEMENTS["u32"], 1)
    out.intrinsic("void", "llvm.x86.sse.stmxcsr", [("ptr", slot)])
    modes = out.read(f"load i32, ptr {slot}, align 4")
    _set_environment(out, out.do(f"or i32 {modes}, {_FLUSH}"))
    out.flushes = True
    return out.do(f"zext i32 {modes} to i64")


def _restore(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    if out.target.is_x86:
        out.flushes = False
        _set_environment(out, out.do(f"trunc i64 {text.word(values[0])} to i32"))
    return ""


def _set_environment(out: Emitter, bits: str) -> None:
    slot = out.allocate(ELEMENTS["u32"], 1)
    out.effect(f"store i32 {bits}, ptr {slot}, align 4")
    out.intrinsic("void", "llvm.x86.sse.ldmxcsr", [("ptr", slot)])


define("fma_flushed", _fma_result, _fma_flushed)
define("dot2_bf16", _dot_result, _dot2)
define("flush_subnormals", lambda: WORD, _flush)
define("restore_subnormals", lambda word: NOTHING if word is WORD else None, _restore)
