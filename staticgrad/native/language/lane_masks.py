"""Bits as a mask of lanes, for registers of words.

Kernels make a mask of the bits of a number: one instruction where masks have registers of their
own. Elsewhere a mask is a vector of words, and LLVM takes those bits apart one by one, 16 times
three instructions; there each lane is compared with its bit instead.
"""

from __future__ import annotations

import re
from typing import Final

_MADE: Final = re.compile(r"^( *)(%[\w.$-]+) = bitcast i(\d+) (%[\w.$-]+) to <\3 x i1>", re.M)


def spread(text: str) -> str:
    """LLVM IR whose masks are made of comparisons instead of bits."""
    return _MADE.sub(_compared, text)


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
