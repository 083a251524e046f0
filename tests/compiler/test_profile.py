"""``f.profile``: what is counted is right, what is measured adds up, nothing is changed by it."""

import json
import re

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.compiler.reports import profiling
from staticgrad.compiler.reports.profiling import Limits
from staticgrad.compiler.runtime.sections import SoloReason
from staticgrad.errors import FeedError, IndexOutOfRange
from staticgrad.native.system import workers


@pytest.fixture(autouse=True)
def _limits(monkeypatch):
    """Round limits that no machine reaches, instead of measured ones."""
    limits = {n: Limits(n, n * 1e12, n * 1e10) for n in (1, 2)}
    monkeypatch.setattr(profiling, "_limits_by_threads", limits)


def training():
    x = sg.input("x", ("n", 300))
    w = sg.parameter("w", np.ones((300, 200), "f4"))
    loss = sg.square(sg.tanh(x @ w)).mean()
    graph = sg.Graph({"loss": loss}, {w: w - 0.1 * sg.grad(loss, w)}, name="training")
    return w, graph, {"x": np.random.default_rng(0).normal(size=(400, 300)).astype("f4")}


def test_counts_are_those_of_the_program_and_parameters_are_put_back():
    w, graph, feeds = training()
    f = sg.compile(graph, threads=2)
    start = w.value
    actual = f.profile(feeds, runs=3)
    np.testing.assert_array_equal(w.value, start)
    assert f.stats.runs == 0
    assert actual.graph == "training"
    assert actual.sizes == {"n": 400}
    assert actual.runs == 3
    plan = f.plan(n=400)
    assert [step.step for step in actual.steps] == [planned.step for planned in plan.steps]
    product = 2.0 * 400 * 300 * 200
    products = [step for step in actual.steps if step.flops >= product]
    assert len(products) == 2  # forward, and the gradient of w
    for step in products:
        assert product <= step.flops < 1.05 * product
        assert step.threads == (2 if workers.are_possible() else 1)
        floats = 400 * 300 + 300 * 200 + 400 * 200
        assert 4 * floats <= step.nbytes <= 4 * (floats + 2 * 300 * 200 + 400 * 200)
        limit = max(step.flops / (step.threads * 1e12), step.nbytes / (step.threads * 1e10))
        assert step.share == pytest.approx(limit / step.seconds, rel=0.05)
        assert "matmul" in step.computes
        assert any("test_profile.py" in line for line in step.lines)
    assert all(0 <= step.fastest <= step.seconds for step in actual.steps)
    assert actual.seconds == sum(step.seconds for step in actual.steps)
    assert max(step.live for step in actual.steps) <= plan.peak_bytes


def test_text_json_and_trace(tmp_path):
    _, graph, feeds = training()
    actual = sg.compile(graph, threads=1).profile(feeds, runs=2)
    lines = actual.text(full=True).splitlines()
    assert lines[1] == "limits, 1 thread: 1000 GFLOP/s, 10.0 GB/s"
    assert len(lines) == 3 + len(actual.steps)
    spent = [float(line.split()[0]) for line in lines[3:]]
    assert spent == sorted(spent, reverse=True)
    assert json.loads(json.dumps(actual.as_json()))["steps"][0]["position"] == 0
    actual.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    steps = [event for event in events if event["ph"] == "X"]
    counters = [event for event in events if event["ph"] == "C"]
    assert len(steps) == len(counters) == len(actual.steps)
    starts = [event["ts"] for event in steps]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert [event["args"]["arena"] for event in counters] == [step.live for step in actual.steps]


def test_errors_are_those_of_a_run_and_parameters_stay():
    w = sg.parameter("w", np.zeros(3, "f4"))
    places = sg.input("places", (4,), "int64")
    picked = sg.take(w, places, 0)
    f = sg.compile(sg.Graph({"picked": picked}, {w: w + picked.sum() + 1.0}))
    with pytest.raises(IndexOutOfRange):
        f.profile({"places": np.array([0, 1, 2, 3])})
    with pytest.raises(FeedError):
        f.profile({})
    f.profile({"places": np.array([0, 1, 2, 2])})
    np.testing.assert_array_equal(w.value, 0)


def _loop():
    x, w = sg.input("x", (20, 64, 64)), sg.input("w", (64, 64))
    last, _ = sg.scan(lambda h, row: (sg.tanh(h @ w + row), None), sg.zeros((64, 64)), x)
    return sg.compile(sg.Graph({"y": last}), threads=2), "loop"


#: A function by each reason that a step is not shared, and a step of which it is the reason.
X, FEW, LONG = sg.input("x", (512, 512)), sg.input("few", (8,)), sg.input("long", (100_000,))
NOT_SHARED = {
    SoloReason.ONE_WORKER: lambda: (sg.compile({"y": X @ X}, threads=1), "matmul"),
    SoloReason.BODIES: _loop,
    SoloReason.CALL: lambda: (sg.compile({"y": sg.fft.rfft(X @ X, 511)}, threads=2), "fft"),
    SoloReason.SHORT: lambda: (
        sg.compile({"long": sg.tanh(X @ X), "y": sg.exp(FEW.sum())}, threads=2), "exp",
    ),
    SoloReason.WHOLE: lambda: (sg.compile({"y": sg.cumsum(sg.tanh(LONG))}, threads=2), "cumsum"),
}  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("why", SoloReason)
def test_explain_says_why_a_step_is_not_shared(why):
    f, label = NOT_SHARED[why]()
    sharing = f.explanation().sharing
    assert sharing is not None
    (number,) = (k for k, step in enumerate(f.schedule.steps) if label in step.label)
    assert sharing.alone[why.value] == (number,)
    assert number not in sharing.steps
    text = f"the calling one alone, since {why.value}: {number}"
    assert (text in f.explain()) is (why is not SoloReason.ONE_WORKER)


def test_a_function_waits_for_its_code_and_is_profiled_by_its_arguments():
    w = sg.parameter("w", np.ones((20, 24)))

    @sg.function
    def step(batch, rate, *, runs):
        loss = ((batch["x"] @ w) ** 2).mean() * runs
        w.update(w - rate * sg.grad(loss, w))
        return loss

    batch = {"x": np.linspace(-1, 1, 80).reshape(4, 20)}
    with sg.options(tier="auto"):
        first = step(batch, 0.125, runs=2)
        step.wait()
    weights = w.value.copy()
    profile = step.profile(batch, 0.25, runs=2)
    assert any("matmul" in step.computes for step in profile.steps)
    np.testing.assert_array_equal(w.value, weights)
    assert step.stats.traces == 1 + ("rate" in step.stats.reasons[-1])
    assert step(batch, 0.0, runs=2) < first
    with pytest.raises(sg.errors.ArgumentError, match="of values or tensors"):
        step.profile({"x": sg.input("x", (4, 20))}, 0.25, runs=2)


def test_a_page_has_the_lines_of_the_title_and_whole_names():
    x = sg.input("x", (64, 64))
    y = sg.sqrt(sg.exp(sg.sin(x)) + sg.tanh(x) * sg.cos(x)) / (sg.log(x * x + 1.0) + 2.0)
    profile = sg.compile(y).profile({"x": np.ones((64, 64), "float32")}, runs=2)
    page = profile._repr_html_()
    title, *limits = profile.title()
    assert f"{title}<br>{limits[0]}" in page
    assert not re.search(r"\b1 threads", page)
    chart = page[: page.index("<details")]
    assert ", ...<" in chart
    assert not re.search(r", ?<", chart)
