"""Loops that keep what they carry where they stack it: equal bytes, fewer of them, no copies."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.ir.bodies import BodyStep
from staticgrad.ir.schedule_text import parse_schedule
from staticgrad.ir.verify_schedule import verify_schedule
from staticgrad.ops.loops import Loop
from staticgrad.preparation import logs

NEVER = 1 << 60


def recurrence(iterations, reverse, dtype):
    """Carries that trade places, are stacked before and behind an iteration, and are read by
    kernels, other loops and as results."""
    x = sg.input("x", (iterations, 3, 4), dtype)
    w, h = sg.input("w", (4, 4), dtype), sg.input("h", (3, 4), dtype)

    def body(carry, each):
        one, two, count = carry
        new = sg.tanh(each + one @ w) + 0.5 * two
        return (new, one, count + 2), (one, new, count, new.sum())

    carries, (before, behind, counts, sums) = sg.scan(
        body, (h, h * 2.0, sg.constant(np.int32(3))), x, reverse=reverse
    )
    last, _ = sg.scan(lambda c, each: (sg.tanh(each + c @ w), None), h, before, reverse=not reverse)
    loss = (carries[0] * carries[1]).sum() + (sums * sums).sum() + (last * behind.sum(0)).sum()
    slopes = sg.grad(loss, [x, w, h])
    outputs = {"last": carries[0], "two": carries[1], "behind": behind, "counts": counts + 1}
    return sg.Graph(outputs | dict(zip(("dx", "dw", "dh"), slopes, strict=True)))


def feeds_of(iterations, dtype):
    rng = np.random.default_rng(iterations)
    shapes = {"x": (iterations, 3, 4), "w": (4, 4), "h": (3, 4)}
    return {name: rng.normal(size=shape).astype(dtype) / 2 for name, shape in shapes.items()}


def bytes_of(f, feeds):
    return {name: array.tobytes() for name, array in f.run(feeds).items()}


def logging_steps(schedule):
    found = [step for step in schedule.steps if isinstance(step, BodyStep)]
    inner = [each for step in found for body in step.schedules for each in logging_steps(body)]
    return [step for step in found if step.logged] + inner


@pytest.mark.slow
@pytest.mark.parametrize(("reverse", "dtype"), [(False, "float32"), (True, "float64")])
def test_logs_change_no_byte(reverse, dtype, monkeypatch):
    monkeypatch.setattr(logs, "HEAVY", NEVER)
    named = recurrence(sg.dim("times", hint=6), reverse, dtype)
    literal = recurrence(6, reverse, dtype)
    plain = sg.compile(named, debug=True)
    assert not logging_steps(plain.schedule)
    wanted = {times: bytes_of(plain, feeds_of(times, dtype)) for times in (6, 5, 1, 0)}
    monkeypatch.setattr(logs, "HEAVY", 1)
    f = sg.compile(named)
    steps = logging_steps(f.schedule)
    assert {step.backwards for step in steps} == {reverse, not reverse}
    verify_schedule(f.schedule)
    assert str(parse_schedule(str(f.schedule))) == str(f.schedule)
    for times, each in wanted.items():
        assert bytes_of(f, feeds_of(times, dtype)) == each
        verify_plan(f.plan(times=times))
    ways = ({"debug": True}, {"threads": 2}, {"checkpoint": "recompute"})
    for options in ways[reverse::2]:
        other = sg.compile(literal, **options)
        assert logging_steps(other.schedule)
        assert bytes_of(other, feeds_of(6, dtype)) == wanted[6], options
        assert other.highest_touched in (None, other.peak_bytes)


def test_logs_take_half_of_two_stacks_and_no_copies(monkeypatch):
    x, w = sg.input("x", (50, 16, 64), "float32"), sg.input("w", (64, 64), "float32")
    start = sg.zeros((16, 64), "float32")
    last, _ = sg.scan(lambda h, each: (sg.tanh(each + h @ w), None), start, x)
    slope = sg.grad(last.sum(), w)
    f = sg.compile({"last": last, "dw": slope})
    first, *_ = logging_steps(f.schedule)
    assert [step.label for step in first.schedules[0].steps] == ["matmul, add, tanh"]
    monkeypatch.setattr(logs, "HEAVY", NEVER)
    plain = sg.compile({"last": last, "slope": slope})  # not the schedule that is on disk
    stack = 50 * 16 * 64 * 4
    assert plain.peak_bytes - f.peak_bytes > 0.9 * stack
    assert f.peak_bytes < 2.3 * stack
    rng = np.random.default_rng(0)
    feeds = {n: rng.normal(size=s).astype("f4") for n, s in (("x", x.shape), ("w", (64, 64)))}
    assert [*bytes_of(f, feeds).values()] == [*bytes_of(plain, feeds).values()]


def test_the_meaning_of_a_logged_carry():
    x = sg.input("x", (3,), "float64")
    last, _ = sg.scan(lambda c, each: (c * 2.0 + each, None), sg.constant(1.0), x)
    op, first = last.node.op, last.node.args
    assert isinstance(op, Loop)
    for reverse, rows in ((False, [1, 3, 8, 19]), (True, [25, 12, 5, 1])):
        logged = replace(op, logged=(0,), reverse=reverse)
        value = logged(*first)
        assert value.shape == (4,)
        assert [*sg.evaluate(value, {"x": np.array([1.0, 2.0, 3.0])})] == rows
