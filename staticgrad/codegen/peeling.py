"""Loops whose loads have ends: the vectors that lie inside of all ends take no masks.

A shifted read is masked at the first vector and at the last one. The body is written twice, once
for vectors whose lanes all lie inside, where those masks are constants that the compiler removes,
and once for the others; hardware sees the streams of the former, and none that is masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Inside, Lines, Unit
from staticgrad.codegen.interleaved import write_left

#: Lines of a body that is written twice, at most; where masks have registers of their own, longer
#: ones hardly notice them.
LONGEST: Final = 96
LONGEST_WITH_MASKS: Final = 32


def is_crossed(windows: Mapping[str, Inside]) -> bool:
    """Whether a loop has masks of its loads' ends, which some vectors cross."""
    return any(each.place is None for each in windows.values())


def pays_to_peel(body: Lines, unit: Unit) -> bool:
    """Whether such a loop's body is short enough to be written twice."""
    return len(body.lines) <= (LONGEST_WITH_MASKS if unit.has_masks else LONGEST)


def write_peeled_loop(
    out: Lines, start: str, stop: str, lanes: int, body: Lines, windows: Mapping[str, Inside]
) -> None:
    """All vectors from ``start`` to ``stop``; those inside of all windows without their masks."""
    out.add(f"inner = {start}")
    out.add(f"outer = {stop}")
    for first in dict.fromkeys(each.first for each in windows.values() if each.first):
        out.add(f"if inner < {first}:")
        out.add(f"    inner = {first}")
    for end in dict.fromkeys(each.end for each in windows.values() if each.end):
        out.add(f"if outer > {end}:")
        out.add(f"    outer = {end}")
    out.add(f"{VECTOR} = {start}")
    out.add(f"while {VECTOR} < {stop}:")
    for name in ("m", *(name for name, each in windows.items() if each.place is None)):
        out.add(f"    {name} = mask{lanes}({lanes})")
    write_left(out, body, str(lanes), 1)
    out.add(f"    if {VECTOR} >= inner:")
    out.add(f"        while {VECTOR} + {lanes} <= outer:")
    out.extend(_inside(body, windows), 3)
    out.add(f"            {VECTOR} = {VECTOR} + {lanes}")
    out.add(f"    if {VECTOR} < {stop}:")
    out.add(f"        m = mask{lanes}({stop} - {VECTOR})")
    write_left(out, body, f"{stop} - {VECTOR}", 2)
    out.extend(body, 2)
    out.add(f"        {VECTOR} = {VECTOR} + {lanes}")


def _inside(body: Lines, windows: Mapping[str, Inside]) -> Lines:
    """The lines of a body for vectors whose lanes all lie inside."""
    found = Lines()
    for line in body.lines:
        name = line.split(" = ")[0]
        if name not in windows:
            found.add(line)
        elif windows[name].place is not None:
            found.add(f"{name} = {windows[name].place}")
    return found
