"""Updates whose new value is read elsewhere, in place or not; what is declared and unread.

Each from the graph to the run: schedule, plan, memory, locks, results, and what ``explain`` says.
"""

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
import staticgrad.compiler.lowering.fuse
from passes.pipelines import pipeline
from passes.remat import Recompute, Sqrt
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import FeedDTypeError, FeedShapeError, MissingFeedError, VerifyError
from staticgrad.language.ir.verify_schedule import verify_schedule
from tests.helpers.diagonals import diagonals
from tests.passes.schedules import run_schedule
from tests.passes.test_remat import verify

WIDTH, LAYERS = 8, 6


def network(dropped=lambda h, layer: h):
    """The loss of some tanh layers, and their weights."""
    numbers = np.random.default_rng(0)
    h = sg.input("x", ("batch", WIDTH), "float32")
    weights = []
    for layer in range(LAYERS):
        start = numbers.standard_normal((WIDTH, WIDTH)).astype("float32") / 2
        weights.append(sg.parameter(f"w{layer}", start))
        h = dropped(sg.tanh(h @ weights[-1]), layer)
    return (h * h).mean(), weights


def descent(rate=0.1):
    loss, weights = network()
    rate = rate.astype("float32") if isinstance(rate, sg.Value) else rate
    slopes = sg.grad(loss, weights)
    return loss, {w: w - rate * slope for w, slope in zip(weights, slopes, strict=True)}


def counted_rate():
    t = sg.parameter("t", np.array(0))
    loss, updates = descent(0.1 / (1.0 + (t + 1).astype("float64")))
    return sg.Graph({"loss": loss}, {t: t + 1, **updates})


def scaling_mean():
    """A running mean of the loss that scales the rate."""
    mean = sg.parameter("mean", np.array(1.0, "float32"))
    loss, weights = network()
    new = 0.9 * mean + 0.1 * loss
    slopes = sg.grad(loss, weights)
    updates = {w: w - 0.1 / new * s for w, s in zip(weights, slopes, strict=True)}
    return sg.Graph({"loss": loss}, {mean: new, **updates})


def norms():
    loss, updates = descent()
    total = sum((new * new).sum() for new in updates.values())
    return sg.Graph({"loss": loss, "norm": total}, updates)


def averages():
    """A moving average of the new weights."""
    loss, updates = descent()
    slow = {w: sg.parameter(f"slow.{w.name}", w.value) for w in updates}
    slow_updates = {slow[w]: 0.9 * slow[w] + 0.1 * new[::-1] for w, new in updates.items()}
    return sg.Graph({"loss": loss}, {**updates, **slow_updates})


def twins():
    """Every new weight is the value of two parameters."""
    loss, updates = descent()
    others = {sg.parameter(f"twin.{w.name}", w.value): new for w, new in updates.items()}
    return sg.Graph({"loss": loss}, {**updates, **others})


def second_look():
    """The loss once more, after the step."""
    loss, updates = descent()
    h = sg.input("y", ("batch", WIDTH), "float32")
    for new in updates.values():
        h = sg.tanh(h @ new)
    return sg.Graph({"loss": loss, "later": (h * h).mean()}, updates)


def dropped_out():
    """A counter whose old value drops activations out, and whose new value gives the rate."""
    draws = sg.random.Generator(0)
    loss, weights = network(lambda h, layer: draws.dropout(h, 0.25))
    (next_step,) = draws.updates.values()
    rate = (0.1 / (1.0 + next_step.astype("float64"))).astype("float32")
    slopes = sg.grad(loss, weights)
    updates = {w: w - rate * s for w, s in zip(weights, slopes, strict=True)}
    return sg.Graph({"loss": loss}, {**draws.updates, **updates})


IN_PLACE = (counted_rate, scaling_mean, norms, averages, second_look)
PROGRAMS = (*IN_PLACE, twins, dropped_out)


def schedule_of(graph, merge=True):
    return fuse(pipeline("O1" if merge else "O0")(graph), merge)


def feeds_of(graph):
    numbers = np.random.default_rng(1)
    labels = [value.node.label for value in graph.inputs]
    return {label: numbers.standard_normal((5, WIDTH)).astype("float32") for label in labels}


def reads_a_new_value(step):
    return any(binding.updated for binding in step.operands)


@pytest.mark.thinned(5)
@diagonals(2, ("program", PROGRAMS), ("merge", [True, False]))
def test_new_values_are_what_the_graph_says(program, merge):
    graph = program()
    feeds = feeds_of(graph)
    actual = run_schedule(schedule_of(graph, merge), graph, feeds, {"batch": 5})
    outputs, updates = sg.evaluate(graph, feeds, updates=True, dtype="float64")
    for name, expected in {**outputs, **{f"@{n}": v for n, v in updates.items()}}.items():
        np.testing.assert_allclose(actual[name], expected, rtol=2e-4, atol=1e-6)


