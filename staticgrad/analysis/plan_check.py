"""An independent check of a plan against its schedule, and what lives at the peak.

``verify_plan`` derives everything anew from steps and placements, and shares no code with the
planner: a mistake there is found here, before a kernel writes over a value that is still needed.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from itertools import groupby, pairwise
from typing import NoReturn

from staticgrad.analysis.lookups import failing_checks
from staticgrad.errors import VerifyError
from staticgrad.language.ir.index_checks import first_checks
from staticgrad.language.ir.plan import Placement, Plan, PlannedStep
from staticgrad.language.ir.schedule import Buffer, CallStep, Step, Touch
from staticgrad.language.types.arrays import ALIGNMENT
from staticgrad.language.types.dim import Size, evaluate

#: Reads or writes of one buffer by one step: (position in the plan, step of the schedule, access)
_Use = tuple[int, int, int]


def verify_plan(plan: Plan) -> None:
    """Verify a memory plan against its schedule, independently of the planner.

    Each step runs, and once if it writes a parameter; steps of all ranks run once, in the listed
    order; each run finds the versions of buffers that
    the listed order gives it, in the place where they were written; parameters are written after
    all checks and all reads of their old values, from ``commit`` on; arena buffers are aligned,
    inside ``peak_bytes``, placed for as long as they are used, and two that live at the same time
    share no byte unless one takes over the other's in place; no step touches a byte outside of its
    buffers.
    """
    _check_steps(plan)
    uses = _uses(plan)
    writers, places = _listed_writers(plan), _places(plan)
    for buffer in plan.schedule.buffers:
        buffer_uses = uses.get(buffer.name, [])
        if buffer.role not in ("check", "scratch"):
            buffer_places = places.get(buffer.name, [])
            _check_versions(plan, buffer, buffer_uses, writers.get(buffer.name, []), buffer_places)
    _check_overwritten(plan)
    _check_commit(plan)
    nbytes = dict(plan.buffer_bytes)
    checked_runs: dict[tuple[int, tuple[int, ...]], None] = {}
    for planned in plan.steps:
        if planned.total and (planned.step, planned.arguments) not in checked_runs:
            checked_runs[planned.step, planned.arguments] = None
            _check_step_reaches(plan, planned, nbytes)
    _check_placements(plan, uses, places)
    _check_overlaps(plan)


def peak_buffers(plan: Plan) -> list[tuple[Placement, Buffer]]:
    """Return the arena buffers that are live at the memory peak, largest first."""
    load = [0] * (len(plan.steps) + 1)
    for placement in plan.placements:
        load[placement.first] += placement.nbytes
        load[placement.last + 1] -= placement.nbytes
    total, best, at = 0, -1, 0
    for step, change in enumerate(load):
        total += change
        if total > best:
            best, at = total, step
    live = [p for p in plan.placements if p.first <= at <= p.last]
    by_name = plan.schedule.by_name
    return [(p, by_name[p.buffer]) for p in sorted(live, key=lambda p: (-p.nbytes, p.buffer))]


def largest_at_peak(plan: Plan, count: int = 3) -> list[str]:
    """Return the largest values at the step of the highest load: their bytes and their lines."""
    return [
        f"{place.nbytes:,} B {buffer.origin}" if buffer.origin else f"{place.nbytes:,} B"
        for place, buffer in peak_buffers(plan)[:count]
    ]


def lower_bound(plan: Plan) -> int:
    """Return a lower bound of any plan's arena: the largest footprint of one step.

    What the step touches, less what an in-place result could take over; and what lives at the
    first position whatever runs there, staged feeds and check words.
    """
    aligned = aligned_bytes(plan)
    roles = {b.name: b.role for b in plan.schedule.buffers}
    early = sum(size for name, size in aligned.items() if roles[name] in ("input", "check"))
    return max([early, *(footprint(step, aligned) for step in plan.schedule.steps)])


def largest_step(plan: Plan) -> Step:
    """The step of the largest footprint, which ``lower_bound`` rests on."""
    aligned = aligned_bytes(plan)
    return max(plan.schedule.steps, key=lambda step: footprint(step, aligned))


def aligned_bytes(plan: Plan) -> dict[str, int]:
    """Return the size of each arena buffer, by name: its bytes rounded up to 64."""
    return {p.buffer: _align(p.nbytes) for p in plan.placements}


def footprint(step: Step, aligned: Mapping[str, int]) -> int:
    """Arena bytes that a step touches, less what an in-place result could take over."""
    bound = [access.buffer for access in step.accesses()]
    touched = aligned.keys() & set(bound)
    shared = {bound[out] for out, into in step.in_place() if bound[into] in touched}
    return sum(aligned[b] for b in touched - shared)


def _refuse(plan: Plan, text: str) -> NoReturn:
    raise VerifyError(f"plan of {plan.schedule.name!r}: {text}")


def _check_steps(plan: Plan) -> None:
    """Verify that a plan runs every step, updates once, and has the right arguments."""
    runs = Counter(planned.step for planned in plan.steps)
    if runs.keys() != set(range(len(plan.schedule.steps))):
        _refuse(plan, "it does not run every step")
    together = [
        planned.step
        for planned in plan.steps
        if isinstance(step := plan.schedule.steps[planned.step], CallStep)
        and step.routine.is_collective
    ]
    if together != sorted(set(together)):
        _refuse(plan, "steps that all ranks run are not in the listed order, or run again")
    roles = {b.name: b.role for b in plan.schedule.buffers}
    for number, count in runs.items():
        writes = plan.schedule.steps[number].writes()
        if count > 1 and any(roles[name] == "parameter" for name in writes):
            _refuse(plan, f"step {number} writes a parameter and runs {count} times")
    sizes = dict(plan.sizes)
    value, empty = _Evaluated(sizes), {name for name, nbytes in plan.buffer_bytes if nbytes == 0}
    for planned in plan.steps:
        step = plan.schedule.steps[planned.step]
        offsets = tuple([value(access.begin) for access in step.accesses()])
        arguments, total = tuple(map(value, step.arguments)), value(step.total)
        if empty and _is_idle(step, empty):
            total = 0
        fails = failing_checks(step, arguments, total)
        numbers = PlannedStep(
            planned.step, arguments, offsets, 0 if fails else total, step.grain, fails,
            planned.bodies,
        )  # fmt: skip
        if planned != numbers:
            _refuse(plan, f"the numbers of step {planned.step} are not those at {sizes}")
    parts, rooms, sizes_of = _parts(plan), _check_bodies(plan), dict[str, int]()
    for buffer in plan.schedule.buffers:
        nbytes = value(buffer.size) * buffer.dtype.itemsize
        if nbytes < 0:
            _refuse(plan, f"{buffer.name!r} has {nbytes} bytes at {sizes}")
        part = nbytes if buffer.role == "check" else _align(nbytes)
        sizes_of[buffer.name] = nbytes + part * (parts.get(buffer.name, 1) - 1)
    sizes_of |= rooms
    if dict(plan.buffer_bytes) != sizes_of:
        _refuse(plan, f"buffer_bytes are not those at {sizes} for {plan.workers} workers")


def _is_idle(step: Step, empty: AbstractSet[str]) -> bool:
    """Return whether a step only runs a kernel that stores into empty buffers, without checks."""
    written = [a.buffer for a in step.accesses() if a.mode in ("out", "inout")]
    only_kernel = bool(step.kernels()) and not step.bodies() and not step.checks()
    return only_kernel and bool(written) and all(name in empty for name in written)


def _check_bodies(plan: Plan) -> dict[str, int]:
    """Verify the plans of loop bodies too; return their arenas' bytes, by buffer."""
    rooms: dict[str, int] = {}
    for planned in plan.steps:
        step = plan.schedule.steps[planned.step]
        bodies_planned = [(body.schedule, plan.sizes, plan.workers) for body in step.bodies()]
        if [(body.schedule, body.sizes, body.workers) for body in planned.bodies] != bodies_planned:
            _refuse(plan, f"step {planned.step} has other bodies than those of its plans")
        for body in planned.bodies:
            verify_plan(body)
        for scratch in step.scratch():
            if scratch.per == "bodies":
                rooms[scratch.buffer] = max(body.peak_bytes for body in planned.bodies)
    return rooms


