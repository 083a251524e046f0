"""How long a plan is predicted to take, and where a run of it comes back to Python for signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.analysis.cost import ROWS, all_seconds
from staticgrad.ir.plan import Plan, PlannedStep
from staticgrad.ir.schedule import Schedule

#: Predicted seconds of rows that run in one call, behind which Python looks for signals. A call
#: costs a millionth of a second, and whoever presses Ctrl-C feels a tenth. Some machines are slower
#: than predicted; and a thread that computes in Python may take its turn between two calls.
PIECE: Final = 0.02


class Pace:
    """The pace of one plan.

    Attributes:
        seconds: predicted, of all positions.
        pieces: the positions before the commit, (first, last), each a call of the driver.
        has_long_loop: whether a loop before the commit takes longer than one piece.
        has_open_end: whether a loop before the commit ends only by a test.
    """

    def __init__(self, plan: Plan) -> None:
        seconds = _seconds(plan)
        before = plan.steps[: plan.commit]
        own = seconds[: plan.commit]
        self.seconds = sum(seconds)
        self.pieces = _pieces(own)
        loops = [spent for each, spent in zip(before, own, strict=True) if each.bodies]
        self.has_long_loop = any(spent > PIECE for spent in loops)
        self.has_open_end = any(_has_open_end(each, plan.schedule) for each in before)

    @property
    def comes_back(self) -> bool:
        """Whether a loop before the commit returns to Python, for signals, before it has ended."""
        return self.has_long_loop or self.has_open_end

    @property
    def is_short(self) -> bool:
        """Whether one call runs all that is before the commit, as far as one can predict."""
        return len(self.pieces) <= 1 and not self.has_long_loop


def _seconds(plan: Plan) -> Sequence[float]:
    """Predicted seconds of each position."""
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    return [*all_seconds(steps, [planned.arguments for planned in plan.steps], ROWS)]


def _pieces(seconds: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """The rows before the commit, (first, last), cut after each that ends ``PIECE`` seconds."""
    pieces, first, spent = [], 0, 0.0
    for row, more in enumerate(seconds):
        spent += more
        if spent > PIECE:
            pieces.append((first, row + 1))
            first, spent = row + 1, 0.0
    return (*pieces, (first, len(seconds))) if first < len(seconds) else tuple(pieces)


def _has_open_end(planned: PlannedStep, schedule: Schedule) -> bool:
    """Whether a step is a loop that ends by a test, or runs one."""
    is_while = planned.bodies and schedule.steps[planned.step].control.kind == "while"
    return bool(is_while) or any(
        _has_open_end(each, body.schedule) for body in planned.bodies for each in body.steps
    )