def test_verifiers_tell_old_values_from_new_ones():
    schedule = schedule_of(counted_rate())
    verify_schedule(schedule)
    number = next(n for n, step in enumerate(schedule.steps) if reads_a_new_value(step))
    writer = next(n for n, s in enumerate(schedule.steps) if "param.t" in s.writes())
    memory_plan = Planner(schedule).plan({"batch": 5})
    steps = list(schedule.steps)
    old = [dataclasses.replace(binding, updated=False) for binding in steps[number].operands]
    steps[number] = dataclasses.replace(steps[number], operands=tuple(old))
    confused = dataclasses.replace(schedule, steps=tuple(steps))
    with pytest.raises(VerifyError, match="after it was written"):
        verify_schedule(confused)
    with pytest.raises(VerifyError, match="reads parameter 't' after it was written"):
        verify_plan(dataclasses.replace(memory_plan, schedule=confused))
    planned = list(memory_plan.steps)
    at = {planned_step.step: place for place, planned_step in enumerate(planned)}
    reading, writing = at[number], at[writer]
    planned[reading], planned[writing] = planned[writing], planned[reading]
    early = dataclasses.replace(memory_plan, steps=tuple(planned), placements=())
    with pytest.raises(VerifyError, match="at another version than listed"):
        verify_plan(early)


def test_a_lookup_by_a_new_value_is_checked_before_any_update():
    t = sg.parameter("t", np.array(1))
    table = sg.input("table", (4,), "float32")
    w = sg.parameter("w", np.array(0.0, "float32"))
    new = sg.take(table, t + 1)
    f = sg.compile(sg.Graph({"seen": new}, {t: t + 1, w: w + new}), debug=True)
    feeds = {"table": np.arange(4, dtype="float32")}
    assert [float(f.run(feeds)["seen"]) for _ in range(2)] == [2, 3]
    with pytest.raises(sg.errors.IndexOutOfRange):
        f.run(feeds)
    assert (int(t.value), float(w.value)) == (3, 5)


# -- random updates -------------------------------------------------------------------------------


KERNELS = (
    lambda first, second: first + second,
    lambda first, second: first - 2.0 * second,
    lambda first, second: first[::-1],
    lambda first, second: first + second.sum(),
    lambda first, second: sg.concat([first[3:], second[:3]]),
    lambda first, second: sg.cumsum(first),
    lambda first, second: sg.outer(first[:2], second[:3]).reshape((6,)),
    lambda first, second: sg.take(first, sg.constant(np.array([0, 5, 1, 1, 2, 3]))),
)


@st.composite
def programs(draw):
    """Whole numbers from old and new values of parameters, by kernels of several kinds, which
    become parameters and outputs in any way: swapped, turned round, twice, or not at all."""
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    names = [f"p{n}" for n in range(draw(st.integers(1, 4)))]
    parameters = [sg.parameter(n, numbers.integers(-3, 4, 6).astype("float64")) for n in names]
    x = sg.input("x", (6,), "float64")
    values = [*parameters, x]
    for _ in range(draw(st.integers(1, 10))):
        first, second = (draw(st.sampled_from(values)) for _ in range(2))
        values.append(sg.remainder(draw(st.sampled_from(KERNELS))(first, second), 1024.0))
    updates = {p: draw(st.sampled_from(values)) for p in parameters if draw(st.booleans())}
    expected = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return sg.Graph({f"o{n}": value for n, value in enumerate(expected)}, updates, inputs=[x])


@pytest.mark.slow
@settings(max_examples=50)
@given(programs(), st.booleans())
def test_random_updates_are_what_the_graph_says(graph, merge):
    feeds = {"x": np.arange(6.0)}
    schedule = fuse(graph, merge)
    actual = run_schedule(schedule, graph, feeds, {})
    outputs, updates = sg.evaluate(graph, feeds, updates=True)
    for name, expected in {**outputs, **{f"@{n}": v for n, v in updates.items()}}.items():
        assert np.array_equal(actual[name], expected), name
    for policy in (Sqrt(), Recompute()):
        verify(Planner(schedule, policy).plan({}))


WAYS = ({"fuse": False}, {}, {"checkpoint": "recompute"}, {"threads": 3})


@pytest.mark.parametrize(
    "program",
    [
        lambda p, x: ({"y": (y := sg.tanh(x)), "sum": (y * p).sum(0)}, p - 0.5 * y * y),
        lambda p, x: ({"loss": (loss := (sg.tanh(p) * p).sum())}, p - 0.1 * sg.grad(loss, p)),
    ],
    ids=["a sum of products", "a loss of the parameter alone"],
)
def test_old_values_of_parameters_are_read_before_they_are_written(program):
    """A kernel that reads the old value is not made to wait for the one that writes the new."""
    numbers, actual = np.random.default_rng(1), []
    start, feed = (numbers.standard_normal((300, 60)).astype("float32") for _ in range(2))
    for options in WAYS:
        p, x = sg.parameter("p", start), sg.input("x", (300, 60), "float32")
        outputs, new = program(p, x)
        f = sg.compile(sg.Graph(outputs, updates={p: new}, inputs=[x]), **options)
        actual.append([array.copy() for _ in range(2) for array in f.run({"x": feed}).values()])
        actual[-1].append(p.value)
    for arrays in actual[1:]:
        assert all(same_bytes(a, b) for a, b in zip(actual[0], arrays, strict=True))


