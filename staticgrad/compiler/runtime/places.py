"""The locations of a plan's buffers while its steps run, as words of records address them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from staticgrad.errors import VerifyError
from staticgrad.language.ir.plan import Plan, own_stride
from staticgrad.language.types.dim import evaluate
from staticgrad.support.records import NamedTuple

#: So many bytes behind the start of a memory. That is the arena (``ARENA``), a buffer outside it by
#: its name, the addresses of the process (``FIXED``), or the words of the table (``WORDS``: then it
#: is the number of a word).
Where = tuple[str, int]
ARENA: Final = "/arena"
FIXED: Final = "/fixed"
WORDS: Final = "/words"


class MovingPlace(NamedTuple):
    """A place that the iterations of a ``loop`` move: its first and its second one.

    From then on it moves by ``stride`` bytes with each iteration; or, where there is a ``third``
    place, it is there and at the second by turns.
    """

    loop: Moves
    first: Place
    second: Place
    third: Place | None
    stride: int = 0


Place = Where | MovingPlace
#: The words that a loop moves, each with what it points to.
Moves = list[tuple[int, MovingPlace]]


def further(place: Place, nbytes: int) -> Place:
    """The place so many bytes behind another one."""
    if not isinstance(place, MovingPlace):
        return place[0], place[1] + nbytes
    third = None if place.third is None else further(place.third, nbytes)
    first, second = further(place.first, nbytes), further(place.second, nbytes)
    return MovingPlace(place.loop, first, second, third, place.stride)


class BufferPlaces:
    """The locations of a plan's buffers at a position: in the arena, one per live range.

    For a body, ``bound`` gives its inputs and outputs, and ``checks`` each worker's check words;
    its arena begins ``base`` bytes into the program's.
    """

    def __init__(
        self,
        plan: Plan,
        fixed: Mapping[str, int],
        bound: Mapping[str, Place] | None = None,
        base: int = 0,
        checks: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.plan, self._fixed = plan, fixed
        self.is_inside = bound is not None
        self._bound, self._checks = bound or {}, checks or {}
        self._lives: dict[str, list[tuple[int, int, int]]] = {}
        for p in plan.placements:
            self._lives.setdefault(p.buffer, []).append((p.first, p.last, base + p.offset))
        for lives in self._lives.values():
            lives.sort()

    def offset(self, buffer: str, position: int) -> int | None:
        """Return a buffer's bytes from the start of the arena; None if it is outside."""
        lives = self._lives.get(buffer)
        if lives is None:
            return None
        if len(lives) == 1:
            first, last, offset = lives[0]
        else:
            first, last, offset = lives[bisect_right(lives, position, key=itemgetter(0)) - 1]
        if not first <= position <= last:
            raise VerifyError(f"position {position} uses {buffer!r}, which has no place then")
        return offset

    def find(self, buffer: str, position: int, inside: int = 0) -> Place:
        """Return the location of a buffer, ``inside`` bytes after its start, while a plan runs."""
        offset = self.offset(buffer, position)
        if offset is not None:
            return ARENA, offset + inside
        if buffer in self._fixed:
            return FIXED, self._fixed[buffer] + inside
        return further(self._bound.get(buffer) or (buffer, 0), inside)

    def of_body(
        self, position: int, number: int, fixed: Mapping[str, int], bound: Mapping[str, Place]
    ) -> BufferPlaces:
        """Return the locations of a loop's or branch's body of a step, by the body's number.

        ``bound`` are those of its inputs and outputs, ``fixed`` the addresses of its constants.
        """
        planned = self.plan.steps[position]
        step = self.plan.schedule.steps[planned.step]
        accesses = step.accesses()
        (room,) = (touch.buffer for touch in step.scratch() if touch.per == "bodies")
        checks = {
            name: self.parts(accesses[access].buffer, position, planned.offsets[access])
            for name, access in step.bodies()[number].outside
            if accesses[access].mode == "check"
        }
        base = self.offset(room, position) or 0
        return BufferPlaces(planned.bodies[number], fixed, bound, base, checks)

    def parts(self, buffer: str, position: int, inside: int) -> Sequence[int]:
        """Return the arena offsets of each worker's part of a buffer."""
        if buffer in self._checks:
            return [part + inside for part in self._checks[buffer]]
        place = self.offset(buffer, position)
        if place is None:
            raise VerifyError(f"{buffer!r} belongs to workers and is not in the arena")
        if self.plan.workers == 1:
            return (place + inside,)
        buffer_entry = self.plan.schedule.buffer(buffer)
        stride = own_stride(buffer_entry.role, evaluate(buffer_entry.nbytes, dict(self.plan.sizes)))
        return [place + inside + worker * stride for worker in range(self.plan.workers)]
