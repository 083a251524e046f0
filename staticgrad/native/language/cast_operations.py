"""Conversions between element types: value casts with NumPy's results, and bit casts.

A float outside the target integer's range, or NaN, gives what NumPy gives on x86-64 (the
hardware's "indefinite" integer, narrowed), never LLVM's poison.
"""

from __future__ import annotations

from typing import Final

from staticgrad.narrow_floats import SPARE
from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import ELEMENTS, Element, Kind, Vector, vector
from staticgrad.native.language.operations import byte_of, choose, compare, define


def _float_to_signed(out: Emitter, source: Vector, value: str, bits: int) -> str:
    """Truncation; NaN and out of range give the smallest integer, as the hardware does."""
    target = vector(f"i{bits}", source.lanes)
    edge = 2.0 ** (bits - 1)
    below = text.constant(source, edge)
    # a format with more digits holds -edge - 0.5, which still truncates to -edge
    loose = source.element.digits > bits
    least = text.constant(source, -edge - 1.0 if loose else -edge)
    above = compare(out, source, ("ogt" if loose else "oge", "ge"), value, least)
    under = compare(out, source, ("olt", "lt"), value, below)
    mask = "i1" if source.lanes == 1 else f"<{source.lanes} x i1>"
    inside = out.do(f"and {mask} {above}, {under}")
    safe = choose(out, source, inside, value, text.constant(source, 0.0))
    whole = out.do(f"fptosi {source.llvm} {safe} to {target.llvm}")
    return choose(out, target, inside, whole, text.constant(target, -(1 << (bits - 1))))


def _float_to_u64(out: Emitter, source: Vector, value: str) -> str:
    """Below 2**63 as i64; from there on, the rest as i64 plus 2**63 (wrapping)."""
    target = vector("i64", source.lanes)
    edge = text.constant(source, 2.0**63)
    large = compare(out, source, ("oge", "ge"), value, edge)
    rest = out.do(f"fsub {source.llvm} {value}, {edge}")
    reduced = choose(out, source, large, rest, value)
    whole = _float_to_signed(out, source, reduced, 64)
    flipped = out.do(f"xor {target.llvm} {whole}, {text.constant(target, -(1 << 63))}")
    return choose(out, target, large, flipped, whole)


