"""Loads of lanes one by one, from places that several rows have in common.

A gather finds the place of each lane anew. Where many rows are read at the same places, each place
is taken out of its vector once, and each element is a load by itself.
"""

from __future__ import annotations

from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import WORD, Kind, Mask, vector
from staticgrad.native.language.memory_operations import (
    Kinds,
    Values,
    address_of,
    element_of,
    lanes_of,
    loaded_kind,
    masked_load,
)
from staticgrad.native.language.operations import ALL_ON, define


def _load_each(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    """Lanes that are off load the element of the first index of all, 0."""
    (pointer, start, index, mask), lanes = values, lanes_of(kinds[3])
    first = address_of(out, kinds[0], pointer, start)
    element = element_of(kinds[0])
    kind, places = vector(element, lanes), f"<{lanes} x i64>"
    if lanes == 1:
        return masked_load(out, kind, address_of(out, kinds[0], first, index), mask)
    on = f"<{lanes} x i1> {mask}"
    if mask != ALL_ON:
        index = out.do(f"select {on}, {places} {index}, {places} zeroinitializer")
    found = "poison"
    for lane in range(lanes):
        place = out.do(f"extractelement {places} {index}, i64 {lane}")
        there = address_of(out, kinds[0], first, place)
        one = out.read(f"load {element.llvm}, ptr {there}, align 1")
        found = out.do(f"insertelement {kind.llvm} {found}, {element.llvm} {one}, i64 {lane}")
    if mask != ALL_ON:
        found = out.do(f"select {on}, {kind.llvm} {found}, {kind.llvm} zeroinitializer")
    return found


def _loaded(pointer: Kind, start: Kind, index: Kind, mask: Kind) -> Kind | None:
    if isinstance(mask, Mask) and index == vector("i64", mask.lanes):
        return loaded_kind(pointer, start, mask) if start is WORD else None
    return None


define("load_each", _loaded, _load_each)
