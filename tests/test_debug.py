"""``debug=True``: the same bytes as without, the peak measured, and faults named for the user."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import backends
from tests.compiled.agreement import assert_same
from tests.compiled.test_programs import with_derivatives
from tests.memory.test_deep_mlp import deep
from tests.random_programs import feeds_at, random_graph, whole_graph

OPTIONS = (
    {},
    {"checkpoint": "recompute"},
    {"checkpoint": "sqrt"},
    {"fuse": False, "pipeline": "O0"},
    {"memory_budget": "lowest"},
)


def peak_of(program):
    """The peak of the plan that the latest run followed, staged feeds included."""
    plan = program._executor.latest
    assert plan is not None
    return plan.peak_bytes


def smallest_budget(graph, feeds):
    """The smallest peak that the planner finds for a step."""
    try:
        sg.compile(graph, memory_budget=0, debug=False).run(feeds)
    except sg.errors.BudgetInfeasible as error:
        return error.smallest_peak
    return 0


def run_both(graph, feeds, **options):
    """Run without and with ``debug``, compare all bytes, and the peak with what was touched."""
    if options.get("memory_budget") == "lowest":
        options["memory_budget"] = smallest_budget(graph, feeds)
    before = [p.value for p in graph.parameters]
    states = []
    for debug in (False, True):
        for parameter, value in zip(graph.parameters, before, strict=True):
            parameter.value = value
        program = sg.compile(graph, debug=debug, **options)
        found = program.run(feeds)
        states.append((found, {p.name: p.value for p in graph.parameters}))
        assert program.highest_touched == (peak_of(program) if debug else None)
    for plain, watched in zip(*states, strict=True):
        assert_same(watched, plain, options)
    for parameter, value in zip(graph.parameters, before, strict=True):
        parameter.value = value
    return program


def check_real(seed):
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=10, empty=seed % 3 == 0)
    graph = with_derivatives(graph)
    try:
        sg.evaluate(graph, feeds)
        run_both(graph, feeds, **OPTIONS[seed % len(OPTIONS)])
    except (sg.errors.FeedError, sg.errors.VerifyError):
        return  # a size that no feed determines; an update that looks something up


def check_whole(seed):
    graph = whole_graph(seed, 8)
    feeds = feeds_at(graph, np.random.default_rng(seed), {"batch": 5, "n": 3}, "whole")
    try:
        sg.evaluate(graph, feeds)
    except (sg.errors.FeedError, sg.errors.IndexOutOfRange):
        return
    run_both(graph, feeds, **OPTIONS[seed % len(OPTIONS)])


@pytest.mark.slow
def test_random_programs_keep_their_bytes_and_touch_their_peak():
    for seed in range(5):  # each of OPTIONS once
        check_real(seed)
        check_whole(seed)


@pytest.mark.exhaustive
def test_more_random_programs():
    for seed in range(1200, 1210):
        check_real(seed)
        check_whole(seed)


@pytest.mark.slow
def test_every_policy_and_budget_of_a_deep_network():
    """Steps that occur again find their buffers anew, poisoned in between."""
    graph = deep(6, "tanh", 16)
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((24, 16)).astype("float32") for name in ("x", "y")}
    repeated = []
    for options in OPTIONS:
        program = run_both(graph, feeds, **options)
        plan = program._executor.latest
        assert plan is not None
        repeated.append(len(plan.steps) > len(plan.schedule.steps))
    assert repeated == [False, True, True, False, True]


def training():
    w = sg.parameter("w", np.full((3, 2), 0.5, "float32"))
    x, y = sg.input("x", ("n", 3), "float32"), sg.input("y", ("n",), "int64")
    loss = sg.nn.cross_entropy(x @ w, y)
    return sg.Graph({"loss": loss, "old": w}, updates={w: w - sg.grad(loss, w)}), w


FEEDS = {"x": np.arange(12, dtype="float32").reshape(4, 3) / 10, "y": np.array([0, 1, 1, 1])}


def test_checks_are_raised_before_a_parameter_changes():
    graph, w = training()
    f = sg.compile(graph, debug=True)
    with pytest.raises(sg.errors.IndexOutOfRange):
        f.run({**FEEDS, "y": np.array([0, 1, 2, 0])})
    assert np.array_equal(w.value, np.full((3, 2), 0.5))
    f.run(FEEDS)
    x, i = sg.input("x", ("n",), "float32"), sg.input("i", ("m",), "int64")
    program = {"y": sg.exp(sg.take(x, i)).sum()}
    for debug in (False, True):
        with pytest.raises(sg.errors.IndexOutOfRange):
            sg.compile(program, debug=debug).run({"x": np.zeros(0, "float32"), "i": [0, 0]})


def test_pickles_options_and_settings():
    x = sg.input("x", ("n",), "float32")
    f = pickle.loads(pickle.dumps(sg.compile(x * 2.0, debug=True)))
    assert f.options.debug is True
    assert f.highest_touched is None
    f.run({"x": np.ones(3, "float32")})
    assert f.highest_touched == 0
    with sg.options(debug=True):
        assert sg.compile(x * 2.0).options.debug is True
        assert sg.compile(x * 2.0, debug=False).options.debug is False
    with pytest.raises(sg.StaticgradError, match="debug=: 3 is not true or false"):
        sg.compile(x, debug=3)


def test_a_wrong_kernel_is_named_with_the_users_lines(monkeypatch):
    render = backends.render

    def wrong(*given):
        source = render(*given)
        return source + "    store1(p0, 1, f32x1(9.0))\n" if "tanh" in source else source

    monkeypatch.setattr(backends, "render", wrong)
    x = sg.input("x", ("n",), "float32")
    f = sg.compile({"y": sg.tanh(x)}, debug=True)
    data = np.zeros(4, "float32")
    with pytest.raises(sg.errors.KernelAccessError) as error:
        f.run({"x": data})
    lines = str(error.value).splitlines()
    assert lines[0] == "[SG411] step 0, k0 (tanh), writes byte 6 of 'in.x'"
    assert lines[2].strip() == 'f = sg.compile({"y": sg.tanh(x)}, debug=True)'
    assert any("it may write out.y (16 bytes)" in line for line in lines)
    assert any("it computes test_debug.py:" in line for line in lines)
    assert not data.any()
    assert f.stats.runs == 0