def _from_float(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    element = target.element
    if element.kind == "f":
        verb = "fpext" if element.digits > source.element.digits else "fptrunc"
        return out.do(f"{verb} {source.llvm} {value} to {target.llvm}")
    if element.name == "u64":
        return _float_to_u64(out, source, value)
    wide = 64 if element.name in ("i64", "u32") else 32
    whole = _float_to_signed(out, source, value, wide)
    held = vector(f"i{wide}", source.lanes)
    if held.llvm == target.llvm:
        return whole
    return out.do(f"trunc {held.llvm} {whole} to {target.llvm}")


def _from_integer(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    element = target.element
    signed = source.element.signed
    if element.kind == "f":
        verb = "sitofp" if signed else "uitofp"
    elif element.bits > source.element.bits:
        verb = "sext" if signed else "zext"
    elif element.bits < source.element.bits:
        verb = "trunc"
    else:
        return value
    return out.do(f"{verb} {source.llvm} {value} to {target.llvm}")


def _odd_f32(out: Emitter, source: Vector, value: str) -> str:
    """As f32; of two neighbours the one whose pattern is odd. See :mod:`narrow_floats`."""
    single, double = vector("f32", source.lanes), vector("f64", source.lanes)
    if source.element.digits <= single.element.digits:
        return convert(out, source, single, value)
    if source.element.digits > double.element.digits:
        value = _told(out, source, value)
    wide = convert(out, source, double, value)
    nearest = convert(out, double, single, wide)
    back = convert(out, single, double, nearest)
    mask = "i1" if source.lanes == 1 else f"<{source.lanes} x i1>"
    pattern = vector("i32", source.lanes)
    bits = out.do(f"bitcast {single.llvm} {nearest} to {pattern.llvm}")
    sizes = [
        out.intrinsic(double.llvm, f"llvm.fabs.{text.suffix(double)}", [(double.llvm, each)])
        for each in (back, wide)
    ]
    beyond = compare(out, double, ("ogt", "gt"), sizes[0], sizes[1])
    steps = (text.constant(pattern, step) for step in (-1, 1))
    moved = out.do(f"add {pattern.llvm} {bits}, {choose(out, pattern, beyond, *steps)}")
    inexact = compare(out, double, ("une", "ne"), back, wide)
    last = out.do(f"and {pattern.llvm} {bits}, {text.constant(pattern, 1)}")
    even = compare(out, pattern, ("oeq", "eq"), last, text.constant(pattern, 0))
    moves = out.do(f"and {mask} {inexact}, {even}")
    odd = choose(out, pattern, moves, moved, bits)
    return out.do(f"bitcast {pattern.llvm} {odd} to {single.llvm}")


def _told(out: Emitter, source: Vector, value: str) -> str:
    """A 64-bit integer that a double holds, with one bit for all that does not fit."""
    spare = (1 << SPARE) - 1
    rest = out.do(f"and {source.llvm} {value}, {text.constant(source, spare)}")
    lost = compare(out, source, ("une", "ne"), rest, text.constant(source, 0))
    told = choose(out, source, lost, text.constant(source, spare + 1), text.constant(source, 0))
    kept = out.do(f"and {source.llvm} {value}, {text.constant(source, ~spare)}")
    marked = out.do(f"or {source.llvm} {kept}, {told}")
    edge = 1 << 53
    offset = text.constant(source, edge if source.element.signed else 0)
    above = out.do(f"add {source.llvm} {value}, {offset}")
    limit = text.constant(source, 2 * edge if source.element.signed else edge)
    large = out.do(f"icmp uge {source.llvm} {above}, {limit}")
    return choose(out, source, large, marked, value)


def _half(lanes: int) -> str:
    return "half" if lanes == 1 else f"<{lanes} x half>"


def _widen_f16(out: Emitter, kind: Vector, value: str) -> str:
    """One instruction of every processor that kernels are compiled for (F16C; aarch64)."""
    read = out.do(f"bitcast {kind.llvm} {value} to {_half(kind.lanes)}")
    return out.do(f"fpext {_half(kind.lanes)} {read} to {vector('f32', kind.lanes).llvm}")


def _narrow_f16(out: Emitter, kind: Vector, value: str) -> str:
    single, half = vector("f32", kind.lanes).llvm, _half(kind.lanes)
    rounded = out.do(f"fptrunc {single} {value} to {half}")
    return out.do(f"bitcast {half} {rounded} to {kind.llvm}")


def _widen_bf16(out: Emitter, kind: Vector, value: str) -> str:
    """The upper half of an f32's bits."""
    word = vector("u32", kind.lanes)
    wide = out.do(f"zext {kind.llvm} {value} to {word.llvm}")
    bits = out.do(f"shl {word.llvm} {wide}, {text.constant(word, 16)}")
    return out.do(f"bitcast {word.llvm} {bits} to {vector('f32', kind.lanes).llvm}")


def _narrow_bf16(out: Emitter, kind: Vector, value: str) -> str:
    """Plus 1 where the lower half is beyond the middle, or on it and the upper half odd."""
    single, word = vector("f32", kind.lanes), vector("u32", kind.lanes)
    sixteen = text.constant(word, 16)
    bits = out.do(f"bitcast {single.llvm} {value} to {word.llvm}")
    upper = out.do(f"lshr {word.llvm} {bits}, {sixteen}")
    odd = out.do(f"and {word.llvm} {upper}, {text.constant(word, 1)}")
    step = out.do(f"add {word.llvm} {odd}, {text.constant(word, 0x7FFF)}")
    moved = out.do(f"add {word.llvm} {bits}, {step}")
    rounded = out.do(f"lshr {word.llvm} {moved}, {sixteen}")
    quiet = out.do(f"or {word.llvm} {upper}, {text.constant(word, 0x40)}")
    number = compare(out, single, ("ord", "eq"), value, value)
    chosen = choose(out, word, number, rounded, quiet)
    return out.do(f"trunc {word.llvm} {chosen} to {kind.llvm}")


WIDEN: Final = {"f16": _widen_f16, "bf16": _widen_bf16}
"""Element for storage -> its bits as f32."""
NARROW: Final = {"f16": _narrow_f16, "bf16": _narrow_bf16}
"""Element for storage -> its bits of an f32, rounded to nearest, to even between two."""


def convert(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    """``value`` of kind ``source`` as ``target``, lane by lane, as ``numpy.ndarray.astype``."""
    if source == target:
        return value
    if source.element.kind == "s":
        wide = vector("f32", source.lanes)
        return convert(out, wide, target, WIDEN[source.element.name](out, source, value))
    if target.element.kind == "s":
        return NARROW[target.element.name](out, target, _odd_f32(out, source, value))
    if target.element.kind == "b":
        zero = text.constant(source, 0)
        return byte_of(out, source.lanes, compare(out, source, ("une", "ne"), value, zero))
    if source.element.kind == "f":
        return _from_float(out, source, target, value)
    return _from_integer(out, source, target, value)


def _cast(element: Element) -> None:
    def result(kind: Kind) -> Kind | None:
        return vector(element, kind.lanes) if isinstance(kind, Vector) else None

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (kind,) = kinds
        if not isinstance(kind, Vector):
            raise TypeError(f"cast of {kind.name}")
        return convert(out, kind, vector(element, kind.lanes), str(values[0]))

    define(f"cast_{element.name}", result, emit)


def _bitcast(element: Element) -> None:
    def result(kind: Kind) -> Kind | None:
        if not isinstance(kind, Vector) or kind.element.bits != element.bits:
            return None
        return vector(element, kind.lanes) if kind.element.kind != "b" else None

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (kind,) = kinds
        target = result(kind)
        if target is None or target.llvm == kind.llvm:
            return values[0]
        return out.do(f"bitcast {kind.llvm} {values[0]} to {target.llvm}")

    define(f"bitcast_{element.name}", result, emit)


for _element in ELEMENTS.values():
    _cast(_element)
    if _element.kind != "b":
        _bitcast(_element)
