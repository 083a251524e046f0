"""Debug modes: the bytes of other runs, the peak, faults named; who made a NaN or an infinity."""

import dataclasses
import pickle
import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import backends, native
from staticgrad.errors import IndexOutOfRange, NonFiniteError
from tests.compiled.agreement import assert_same
from tests.compiled.test_programs import with_derivatives
from tests.helpers.random_programs import feeds_at, random_graph, whole_graph
from tests.memory.test_deep_mlp import deep

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
    start = [p.value for p in graph.parameters]
    states = []
    for debug in (False, True):
        for parameter, value in zip(graph.parameters, start, strict=True):
            parameter.value = value
        program = sg.compile(graph, debug=debug, **options)
        outputs = program.run(feeds)
        states.append((outputs, {p.name: p.value for p in graph.parameters}))
        assert program.highest_touched == (peak_of(program) if debug else None)
    for plain, watched in zip(*states, strict=True):
        assert_same(watched, plain, options)
    for parameter, value in zip(graph.parameters, start, strict=True):
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
    source_of = backends.source_of

    def wrong(*arguments):
        source = source_of(*arguments)
        if "tanh" in source.text:
            return native.SourceText(source.text + "    store1(p0, 1, f32x1(9.0))\n")
        return source

    monkeypatch.setattr(backends, "source_of", wrong)
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


X = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, -0.25]], "float32")


def vector():
    return sg.input("x", ("n", 3), "float32")


def error_of_debug_run(program, feeds):
    """The error of a debug run; the program itself runs without."""
    with pytest.raises(NonFiniteError) as error:
        sg.compile(program, debug="nan").run(feeds)
    sg.compile(program, debug=False).run(feeds)
    assert len(str(error.value).splitlines()) <= 12
    return error.value


def log_of_a_negative(x):
    return sg.log(x)


def slope(value, x):
    return sg.grad(value.sum(), x)


#: How a value is made, how the message begins, and ends its line about the first bad element.
MAKERS = {
    "log of zero": (
        lambda x: sg.log(abs(x)),
        "log makes an infinity", "1 of 6 elements, the first at [1, 1]: log(0.0) = -inf",
    ),
    "log of a negative": (
        log_of_a_negative,
        "log makes NaN", "3 of 6 elements, the first at [0, 1]: log(-1.0) = nan",
    ),
    "slope of sqrt at zero": (
        lambda x: slope(sg.sqrt(abs(x)), x),
        "in the gradient of this line, div makes an", "div(0.5, 0.0) = inf",
    ),
    "zero by zero": (
        lambda x: (x * 0.0) / (x * 0.0),
        "div makes NaN", "6 of 6 elements, the first at [0, 0]: div(0.0, 0.0) = nan",
    ),
    "one by zero": (
        lambda x: 1.0 / x, "div makes an infinity", "the first at [1, 1]: div(1.0, 0.0) = inf",
    ),
    "exp overflow": (
        lambda x: sg.exp(x * 50.0),
        "exp makes an infinity", "2 of 6 elements, the first at [0, 2]: exp(100.0) = inf",
    ),
    "sum overflow": (lambda x: (abs(x) * 1e38).sum(), "sum makes an infinity", "  inf"),
    "product overflow": (
        lambda x: (x * 1e30) @ (x * 1e30).T,
        "matmul makes an infinity", "4 of 4 elements, the first at [0, 0]: inf",
    ),
    "E[x^2] - E[x]^2 of equal numbers": (
        lambda x: sg.sqrt(((x * 0.0 + 0.1) ** 2).mean(1) - (x * 0.0 + 0.1).mean(1) ** 2 - 1e-7),
        "sqrt makes NaN", "the first at [0]: sqrt(-1e-07) = nan",
    ),
    "power of a negative": (
        lambda x: x**0.5 * 2.0, "sqrt makes NaN", "the first at [0, 1]: sqrt(-1.0) = nan",
    ),
    "softmax by hand": (  # whose factor keeps it from the rule that mends e / e.sum()
        lambda x: (2.0 * (e := sg.exp(x * 40.0))) / e.sum(1, keepdims=True),
        "exp makes an infinity", "the first at [1, 0]: exp(120.0) = inf",
    ),
    "slope of a sum behind where": (  # its mask ends at the sum: inf times 0 behind it
        lambda x: slope(sg.where(x[:, 0] > 100.0, sg.sqrt((x * 0.0 * x).sum(1)).sum(), 0.0), x),
        "in the gradient of this line, div makes", "[0]: div(0.5, 0.0) = inf",
    ),
    "slope of a norm at zero": (
        lambda x: slope(sg.sqrt(((x * 0.0) * (x * 0.0)).sum()), x),
        "in the gradient of this line, div makes", "  div(0.5, 0.0) = inf",
    ),
    "cast overflow": (
        lambda x: (x.astype("float64") * 1e300).astype("float32"),
        "cast makes an infinity", "the first at [0, 0]: cast(5e+299) = inf",
    ),
    "second derivative": (  # x**1.5 has slope 0 at 0, whose own slope is infinite
        lambda x: slope(slope(abs(x) ** 1.5, x), x),
        "in the second derivative of this line, ", "= inf",
    ),
    "reciprocal of an underflow": (
        lambda x: 1.0 / sg.exp(x * 0.0 - 150.0),
        "div makes an infinity", "[0, 0]: div(1.0, 0.0) = inf",
    ),
    "arccos outside": (
        lambda x: sg.arccos(x),
        "acos makes NaN", "2 of 6 elements, the first at [0, 2]: acos(2.0) = nan",
    ),
}  # fmt: skip


