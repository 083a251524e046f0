"""Loads and stores of lanes that lie a stride apart.

A stride that the source names as a small number makes whole vectors of memory of them, of which
lanes are chosen: those touch each line of memory once, a gather touches it for every lane. Any
other stride is a gather or a scatter.
"""

from __future__ import annotations

from typing import Final

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import NOTHING, WORD, Kind, Vector, vector
from staticgrad.native.language.memory_operations import (
    address_of,
    choice,
    element_of,
    gather,
    lanes_of,
    loaded_kind,
    masked_load,
    masked_store,
    scatter,
)
from staticgrad.native.language.operations import ALL_ON, define
from staticgrad.records import dataclass

#: The longest stride, of either sign, whose lanes are chosen from whole vectors.
LONGEST: Final = 4

Values = tuple[Operand, ...]
Kinds = tuple[Kind, ...]


@dataclass(frozen=True)
class _Span:
    """The memory between the first and the last of some lanes, and the vectors that cover it."""

    kind: Vector
    stride: int

    @property
    def step(self) -> int:
        return abs(self.stride)

    @property
    def length(self) -> int:
        """Elements from the lowest lane to the highest one."""
        return self.step * (self.kind.lanes - 1) + 1

    @property
    def offsets(self) -> tuple[int, ...]:
        """The offsets of vectors that cover exactly the span; the last ones may overlap."""
        lanes = self.kind.lanes
        return tuple(min(n * lanes, self.length - lanes) for n in range(self.step))

    @property
    def places(self) -> list[int]:
        """The element of the span that each lane is."""
        lanes = range(self.kind.lanes)
        return [self.step * (lane if self.stride > 0 else lanes[-1] - lane) for lane in lanes]

    def lowest(self, out: Emitter, start: Operand) -> str:
        """The position of the span's first element."""
        back = 0 if self.stride > 0 else self.length - 1
        if back == 0:
            return text.word(start)
        return out.do(f"sub i64 {text.word(start)}, {back}")

    def lane(self, element: int, up: bool) -> int:
        """The lane at an element of the span, or next to it: the one above, or below, in memory."""
        lane = -(-element // self.step) if up else element // self.step
        return lane if self.stride > 0 else self.kind.lanes - 1 - lane

    def between(self, out: Emitter, mask: Operand, offset: int) -> str:
        """The elements of a vector that lie between lanes that are on, or at one."""
        elements = range(offset, offset + self.kind.lanes)
        above, below = ([self.lane(e, up) for e in elements] for up in (True, False))
        found = _picked(out, mask, self.kind.lanes, above)
        if above == below or mask == ALL_ON:
            return found
        other = _picked(out, mask, self.kind.lanes, below)
        return out.do(f"and <{self.kind.lanes} x i1> {found}, {other}")


def _picked(out: Emitter, mask: Operand, lanes: int, wanted: list[int]) -> str:
    """A mask's bits at other places; those of number ``lanes`` are off."""
    if wanted == [*range(lanes)] or (mask == ALL_ON and max(wanted) < lanes):
        return str(mask)
    bits = f"<{lanes} x i1>"
    if mask == ALL_ON:
        return f"<{', '.join(f'i1 {str(lane < lanes).lower()}' for lane in wanted)}>"
    return out.do(f"shufflevector {bits} {mask}, {bits} zeroinitializer, {choice(wanted)}")


def _load_whole(out: Emitter, span: _Span, pointer: Kind, values: Values) -> str:
    base, start, _, mask = values
    kind, low = span.kind, span.lowest(out, start)
    found, places, lanes = "poison", span.places, span.kind.lanes
    picked = [*range(lanes)]  # of what was found before
    for offset in span.offsets:
        at = address_of(out, pointer, base, out.do(f"add i64 {low}, {offset}"))
        new = masked_load(out, kind, at, span.between(out, mask, offset))
        picked = [
            lanes + place - offset if 0 <= place - offset < lanes else lane
            for lane, place in enumerate(places)
        ]
        if picked == [lanes + lane for lane in range(lanes)]:
            found = new
            continue
        pair = f"{kind.llvm} {found}, {kind.llvm} {new}"
        found = out.do(f"shufflevector {pair}, {choice(picked)}")
    return found


def _store_whole(out: Emitter, span: _Span, pointer: Kind, values: Values) -> None:
    """Between the lanes nothing is written: other workers may write there."""
    base, start, _, value, mask = values
    kind, low, lanes = span.kind, span.lowest(out, start), span.kind.lanes
    written = -1
    for offset in span.offsets:
        at = address_of(out, pointer, base, out.do(f"add i64 {low}, {offset}"))
        own = {
            place - offset: lane
            for lane, place in enumerate(span.places)
            if max(offset, written + 1) <= place < offset + lanes
        }
        bits = _picked(out, mask, lanes, [own.get(element, lanes) for element in range(lanes)])
        order = choice([own.get(element, 0) for element in range(lanes)])
        moved = out.do(f"shufflevector {kind.llvm} {value}, {kind.llvm} poison, {order}")
        masked_store(out, kind, at, moved, bits)
        written = offset + lanes - 1


def _strided_index(out: Emitter, lanes: int, start: Operand, stride: Operand) -> str:
    """Element ``start + lane * stride`` per lane."""
    if lanes == 1:
        return text.word(start)
    kind = vector("i64", lanes)
    steps = out.splat(kind, text.word(stride))
    offsets = out.do(f"mul {kind.llvm} {steps}, {text.lane_numbers(kind)}")
    return out.do(f"add {kind.llvm} {offsets}, {out.splat(kind, text.word(start))}")


def _whole(pointer: Kind, stride: Operand, lanes: int) -> _Span | None:
    """Return the span that whole vectors cover; None if the stride does not allow them."""
    if lanes == 1 or not isinstance(stride, int) or not 1 <= abs(stride) <= LONGEST:
        return None
    return _Span(vector(element_of(pointer), lanes), int(stride))


def _load(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    lanes = lanes_of(kinds[3])
    span = _whole(kinds[0], values[2], lanes)
    if span is not None:
        return _load_whole(out, span, kinds[0], values)
    index = _strided_index(out, lanes, values[1], values[2])
    return gather(out, kinds[0], values[0], index, values[3], lanes)


def _store(out: Emitter, kinds: Kinds, values: Values) -> Operand:
    lanes = lanes_of(kinds[4])
    span = _whole(kinds[0], values[2], lanes)
    if span is not None:
        _store_whole(out, span, kinds[0], values)
        return ""
    index = _strided_index(out, lanes, values[1], values[2])
    scatter(out, kinds[0], values[0], index, values[3], values[4], lanes)
    return ""


def _loaded(pointer: Kind, index: Kind, stride: Kind, mask: Kind) -> Kind | None:
    return loaded_kind(pointer, index, mask) if stride is WORD else None


def _stored(pointer: Kind, index: Kind, stride: Kind, value: Kind, mask: Kind) -> Kind | None:
    return NOTHING if stride is WORD and _loaded(pointer, index, stride, mask) == value else None


define("load_strided", _loaded, _load)
define("store_strided", _stored, _store)
