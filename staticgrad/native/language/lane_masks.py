"""Bits as a mask of lanes, for registers of words and for registers of masks.

Kernels make a mask of the bits of a number: one instruction where masks have registers of their
own. Elsewhere a mask is a vector of words, and LLVM takes those bits apart one by one, 16 times
three instructions; there each lane is compared with its bit instead.

Eight bits in a register of masks have others above them. LLVM clears those where bytes are stored
under such a mask, by a copy between registers, which its allocator takes for a copy of the whole
and leaves out where it spills: the store then writes behind the last lane. Sixteen bits are moved
instead, whose upper half is zero.
"""

from __future__ import annotations

import re
from typing import Final

_MADE: Final = re.compile(r"^( *)(%[\w.$-]+) = bitcast i(\d+) (%[\w.$-]+) to <\3 x i1>", re.M)
_EIGHT: Final = re.compile(r"^( *)(%[\w.$-]+) = bitcast i8 (%[\w.$-]+) to <8 x i1>", re.M)


def spread(text: str) -> str:
    """LLVM IR whose masks are made of comparisons instead of bits."""
    return _MADE.sub(_compared, text)


def cleared(text: str) -> str:
    """LLVM IR whose masks of eight lanes have zeros above them in their registers."""
    return _EIGHT.sub(_widened, text)


def _widened(found: re.Match[str]) -> str:
    """Eight lanes as the lower half of sixteen."""
    shift, name, bits = found[1], found[2], found[3]
    lower = ", ".join(f"i32 {lane}" for lane in range(8))
    lines = (
        f"{name}.wide = zext i8 {bits} to i16",
        f"{name}.all = bitcast i16 {name}.wide to <16 x i1>",
        f"{name} = shufflevector <16 x i1> {name}.all, <16 x i1> poison, <8 x i32> <{lower}>",
    )
    return "\n".join(shift + line for line in lines)


def _compared(found: re.Match[str]) -> str:
    """Numbers are of the width at which a mask of so many lanes is held."""
    shift, name, lanes, bits = found[1], found[2], int(found[3]), found[4]
    width = max(128 // lanes, 16)
    kind = f"<{lanes} x i{width}>"
    own = ", ".join(f"i{width} {1 << lane}" for lane in range(lanes))
    lines = [
        f"{name}.one = insertelement {kind} poison, i{width} {bits}, i64 0",
        f"{name}.all = shufflevector {kind} {name}.one, {kind} poison,"
        f" <{lanes} x i32> zeroinitializer",
        f"{name}.own = and {kind} {name}.all, <{own}>",
        f"{name} = icmp eq {kind} {name}.own, <{own}>",
    ]
    if width > lanes:
        lines[:1] = [
            f"{name}.wide = zext i{lanes} {bits} to i{width}",
            lines[0].replace(f" {bits},", f" {name}.wide,"),
        ]
    return "\n".join(shift + line for line in lines)
