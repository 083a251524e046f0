"""Results and the caller's floating-point environment leave each other alone.

Whatever rounding or flushing the caller has set, a program gives the bytes of the default
environment (round to nearest, denormals kept), and the caller finds his setting again.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import IndexOutOfRange
from tests.safety.control_words import (
    DEFAULT,
    STATES,
    only_with_control_words,
    register,
    state,
)

pytestmark = only_with_control_words
TINY = 5e-324
settings = pytest.mark.parametrize("name", STATES)


def program():
    """Denormals, halves of last places, constants to fold, gathers and an update."""
    x = sg.input("x", ("n",), "float64")
    z = sg.input("z", ("n",), "float32")
    rows = sg.input("rows", ("k",), "int64")
    w = sg.parameter("w", np.full(3, TINY))
    tiny = sg.constant(np.full(3, 3 * TINY)) * np.full(3, 0.5)
    third = sg.constant(np.float64(1)) / np.float64(3)
    outputs = {
        "tiny": x * 0.5, "sum": (x * 0.1).sum(), "exp": sg.exp(x), "folded": tiny + third,
        "third": x / 3.0, "narrow": x.astype("float32"), "z": z * 1.5, "taken": sg.take(x, rows),
        "product": x.reshape((x.size, 1)) @ x.reshape((1, x.size)),
    }  # fmt: skip
    return sg.Graph(outputs, updates={w: w * 1.0 + TINY})


def feeds(layout):
    x = np.array([TINY, 1e-310, 1.0, 0.1, -3e-39, 1e-45, 2.0**-1074, 0.7] * 3)
    arrays = {"x": x, "z": (x * 1e-6).astype("f4"), "rows": np.array([0, 5, -1])}
    if layout == "staged":  # float64 is rounded to float32 on its way in
        arrays |= {"x": x[::-1].copy()[::-1], "z": x * 1e-6}
    if layout == "lists":
        arrays |= {"x": x.tolist(), "z": (x * 1e-6).tolist()}
    return arrays


def results(f, data):
    w = f.program_graph.parameters[0]
    w.value = np.full(3, TINY)
    return [*(a.tobytes() for a in f.run(data).values()), w.value.tobytes()]


@pytest.fixture(scope="module")
def expected_results():
    f = sg.compile(program())
    return {layout: results(f, feeds(layout)) for layout in ("plain", "staged", "lists")}


@pytest.mark.thinned
@settings
@pytest.mark.parametrize("jit", [True, False])
def test_results_do_not_depend_on_the_caller(name, jit, expected_results):
    """Compiled and run where another environment rules, to the bytes of the default one."""
    graph, data = program(), {layout: feeds(layout) for layout in expected_results}
    with sg.options(jit=jit):
        with state(STATES[name]):
            f = sg.compile(graph)
        for layout, expected in expected_results.items():
            w = f.program_graph.parameters[0]
            w.value = np.full(3, TINY)
            with state(STATES[name]):
                actual = f.run(data[layout])
            assert [*(a.tobytes() for a in actual.values()), w.value.tobytes()] == expected, layout


@settings
def test_a_refused_run_leaves_the_environment_as_well(name):
    f, data = sg.compile(program()), feeds("staged")
    bad = {**data, "rows": np.array([99, 0, 0])}
    with state(STATES[name]):
        with pytest.raises(IndexOutOfRange):
            f.run(bad)
        with pytest.raises(sg.errors.FeedError):
            f.run({**data, "rows": 0.5})


def test_flags_of_exceptions_are_left_as_found():
    """Divisions by zero inside a kernel raise no flag outside."""
    x = sg.input("x", (4,), "float64")
    f = sg.compile({"y": 1.0 / x, "z": sg.sqrt(x - 1.0), "e": sg.exp(x * 1e6)})
    data = {"x": np.array([0.0, 1e-320, 1e300, -1.0])}
    f.run(data)
    word = register()
    outer = word.get()
    word.set(DEFAULT)
    try:
        executor = f._executor
        table = executor._prepare(executor._feeds.bind(data)).table
        executor._locks.run(table.run, executor._arena)
        actual = word.get()
    finally:
        word.set(outer)
    assert actual == DEFAULT
