"""Planning and checking ask a step for its accesses, scratch and checks, never for its kernel."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.budgets import marked_bound
from staticgrad.analysis.liveness import Flow
from staticgrad.analysis.plan_check import lower_bound, peak_buffers, verify_plan
from staticgrad.analysis.repeats import Repeats
from staticgrad.ir.kernels.bodies import Reach
from staticgrad.ir.schedule import (
    CheckWord,
    Control,
    Scratch,
    Touch,
)
from staticgrad.ir.schedule_text import parse_schedule
from staticgrad.ir.verify_schedule import verify_schedule
from staticgrad.memory.planner import Planner
from staticgrad.source import Location
from staticgrad.types.dim import Size
from tests.ir.schedule_samples import SCHEDULE

#: Where a step's kernel is the subject: fusion binds it, the text of its kind, and its own check.
KINDS = {
    *("staticgrad/lowering/fuse.py", "staticgrad/ir/verify.py"),
    *("staticgrad/ir/schedule.py", "staticgrad/ir/schedule_text.py"),
    *("staticgrad/ir/verify_schedule.py", "staticgrad/reports/profiling.py"),
    "staticgrad/exporting/steps.py",
}


@dataclass(frozen=True)
class Opaque:
    """A step of another kind: it answers what steps are asked, and has nothing else."""

    known: tuple[Touch, ...]
    pairs: tuple[tuple[int, int], ...]
    arguments: tuple[Size, ...]
    total: Size
    grain: int
    phase: int
    label: str
    origins: tuple[Location, ...]
    reaches: Callable[[tuple[int, ...]], tuple[Reach, ...]] = field(compare=False)

    @classmethod
    def of(cls, step):
        return cls(
            step.accesses(), step.in_place(), step.arguments, step.total, step.grain, step.phase,
            step.label, step.origins, step.reaches,
        )  # fmt: skip

    def accesses(self):
        return self.known

    def in_place(self):
        return self.pairs

    def scratch(self):
        return tuple(Scratch(a.buffer, "worker") for a in self.known if a.mode == "scratch")

    def checks(self):
        return ()

    def kernels(self):
        return ()

    def calls(self, arguments):
        return ()

    def bodies(self):
        return ()

    @property
    def control(self):
        return Control()

    def reads(self):
        return (a.buffer for a in self.known if a.mode in ("in", "inout"))

    def writes(self):
        return (a.buffer for a in self.known if a.mode != "in")


def opaque(schedule):
    return replace(schedule, steps=tuple(map(Opaque.of, schedule.steps)))


def trained(optimizer):
    """A step with sorting, reductions, a product and updates."""
    x = sg.input("x", ("n", 6))
    w, b = sg.parameter("w", np.ones((6, 4), "f4")), sg.parameter("b", np.ones(4, "f4"))
    loss = sg.square(sg.sort(x @ w + b, axis=1)).mean()
    graph = sg.Graph({"loss": loss}, updates=optimizer.updates(loss, [w, b]))
    return sg.compile(graph).schedule


@pytest.mark.thinned(2)
@pytest.mark.parametrize("optimizer", [sg.optim.SGD(0.1), sg.optim.Adam(0.1)])
def test_plans_need_no_kernels(optimizer):
    schedule = trained(optimizer)
    hidden = opaque(schedule)
    assert not hidden.kernels
    verify_schedule(hidden)
    for n in (0, 1, 50):
        for staged in (frozenset[str](), frozenset({"in.x"})):
            plan = Planner(hidden).plan({"n": n}, staged=staged)
            verify_plan(plan)
            wanted = Planner(schedule).plan({"n": n}, staged=staged)
            assert replace(plan, schedule=schedule) == wanted
            assert readings(plan) == readings(wanted)


def readings(plan):
    """What else is asked of a plan, in a form without steps."""
    repeats = Repeats(Flow(plan.schedule))
    return (
        barriers(plan),
        lower_bound(plan),
        peak_buffers(plan),
        marked_bound(plan)[0],
        repeats.unit,
        repeats.repeatable,
        repeats.settled(range(len(plan.schedule.steps))),
    )


def test_what_a_kernel_step_touches():
    scale, look_up, update = parse_schedule(SCHEDULE).steps
    assert [(a.buffer, str(a.begin), a.mode) for a in scale.accesses()] == [
        ("in.x", "0", "in"),
        ("c3", "0", "in"),
        ("t4", "12", "out"),
    ]
    assert look_up.checks() == (CheckWord(2, "p2", "k5"),)
    assert look_up.accesses()[2].mode == "check"
    assert look_up.in_place() == ()
    assert update.in_place() == ((2, 0),)
    assert (scale.scratch(), scale.checks()) == ((), ())
    (order,) = (s for s in trained(sg.optim.SGD(0.1)).steps if s.scratch())
    assert [a.buffer for a in order.accesses() if a.mode == "scratch"] == [
        own.buffer for own in order.scratch()
    ]


def test_few_files_know_the_kinds_of_steps():
    found = set()
    for folder in ("staticgrad", "passes"):
        for path in Path(folder).rglob("*.py"):
            text = path.read_text()
            if re.search(r"\bKernelStep\b|\bsteps?(\[[^]]*\])?\.(kernel|operands)\b", text):
                found.add(path.as_posix())
    assert found == KINDS


def test_nothing_is_written_over_what_is_read_in_another_place():
    """Each element of the result reads two of a temporary, or of the old parameter."""
    values = np.arange(16.0).reshape(4, 4)
    x, w = sg.input("x", (16,), "float64"), sg.parameter("w", values)
    for gap in (0, 2):
        total = sg.cumsum(x)
        y = sg.cumsum(total[: 16 - gap] * sg.exp(total[gap:]))
        f = sg.compile(sg.Graph({"y": y}, updates={w: w - 2 * w.T}))
        schedule = f.schedule
        flow = Flow(schedule)
        middle = next(i for i, step in enumerate(schedule.steps) if "exp" in step.label)
        assert bool(flow.in_place[middle]) == (gap == 0)
        writing = [step for step in schedule.steps if "param.w" in step.writes()]
        assert all("param.w" not in step.reads() for step in writing)
        w.value = values
        f.run({"x": np.zeros(16)})
        assert w.value.tolist() == (values - 2 * values.T).tolist()
