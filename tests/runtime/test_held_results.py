"""Results that the caller holds: new arrays of native runs, which later runs never change."""

import gc
import itertools
import sys
import tracemalloc
import weakref
from collections import deque
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import staticgrad as sg
from staticgrad.native.entry.words import MOST_MISSES, SMALL
from tests.helpers.processes import in_threads
from tests.runtime.test_entry import natively, needs_entry

pytestmark = needs_entry

HELD = 12
FACTORS = (1.5, -2.0, 0.25)
#: Elements of float64: on both sides of NumPy's cache, pages, and what malloc maps by itself.
LENGTHS = (0, 1, SMALL // 8, SMALL // 8 + 1, 512, 8192, 131_072)


def products(count):
    """A program of ``x`` times the first factors."""
    x = sg.input("x", ("n",), "float64")
    return sg.compile(sg.Graph({f"y{k}": x * factor for k, factor in enumerate(FACTORS[:count])}))


def by_run(count, _):
    f = products(count)
    return f, lambda x: [*f.run({"x": x}).values()]


def by_bind(count, _):
    """The feed is overwritten before each call."""
    f, bound = products(count), {}

    def call(x):
        if x.size not in bound:
            feed = x.copy()
            bound[x.size] = feed, f.bind({"x": feed})
        feed, run = bound[x.size]
        feed[:] = x
        return [*run().values()]

    return f, call


def by_function(count, length):
    @sg.function
    def multiply(x):
        return tuple(x * factor for factor in FACTORS[:count])

    return multiply.compile(np.ones(length)), lambda x: [*multiply(x)]


WAYS = {"run": by_run, "bind": by_bind, "function": by_function}


def check_products(x, results):
    for factor, array in zip(FACTORS, results, strict=False):
        np.testing.assert_array_equal(array, x * factor)


def check_apart(arrays):
    """No two arrays share a byte; each is what a caller may write into."""
    ranges = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays if a.nbytes)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ranges))
    for array in arrays:
        assert type(array) is np.ndarray
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.flags.aligned


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_later_runs_change_no_result(way, length, count):
    """Dropped ones in between. One run is in Python at most, which adds a block to the pool."""
    f, call = way(count, length)
    numbers = np.random.default_rng(length).normal(size=(HELD, length))
    for _ in range(4):
        call(np.ones(length))
    runs_before = natively(f)
    results_of_runs = []
    for number, x in enumerate(numbers):
        results_of_runs.append(call(x))
        if number % 3 == 0:
            call(x + 1.0)
    assert natively(f) >= runs_before + HELD + HELD // 3 - 1
    for x, results in zip(numbers, results_of_runs, strict=True):
        check_products(x, results)
    check_apart(list(itertools.chain(*results_of_runs)))
    for results in results_of_runs[::2]:
        for array in results:
            array[...] = np.nan
    for x, results in zip(numbers[1::2], results_of_runs[1::2], strict=True):
        check_products(x, results)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_results_that_are_fed_back_have_numpys_values(way):
    """Three live results of each output, as of a line search: the pool has two."""
    f, call = way(1, 700)
    history = [np.linspace(-1.0, 1.0, 700)]
    expected_history = [history[0]]
    for _ in range(30):
        history.append(call(history[-1])[0])
        expected_history.append(expected_history[-1] * FACTORS[0])
    assert natively(f) > 20
    np.testing.assert_array_equal(history, expected_history)
    best, current = history[0], history[0]
    expected = expected_history[0]
    for number in range(30):
        current = call(current)[0]
        if number % 4 == 0:
            best, expected = current, expected_history[number + 1]
        np.testing.assert_array_equal(best, expected)
        np.testing.assert_array_equal(current, expected_history[number + 1])


DTYPES = {
    **{
        name: np.dtype(name)
        for name in (
            "float16", "float32", "float64", "complex64", "complex128", "int8", "int16", "int32",
            "int64", "uint8", "uint16", "uint32", "uint64",
        )
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0, 3), (7, 150)], ids=str)
@pytest.mark.parametrize("name", [*DTYPES, "bool"])
def test_results_of_all_dtypes_and_ranks_stay(name, shape):
    x = sg.input("x", shape, name)
    if name == "bool":
        f, dtype, compute = sg.compile(sg.logical_not(x)), np.dtype(bool), np.logical_not
    else:
        f, dtype, compute = sg.compile(x + x), DTYPES[name], lambda x: x + x
    feeds = [{"x": np.full(shape, k).astype(dtype)} for k in range(HELD)]
    for _ in range(4):
        f.run(feeds[1])
    runs_before = natively(f)
    arrays = [f.run(feed) for feed in feeds]
    assert natively(f) >= runs_before + HELD - 1
    for feed, array in zip(feeds, arrays, strict=True):
        assert (array.dtype, array.shape) == (dtype, shape)
        np.testing.assert_array_equal(array, compute(feed["x"]))
    check_apart(arrays)


