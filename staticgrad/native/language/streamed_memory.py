"""Streaming stores: results that are not read soon go to memory without fetching lines first.

A processor that writes a part of a line reads the line before. Streaming stores are gathered to
whole lines instead, which halves the cost of a result that exceeds the caches. They are not ordered
among other stores before ``settle``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import NOTHING, TRUTH, WORD, Kind, Mask, Pointer, Vector
from staticgrad.native.language.memory_operations import Kinds, Values, address_of, lanes_of
from staticgrad.native.language.operations import ALL_ON, define

#: Bytes on whose multiples a vector begins that may be stored so: half a line.
ALIGNED: Final = 32


def _fits(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    address = address_of(out, kinds[0], values[0], values[1])
    place = out.do(f"ptrtoint ptr {address} to i64")
    beyond = out.do(f"and i64 {place}, {ALIGNED - 1}")
    lined = out.do(f"icmp eq i64 {beyond}, 0")
    if values[2] == ALL_ON:
        return lined
    lanes = lanes_of(kinds[2])
    bits = out.do(f"bitcast {kinds[2].llvm} {values[2]} to i{lanes}")
    whole = out.do(f"icmp eq i{lanes} {bits}, -1")
    return out.do(f"and i1 {lined}, {whole}")


def _fitting(pointer: Kind, index: Kind, mask: Kind) -> Kind | None:
    several = isinstance(mask, Mask) and mask.lanes > 1
    return TRUTH if isinstance(pointer, Pointer) and index is WORD and several else None


def _stream(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    address = address_of(out, kinds[0], values[0], values[1])
    passing = f"align {ALIGNED}, !nontemporal !{{i32 1}}"
    out.effect(f"store {kinds[2].llvm} {values[2]}, ptr {address}, {passing}")
    return ""


def _streamed(pointer: Kind, index: Kind, value: Kind) -> Kind | None:
    if not (isinstance(pointer, Pointer) and isinstance(value, Vector) and index is WORD):
        return None
    wide = value.lanes * value.element.bytes >= ALIGNED
    return NOTHING if wide and value.element == pointer.element else None


def _settle(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    out.effect("fence seq_cst")
    return ""


define("fits", _fitting, _fits)
define("stream", _streamed, _stream)
define("settle", lambda: NOTHING, _settle)
