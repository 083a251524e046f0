"""Runs of compiled programs: what they allocate, what a failure or an interrupt leaves, threads."""

import gc
import signal
import sys
import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.compiling.compiler import compile
from staticgrad.compiler.runtime import arena as arena_module, feeds as outputs_module
from staticgrad.errors import OutOfMemory
from tests.compiler.test_compiler import chain, swap
from tests.helpers.processes import in_threads


@pytest.fixture
def training():
    w = sg.parameter("w", np.zeros((5, 6), np.float32))
    x = sg.input("x", ("batch", 5), "float32")
    h = (x * 0.5) @ w + 1.0
    return w, compile(sg.Graph(outputs={"h": h}, updates={w: w + x.T @ h}), threads=1)


@pytest.mark.usefixtures("collected_apart")
def test_a_warm_step_allocates_nothing(training):
    _, f = training
    data = np.ones((200, 5), np.float32)
    out = {"h": np.empty((200, 6), np.float32)}
    feeds = {"x": data}
    f.run(feeds, out=out)
    f.run({"x": np.asfortranarray(data)}, out=out)
    strided = {"x": np.asfortranarray(data)}
    f.run(strided)
    tracemalloc.start()
    try:
        for _ in range(20):
            f.run(feeds, out=out)
            f.run(strided)
        gc.collect()  # it empties the interpreter's lists of free objects as well
        bytes_before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            f.run(feeds, out=out)
            f.run(strided)
        gc.collect()
        bytes_after, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        f.run(feeds, out=out)
        f.run(strided)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bytes_after - bytes_before < 1000
    assert (
        peak - bytes_after < 4000
    )  # Python's own objects of one call; an intermediate has 4800 bytes


def test_the_first_step_allocates_the_arena_and_the_outputs(training):
    _, f = training
    data = np.ones((40_000, 5), np.float32)
    peak = f.plan(batch=40_000).peak_bytes
    assert peak >= 40_000 * 5 * 4
    tracemalloc.start()
    try:
        f.run({"x": data})
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    memory = f.memory
    assert memory.arena == f.peak_bytes == peak
    assert memory.feeds == data.nbytes
    assert memory.outputs == 40_000 * 6 * 4
    assert memory.parameters == 120
    assert peak + memory.outputs <= used < peak + memory.outputs + 40_000


@pytest.mark.parametrize("module", [arena_module, outputs_module])
def test_memory_that_the_system_does_not_give_changes_nothing(module, training, monkeypatch):
    w, f = training
    f.run({"x": np.ones((2, 5), np.float32)})
    value_before = w.value

    def refuse(count):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(module, "aligned_bytes", refuse)
        with pytest.raises(OutOfMemory):
            f.run({"x": np.ones((3000, 5), np.float32)})
    assert np.array_equal(w.value, value_before)
    assert f.run({"x": np.ones((3000, 5), np.float32)})["h"].shape == (3000, 6)


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="with lock: can keep the lock, cpython#148874",
)
def test_a_real_ctrl_c_leaves_no_lock_taken():
    """SIGINT at random moments: the swap is whole, and every lock is free for another thread."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals arrive in the main thread")
    a, b, f = swap()
    pair = sorted([f.run()["a"].tolist(), a.value.tolist()])
    delays = np.random.default_rng(1).uniform(1e-5, 1e-4, 200)
    handler_before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupts = 0
    try:
        for delay in delays:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay, 0.2)
                while True:
                    f.run()
            except KeyboardInterrupt:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)
    assert interrupts == 200
    assert sorted([a.value.tolist(), b.value.tolist()]) == pair
    done = []
    in_threads(lambda: done.append(f.run()["a"]), seconds=10)
    assert done


def test_threads_share_one_program(rng):
    f = compile(chain(sg.input("x", ("batch", 5), "float32")))
    feeds = [rng.standard_normal((n, 5)).astype(np.float32) for n in (1, 40, 300, 5)]
    expected = [f.run({"x": feed}).copy() for feed in feeds]
    right = []

    def work(k):
        right.extend(np.array_equal(f.run({"x": feeds[k]}), expected[k]) for _ in range(100))

    in_threads(*(partial(work, k) for k in range(4)))
    assert right == [True] * 400


def test_threads_compile_and_update_together():
    w = sg.parameter("w", np.zeros(7, np.float32))
    graph = sg.Graph(outputs={"w": w}, updates={w: w + 1.0})

    def work():
        f = compile(graph)
        for _ in range(50):
            f.run()

    in_threads(*[work] * 4)
    assert w.value.tolist() == [200] * 7


def test_a_feed_that_runs_the_program_itself_does_not_hang():
    x = sg.input("x", (2,), "float32")
    f = compile(x + 1.0)

    class Lazy:
        def __array__(self, dtype=None, copy=None):
            return f.run({"x": np.zeros(2, np.float32)})

    assert f.run({"x": Lazy()}).tolist() == [2, 2]
