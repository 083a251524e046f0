"""Workers share the steps of a loop, whatever batch there is; no byte depends on it."""

import signal
import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import IndexOutOfRange, NonFiniteError
from tests.helpers.diagonals import diagonals
from tests.runtime.several_workers import check_equal_bytes

ITERATIONS = 9


def recurrent(hidden):
    """A recurrent layer along time and its gradients, for any batch: a product and a map an
    iteration."""
    x = sg.input("x", (ITERATIONS, "batch", hidden))
    u = sg.input("u", (hidden, hidden))
    start = sg.zeros((x.shape[1], hidden), "float32")
    last, every = sg.scan(lambda h, row: (sg.tanh(row + h @ u),) * 2, start, x)
    loss = (last * last).sum() + every.mean()
    return sg.Graph({"loss": loss, "slopes": sg.grad(loss, u), "last": last})


def feeds(hidden, batch):
    random = np.random.default_rng(batch)
    x = random.normal(0, 0.3, (ITERATIONS, batch, hidden)).astype("float32")
    return {"x": x, "u": random.normal(0, hidden**-0.5, (hidden, hidden)).astype("float32")}


@pytest.mark.thinned
@diagonals(2, ("workers", [2, 3]), ("batch", [1, 25, 32, 33, 64, 130]))
def test_iterations_have_equal_bytes(batch, workers):
    f = sg.compile(recurrent(96), threads=1)
    for seed in range(3):
        check_equal_bytes(f, feeds(96, batch), workers, seed)


def training_step(hidden, iterations):
    """A step of SGD on a recurrent layer that looks up a row of a table in each iteration.

    It adds the logarithm of ``level``, for each iteration and row a number.
    """
    x, level = (
        sg.input("x", (iterations, "batch", hidden)),
        sg.input("level", (iterations, "batch", 1)),
    )
    places = sg.input("places", (iterations,), "int64")
    u = sg.parameter("u", np.random.default_rng(0).normal(0, 0.1, (hidden, hidden)).astype("f4"))
    table = sg.input("table", (5, hidden))

    def iteration(h, slices):
        h = sg.tanh(slices[0] + h @ u + table[slices[1]] + sg.log(slices[2]))
        return h, None

    last, _ = sg.scan(iteration, sg.zeros((x.shape[1], hidden), "float32"), (x, places, level))
    loss = (last * last).mean()
    return sg.Graph({"loss": loss, "last": last}, sg.optim.SGD(0.1).updates(loss, [u])), u


def training_feeds(hidden, iterations, batch):
    random = np.random.default_rng(batch)
    return {
        "x": random.normal(0, 0.3, (iterations, batch, hidden)).astype("float32"),
        "level": np.ones((iterations, batch, 1), "float32"),
        "places": random.integers(0, 5, iterations),
        "table": random.normal(0, 0.3, (5, hidden)).astype("float32"),
    }


def steps_of(f, u, arrays, start):
    """Return the bytes of two steps' results and of the parameter after them."""
    u.value = start
    results = [array.tobytes() for _ in range(2) for array in f.run(arrays).values()]
    return b"".join([*results, u.value.tobytes()])


WAYS = (
    {}, {"debug": True}, {"debug": "nan"}, {"checkpoint": "recompute", "debug": True},
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS, ids=str)
def test_shared_iterations_have_equal_bytes_in_every_mode(options):
    graph, u = training_step(64, ITERATIONS)
    start, arrays = u.value, training_feeds(64, ITERATIONS, 56)
    expected = steps_of(sg.compile(graph, threads=1), u, arrays, start)
    for threads in (2, 3, 4):
        f = sg.compile(graph, threads=threads, **options)
        assert steps_of(f, u, arrays, start) == expected


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True, "nan"])
def test_a_lookup_that_fails_in_a_shared_iteration_changes_no_parameter(debug):
    graph, u = training_step(64, ITERATIONS)
    start, arrays = u.value, training_feeds(64, ITERATIONS, 56)
    wrong = arrays | {"places": np.where(np.arange(ITERATIONS) == 6, 5, arrays["places"])}
    expected = steps_of(sg.compile(graph, threads=1), u, arrays, start)
    messages = set()
    for threads in (2, 3, 4):
        f = sg.compile(graph, threads=threads, debug=debug)
        for _ in range(2):
            u.value = start
            with pytest.raises(IndexOutOfRange) as failed:
                f.run(wrong)
            messages.add(str(failed.value))
            assert u.value.tobytes() == start.tobytes()
        assert steps_of(f, u, arrays, start) == expected
    assert len(messages) == 1


@pytest.mark.slow
def test_the_iteration_of_a_nan_is_named_whoever_had_its_row():
    graph, u = training_step(64, ITERATIONS)
    start, arrays = u.value, training_feeds(64, ITERATIONS, 56)
    for row in (0, 55):
        level = arrays["level"].copy()
        level[5, row] = -1.0
        messages = set()
        for threads in (1, 2, 4):
            f = sg.compile(graph, threads=threads, debug="nan")
            with pytest.raises(NonFiniteError) as failed:
                f.run(arrays | {"level": level})
            messages.add(str(failed.value))
            assert u.value.tobytes() == start.tobytes()
        (message,) = messages
        assert "iteration 5" in message


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_interrupts_between_shared_iterations_leave_a_step_whole(threads):
    """Iterations take several pieces of the driver's fuel; a signal comes at random moments."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals arrive in the main thread")
    iterations = 3000
    graph, u = training_step(64, iterations)
    start, arrays = u.value, training_feeds(64, iterations, 56)
    f = sg.compile(graph, threads=threads)
    u.value = start
    outputs = {name: array.tobytes() for name, array in f.run(arrays).items()}
    value_after = u.value.tobytes()

    def ring(*_):
        raise TimeoutError

    handler_before, random = signal.signal(signal.SIGALRM, ring), np.random.default_rng(threads)
    try:
        for delay in random.uniform(1e-4, 0.04, 8):
            u.value = start
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                f.run(arrays)
            except TimeoutError:
                assert u.value.tobytes() in (start.tobytes(), value_after)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            u.value = start
            again = f.run(arrays)
            assert {name: array.tobytes() for name, array in again.items()} == outputs
            assert u.value.tobytes() == value_after
    finally:
        signal.signal(signal.SIGALRM, handler_before)
