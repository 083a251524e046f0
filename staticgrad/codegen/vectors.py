"""Vectors side by side to source: bodies of a map's loop, for one vector under a mask and for more.

A processor works on as many vectors of a loop as its window of instructions holds. A long body has
it wait for its own chains of operations, so several vectors are taken at a time, their lines next
to each other. They are whole ones: a mask that is a constant costs nothing, and hardware finds the
streams of what is loaded without one. What is left is taken under a mask, one vector at a time.

Loops whose loads have ends: vectors that cross no end take masks that are known before.

A shifted read is masked at the first vector and at the last one. The body is written twice, once
for vectors whose lanes all lie inside, where those masks are constants that the compiler removes,
and once for the others; hardware sees the streams of the former, and none that is masked.

Where a value has parts side by side, a vector lies inside of one and outside of the others. Such a
loop goes from end to end: in each stretch between two of them the masks are all or nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import accumulate
from typing import Final

from staticgrad.codegen.ends import Inside
from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, differs, write_rest
from staticgrad.codegen.interleaved import Interleaved, write_left
from staticgrad.codegen.jammed import of_row
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Accumulate, Map, Statement, Store, roots
from staticgrad.ir.kernels.together import FEW_ALIVE, vectors_together
from staticgrad.records import dataclass

#: Lines of a body that is written twice, at most; where masks have registers of their own, longer
#: ones hardly notice them.
LONGEST: Final = 96
LONGEST_WITH_MASKS: Final = 32


def is_crossed(windows: Mapping[str, Inside]) -> bool:
    """Return whether a loop has masks for the bounds of its loads, which some vectors cross."""
    return any(each.kind == "mask" for each in windows.values())


def has_sides(windows: Mapping[str, Inside]) -> bool:
    """Return whether a value has adjacent parts along the loop, each with its own elements."""
    return any(each.kind == "mask" and not each.usual for each in windows.values())


def pays_to_peel(body: Lines, unit: Unit, windows: Mapping[str, Inside]) -> bool:
    """Return whether a loop's body is short enough to be written two or three times."""
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


#: Lines of a body, helpers included, up to which the window holds enough vectors by itself.
SHORT: Final = 32
#: Lines of a body that wait for the one before, at least, so that it is a chain.
_CHAINED: Final = 0.7
#: Lines of a body, helpers included, beyond which that of a vector by itself is written once, under
#: a mask: where masks have registers of their own, they take a few of its instructions.
MASKED: Final = 128
_VALUE: Final = re.compile(r"\bv\d+\b")
#: A mask as source, with one level of parentheses in it; names; what is made once for all rows.
_MASK: Final = re.compile(r"\bmask\d+\((?:[^()]|\([^()]*\))*\)")
_NAME: Final = re.compile(r"\b(?!mask\d|if\b|else\b|and\b|or\b)[a-z]\w*")
_MADE: Final = re.compile(r"(\w+) = (\d+|(?:mask\d|n\d).*)")
#: Loads and stores of a body beyond which memory is what it waits for.
_STREAMS: Final = 12


@dataclass(frozen=True)
class Bodies:
    """A loop's body for one vector under a mask ``m``, and for ``count`` whole ones (0: none).

    ``windows``: masks of ends that some vectors cross, if others are taken without them.
    ``left``: what holds when no later vector counts. ``narrower``: bodies of whole vectors of fewer
    lanes, the widest first, if the elements left over take no mask. ``mask``: the name of the mask
    of a row's only vector.
    """

    masked: Lines
    whole: Lines
    count: int
    windows: Mapping[str, Inside]
    left: str = ""
    narrower: Mapping[int, Lines] = field(default_factory=dict)
    mask: str = "m"


def mask_name(lanes: int, most: int) -> str:
    """The name of a mask of so many lanes, where a kernel has ``most``: each has one type."""
    return "m" if lanes == most else f"m{lanes}"


def work(body: Lines, unit: Unit) -> int:
    """The lines of a body, with those of the helpers that it calls."""
    called = sum(
        source.count("\n")
        for name, source in unit.helpers.items()
        for line in body.lines
        if f"{name}(" in line
    )
    return len(body.lines) + called


def whole_vectors_of(body: Lines, lines: int, unit: Unit) -> int:
    """Return the number of interleaved vectors for a body of ``lines``, helpers included."""
    is_chain = lines > 2 * SHORT and _is_chain(body, lines, unit)
    return vectors_together(lines, is_chain, unit.vector_bits)