@pytest.mark.thinned(6)
@pytest.mark.parametrize("name", MAKERS)
def test_the_maker_is_named_with_its_line_and_element(name):
    make, begins, ends = MAKERS[name]
    error = error_of_debug_run(make(vector()), {"x": X})
    assert error.headline.startswith(begins)
    assert error.headline.endswith(" out of finite numbers")
    lines = str(error).splitlines()
    assert lines[1].endswith((f"in {make.__name__}", "in slope"))
    assert any(line.endswith(ends) for line in lines)
    assert error.code == "SG412"


def test_the_message():
    error = error_of_debug_run(log_of_a_negative(vector()), {"x": X})
    text = re.sub(r"test_debug\.py:\d+", "file", str(error)).splitlines()
    assert text[0] == "[SG412] log makes NaN out of finite numbers"
    assert text[2].strip() == "return sg.log(x)"
    assert " ".join(text[4].split()) == "result f32[2, 3] -0.6931 .. 1.099, 1 inf, 2 nan"
    assert " ".join(text[5].split()).startswith("x f32[2, 3] -1 .. 3, 1 zero file return sg.input")
    assert text[6].strip() == "3 of 6 elements, the first at [0, 1]: log(-1.0) = nan"
    assert text[7].strip().startswith("hint: no parameter has changed")


def test_nothing_is_updated_when_an_update_goes_wrong():
    w = sg.parameter("w", np.ones(3, "float32"))
    v = sg.parameter("v", np.zeros(3, "float32"))
    x = vector()
    loss = (x * w).sum()
    slope = sg.grad(loss, w)
    step = sg.Graph({"loss": loss}, updates={w: w - slope / sg.sqrt(v), v: v + slope * slope})
    out = np.full((), 7.0, "float32")
    f = sg.compile(step, debug="nan")
    with pytest.raises(NonFiniteError, match="div makes an infinity out of finite") as error:
        f.run({"x": X}, out={"loss": out})
    assert "updates={w: w - slope / sg.sqrt(v)" in str(error.value)
    assert (w.value.tolist(), v.value.tolist(), float(out)) == ([1.0] * 3, [0.0] * 3, 7.0)
    assert f.stats.runs == 0
    v.value = np.ones(3, "float32")
    f.run({"x": X})
    assert w.value.tolist() == (1.0 - X.sum(0)).tolist()
    assert f.stats.runs == 1


# -- what is not a maker ---------------------------------------------------------------------------

