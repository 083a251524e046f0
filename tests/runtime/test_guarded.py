"""Kernels and plans that touch what they may not: each is found, named, and harms nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest

from passes.remat import Policy
from staticgrad import native
from staticgrad.backends import render
from staticgrad.errors import IndexOutOfRange, KernelAccessError, VerifyError
from staticgrad.memory.planner import plan
from staticgrad.runtime.arena import Arena
from staticgrad.runtime.guard import GuardedTable
from staticgrad.runtime.step import Program
from staticgrad.storage.parameter import ParameterStore
from staticgrad.types.dtype import I64
from tests.runtime.handmade import ADD, COPY, NEGATE, TAKE, Builder, N

#: p1[j] = -p0[j], the loop and the last statements to be filled in.
NEGATION = """
def kernel(t, own, begin, end):
    p0 = ptr_f32(t[0])
    p1 = ptr_f32(t[1])
    for j in range(begin, end, 16):
        m = mask16(end - j)
        v0 = load(p0, j, m)
        store(p1, j, -v0, m)
"""


def run(schedule, made, feeds, sources=None, **stores):
    """One watched run, some kernels with a source of the test's own; results by buffer name."""
    given = sources or {}
    addresses = {k: native.kernel(given.get(k, render(k))).address for k in schedule.kernels}
    names = {kernel: f"k{n}" for n, kernel in enumerate(schedule.kernels)}
    table = GuardedTable(Program(schedule, addresses, stores, native.driver(), names), made)
    arena = Arena()
    arena.reserve(made.peak_bytes)
    nbytes = dict(made.buffer_bytes)
    results = {}
    for buffer in schedule.buffers:
        if buffer.role == "input":
            table.bind(buffer.name, feeds[buffer.name].ctypes.data)
        elif buffer.role == "output":
            results[buffer.name] = np.zeros(nbytes[buffer.name] // 4, np.float32)
            table.bind(buffer.name, results[buffer.name].ctypes.data)
    table.run(arena)
    return results, table


def negation():
    """t = -x; y = t + x: the buffers are b0 (x), b1 (t) and b2 (y)."""
    build = Builder()
    x, t, y = build.buffer("input", label="x"), build.buffer("temp"), build.buffer("output")
    build.step(NEGATE, x, t)
    build.step(ADD, t, x, y)
    return build.schedule(y=y), x, y


def ones(count):
    return np.ones(count, np.float32)


def test_a_sound_step_gives_its_results_and_the_peak():
    schedule, x, y = negation()
    made = plan(schedule, {"n": 37})
    data = np.linspace(-1, 1, 37, dtype=np.float32)
    results, table = run(schedule, made, {x: data})
    assert results[y].tolist() == [0.0] * 37
    assert table.highest_touched == made.peak_bytes == 192


#: A wrong last statement of the kernel -> what is said of it.
WRONG_WRITES = {
    "store1(p1, end, f32x1(1.0))": "byte 148 of the arena, 0 bytes behind the end of 'b1'",
    "store1(p1, end + 900, f32x1(1.0))": "a red zone, 3600 bytes behind the end of 'b1'",
    "store1(p1, 0 - 1, f32x1(1.0))": "a red zone, 4 bytes before the arena",
    "store1(p0, 3, f32x1(7.1))": "byte 12 of 'b0'",
}


@pytest.mark.parametrize("statement", WRONG_WRITES)
def test_a_write_outside_is_found_and_named(statement):
    schedule, x, _ = negation()
    made = plan(schedule, {"n": 37})
    data = ones(37)
    with pytest.raises(KernelAccessError) as error:
        run(schedule, made, {x: data}, {NEGATE: f"{NEGATION}    {statement}\n"})
    assert error.value.headline == f"step 0, k0 (), writes {WRONG_WRITES[statement]}"
    assert data.tolist() == [1.0] * 37
    assert len(str(error.value).splitlines()) <= 12


def test_a_write_into_another_live_buffer_is_found():
    build = Builder()
    x, a, b, y = (build.buffer(r, label="x") for r in ("input", "temp", "temp", "output"))
    build.step(COPY, x, a)
    build.step(NEGATE, x, b)
    build.step(ADD, a, b, y)
    schedule = build.schedule(y=y)
    made = plan(schedule, {"n": 16})
    distance = (made.placement(a).offset - made.placement(b).offset) // 4
    source = NEGATION + f"    store1(p1, {distance} + 5, f32x1(1.0))\n"
    with pytest.raises(KernelAccessError, match=f"step 1, k1 .*writes byte 20 of '{a}'"):
        run(schedule, made, {x: ones(16)}, {NEGATE: source})


def stray_read(source, count=37):
    """What is said of t = source(x); y = t + x."""
    schedule, x, _ = negation()
    with pytest.raises(KernelAccessError) as error:
        run(schedule, plan(schedule, {"n": count}), {x: ones(count)}, {NEGATE: source})
    return error.value.headline


def test_a_read_behind_an_operand_is_found_to_the_byte():
    source = NEGATION.replace("-v0", "-load(p0, j + 1, m)")
    headline = stray_read(source)
    assert "step 0, k0 (), depends on a red zone, " in headline
    behind = int(headline.partition("zone, ")[2].split()[0])
    assert behind < 4
    assert headline.endswith("behind the end of 'b0', which is none of its operands")
    source = NEGATION.replace("-v0", "load(p1, j, m) - v0")
    assert stray_read(source).startswith("step 0, k0 (), depends on byte ")
    assert stray_read(source).endswith(" of 'b1', which nobody has written yet")


def test_a_read_that_changes_nothing_is_no_fault():
    schedule, x, y = negation()
    source = NEGATION.replace("-v0", "select(load(p1, j, m) == v0, f32x16(0.0) - v0, -v0)")
    results, _ = run(schedule, plan(schedule, {"n": 37}), {x: ones(37)}, {NEGATE: source})
    assert results[y].tolist() == [0.0] * 37


def test_what_one_step_leaves_unwritten_the_next_must_not_read():
    schedule, x, _ = negation()
    source = NEGATION.replace("mask16(end - j)", "mask16(end - j - 1)")
    with pytest.raises(KernelAccessError) as error:
        run(schedule, plan(schedule, {"n": 37}), {x: ones(37)}, {NEGATE: source})
    assert error.value.headline.startswith("step 1, k1 (), depends on byte 14")
    assert "of 'b1', which nobody has written yet" in error.value.headline


def test_a_copy_of_poison_is_told_from_a_result_that_is_not_written():
    build = Builder()
    x, y = build.buffer("input", label="x"), build.buffer("output")
    build.step(NEGATE, x, y)
    schedule = build.schedule(y=y)
    made = plan(schedule, {"n": 32})
    copying = NEGATION.replace("-v0", "load(p0, j + 16, m)")
    with pytest.raises(KernelAccessError, match="depends on a red zone"):
        run(schedule, made, {x: ones(32)}, {NEGATE: copying})
    leaving = NEGATION.replace("store(p1, j, -v0, m)", "store(p1, j, -v0, m & mask16(end - j - 1))")
    with pytest.raises(KernelAccessError, match=f"leaves byte 124 of '{y}' unwritten"):
        run(schedule, made, {x: ones(32)}, {NEGATE: leaving})


def test_a_read_of_a_buffer_after_its_death_is_found():
    """What the arena still held in a plain run is poison once its last reader has run."""
    build = Builder()
    x, a, b, c = (build.buffer(r, label="x") for r in ("input", "temp", "temp", "temp"))
    y = build.buffer("output")
    build.step(NEGATE, x, a)
    build.step(ADD, a, a, b)
    build.step(COPY, b, c)
    build.step(ADD, b, c, y)
    schedule = build.schedule(y=y)
    made = plan(schedule, {"n": 16})
    places = {p.buffer: replace(p, offset=64 * n) for n, p in enumerate(made.placements)}
    made = replace(made, placements=tuple(places.values()), peak_bytes=192)
    run(schedule, made, {x: ones(16)})
    distance = (places[a].offset - places[b].offset) // 4
    source = NEGATION.replace("-v0", f"v0 + load(p0, j + {distance}, m)")
    with pytest.raises(
        KernelAccessError, match=r"step 2, k2 .* which is none of its operands"
    ) as e:
        run(schedule, made, {x: ones(16)}, {COPY: source})
    byte = int(re.search(r"byte (\d+) of the arena", e.value.headline)[1])
    assert places[a].offset <= byte < places[a].offset + 64


def test_a_plan_in_which_two_live_buffers_meet_is_refused():
    build = Builder()
    x, a, b, y = (build.buffer(r, label="x") for r in ("input", "temp", "temp", "output"))
    build.step(NEGATE, x, a)
    build.step(COPY, x, b)
    build.step(ADD, a, b, y)
    schedule = build.schedule(y=y)
    made = plan(schedule, {"n": 8})
    meeting = tuple(replace(p, offset=0) for p in made.placements)
    with pytest.raises(VerifyError, match="share bytes while both live"):
        run(schedule, replace(made, placements=meeting), {x: ones(8)})


def test_nothing_is_written_when_a_later_step_is_at_fault():
    """The parameter has its new value in the copy already; the store keeps the old one."""
    build = Builder()
    x, w, y = build.buffer("input", label="x"), build.buffer("parameter", label="w"), ""
    y = build.buffer("output")
    build.step(COPY, x, w)
    build.step(NEGATE, x, y)
    schedule = build.schedule(y=y)
    store = ParameterStore("w", np.zeros(8, np.float32))
    made = plan(schedule, {"n": 8})
    wrong = NEGATION + "    store1(p0, 0, f32x1(3.0))\n"
    with pytest.raises(KernelAccessError, match="step 1, k1"):
        run(schedule, made, {x: ones(8)}, {NEGATE: wrong}, w=store)
    assert store.read().tolist() == [0.0] * 8
    results, _ = run(schedule, made, {x: ones(8)}, w=store)
    assert (store.read().tolist(), results[y].tolist()) == ([1.0] * 8, [-1.0] * 8)


def lookup():
    build = Builder()
    x, rows = build.buffer("input", label="x"), build.buffer("input", label="i", dtype=I64)
    y, words = build.buffer("output"), build.buffer("check", 2, dtype=I64)
    build.step(TAKE, x, rows, y, words, arguments=(N, N))
    return build.schedule(y=y), x, rows, y


def test_the_words_of_a_check_that_runs_again_are_touched():
    """No index fails, so that nothing is written there: a kernel has them all the same."""
    build = Builder()
    x, rows = build.buffer("input", label="x"), build.buffer("input", label="i", dtype=I64)
    words, found = build.buffer("check", 2, dtype=I64), build.buffer("temp")
    w, y = build.buffer("parameter", label="w"), build.buffer("output")
    build.step(TAKE, x, rows, found, words, arguments=(N, N))
    build.step(COPY, found, w)
    build.step(NEGATE, found, y)
    schedule = build.schedule(y=y)

    class Again(Policy):
        """Looks everything up again for the last step."""

        def sequences(self, problem):
            return [[0, 1, 0, 2]]

    made = plan(schedule, {"n": 8}, policy=Again())
    late = next(p for p in made.placements if p.buffer == words and p.first == 2)
    moved = tuple(replace(p, offset=640) if p is late else p for p in made.placements)
    higher = replace(made, placements=moved, peak_bytes=704)
    store = ParameterStore("w", np.zeros(8, np.float32))
    data = {x: ones(8), rows: np.arange(8)}
    for each in (made, higher):
        _, table = run(schedule, each, data, w=store)
        assert table.highest_touched == each.peak_bytes


def test_checks_are_made_and_raised_as_in_a_plain_run():
    schedule, x, rows, y = lookup()
    made = plan(schedule, {"n": 20})
    data = np.arange(20, dtype=np.float32)
    results, table = run(schedule, made, {x: data, rows: np.arange(20)[::-1].copy()})
    assert results[y].tolist() == data[::-1].tolist()
    assert table.highest_touched == made.peak_bytes == 64
    with pytest.raises(IndexOutOfRange, match="index 20 is out of range"):
        run(schedule, made, {x: data, rows: np.full(20, 20)})
