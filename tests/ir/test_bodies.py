"""Steps with bodies, and steps of other kinds, go through every reader of schedules and plans."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.budgets import marked_bound
from staticgrad.analysis.liveness import Flow
from staticgrad.analysis.plan_check import lower_bound, peak_buffers, verify_plan
from staticgrad.analysis.repeats import Repeats
from staticgrad.backends import source_of
from staticgrad.compiler.memory.planner import Planner
from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.guard import GuardedTable
from staticgrad.compiler.runtime.step import Program, Table
from staticgrad.errors import VerifyError
from staticgrad.language.ir.bodies import GOING, NUMBER, body_buffers
from staticgrad.language.ir.kernels.bodies import Reach
from staticgrad.language.ir.schedule import (
    Buffer,
    CheckWord,
    Control,
    Scratch,
    Touch,
)
from staticgrad.language.ir.schedule_text import parse_plan, parse_schedule
from staticgrad.language.ir.verify_schedule import verify_schedule
from staticgrad.language.types.dim import Size, dim
from staticgrad.language.types.dtype import F32
from staticgrad.support.source import Location
from tests.ir.repeated_step import Repeated
from tests.ir.schedule_samples import SCHEDULE
from tests.runtime.handmade import ADD, ADD3, COPY, NEGATE, Builder, N

ITERATIONS = dim("iterations", min=0)


def body(wide):
    """b = 3a, by way of one temporary, or (``wide``) of two that live together."""
    build = Builder()
    build.buffers += [Buffer("a", "input", F32, N, "a"), Buffer("b", "output", F32, N, "b")]
    twice = build.buffer("temp")
    build.step(ADD, "a", "a", twice)
    if wide:
        four, less = build.buffer("temp"), build.buffer("temp")
        build.step(ADD, twice, twice, four)
        build.step(NEGATE, twice, less)
        build.step(ADD3, four, less, "a", "b")
    else:
        build.step(ADD, "a", twice, "b")
    return build.schedule(b="b")


def program(iterations=ITERATIONS, wide=False):
    """y = -(9**iterations * x): the value goes from one buffer to the other and back."""
    build = Builder()
    x, y = build.buffer("input", label="x"), build.buffer("output", label="y")
    carry, next_carry, room = build.buffer("temp"), build.buffer("temp"), build.buffer("scratch", 0)
    build.step(COPY, x, carry)
    repeated = Repeated(
        carry, next_carry, room, iterations, body(False), body(wide), label="thrice"
    )
    build.steps.append(repeated)
    build.step(NEGATE, carry, y)
    return build.schedule(y=y)


def run(plan, table_class=Table, *arguments):
    schedule = plan.schedule
    kernels = {k: native.kernel(source_of(k)) for k in schedule.kernels}
    table = table_class(Program(schedule, kernels, {}, native.driver()), plan, *arguments)
    x, y = np.arange(1, 41, dtype="f4"), np.full(40, np.nan, "f4")
    arena = Arena()
    arena.reserve(plan.peak_bytes)
    table.bind_arena(arena)
    table.bind("b0", x.ctypes.data)
    table.bind("b1", y.ctypes.data)
    table.run(arena)
    return y


def test_the_text_of_a_schedule_with_bodies_reads_back():
    schedule = program()
    verify_schedule(schedule)
    text = str(schedule)
    assert "repeat (b2, b3, b4) total iterations" in text
    assert text.count("schedule handmade {") == 3
    again = parse_schedule(text)
    assert again == schedule
    assert str(again) == text


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_a_plan_with_bodies_is_placed_verified_written_and_run(iterations):
    plan = Planner(program(wide=True)).plan({"n": 40, "iterations": iterations})
    verify_plan(plan)
    bytes_of_state = -(-40 * 4 // 64) * 64
    first, second = plan.steps[1].bodies
    assert (first.peak_bytes, second.peak_bytes) == (bytes_of_state, 2 * bytes_of_state)
    assert plan.peak_bytes == 2 * bytes_of_state + second.peak_bytes
    assert parse_plan(str(plan)) == plan
    expected = -(9.0**iterations) * np.arange(1, 41, dtype="f4")
    np.testing.assert_array_equal(run(plan), expected)
    np.testing.assert_array_equal(run(plan, GuardedTable), expected)


def damage(plan, **changes):
    """The plan with its first body changed."""
    first, second = plan.steps[1].bodies
    step = replace(plan.steps[1], bodies=(replace(first, **changes), second))
    return replace(plan, steps=(plan.steps[0], step, plan.steps[2]))


def test_damage_in_a_body_is_found():
    plan = Planner(program()).plan({"n": 40, "iterations": 2})
    first = plan.steps[1].bodies[0]
    for changes in (
        {"placements": ()},
        {"peak_bytes": first.peak_bytes - 64},
        {"sizes": (("n", 41), ("iterations", 2))},
        {"workers": 2},
        {"steps": first.steps[:1]},
    ):
        with pytest.raises(VerifyError):
            verify_plan(damage(plan, **changes))
    with pytest.raises(VerifyError, match="buffer_bytes are not those"):
        verify_plan(
            replace(plan, buffer_bytes=tuple((n, b - (n == "b4")) for n, b in plan.buffer_bytes))
        )
    with pytest.raises(VerifyError, match="other bodies"):
        verify_plan(
            replace(plan, steps=(plan.steps[0], replace(plan.steps[1], bodies=()), plan.steps[2]))
        )


def test_bodies_that_do_other_than_their_step_says_are_refused():
    schedule = program()
    step = schedule.steps[1]
    assert isinstance(step, Repeated)

    def with_first(first):
        steps = (schedule.steps[0], replace(step, first=first), schedule.steps[2])
        return replace(schedule, steps=steps)

    buffers = step.first.buffers
    parameter = (*buffers, Buffer("w", "parameter", buffers[0].dtype, N, "w"))
    with pytest.raises(VerifyError, match="a body has 'w', of role parameter"):
        verify_schedule(with_first(replace(step.first, buffers=parameter)))
    named = (replace(buffers[0], name="q"), *buffers[1:])
    with pytest.raises(VerifyError):
        verify_schedule(with_first(replace(step.first, buffers=named)))
    more = (*buffers, Buffer("c", "input", buffers[0].dtype, N, "c"))
    with pytest.raises(VerifyError, match="inputs and outputs of bodies are bound: 'c'"):
        verify_schedule(with_first(replace(step.first, buffers=more)))


@dataclass(frozen=True)
class Opaque:
    """A step of another kind: it answers what steps are asked, and has nothing else."""

    touches: tuple[Touch, ...]
    pairs: tuple[tuple[int, int], ...]
    arguments: tuple[Size, ...]
    total: Size
    grain: int
    phase: int
    label: str
    origins: tuple[Location, ...]
    runs_loop: bool
    reaches: Callable[[tuple[int, ...]], tuple[Reach, ...]] = field(compare=False)

    @classmethod
    def of(cls, step):
        return cls(
            step.accesses(), step.in_place(), step.arguments, step.total, step.grain, step.phase,
            step.label, step.origins, step.runs_loop, step.reaches,
        )  # fmt: skip

    def accesses(self):
        return self.touches

    def in_place(self):
        return self.pairs

    def scratch(self):
        return tuple(Scratch(a.buffer, "worker") for a in self.touches if a.mode == "scratch")

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
        return (a.buffer for a in self.touches if a.mode in ("in", "inout"))

    def writes(self):
        return (a.buffer for a in self.touches if a.mode != "in")


def opaque(schedule):
    return replace(schedule, steps=tuple(map(Opaque.of, schedule.steps)))


def training_schedule(optimizer):
    """A step with sorting, reductions, a product and updates."""
    x = sg.input("x", ("n", 6))
    w, b = sg.parameter("w", np.ones((6, 4), "f4")), sg.parameter("b", np.ones(4, "f4"))
    loss = sg.square(sg.sort(x @ w + b, axis=1)).mean()
    graph = sg.Graph({"loss": loss}, updates=optimizer.updates(loss, [w, b]))
    return sg.compile(graph).schedule


@pytest.mark.thinned(2)
@pytest.mark.parametrize("optimizer", [sg.optim.SGD(0.1), sg.optim.Adam(0.1)])
def test_plans_need_no_kernels(optimizer):
    schedule = training_schedule(optimizer)
    hidden = opaque(schedule)
    assert not hidden.kernels
    verify_schedule(hidden)
    for n in (0, 1, 50):
        for staged in (frozenset[str](), frozenset({"in.x"})):
            plan = Planner(hidden).plan({"n": n}, staged=staged)
            verify_plan(plan)
            expected = Planner(schedule).plan({"n": n}, staged=staged)
            assert replace(plan, schedule=schedule) == expected
            assert readings(plan) == readings(expected)


def readings(plan):
    """Return other facts of a plan, in a form without steps."""
    repeats = Repeats(Flow(plan.schedule))
    return (
        barriers(plan),
        lower_bound(plan),
        peak_buffers(plan),
        marked_bound(plan)[0],
        repeats.unit,
        repeats.repeatable,
        repeats.delay_updates(range(len(plan.schedule.steps))),
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
    (order,) = (s for s in training_schedule(sg.optim.SGD(0.1)).steps if s.scratch())
    assert [a.buffer for a in order.accesses() if a.mode == "scratch"] == [
        access.buffer for access in order.scratch()
    ]


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


def test_a_buffer_of_a_body_is_named_by_its_role_and_is_an_operand_of_the_step():
    loop = body_buffers("loop", 1, 2, (0, 1, 2, 3), (4, 5))
    assert {slot.name: operand for slot, operand in loop.items()} == {
        "in.c0": 0, "in.x0": 1, "in.x1": 2, "in.p0": 3, "out.c0": 4, "out.y0": 5,
    }  # fmt: skip
    assert [slot.name for slot in loop if slot.has_rows] == ["in.x0", "in.x1", "out.y0"]
    branch = body_buffers("branch", 0, 0, (2, 5), (7,))  # operand 2 chooses the case
    assert {slot.name: operand for slot, operand in branch.items()} == {"in.p0": 5, "out.y0": 7}
    assert [slot.name for slot in (NUMBER, GOING)] == ["in.i", "out.go"]