NOT_FINITE = np.array([[np.inf, 1.0, np.nan], [-np.inf, 2.0, 3.0]], "float32")


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x * 2.0 - x,
        lambda x: sg.log(x),
        lambda x: sg.grad((x * x).sum(), x),
        lambda x: x.sum(),
        lambda x: sg.nn.softmax(x),
        lambda x: x @ x.T,
        lambda x: sg.grad(sg.nn.logsumexp(x, 1).sum(), x),
    ],
)
def test_what_was_in_the_feeds_already_is_no_fault(make):
    program = make(vector())
    actual = sg.compile(program, debug="nan").run({"x": NOT_FINITE})
    plain = sg.compile(program, debug=False).run({"x": NOT_FINITE})
    assert_same({"y": actual}, {"y": plain})
    assert not np.isfinite(actual).all()


MASKED = {
    "log": lambda x: sg.where(x > 0.0, sg.log(x), 0.0),
    "chain": lambda x: sg.where(x > 0.0, 1.0 + sg.sqrt(sg.log(x) * 0.0 + x) * 3.0, x),
    "transposed": lambda x: sg.where((x > 0.0).T, sg.log(x).T[:, ::-1][:, ::-1], 0.0),
    "moved": lambda x: sg.where(x[0] > 1e9, sg.flip(sg.log(x[1] * 0.0)), 1.0),
    "broadcast": lambda x: sg.where(x[0, 0] > 1e9, 1.0 / (x[0] * 0.0), x),
    "reduced": lambda x: sg.where(x.sum(1) > 1e9, sg.exp(x * 1e9).sum(1), 1.0),
    "twice": lambda x: sg.where(x > 1.0, sg.log(x), sg.where(x > 0.0, sg.log(x), -9.0)),
    "gradient": lambda x: sg.grad(sg.where(x > 0.0, sg.log(x), 0.0).sum(), x),
    "second": lambda x: sg.grad(sg.grad(sg.where(x > 0.0, sg.log(x), 0.0).sum(), x).sum(), x),
    "nan_to_num": lambda x: sg.nan_to_num(sg.log(x)),
    "isfinite": lambda x: sg.where(sg.isfinite(sg.log(x)), sg.log(x), 0.0),
    "isnan": lambda x: sg.isnan(sg.sqrt(x)).astype("float32"),
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", MASKED)
def test_what_a_where_throws_away_is_no_fault(name):
    program = MASKED[name](vector())
    actual = sg.compile(program, debug="nan").run({"x": X})
    assert np.isfinite(actual).all()
    assert_same({"y": actual}, {"y": sg.compile(program, debug=False).run({"x": X})})


def scores(mask):
    """Softmax by hand over masked scores."""
    masked = sg.where(mask, vector(), -np.inf)
    e = sg.exp(masked - masked.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_infinity_of_a_mask_is_no_fault():
    f = sg.compile(scores(np.array([True, True, False])), debug="nan")
    assert np.allclose(f.run({"x": X}).sum(1), 1.0)
    x = sg.input("x", (3, 3), "float64")
    f = sg.compile(sg.linalg.cholesky(x), debug="nan")
    np.testing.assert_array_equal(f.run({"x": 4.0 * np.eye(3)}), 2.0 * np.eye(3))
    w = sg.parameter("w", np.array([np.nan, 1.0, np.inf], "float32"))
    f = sg.compile(sg.Graph({"y": w * 2.0}, updates={w: w - 1.0}), debug="nan")
    assert np.isnan(f.run({})["y"][0])
    assert np.array_equal(w.value, np.array([np.nan, 0.0, np.inf]), equal_nan=True)


def test_a_nan_out_of_the_programs_own_infinities_is_a_fault():
    """A row that is masked wholly: -inf - -inf."""
    program = scores(np.array([[True, True, True], [False, False, False]]))
    error = error_of_debug_run(program, {"x": X})
    assert error.headline == "sub makes NaN out of numbers that are not NaN"
    assert "3 of 6 elements, the first at [1, 0]: sub(-inf, -inf) = nan" in str(error)
    assert np.isnan(sg.compile(program, debug="nan").run({"x": NOT_FINITE})).any()


# -- a run like any other -------------------------------------------------------------------------


def training_step():
    w = sg.parameter("w", np.full((3, 2), 0.5, "float32"))
    loss = sg.nn.cross_entropy(vector() @ w, sg.input("y", ("n",), "int64"))
    return sg.Graph({"loss": loss}, updates={w: w - sg.grad(loss, w)}), w


def test_runs_that_make_no_nan_are_as_without_debugging():
    losses = []
    for debug in (False, "nan", True):
        graph, w = training_step()
        f = sg.compile(graph, debug=debug)
        feeds = {"x": X.astype("float64")[:, ::-1], "y": [0, 1]}  # a feed that is copied first
        losses.append([f.run(feeds)["loss"] for _ in range(3)] + [w.value])
        kernels, plans = len(f.kernels), f.stats.plans
        memory = dataclasses.replace(f.memory, seen_sizes=0)  # debugging has tables of its own
        losses[-1] += [f.stats.runs, kernels, plans, f.peak_bytes, memory]
    for losses_of_mode in losses[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(losses_of_mode, losses[0], strict=True))


def test_an_index_out_of_range_is_reported_unless_a_nan_is_behind_it():
    table = np.arange(4.0)
    x = vector()
    program = sg.take(table, (x * 10.0).astype("int64"))
    with pytest.raises(IndexOutOfRange):
        sg.compile(program, debug="nan").run({"x": X})
    with pytest.raises(NonFiniteError):
        sg.compile(sg.take(table, sg.log(x * 0.0).astype("int64")), debug="nan").run({"x": X})


def test_what_comes_after_a_failed_lookup_says_nothing():
    """In an empty axis the lookup does not run at all, and what it would have made is garbage."""
    x, i = sg.input("x", ("n",), "float32"), sg.input("i", ("m",), "int64")
    f = sg.compile(1.0 / sg.take(x, i) + sg.log(sg.take(x, i)), debug="nan")
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.zeros(0, "float32"), "i": [0, 0]})
    with pytest.raises(IndexOutOfRange):
        f.run({"x": np.zeros(2, "float32"), "i": [0, 5]})
    with pytest.raises(NonFiniteError):
        f.run({"x": np.zeros(2, "float32"), "i": [0, 1]})