def _parts(plan: Plan) -> dict[str, int]:
    """Return the buffers of a plan of which each worker has a part, with the count of parts."""
    if plan.workers < 1:
        _refuse(plan, f"it has {plan.workers} workers")
    steps = plan.schedule.steps
    checks = [check.buffer for step in steps for check in step.checks()]
    scratch = [
        scratch.buffer for step in steps for scratch in step.scratch() if scratch.per == "worker"
    ]
    return dict.fromkeys((*checks, *scratch), plan.workers)


def _align(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class _Evaluated:
    """Sizes as numbers, each dim of the schedule evaluated once."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._values: dict[int, int] = {}  # by identity: the schedule keeps its dims

    def __call__(self, size: Size) -> int:
        if isinstance(size, int):
            return size
        value = self._values.get(id(size))
        if value is None:
            value = self._values[id(size)] = evaluate(size, self._sizes)
        return value


def _uses(plan: Plan) -> dict[str, list[_Use]]:
    uses: dict[str, list[_Use]] = {}
    for at, planned in enumerate(plan.steps):
        for number, access in enumerate(plan.schedule.steps[planned.step].accesses()):
            uses.setdefault(access.buffer, []).append((at, planned.step, number))
    return uses


def _access(plan: Plan, use: _Use) -> Touch:
    return plan.schedule.steps[use[1]].accesses()[use[2]]


def _listed_writers(plan: Plan) -> dict[str, list[int]]:
    writers: dict[str, list[int]] = {}
    for number, step in enumerate(plan.schedule.steps):
        for name in dict.fromkeys(step.writes()):
            writers.setdefault(name, []).append(number)
    return writers


def _places(plan: Plan) -> dict[str, list[Placement]]:
    """The places of each buffer, one after the other."""
    places: dict[str, list[Placement]] = {}
    for placement in sorted(plan.placements, key=lambda p: p.first):
        places.setdefault(placement.buffer, []).append(placement)
    return places


def _check_versions(
    plan: Plan, buffer: Buffer, uses: list[_Use], writers: list[int], places: list[Placement]
) -> None:
    """Verify that each step of a plan reads the version of a buffer that it needs.

    It has as many writers before it as in the listed order, in the same place; the first writer
    begins anew.
    """
    version, current_place = 0, -1
    for at, group in groupby(uses, key=lambda use: use[0]):
        used = list(group)
        modes: set[str] = {_access(plan, use).mode for use in used}
        step = plan.steps[at].step
        place = _place_at(places, at)
        if place != current_place:
            version, current_place = 0, place
        listed = bisect_left(writers, step)
        starts = listed == 0 and modes == {"out"}
        if not starts and version != listed:
            _refuse(plan, f"step {step} meets {buffer.name!r} at another version than listed")
        outside = buffer.role in ("input", "parameter", "constant")
        if modes != {"out"} and not outside and not listed:
            _refuse(plan, f"step {step} reads {buffer.name!r}, which no step has written")
        if modes != {"in"} and buffer.role in ("input", "constant"):
            _refuse(plan, f"step {step} writes {buffer.name!r}, a buffer of role {buffer.role}")
        if buffer.role == "parameter":
            _check_reads_of_parameter(plan, buffer, used, version, len(writers))
        version = listed + 1 if modes != {"in"} else version
    if buffer.role == "output" and (not writers or version != len(writers)):
        _refuse(plan, f"output {buffer.name!r} is not written, or not wholly")


def _place_at(places: list[Placement], at: int) -> int:
    """The number of the place that a buffer has at a position, -1 where it has none."""
    number = bisect_right(places, at, key=lambda place: place.first) - 1 if places else -1
    return number if number >= 0 and at <= places[number].last else -1


def _check_reads_of_parameter(
    plan: Plan, buffer: Buffer, uses: list[_Use], version: int, writers: int
) -> None:
    """Verify that a step reads a parameter's old value, or the finished new one."""
    for use in uses:
        access, step = _access(plan, use), use[1]
        if access.updated and not version == writers > 0:
            _refuse(plan, f"step {step} reads parameter {buffer.label!r} before it was updated")
        if access.mode == "in" and not access.updated and version:
            _refuse(plan, f"step {step} reads parameter {buffer.label!r} after it was written")


def _check_overwritten(plan: Plan) -> None:
    """Verify that no step reads an input after the value in its place was written."""
    over = {b.name: b.over for b in plan.schedule.buffers if b.over}
    gone: set[str] = set()
    for planned in plan.steps if over else ():
        step = plan.schedule.steps[planned.step]
        if lost := gone.intersection(step.reads()):
            _refuse(plan, f"step {planned.step} reads {min(lost)!r} after it was written over")
        gone.update(over[name] for name in step.writes() if name in over)


def _check_commit(plan: Plan) -> None:
    """Verify that no step writes a parameter before the commit, or checks an index after it."""
    roles = {b.name: b.role for b in plan.schedule.buffers}
    if not 0 <= plan.commit <= len(plan.steps):
        _refuse(plan, f"commit {plan.commit} is not a step")
    seen: set[int] = set()
    checking = first_checks(plan.schedule)
    for at, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        writes = any(roles[name] == "parameter" for name in step.writes())
        if writes and at < plan.commit:
            _refuse(plan, f"step {planned.step} writes a parameter before the commit")
        if at == plan.commit and not writes:
            _refuse(plan, f"step {planned.step} stands at the commit and writes no parameter")
        if at >= plan.commit and planned.step in checking and planned.step not in seen:
            _refuse(plan, f"step {planned.step} checks an index after the commit")
        seen.add(planned.step)


def _check_placements(
    plan: Plan, uses: dict[str, list[_Use]], places: dict[str, list[Placement]]
) -> None:
    """Verify the offset, size and alignment of each buffer in the arena."""
    nbytes = dict(plan.buffer_bytes)
    for buffer in plan.schedule.buffers:
        buffer_places = places.get(buffer.name, [])
        positions = [at for at, _, _ in uses.get(buffer.name, [])]
        if buffer_places or (buffer.in_arena and positions):
            _check_lifetimes(plan, buffer, buffer_places, positions)
        if any(later.first <= earlier.last for earlier, later in pairwise(buffer_places)):
            _refuse(plan, f"{buffer.name!r} is in two places at once")
        for place in buffer_places:
            if place.nbytes != nbytes[buffer.name] or place.offset % ALIGNMENT or place.offset < 0:
                _refuse(plan, f"{buffer.name!r} at {place.offset}: wrong size or alignment")
            if place.nbytes and place.offset + place.nbytes > plan.peak_bytes:
                _refuse(plan, f"{buffer.name!r} ends outside the arena of {plan.peak_bytes} bytes")


def _check_lifetimes(
    plan: Plan, buffer: Buffer, places: list[Placement], positions: list[int]
) -> None:
    """Verify that a buffer has a place in the arena at each use."""
    if not buffer.in_arena and buffer.role != "input":
        _refuse(plan, f"{buffer.name!r} of role {buffer.role} is placed in the arena")
    if buffer.role == "input" and len(places) > 1:
        _refuse(plan, f"{buffer.name!r} is copied once and placed {len(places)} times")
    if buffer.role == "input":  # its feed is copied before the first step
        positions = [0, *positions]
    if buffer.role == "check":  # reset before the first step, looked at before the commit
        positions = [0, *positions, plan.commit - 1]
        if places and places[0].last < plan.commit - 1:
            _refuse(plan, f"{buffer.name!r} is not there until the commit")
    for at in positions:
        if _place_at(places, at) < 0:
            _refuse(plan, f"{buffer.name!r} is used at position {at}, where it has no place")


def _check_step_reaches(plan: Plan, planned: PlannedStep, nbytes: Mapping[str, int]) -> None:
    """Verify the byte ranges that one step of a plan accesses."""
    step = plan.schedule.steps[planned.step]
    accesses, spans = step.accesses(), list[tuple[int, int]]()
    reaches = step.reaches(planned.arguments)
    for access, begin, reach in zip(accesses, planned.offsets, reaches, strict=True):
        buffer_bytes = nbytes[access.buffer]
        span = (0, buffer_bytes) if reach is None else (begin + reach[0], begin + reach[1])
        if span[0] < span[1] and not 0 <= span[0] < span[1] <= buffer_bytes:
            text = f"bytes {span[0]} to {span[1]} of {access.buffer!r}, which has {buffer_bytes}"
            _refuse(plan, f"step {planned.step} touches {text}")
        spans.append(span)
    pairs: tuple[tuple[int, int], ...] | None = None
    for out, target in enumerate(accesses):
        if target.mode in ("in", "scratch"):
            continue
        for read, access in enumerate(accesses):
            if access.mode != "in" or access.buffer != target.buffer or not _meet(spans, out, read):
                continue
            pairs = step.in_place() if pairs is None else pairs
            if (out, read) not in pairs or planned.offsets[out] != planned.offsets[read]:
                _refuse(plan, f"step {planned.step} reads {target.buffer!r} while it writes it")


def _meet(spans: Sequence[tuple[int, int]], first: int, second: int) -> bool:
    """Return whether two spans share a byte."""
    return max(spans[first][0], spans[second][0]) < min(spans[first][1], spans[second][1])


def _check_overlaps(plan: Plan) -> None:
    """Verify that no two live buffers share a byte, except results written in place.

    One sweep over time. What lives on beyond a position shares no byte with anything else there,
    so that in the order of offsets only neighbours can meet: n log n, and moves in a list.
    """
    alive = _LivePlacements()
    by_first_step = sorted(
        (p for p in plan.placements if p.nbytes), key=lambda p: (p.first, p.offset)
    )
    for at, group in groupby(by_first_step, key=lambda p: p.first):
        alive.end(at - 1)
        fresh = list(group)
        for number, place in enumerate(fresh):
            for live in alive.meeting(place):
                _check_takes_over(plan, place, live)
            for live in _met_behind(place, fresh, number + 1):
                _check_takes_over(plan, place, live)
        alive.end(at)
        for place in fresh:
            if place.last > at:
                alive.begin(place)


def _met_behind(place: Placement, others: Sequence[Placement], first: int) -> Iterator[Placement]:
    """Yield those of ``others`` from number ``first`` on that share a byte; offsets ascend."""
    for number in range(first, len(others)):
        if others[number].offset >= _end(place):
            return
        yield others[number]


class _LivePlacements:
    """Placements that share no byte, in the order of their offsets."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._places: list[Placement] = []
        self._ending: list[tuple[int, int]] = []  # (last position, offset), as a heap

    def begin(self, place: Placement) -> None:
        heapq.heappush(self._ending, (place.last, place.offset))
        where = bisect_left(self._offsets, place.offset)
        self._offsets.insert(where, place.offset)
        self._places.insert(where, place)

    def end(self, at: int) -> None:
        """Forget what lives no longer than to position ``at``."""
        while self._ending and self._ending[0][0] <= at:
            gone = bisect_left(self._offsets, heapq.heappop(self._ending)[1])
            del self._offsets[gone], self._places[gone]

    def meeting(self, place: Placement) -> list[Placement]:
        """Return the placements that share a byte with ``place``."""
        first = bisect_right(self._offsets, place.offset)
        if first and _end(self._places[first - 1]) > place.offset:
            first -= 1
        return self._places[first : bisect_left(self._offsets, _end(place))]


def _end(place: Placement) -> int:
    return place.offset + place.nbytes


def _check_takes_over(plan: Plan, place: Placement, live: Placement) -> None:
    if not _takes_over(plan, place, live):
        _refuse(plan, f"{place.buffer!r} and {live.buffer!r} share bytes while both live")


def _takes_over(plan: Plan, place: Placement, live: Placement) -> bool:
    """Return whether the later of two placements is an in-place result over the earlier."""
    return any(
        out.first == into.last and out.offset == into.offset and _in_place(plan, out, into)
        for out, into in ((place, live), (live, place))
    )


def _in_place(plan: Plan, out: Placement, into: Placement) -> bool:
    """Return True if a plan's step may write a result over its operand's bytes."""
    planned = plan.steps[out.first]
    step = plan.schedule.steps[planned.step]
    writes = _accesses_of_buffer(step, out.buffer)
    reads = _accesses_of_buffer(step, into.buffer)
    accesses, pairs = step.accesses(), step.in_place()
    if len(writes) != 1 or not reads or accesses[writes[0]].mode != "out":
        return False
    return all(
        accesses[read].mode == "in"
        and (writes[0], read) in pairs
        and planned.offsets[read] == planned.offsets[writes[0]]
        for read in reads
    )


def _accesses_of_buffer(step: Step, buffer: str) -> list[int]:
    return [number for number, access in enumerate(step.accesses()) if access.buffer == buffer]
