"""The driver's table of a plan: addresses, checks before the commit, all or nothing."""

import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st

from staticgrad import native
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.backends import source_of
from staticgrad.compiler.memory.planner import plan
from staticgrad.compiler.runtime.arena import Arena
from staticgrad.compiler.runtime.step import ParameterLocks, Program, Table, nothing
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.storage.parameter import ParameterStore
from staticgrad.language.types.dtype import I64
from tests.passes.test_memory import schedules
from tests.runtime.handmade import ADD, COPY, NEGATE, TAKE, Builder, N


def program(schedule, **stores):
    kernels = {k: native.kernel(source_of(k)) for k in schedule.kernels}
    return Program(schedule, kernels, stores, native.driver())


def run(schedule, memory_plan, feeds, **stores):
    """Run a plan once; feeds and results by buffer name."""
    table = Table(program(schedule, **stores), memory_plan)
    arena = Arena()
    arena.reserve(memory_plan.peak_bytes)
    arena.array(0, np.dtype(np.uint8), (memory_plan.peak_bytes,))[:] = 0xA5
    table.bind_arena(arena)
    nbytes = dict(memory_plan.buffer_bytes)
    results = {}
    for buffer in schedule.buffers:
        if buffer.role == "input" and buffer.label in table.staged:
            data = np.asarray(feeds[buffer.name])
            arena.array(table.staged[buffer.label], data.dtype, data.shape)[...] = data
        elif buffer.role == "input":
            table.bind(buffer.name, feeds[buffer.name].ctypes.data)
        elif buffer.role == "output":
            results[buffer.name] = np.full(nbytes[buffer.name] // 4, np.nan, np.float32)
            table.bind(buffer.name, results[buffer.name].ctypes.data)
    table.run(arena)
    return results


def update_program():
    """y = x + w; then w = -y, with y an output; a lookup is checked between."""
    build = Builder()
    x, w = build.buffer("input", label="x"), build.buffer("parameter", label="w")
    y, looked_up = build.buffer("output", label="y"), build.buffer("output", label="t")
    rows = build.buffer("input", label="i", dtype=I64)
    words = build.buffer("check", 2, dtype=I64)
    old = build.buffer("temp")
    build.step(ADD, x, w, y)
    build.step(NEGATE, y, old)
    build.step(COPY, old, w)
    build.step(TAKE, x, rows, looked_up, words, arguments=(N, N))
    return build.schedule(y=y, t=looked_up), (x, rows, y)


@pytest.mark.parametrize("bad", [{5: 37}, {36: -38, 20: 99}, {0: 2**40, 1: -(2**40)}])
def test_the_smallest_failing_position_is_raised_before_any_parameter_changes(bad):
    schedule, (x, rows, _) = update_program()
    memory_plan = plan(schedule, {"n": 37})
    store = ParameterStore("w", np.ones(37, np.float32))
    indices = np.zeros(37, np.int64)
    for position, index in bad.items():
        indices[position] = index
    first = min(bad)
    with pytest.raises(
        IndexOutOfRange, match=f"index {bad[first]} is out of range .* size 37"
    ) as error:
        run(schedule, memory_plan, {x: np.ones(37, np.float32), rows: indices}, w=store)
    assert f"element {first} " in str(error.value)
    assert np.array_equal(store.read(), np.ones(37, np.float32))


def test_of_two_failing_steps_the_first_listed_is_raised():
    build = Builder()
    x = build.buffer("input", label="x")
    rows = [build.buffer("input", label=f"i{k}", dtype=I64) for k in range(2)]
    results = [build.buffer("output", label=f"y{k}") for k in range(2)]
    words = [build.buffer("check", 2, dtype=I64) for _ in range(2)]
    for k in range(2):
        build.step(TAKE, x, rows[k], results[k], words[k], arguments=(N, N))
    schedule = build.schedule(y0=results[0], y1=results[1])
    feeds = {x: np.ones(20, np.float32), rows[0]: np.arange(20) + 10, rows[1]: np.full(20, 77)}
    with pytest.raises(IndexOutOfRange, match="index 20 "):
        run(schedule, plan(schedule, {"n": 20}), feeds)


@pytest.mark.slow
@given(schedules(uniform=True), st.integers(0, 70), st.booleans())
def test_random_schedules_give_the_bytes_of_the_listed_order(schedule, n, stage):
    """Orders, in-place results and shared bytes against NumPy with one array per buffer."""
    random = np.random.default_rng(n)
    values = {}
    for buffer in schedule.buffers:
        data = random.integers(0, max(n, 1), n) if buffer.dtype == I64 else random.random(n)
        values[buffer.name] = data.astype(buffer.dtype.numpy)
    stores = {
        b.label: ParameterStore(b.label, values[b.name])
        for b in schedule.buffers
        if b.role == "parameter"
    }
    inputs = frozenset(b.name for b in schedule.buffers if b.role == "input")
    feeds = {name: values[name].copy() for name in inputs}
    memory_plan = plan(schedule, {"n": n}, staged=inputs if stage else frozenset())
    verify_plan(memory_plan)
    results = run(schedule, memory_plan, feeds, **stores)
    run_in_numpy(schedule, values)
    for name, array in results.items():
        assert np.array_equal(array, values[name])
    for buffer in schedule.buffers:
        if buffer.role == "parameter":
            assert np.array_equal(stores[buffer.label].read(), values[buffer.name])
    assert all(np.array_equal(feeds[name], values[name]) for name in inputs)


def run_in_numpy(schedule, values):
    """The listed order, one array per buffer."""
    for step in schedule.steps:
        names = [b.buffer for b in step.operands]
        if step.kernel is TAKE:
            values[names[2]] = values[names[0]][values[names[1]]]
            continue
        modes = [o.mode for o in step.kernel.operands]
        total, *more = [values[n] for n, mode in zip(names, modes, strict=True) if mode == "in"]
        for operand in more:
            total = total + operand
        for name, mode in zip(names, modes, strict=True):
            if mode == "out":
                values[name] = -total if step.kernel is NEGATE else total


def test_parameter_locks_are_taken_in_creation_order_and_given_back():
    first, second = ParameterStore("a", np.zeros(1)), ParameterStore("b", np.zeros(1))
    build = Builder()
    x = build.buffer("input", label="x")
    b, a = build.buffer("parameter", label="b"), build.buffer("parameter", label="a")
    y = build.buffer("output", label="y")
    build.step(ADD, x, a, y)
    build.step(NEGATE, x, b)
    locks = ParameterLocks(program(build.schedule(y=y), b=second, a=first))
    assert [
        lock is store.lock for (lock, _), store in zip(locks._locks, (first, second), strict=True)
    ]
    assert [write for _, write in locks._locks] == [False, True]
    blocked = threading.Thread(target=second.read)

    class Probe(Table):
        def __init__(self):
            pass

        def run(self, arena, begin_writing=nothing):
            assert first.read() == 0  # readers share
            begin_writing()
            blocked.start()
            blocked.join(0.05)
            assert blocked.is_alive()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locks.run(Probe().run, Arena())
    blocked.join(5)
    assert not blocked.is_alive()
    second.write(np.ones(1))
