"""Loops whose loads have ends: vectors that cross no end take masks that are known before.

A shifted read is masked at the first vector and at the last one. The body is written twice, once
for vectors whose lanes all lie inside, where those masks are constants that the compiler removes,
and once for the others; hardware sees the streams of the former, and none that is masked.

Where a value has parts side by side, a vector lies inside of one and outside of the others. Such a
loop goes from end to end: in each stretch between two of them the masks are all or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from staticgrad.codegen.ends import Inside
from staticgrad.codegen.expressions import VECTOR, Lines, Unit
from staticgrad.codegen.interleaved import write_left

#: Lines of a body that is written twice, at most; where masks have registers of their own, longer
#: ones hardly notice them.
LONGEST: Final = 96
LONGEST_WITH_MASKS: Final = 32


def is_crossed(windows: Mapping[str, Inside]) -> bool:
    """Whether a loop has masks of its loads' ends, which some vectors cross."""
    return any(each.kind == "mask" for each in windows.values())


def has_sides(windows: Mapping[str, Inside]) -> bool:
    """Whether a value has parts side by side along the loop, each with elements of its own."""
    return any(each.kind == "mask" and not each.usual for each in windows.values())


def pays_to_peel(body: Lines, unit: Unit, windows: Mapping[str, Inside]) -> bool:
    """Whether such a loop's body is short enough to be written twice, or for parts three times."""
    masks_are_cheap = unit.has_masks and not has_sides(windows)
    return len(body.lines) <= (LONGEST_WITH_MASKS if masks_are_cheap else LONGEST)


def write_loop_of_stretches(
    out: Lines, start: str, stop: str, lanes: int, body: Lines, windows: Mapping[str, Inside]
) -> None:
    """All vectors from ``start`` to ``stop``; those that cross no end with masks made before.

    Where what is usual holds of a stretch those are constants: what is not chosen is not loaded.
    """
    out.add(f"{VECTOR} = {start}")
    out.add(f"while {VECTOR} < {stop}:")
    out.add(f"    outer = {stop}")
    ends = [end for each in windows.values() for end in (each.first, each.end) if end]
    for end in dict.fromkeys(ends):
        out.add(f"    if outer > {end} and {VECTOR} < {end}:")
        out.add(f"        outer = {end}")
    out.add(f"    if {VECTOR} + {lanes} <= outer:")
    out.add(f"        m = mask{lanes}({lanes})")
    write_left(out, body, str(lanes), 2)
    flags = {holds: f"in{k}" for k, holds in enumerate(_distinct(windows))}
    for holds, flag in flags.items():
        out.add(f"        {flag} = 1 if {holds} else 0")
    tests = dict.fromkeys(f"{flags[each.holds]} == {int(each.usual)}" for each in windows.values())
    out.add(f"        if {' and '.join(tests)}:")
    _write_stretch(out, lanes, body, windows, None)
    out.add("        else:")
    _write_stretch(out, lanes, body, windows, flags)
    _write_crossing(out, stop, lanes, body)


def _distinct(windows: Mapping[str, Inside]) -> list[str]:
    return [*dict.fromkeys(each.holds for each in windows.values())]


def _write_stretch(
    out: Lines,
    lanes: int,
    body: Lines,
    windows: Mapping[str, Inside],
    flags: Mapping[str, str] | None,
) -> None:
    """Whole vectors as far as nothing is crossed: in windows as ``flags`` say, or as is usual."""
    within = Lines()
    around = {name: each for name, each in windows.items() if each.kind == "around"}
    for line in body.lines:
        name, *_ = line.split(" = ")
        each = windows.get(name)
        if each is None:
            for known, told in around.items() if flags is None else ():
                line = re.sub(rf"\b{known}\b", told.values[told.usual], line)
            within.add(line)
            continue
        chosen = each.values[each.usual]
        if each.kind == "mask":
            if flags is not None:
                chosen = f"mask{lanes}({lanes} if {flags[each.holds]} > 0 else 0)"
            out.add(f"            {name} = {chosen}")
        else:
            if flags is not None:
                outside, inside = each.values
                chosen = f"{inside} if {flags[each.holds]} > 0 else {outside}"
            within.add(f"{name} = {chosen}")
    out.add(f"            while {VECTOR} + {lanes} <= outer:")
    out.extend(within, 4)
    out.add(f"                {VECTOR} = {VECTOR} + {lanes}")


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
    for name in ("m", *(name for name, each in windows.items() if each.kind == "mask")):
        out.add(f"    {name} = mask{lanes}({lanes})")
    write_left(out, body, str(lanes), 1)
    out.add(f"    if {VECTOR} >= inner:")
    out.add(f"        while {VECTOR} + {lanes} <= outer:")
    out.extend(_inside(body, windows), 3)
    out.add(f"            {VECTOR} = {VECTOR} + {lanes}")
    _write_crossing(out, stop, lanes, body)


def _write_crossing(out: Lines, stop: str, lanes: int, body: Lines) -> None:
    """The next vector, whatever it crosses, if there is one."""
    out.add(f"    if {VECTOR} < {stop}:")
    out.add(f"        m = mask{lanes}({stop} - {VECTOR})")
    write_left(out, body, f"{stop} - {VECTOR}", 2)
    out.extend(body, 2)
    out.add(f"        {VECTOR} = {VECTOR} + {lanes}")


def _inside(body: Lines, windows: Mapping[str, Inside]) -> Lines:
    """The lines of a body for vectors whose lanes all lie inside."""
    found = Lines()
    for line in body.lines:
        name, *_ = line.split(" = ")
        each = windows.get(name)
        if each is None:
            found.add(line)
        elif each.kind == "place":
            found.add(f"{name} = {each.values[1]}")
    return found