@pytest.mark.parametrize("length", [300, 60_000])
def test_threads_hold_results_of_one_program(length):
    f = products(3)
    failures = []

    def work(seed):
        generator = np.random.default_rng(seed)
        recent = deque(maxlen=7)
        for _ in range(60):
            x = generator.normal(size=length)
            recent.append((x, f.run({"x": x})))
            if generator.random() < 0.3:
                recent.clear()
            for feed, results in recent:
                for factor, array in zip(FACTORS, results.values(), strict=True):
                    if not np.array_equal(array, feed * factor):
                        failures.append(seed)

    in_threads(*(partial(work, seed) for seed in range(4)))
    assert natively(f) > 0
    assert not failures


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
@pytest.mark.parametrize("length", [100, 600])
def test_held_results_are_freed_when_they_are_dropped(length):
    """100,000 runs: NumPy's memory, objects and references at the end are those at the start."""
    f = products(1)
    feeds = {"x": np.ones(length)}
    bound = f.bind(feeds)
    for _ in range(5):
        f.run(feeds), bound()
    dtype = f.run(feeds)["y0"].dtype
    arrays = [f.run(feeds)["y0"] for _ in range(4)]
    references = [weakref.ref(array) for array in arrays]
    del arrays
    assert [reference() for reference in references] == [None] * 4

    def run_all(count):
        recent = deque(maxlen=5)
        for _ in range(count // 2):
            recent.append(f.run(feeds))
            recent.append(bound())

    run_all(100)
    gc.collect()
    counts, objects = [sys.getrefcount(dtype), sys.getrefcount(feeds["x"])], len(gc.get_objects())
    runs_before = natively(f)
    run_all(100_000)
    assert natively(f) == runs_before + 100_000
    gc.collect()
    counts_after = [sys.getrefcount(dtype), sys.getrefcount(feeds["x"])]
    assert max(abs(a - b) for a, b in zip(counts_after, counts, strict=True)) < 10
    assert len(gc.get_objects()) < objects + 10
    tracemalloc.start()
    try:
        run_all(100)
        first = tracemalloc.get_traced_memory()[0]
        run_all(2000)
        last = tracemalloc.get_traced_memory()[0]
        arrays = [f.run(feeds)["y0"] for _ in range(50)]
        assert tracemalloc.get_traced_memory()[0] - last >= 48 * 8 * length  # two are the pool's
    finally:
        tracemalloc.stop()
    assert last - first < 5000
    check_apart(arrays)


def test_the_pool_takes_over_another_shape():
    """Results of another shape are new arrays at first; two runs in Python then fill the pool."""
    f = products(1)
    for length in (300, 300, 500, 500, 500):
        results = f.run({"x": np.ones(length)})
    in_python, addresses = f.stats.runs - natively(f), []
    for _ in range(MOST_MISSES + 12):
        results = f.run({"x": np.ones(300)})
        np.testing.assert_array_equal(results["y0"], np.full(300, FACTORS[0]))
        assert (results["y0"].base is None) == (len(addresses) < MOST_MISSES)
        addresses.append(results["y0"].ctypes.data)
    assert f.stats.runs - natively(f) == in_python + 2
    assert len(set(addresses[MOST_MISSES:])) == 2


def test_shapes_in_turn_are_native():
    f = products(3)
    feeds = [{"x": np.full(length, length / 7)} for length in (200, 300, 400, 500)]
    for feed in feeds * 3:
        f.run(feed)
    runs_before = natively(f)
    runs = [(feed, f.run(feed)) for feed in feeds * 15]
    assert natively(f) >= runs_before + len(runs) - 1
    for feed, results in runs:
        check_products(feed["x"], results.values())
    check_apart([array for _, results in runs for array in results.values()])
