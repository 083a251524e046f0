"""Conversions between element types: value casts with NumPy's results, and bit casts.

A float outside the target integer's range, or NaN, gives what NumPy gives on x86-64 (the
hardware's "indefinite" integer, narrowed), never LLVM's poison.
"""

from __future__ import annotations

from staticgrad.native import emitter as text
from staticgrad.native.emitter import Emitter, Operand
from staticgrad.native.kinds import ELEMENTS, Element, Kind, Vector, vector
from staticgrad.native.operations import byte_of, choose, compare, define


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


def convert(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    """``value`` of kind ``source`` as ``target``, lane by lane, as ``numpy.ndarray.astype``."""
    if source == target:
        return value
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