def rows(count):
    return sg.input("x", (count, 3), "float32")


def scanned(x):
    return sg.scan(lambda c, row: (c * 0.5 + sg.log(row), c), sg.zeros((3,), "float32"), x)[1]


def scanned_inside(x):
    def iteration(c, part):
        return sg.scan(lambda d, row: (d + sg.sqrt(row), None), c, part)[0], None

    return sg.scan(iteration, sg.zeros((3,), "float32"), x.reshape(2, 5, 3))[0]


def slope_of_a_scan(x):
    ends = sg.scan(lambda c, row: (c * sg.sqrt(row), None), sg.ones((3,), "float32"), x)[0]
    return sg.grad(ends.sum(), x)


def chosen(x):
    def iteration(c, row):
        return sg.cond(row.sum() < 2.0, lambda: c + sg.log(row), lambda: c), None

    return sg.scan(iteration, sg.zeros((3,), "float32"), x)[0]


def counted_while(x):
    def iteration(state):
        number, c = state
        return number + 1.0, sg.sqrt(c - 1.0)

    return sg.while_loop(lambda s: s[0] < 9.0, iteration, (sg.constant(np.float32(0)), x[0]))[1]


#: A program -> the elements of x that differ from 1, and how the message begins.
INSIDE = {
    scanned: ({(6, 1): -1.0, (8, 0): -1.0}, "in iteration 6, log makes NaN"),
    scanned_inside: ({(8, 1): -1.0}, "in iteration 1, in iteration 3, sqrt makes NaN"),
    slope_of_a_scan: (
        {(4, 0): 0.0, (2, 1): 0.0},
        "in iteration 4, in the gradient of this line, div makes an infinity",
    ),
    chosen: ({(7, 2): -1.0}, "in iteration 7, in case 1, log makes NaN"),
    counted_while: ({(0, k): 5.0 for k in range(3)}, "in iteration 3, sqrt makes NaN"),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("program", INSIDE)
def test_the_iteration_of_a_loop_and_the_line_of_its_body_are_named(program):
    changed, begins = INSIDE[program]
    x = np.ones((10, 3), "float32")
    for place, value in changed.items():
        x[place] = value
    error = error_of_debug_run(program(rows(10)), {"x": x})
    assert begins in str(error).splitlines()[0]
    assert f"in {program.__name__}" in str(error)
