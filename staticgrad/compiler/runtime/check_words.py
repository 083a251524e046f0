"""The words in which a run notes failures, and their errors: bad indices, failed routines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from staticgrad.analysis.lookups import index_failure
from staticgrad.compiler.runtime.places import BufferPlaces
from staticgrad.errors import IndexOutOfRange, StaticgradError
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import CallStep, Step
from staticgrad.native.libraries import routines
from staticgrad.support.records import dataclass
from staticgrad.support.source import Location


@dataclass(frozen=True)
class CheckWords:
    """Pairs of i64 words of the arena in which a step's workers note the smallest failing position.

    ``words`` has the first of each worker's pair, by number; ``path`` the number of the step, of
    one in a body behind those of the body and of the steps around it. ``certain``: the step cannot
    but fail, and does not run.
    """

    words: tuple[int, ...]
    path: tuple[int, ...]
    plan: Plan
    planned: PlannedStep
    operand: str
    origin: Location | None
    certain: bool

    def failure(self, words: memoryview) -> BaseException | None:
        """Return the error for a failed index check that workers noted in the words, or None."""
        noted = [(words[at], words[at + 1]) for at in self.words if words[at] >= 0]
        empty = self.operand in self.planned.fails
        if self.certain or (empty and noted):
            return IndexOutOfRange(
                "no index is in range for an axis of size 0",
                hint="the axis is empty",
                at=self.origin,
            )
        if not noted:
            return None
        position, index = min(noted)
        step = self.plan.schedule.steps[self.planned.step]
        if not isinstance(step, CallStep):
            schedule, in_body = self.plan.schedule, len(self.path) > 1
            return index_failure(
                schedule, self.planned, self.operand, position, index, self.origin, in_body
            )
        error = routines.failure(step.routine.name, position, index)
        if isinstance(error, StaticgradError) and self.origin is not None:
            error.at = self.origin
        return error


def find_checks(places: BufferPlaces) -> list[CheckWords]:
    """Return the words in which each index check of a plan notes failures, in step order.

    What runs again after the commit has passed its check.
    """
    plan = places.plan
    checks: list[CheckWords] = []
    for position, planned in enumerate(plan.steps[: plan.commit]):
        step = plan.schedule.steps[planned.step]
        parts = {
            check.buffer: places.parts(check.buffer, position, planned.offsets[check.access])
            for check in step.checks()
            if places.offset(check.buffer, position) is not None
        }
        checks += _checks_of(plan, planned, parts, (planned.step,))
    return sorted(checks, key=lambda check: check.path)


def _checks_of(
    plan: Plan, planned: PlannedStep, parts: dict[str, Sequence[int]], path: tuple[int, ...]
) -> Iterator[CheckWords]:
    """Yield the index checks of a step, or of its bodies' steps; ``parts``: buffer offsets."""
    step = plan.schedule.steps[planned.step]
    if not planned.bodies:
        for check in step.checks():
            if check.buffer in parts:
                words = tuple(part // 8 for part in parts[check.buffer])
                origin = plan.schedule.buffer(check.buffer).origin or _origin(step)
                certain = check.name in planned.fails and len(path) == 1
                yield CheckWords(words, path, plan, planned, check.name, origin, certain)
        return
    accesses = step.accesses()
    for number, (body, inner) in enumerate(zip(step.bodies(), planned.bodies, strict=True)):
        inside = {
            name: parts[accesses[access].buffer]
            for name, access in body.outside
            if accesses[access].buffer in parts
        }
        for inner_step in inner.steps:
            yield from _checks_of(inner, inner_step, inside, (*path, number, inner_step.step))


def _origin(step: Step) -> Location | None:
    return step.origins[0] if step.origins else None
