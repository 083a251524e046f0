"""Products of words of four 8-bit integers, which are added to int32.

``dot4_u8_i8(acc, a, b)`` adds the products of the bytes of a, unsigned, and those of b, signed. The
sum wraps, and nothing saturates. This is ``vpdpbusd`` of AVX512-VNNI and AVX-VNNI. Elsewhere on
x86-64 ``vpmaddwd`` multiplies even bytes and odd ones, widened to 16 bits: products of two pairs
take 17 bits, so that it wraps nowhere. Other targets multiply widened bytes one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import Kind, Vector
from staticgrad.native.language.lane_operations import in_registers
from staticgrad.native.language.operations import define

#: The intrinsics that multiply pairs of 16 bits, by the bits of a register.
_PAIRS = {128: "llvm.x86.sse2.pmadd.wd", 256: "llvm.x86.avx2.pmadd.wd"}
_PAIRS |= {512: "llvm.x86.avx512.pmaddw.d.512"}
_EVEN_BYTES = 0x00FF00FF


def _result(acc: Kind, a: Kind, b: Kind) -> Kind | None:
    return acc if isinstance(acc, Vector) and acc.element.name == "i32" and acc == a == b else None


def _dot4(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit the sum of the products of bytes, by what the target has."""
    kind, operands = kinds[0], [str(value) for value in values]
    assert isinstance(kind, Vector)
    if not out.target.is_x86:
        return _dot4_by_bytes(out, kind, operands)
    emit = _dot4_instruction if out.target.has_dot4_i8 else _dot4_by_pairs
    return in_registers(out, kind, operands, emit, out.target.vector_bits)


def _dot4_instruction(out: Emitter, register: Vector, values: Sequence[str]) -> str:
    name = f"llvm.x86.avx512.vpdpbusd.{register.lanes * register.element.bits}"
    return out.intrinsic(register.llvm, name, [(register.llvm, value) for value in values])


def _dot4_by_pairs(out: Emitter, register: Vector, values: Sequence[str]) -> str:
    acc, a, b = values
    bits, halves = register.lanes * 32, f"<{register.lanes * 2} x i16>"
    eight = "splat (i16 8)"
    even = out.do(f"and {register.llvm} {a}, {text.constant(register, _EVEN_BYTES)}")
    even = out.do(f"bitcast {register.llvm} {even} to {halves}")
    a, b = (out.do(f"bitcast {register.llvm} {value} to {halves}") for value in (a, b))
    low = out.do(f"ashr {halves} {out.do(f'shl {halves} {b}, {eight}')}, {eight}")
    odd, high = out.do(f"lshr {halves} {a}, {eight}"), out.do(f"ashr {halves} {b}, {eight}")
    for pair in ((even, low), (odd, high)):
        products = out.intrinsic(register.llvm, _PAIRS[bits], [(halves, part) for part in pair])
        acc = out.do(f"add {register.llvm} {acc}, {products}")
    return acc


def _dot4_by_bytes(out: Emitter, kind: Vector, values: Sequence[str]) -> str:
    acc, a, b = values
    for shift in (0, 8, 16, 24):
        right, left, top = (text.constant(kind, number) for number in (shift, 24 - shift, 24))
        unsigned = out.do(f"lshr {kind.llvm} {a}, {right}")
        unsigned = out.do(f"and {kind.llvm} {unsigned}, {text.constant(kind, 255)}")
        signed = out.do(f"ashr {kind.llvm} {out.do(f'shl {kind.llvm} {b}, {left}')}, {top}")
        acc = out.do(f"add {kind.llvm} {acc}, {out.do(f'mul {kind.llvm} {unsigned}, {signed}')}")
    return acc


define("dot4_u8_i8", _result, _dot4)