LEVELS = ("O0", "O1")


def program(level="O1"):
    """An input and a parameter that nothing reads, and ones whose readers O1 takes out."""
    x, unread = sg.input("x", ("n",)), sg.input("unread", ("n", 1000))
    times_zero = sg.input("i", ("n",), "int64")
    w, v = sg.parameter("w", np.ones(3, "f4")), sg.parameter("v", np.ones((3, 4), "f4"))
    chosen = sg.where(sg.constant(True), x * 2.0, sg.where(v.sum() > 0.0, x, -x))
    graph = sg.Graph(
        {"y": chosen, "zero": times_zero * 0}, {w: w * 1.0}, inputs=[unread], name="signature"
    )
    return sg.compile(graph, pipeline=level)


FEEDS = {"x": np.arange(2, dtype="f4"), "i": np.arange(2), "unread": np.ones((2, 1000), "f4")}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_feeds_that_nothing_reads_are_checked_and_never_copied(level):
    f = program(level)
    strided = {**FEEDS, "unread": np.ones((4, 2000))[::2, ::2]}  # a float64 of strange strides
    assert f.run(strided)["y"].tolist() == [0.0, 2.0]
    assert [r for r in f.stats.reasons if "copies of" in r] == []
    with pytest.raises(MissingFeedError, match="unread"):
        f.run({"x": FEEDS["x"], "i": FEEDS["i"]})
    with pytest.raises(FeedShapeError):
        f.run({**FEEDS, "unread": np.ones((3, 1000), "f4")})
    with pytest.raises(FeedDTypeError):
        f.run({**FEEDS, "unread": np.ones((2, 1000), "c8")})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "same",
    [lambda w: w, sg.checkpoint, lambda w: w.T.T, lambda w: w.reshape(6).reshape(2, 3)],
    ids=["itself", "marked", "transposed twice", "reshaped twice"],
)
def test_an_update_to_its_own_value_is_no_step_and_waits_for_no_reader(level, same):
    w = sg.parameter("w", np.arange(6, dtype="f4").reshape(2, 3))
    v = sg.parameter("v", np.zeros((2, 3), "f4"))
    f = sg.compile(sg.Graph({"double": w * 2.0}, {w: same(w), v: w}), pipeline=level)
    assert len(f.schedule.steps) == 2  # the product, and one copy into v
    assert f._executor.program.updated_labels == {"v"}
    assert f.peak_bytes == 0
    results = []

    def run_beside_a_reader():
        thread = threading.Thread(target=lambda: results.append(f.run({})))
        thread.start()
        thread.join(timeout=30)

    w.store.lock.read(run_beside_a_reader)
    assert results, "the run waited for a reader of w"
    assert results[0]["double"].tolist() == (2 * w.value).tolist()
    assert v.value.tolist() == w.value.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "rule", [sg.optim.Adam(0.01), sg.optim.AdamW(0.01), sg.optim.NAdam(0.01)], ids=repr
)
@pytest.mark.parametrize("kind", ["matmul", "conv"])
def test_a_product_in_front_of_the_bias_correction_takes_the_whole_step(rule, kind):
    """The gradient reads inputs alone, so it is in front of the numbers that its step reads."""
    shapes = {
        "matmul": ((6, 40), (6, 24), (40, 24)),
        "conv": ((2, 64, 14, 14), (2, 128, 14, 14), (128, 64, 3, 3)),
    }[kind]
    trained = []
    for way in ({}, {"threads": 2}, {"fuse": False}):
        x, g = sg.input("x", shapes[0]), sg.input("g", shapes[1])
        draw = np.random.default_rng(0).normal
        w = sg.parameter("w", draw(size=shapes[2]).astype("float32"))
        y = x @ w if kind == "matmul" else sg.nn.conv2d(x, w, padding=1)
        f = sg.compile(rule.minimize((y * g).sum(), [w]), **way)
        if "fuse" not in way:
            written = [{t.buffer for t in s.accesses() if t.mode != "in"} for s in f.schedule.steps]
            (of_step,) = (buffers for buffers in written if "param.w" in buffers)
            assert {"param.w.first_moment", "param.w.second_moment"} <= of_step
        feeds = {"x": draw(size=shapes[0]), "g": draw(size=shapes[1])}
        for _ in range(2):
            f.run({name: array.astype("float32") for name, array in feeds.items()})
        trained.append([p.value.tobytes() for p in f.graph.parameters])
    assert trained[0] == trained[1] == trained[2]
