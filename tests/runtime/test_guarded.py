"""Kernels and plans that touch what they may not: each is found, named, and harms nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.compiler.memory.planner import plan
from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.guard import GuardedTable
from staticgrad.compiler.runtime.step import Program
from staticgrad.errors import KernelAccessError
from staticgrad.language.storage.parameter import ParameterStore
from tests.runtime.handmade import ADD, COPY, NEGATE, Builder

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


def run(schedule, memory_plan, feeds, sources=None, **stores):
    """One watched run, some kernels with a source of the test's own; results by buffer name."""
    source_of_kernel = sources or {}
    kernels = {k: native.kernel(source_of_kernel.get(k, source_of(k))) for k in schedule.kernels}
    names = {kernel: f"k{n}" for n, kernel in enumerate(schedule.kernels)}
    table = GuardedTable(Program(schedule, kernels, stores, native.driver(), names), memory_plan)
    arena = Arena()
    arena.reserve(memory_plan.peak_bytes)
    nbytes = dict(memory_plan.buffer_bytes)
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
    memory_plan = plan(schedule, {"n": 37})
    data = np.linspace(-1, 1, 37, dtype=np.float32)
    results, table = run(schedule, memory_plan, {x: data})
    assert results[y].tolist() == [0.0] * 37
    assert table.highest_touched == memory_plan.peak_bytes == 192


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
    memory_plan = plan(schedule, {"n": 37})
    data = ones(37)
    with pytest.raises(KernelAccessError) as error:
        run(schedule, memory_plan, {x: data}, {NEGATE: f"{NEGATION}    {statement}\n"})
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
    memory_plan = plan(schedule, {"n": 16})
    distance = (memory_plan.placement(a).offset - memory_plan.placement(b).offset) // 4
    source = NEGATION + f"    store1(p1, {distance} + 5, f32x1(1.0))\n"
    with pytest.raises(KernelAccessError, match=f"step 1, k1 .*writes byte 20 of '{a}'"):
        run(schedule, memory_plan, {x: ones(16)}, {NEGATE: source})


def stray_read(source, count=37):
    """Return the error's headline for t = source(x); y = t + x."""
    schedule, x, _ = negation()
    with pytest.raises(KernelAccessError) as error:
        run(schedule, plan(schedule, {"n": count}), {x: ones(count)}, {NEGATE: source})
    return error.value.headline


def test_a_read_behind_an_operand_is_found_to_the_byte():
    source = NEGATION.replace("-v0", "-load(p0, j + 1, m)")
    headline = stray_read(source)
    assert "step 0, k0 (), depends on a red zone, " in headline
    distance = int(headline.partition("zone, ")[2].split()[0])
    assert distance < 4
    assert headline.endswith("behind the end of 'b0', which is not one of its operands")
    source = NEGATION.replace("-v0", "load(p1, j, m) - v0")
    assert stray_read(source).startswith("step 0, k0 (), depends on byte ")
    assert stray_read(source).endswith(" of 'b1', which is not written yet")


def test_what_one_step_leaves_unwritten_the_next_must_not_read():
    schedule, x, _ = negation()
    source = NEGATION.replace("mask16(end - j)", "mask16(end - j - 1)")
    with pytest.raises(KernelAccessError) as error:
        run(schedule, plan(schedule, {"n": 37}), {x: ones(37)}, {NEGATE: source})
    assert error.value.headline.startswith("step 1, k1 (), depends on byte 14")
    assert "of 'b1', which is not written yet" in error.value.headline


def test_a_read_of_a_buffer_after_its_death_is_found():
    """Values that the arena still contains in a plain run are poison after their last reader."""
    build = Builder()
    x, a, b, c = (build.buffer(r, label="x") for r in ("input", "temp", "temp", "temp"))
    y = build.buffer("output")
    build.step(NEGATE, x, a)
    build.step(ADD, a, a, b)
    build.step(COPY, b, c)
    build.step(ADD, b, c, y)
    schedule = build.schedule(y=y)
    memory_plan = plan(schedule, {"n": 16})
    places = {p.buffer: replace(p, offset=64 * n) for n, p in enumerate(memory_plan.placements)}
    memory_plan = replace(memory_plan, placements=tuple(places.values()), peak_bytes=192)
    run(schedule, memory_plan, {x: ones(16)})
    distance = (places[a].offset - places[b].offset) // 4
    source = NEGATION.replace("-v0", f"v0 + load(p0, j + {distance}, m)")
    with pytest.raises(
        KernelAccessError, match=r"step 2, k2 .* which is not one of its operands"
    ) as e:
        run(schedule, memory_plan, {x: ones(16)}, {COPY: source})
    byte = int(re.search(r"byte (\d+) of the arena", e.value.headline)[1])
    assert places[a].offset <= byte < places[a].offset + 64


def test_nothing_is_written_when_a_later_step_is_at_fault():
    """The parameter has its new value in the copy already; the store keeps the old one."""
    build = Builder()
    x, w, y = build.buffer("input", label="x"), build.buffer("parameter", label="w"), ""
    y = build.buffer("output")
    build.step(COPY, x, w)
    build.step(NEGATE, x, y)
    schedule = build.schedule(y=y)
    store = ParameterStore("w", np.zeros(8, np.float32))
    memory_plan = plan(schedule, {"n": 8})
    wrong = NEGATION + "    store1(p0, 0, f32x1(3.0))\n"
    with pytest.raises(KernelAccessError, match="step 1, k1"):
        run(schedule, memory_plan, {x: ones(8)}, {NEGATE: wrong}, w=store)
    assert store.read().tolist() == [0.0] * 8
    results, _ = run(schedule, memory_plan, {x: ones(8)}, w=store)
    assert (store.read().tolist(), results[y].tolist()) == ([1.0] * 8, [-1.0] * 8)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_lanes_without_a_row_may_compute_from_scratch(rows):
    x = sg.input("x", (rows, 24), "float64")
    feed = np.random.default_rng(rows).normal(size=(rows, 24))
    spectrum = sg.compile(sg.fft.rfft(x), debug=True).run({"x": feed})
    np.testing.assert_allclose(spectrum, np.fft.rfft(feed), atol=1e-12)
