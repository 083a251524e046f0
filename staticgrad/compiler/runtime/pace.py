"""The predicted time of a plan, and what of it runs between two looks for signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.analysis.cost import ROWS, all_seconds
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import Schedule

#: Predicted seconds of rows that run in one call, behind which Python looks for signals. A call
#: costs a millionth of a second, and whoever presses Ctrl-C feels a tenth. Some machines are slower
#: than predicted; and a thread that computes in Python may take its turn between two calls.
PIECE: Final = 0.02


class Pace:
    """The pace of one plan.

    Attributes:
        seconds: predicted, of all positions.
        pieces: the positions before the commit, (first, last), each a call of the driver. Loops
            that only a test ends do not count: they return by themselves.
        has_long_loop: whether a loop of so many iterations before the commit takes longer than one
            piece.
        has_open_end: whether a loop before the commit ends only by a test.
    """

    def __init__(self, plan: Plan) -> None:
        steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
        seconds = [*all_seconds(steps, [planned.arguments for planned in plan.steps], ROWS)]
        steps_to_commit = plan.steps[: plan.commit]
        has_open_end = [_has_open_end(planned, plan.schedule) for planned in steps_to_commit]
        step_seconds = [
            0.0 if is_open else spent for is_open, spent in zip(has_open_end, seconds, strict=False)
        ]
        self.seconds = sum(seconds)
        # ranges of rows of at least ``PIECE`` predicted seconds
        pieces, first, spent = [], 0, 0.0
        for row, more in enumerate(step_seconds):
            spent += more
            if spent > PIECE:
                pieces.append((first, row + 1))
                first, spent = row + 1, 0.0
        self.pieces = (
            (*pieces, (first, len(step_seconds))) if first < len(step_seconds) else tuple(pieces)
        )
        loops = [
            spent
            for planned, spent in zip(steps_to_commit, step_seconds, strict=True)
            if planned.bodies
        ]
        self.has_long_loop = any(spent > PIECE for spent in loops)
        self.has_open_end = any(has_open_end)

    @property
    def comes_back(self) -> bool:
        """True if a loop before the commit returns to Python, for signals, before it has ended."""
        return self.has_long_loop or self.has_open_end

    @property
    def is_short(self) -> bool:
        """True if one call is predicted to run everything before the commit."""
        return len(self.pieces) <= 1 and not self.has_long_loop


def _has_open_end(planned: PlannedStep, schedule: Schedule) -> bool:
    """Return True if a plan's step is or contains a while loop, which ends by a test."""
    is_while = planned.bodies and schedule.steps[planned.step].control.kind == "while"
    return bool(is_while) or any(
        _has_open_end(inner_step, body.schedule)
        for body in planned.bodies
        for inner_step in body.steps
    )


def iteration_seconds(plans: Sequence[Plan]) -> float:
    """Return the predicted seconds of an iteration of a loop, of which ``plans`` are the bodies.

    Of a loop inside that only a test ends they contain one iteration: it counts the others itself.
    """
    return sum(_seconds_once(planned, plan.schedule) for plan in plans for planned in plan.steps)


def _seconds_once(planned: PlannedStep, schedule: Schedule) -> float:
    """Return the predicted seconds of a step; loops that only a test ends run one iteration."""
    step = schedule.steps[planned.step]
    if not _has_open_end(planned, schedule):
        return all_seconds([step], [planned.arguments], ROWS)[0]
    if step.control.kind == "branch":
        return max(iteration_seconds([case]) for case in planned.bodies)
    return iteration_seconds(planned.bodies)
