"""Units, closures, and which sequences of steps are valid."""

from staticgrad.analysis.liveness import Flow, Life
from staticgrad.analysis.repeats import Repeats
from tests.passes.test_memory import chain, training_step
from tests.runtime.handmade import ADD, COPY, I64, NEGATE, TAKE, Builder, N


def test_lives_follow_from_the_sequence():
    flow = Flow(chain(4))  # b0 -> b1 -> b2 -> b3 -> b4
    assert flow.lives([0, 1, 2, 3]) == [Life(1, 0, 1), Life(2, 1, 2), Life(3, 2, 3)]
    again = [0, 1, 0, 1, 2, 3]
    assert flow.lives(again) == [
        Life(1, 0, 1), Life(2, 1, 1), Life(1, 2, 3), Life(2, 3, 4), Life(3, 4, 5),
    ]  # fmt: skip
    assert flow.lives([0, 1, 2, 3], staged=[0])[0] == Life(0, 0, 0)


def test_check_words_live_until_the_commit_and_for_a_step_after_it():
    build = Builder()
    x, rows = build.buffer("input"), build.buffer("input", dtype=I64)
    words, taken_rows = build.buffer("check", 2, dtype=I64), build.buffer("temp")
    w, y = build.buffer("parameter", label="w"), build.buffer("output")
    build.step(TAKE, x, rows, taken_rows, words, arguments=(N, N))
    build.step(COPY, taken_rows, w)
    build.step(COPY, taken_rows, y)
    flow = Flow(build.schedule(y=y))
    number = flow.index[words]
    lives = [life for life in flow.lives([0, 1, 0, 2]) if life.buffer == number]
    assert lives == [Life(number, 0, 0), Life(number, 2, 2)]
    repeats = Repeats(flow)
    assert repeats.is_valid([0, 1, 0, 2])
    assert not repeats.is_valid([0, 1, 1, 2])


def test_a_value_read_half_written_is_not_computed_again():
    build = Builder()
    x, parts, half, y = (build.buffer(r) for r in ("input", "temp", "temp", "output"))
    build.step(NEGATE, x, parts)
    build.step(NEGATE, parts, half)
    build.step(COPY, x, parts)
    build.step(ADD, parts, half, y)
    flow = Flow(build.schedule(y=y))
    repeats = Repeats(flow)
    assert repeats.repeatable == (False, True, False, True)
    assert repeats.closure(flow.index[parts], set()) is None
    assert repeats.closure(flow.index[half], set()) is None
    assert repeats.closure(flow.index[half], {flow.index[parts]}) == (1,)


def test_updates_wait_for_reads_that_come_later():
    flow = Flow(training_step(2))
    repeats = Repeats(flow)
    steps = list(range(len(flow.earlier_steps)))
    first_update = flow.commits[0]
    late = [*steps[: first_update + 1], 1, *steps[first_update + 1 :]]  # step 1 reads w1 again
    settled = repeats.delay_updates(late)
    assert settled is not None
    assert repeats.is_valid(settled)
    assert sorted(settled) == sorted(late)
    assert repeats.delay_updates(steps) == steps
    assert not repeats.is_valid(late)
    assert not repeats.is_valid(steps[:-1])
