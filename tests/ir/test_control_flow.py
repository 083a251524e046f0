"""Instructions of steps with bodies: beside what is written by hand."""

import pytest

from staticgrad.language.ir.bodies import BodyOperand, BodyStep
from staticgrad.language.ir.control_flow import (
    Branch,
    BreakUnless,
    CarryAddress,
    Copy,
    Loop,
    PingPongBuffers,
    RunBody,
    StepAddress,
    control_flow,
)
from staticgrad.language.ir.schedule import Binding, Buffer, Schedule
from staticgrad.language.ir.schedule_text import parse_schedule
from staticgrad.language.types.dtype import BOOL, F32, I64

SIZES = {"c0": 3, "x0": 2, "y0": 5, "p0": 7, "i": 1, "go": 1}


def body(*names):
    """A schedule without steps between these buffers."""
    buffers = []
    for name in names:
        role = "input" if name.startswith("in.") else "output"
        label = name.partition(".")[2]
        buffers.append(Buffer(name, role, F32, SIZES[label], label))
    outputs = tuple((buffer.label, buffer.name) for buffer in buffers if buffer.role == "output")
    return Schedule("body", tuple(buffers), (), outputs)


def step(kind, uses, *schedules, **options):
    """A step whose operands have these uses, each bound to a buffer of its own."""
    dtypes = {"test": BOOL, "room": I64}
    types = tuple(BodyOperand(use, dtypes.get(use, F32)) for use in uses)
    bound = tuple(Binding(f"b{n}") for n in range(len(types)))
    return BodyStep(kind, types, bound, schedules, **options)


SCANNED = body("in.i", "in.c0", "in.x0", "in.p0", "out.c0", "out.y0")
USES = ["in", "in", "in", "out", "out"]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_text_of_a_loop_reads_back_with_its_direction_and_its_logs(backwards):
    options = {"iterations": 4, "carries": 1, "slices": 1, "logged": (0,)}
    scan = step("loop", USES, SCANNED, backwards=backwards, **options)
    way = " backwards" * backwards + " logged 0"
    assert scan.text({}) == (
        f"loop (in b0, in b1, in b2, out b3, out b4) iterations 4 carries 1 slices 1{way}"
    )
    roles = ["input"] * 3 + ["output"] * 2
    buffers = tuple(Buffer(f"b{n}", role, F32, 9, f"b{n}") for n, role in enumerate(roles))
    schedule = Schedule("loops", buffers, (scan,), ())
    assert parse_schedule(str(schedule)) == schedule


def test_carries_take_turns_and_arrays_move_by_rows():
    scan = step("loop", [*USES, "turn", "room"], SCANNED, iterations=4, carries=1, slices=1)
    bound = {
        "in.c0": CarryAddress(0), "in.x0": StepAddress(1, 0, 2), "in.p0": StepAddress(2),
        "in.i": "index",
        "out.c0": CarryAddress(0, True), "out.y0": StepAddress(4, 0, 5),
    }  # fmt: skip
    assert control_flow(scan) == (
        Loop(
            4,
            False,
            {0: PingPongBuffers(StepAddress(0), StepAddress(3), StepAddress(5))},
            (RunBody(0, bound),),
        ),
        Copy(StepAddress(3), CarryAddress(0), 3),
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_a_logged_carry_is_a_row_that_the_next_iteration_reads(backwards):
    options = {"iterations": 4, "carries": 1, "slices": 1, "logged": (0,)}
    scan = step("loop", [*USES, "room"], SCANNED, backwards=backwards, **options)
    first, loop = control_flow(scan)
    (run,) = loop.instructions
    # Five rows of three elements: the first value is in row 0, backwards in row 4.
    assert first == Copy(StepAddress(3, 12 if backwards else 0), StepAddress(0), 3)
    assert loop.backwards == backwards
    assert not loop.carries
    early, late = StepAddress(3, 0, 3), StepAddress(3, 3, 3)
    read, written = (late, early) if backwards else (early, late)
    assert (run.bound["in.c0"], run.bound["out.c0"]) == (read, written)


def test_a_loop_with_a_test_ends_behind_it_and_says_how_often_it_ran():
    test, again = body("in.c0", "out.go"), body("in.c0", "out.c0")
    loop = step(
        "while", ["in", "out", "out", "turn", "test", "room"], test, again, iterations=9, carries=1
    )
    turns = {0: PingPongBuffers(StepAddress(0), StepAddress(1), StepAddress(3))}
    inside = (
        RunBody(0, {"in.c0": CarryAddress(0), "out.go": StepAddress(4)}),
        BreakUnless(StepAddress(4)),
        RunBody(1, {"in.c0": CarryAddress(0), "out.c0": CarryAddress(0, True)}),
    )
    assert control_flow(loop) == (
        Loop(9, False, turns, inside),
        Copy(StepAddress(1), CarryAddress(0), 3),
        Copy(StepAddress(2), "count", 1),
    )


def test_a_branch_runs_one_of_its_bodies():
    cases = body("in.p0", "out.y0"), body("out.y0")
    branch = step("branch", ["in", "in", "out", "room"], *cases)
    runs = (
        RunBody(0, {"in.p0": StepAddress(1), "out.y0": StepAddress(2)}),
        RunBody(1, {"out.y0": StepAddress(2)}),
    )
    assert control_flow(branch) == (Branch(StepAddress(0), runs),)


@pytest.mark.parametrize("iterations", range(1, 6))
def test_the_last_of_two_turns_is_the_result(iterations):
    first, last, second = StepAddress(0), StepAddress(1), StepAddress(2)
    read, (new, spare) = first, PingPongBuffers(first, last, second).write_addresses(iterations)
    for _ in range(iterations):
        assert read != new
        read, new, spare = new, spare, new
    assert read == last