def _is_chain(body: Lines, lines: int, unit: Unit) -> bool:
    """Return whether most lines depend on the one before and few values are alive."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    waited: dict[str, int] = {}
    for place, line in enumerate(body.lines):
        (*names,) = _VALUE.findall(line)
        last |= dict.fromkeys(names, place)
        if names and line.startswith(f"{names[0]} = "):
            called = sum(unit.helpers[h].count("\n") for h in unit.helpers if f"{h}(" in line)
            first[names[0]] = place
            waited[names[0]] = 1 + called + max((waited[n] for n in names[1:]), default=0)
    changes = Counter(first.values())
    changes.subtract(last[name] for name in first)
    alive = max(accumulate(changes[place] for place in range(len(body.lines))), default=0)
    return alive <= FEW_ALIVE and max(waited.values(), default=0) >= _CHAINED * lines


def may_be_jammed(kernel: Kernel, stage: Map, runs: Interleaved) -> bool:
    """Return whether vectors may be interleaved: none reads what another one stores."""
    if kernel.serial or runs.loads or runs.waiting:
        return False
    return may_be_mixed(stage.body)


def may_be_mixed(statements: Sequence[Statement]) -> bool:
    """Return whether several vectors of these statements may be interleaved."""
    if not all(isinstance(statement, Store | Accumulate) for statement in statements):
        return False
    stores = [s.access for s in statements if isinstance(s, Store)]
    evaluated = postorder(root for statement in statements for root in roots(statement))
    loads = [e.attribute for e in evaluated if isinstance(e.attribute, Access)]
    if any(access.bounded or access.gather for access in stores):
        return False
    if len({*loads, *stores}) > _STREAMS:
        return False
    stored = {access.operand: access for access in stores}
    return not any(a.bounded or stored.get(a.operand, a) != a for a in loads) and all(
        access == stored[access.operand] and access.stride(VECTOR) != 0 for access in stores
    )


def vectors_jammed(first: Scope, count: int) -> list[Scope]:
    """A scope for each of several vectors, one behind the other, given that of the first one."""
    return [first, *(_following(first, number) for number in range(1, count))]


def _following(first: Scope, number: int) -> Scope:
    def position(axis: str) -> str:
        return of_row(axis, number) if axis == VECTOR else axis

    return Scope(
        lanes=first.lanes,
        inner=first.inner,
        before=first.before,
        body=first.body,
        base=first.base,
        position=position,
        unit=first.unit,
        apart=differs,
        first=first,
        mask=first.mask,
    )


def write_vector_loop(
    out: Lines,
    start: str,
    stop: str,
    lanes: int,
    bodies: Bodies,
    multiple: int = 1,
    single: bool = False,
) -> None:
    """All vectors; of those written apart the masks are constants, and cost nothing.

    Where numbers are literal, or as many elements as a ``multiple`` of some, what no vector would
    run is left out. ``single``: there is one vector.
    """
    if single:
        _write_single(out, start, stop, lanes, bodies, multiple)
        return
    if bodies.windows:
        sides = has_sides(bodies.windows)
        write = write_loop_of_stretches if sides else write_peeled_loop
        write(out, start, stop, lanes, bodies.masked, bodies.windows)
        return
    step, masked = lanes * bodies.count, bodies.masked
    length = int(stop) if start == "0" and stop.isdecimal() else None
    if length is not None and length < step:
        step = 0
    if not step:
        out.add(f"for {VECTOR} in range({start}, {stop}, {lanes}):")
        if multiple % lanes == 0:
            out.add(f"    m = mask{lanes}({lanes})")
            write_left(out, masked, str(lanes), 1)
            out.extend(masked, 1)
            return
    else:
        _write_whole(out, start, stop, lanes, bodies)
        if multiple % step == 0 or (length is not None and length % step == 0):
            return
        if bodies.narrower:
            write_rest(out, stop, bodies.narrower)
            return
        out.add(f"{'if' if bodies.count == 1 else 'while'} {VECTOR} < {stop}:")
    out.add(f"    m = mask{lanes}({stop} - {VECTOR})")
    write_left(out, masked, f"{stop} - {VECTOR}", 1)
    out.extend(masked, 1)
    if step and bodies.count > 1:
        out.add(f"    {VECTOR} = {VECTOR} + {lanes}")


def _write_single(
    out: Lines, start: str, stop: str, lanes: int, bodies: Bodies, multiple: int
) -> None:
    """The only vector of a row."""
    length = str(lanes) if multiple % lanes == 0 else stop
    out.add(f"{VECTOR} = {start}")
    out.add(f"{bodies.mask} = mask{lanes}({length})")
    write_left(out, bodies.masked, length, 0)
    out.extend(bodies.masked)


def masks_made_before(out: Lines, row: Lines, known: Iterable[str], unit: Unit) -> Lines:
    """Return a row of one vector; masks that no row changes are computed in ``out``.

    ``known``: the names that have their value there.
    """
    fixed, found, made = {*known}, Lines(), dict[str, str]()

    def is_fixed(text: str) -> bool:
        return fixed.issuperset(_NAME.findall(text))

    def name_of(mask: re.Match[str]) -> str:
        text = mask[0]
        if not is_fixed(text):
            return text
        if text not in made:
            made[text] = unit.fresh("g")
            out.add(f"{made[text]} = {text}")
        return made[text]

    for line in row.lines:
        first = _MADE.fullmatch(line)
        if first and is_fixed(first[2]):
            out.add(line)
            fixed.add(first[1])
        else:
            found.add(_MASK.sub(name_of, line))
    return found


def _write_whole(out: Lines, start: str, stop: str, lanes: int, bodies: Bodies) -> None:
    """Whole vectors, from ``start`` on, while there are as many as the body takes."""
    step = lanes * bodies.count
    out.add(f"m = mask{lanes}({lanes})")
    write_left(out, bodies.whole, str(lanes), 0)
    out.add(f"{VECTOR} = {start}")
    out.add(f"while {VECTOR} + {step} <= {stop}:")
    for number in range(1, bodies.count):
        out.add(f"    {of_row(VECTOR, number)} = {VECTOR} + {number * lanes}")
    out.extend(bodies.whole, 1)
    if bodies.left:
        out.add(f"    if {bodies.left}:")
        out.add("        break")
    out.add(f"    {VECTOR} = {VECTOR} + {step}")
    touches = [line for line in bodies.whole.lines if line.startswith("prefetch")]
    if bodies.left and touches:  # the next rows come near all the same
        out.add(f"while {VECTOR} + {step} <= {stop}:")
        for line in (*touches, f"{VECTOR} = {VECTOR} + {step}"):
            out.add(f"    {line}")
