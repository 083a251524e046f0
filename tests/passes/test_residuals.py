"""Values saved from forward for backward: cheap producers run again there, for nothing."""

import numpy as np
import pytest

import staticgrad as sg
from passes import residuals
from passes.pipelines import pipeline
from passes.residuals import Residuals
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.analysis.plan_report import stored_buffers
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.verify import verify_graph

SETTLED = "stabilize,parts,dce,fixpoint(simplify,cse,fold),dce"


def crossing(graph, **sizes):
    """Steps, bytes stored from forward to backward, and the peak."""
    schedule = fuse(graph)
    plan = Planner(schedule).plan(sizes)
    nbytes = dict(plan.buffer_bytes)
    return len(schedule.steps), sum(nbytes[b.name] for b in stored_buffers(plan)), plan.peak_bytes


def product(activation, width=8):
    """A product, an activation, a product; with gradients of both matrices."""
    x = sg.input("x", ("n", width))
    w, v = (sg.parameter(name, np.ones((width, width), "f4")) for name in "wv")
    loss = sg.square(activation(x @ w) @ v).sum()
    dw, dv = sg.grad(loss, [w, v])
    return pipeline(SETTLED)(sg.Graph({"loss": loss, "dw": dw, "dv": dv}))


def square(h):
    """(h + 1)(2 h - 3): its slope reads both factors."""
    return (h + 1.0) * (2.0 * h - 3.0)


def test_factors_are_computed_again_from_what_they_are_made_of():
    graph = product(square)
    rewritten, hits = Residuals().apply(graph)
    verify_graph(rewritten)
    assert hits == {"residuals": 3}  # h + 1, 2 h, 2 h - 3, all from h
    saved_before, now = crossing(graph, n=64), crossing(rewritten, n=64)
    assert saved_before[0] == now[0]
    # The activation crosses for dv, the second product for the loss; beside them the factors, or h.
    array = 64 * 8 * 4
    assert (saved_before[1], now[1]) == (4 * array, 3 * array)
    assert now[2] < saved_before[2]


def swiglu(h):
    """Both halves from one matrix, as they are read in one kernel."""
    return sg.nn.silu(h) * (h + 1.0)


ACTIVATIONS = {
    "gelu": sg.nn.gelu,
    "gelu by tanh": lambda h: sg.nn.gelu(h, approximate="tanh"),
    "silu": sg.nn.silu,
    "gated": swiglu,
    "swish": lambda h: h * sg.sigmoid(1.5 * h),
    "mish": lambda h: h * sg.tanh(sg.nn.softplus(h)),
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_keeps_what_it_is_of_and_its_result(name):
    """One for its slope, one for the product behind it; whether or not a view is in between."""
    shape = ("n", 3, 16) if name in ("gelu", "silu", "mish") else ("n", 16)
    dtype = "float64" if name in ("silu", "swish") else "float32"
    x, most = sg.input("x", shape, dtype), 4 if name == "mish" else 3
    rng = np.random.default_rng(3)
    w, b, v = (
        sg.parameter(name, rng.normal(size=size).astype(dtype))
        for name, size in (("w", (16, 16)), ("b", 16), ("v", (16, 16)))
    )
    loss = sg.square(ACTIVATIONS[name](x @ w + b) @ v).sum()
    grads = dict(zip(("dw", "db", "dv"), sg.grad(loss, [w, b, v]), strict=True))
    graph = pipeline(SETTLED)(sg.Graph({"loss": loss, **grads}))
    rewritten = Residuals()(graph)
    saved_before, now = crossing(graph, n=64), crossing(rewritten, n=64)
    array = 64 * int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    assert now[0] == saved_before[0]
    assert now[1] <= most * array < saved_before[1]
    assert now[2] < saved_before[2]
    feeds = {"x": rng.normal(size=(5, *shape[1:])).astype(dtype)}
    expected, actual = (sg.compile(graph, pipeline=p).run(feeds) for p in ("dce", "residuals"))
    assert all(same_bytes(actual[name], array) for name, array in expected.items())


def recurrence(steps, width=4):
    """A cell whose states cross, each of them cheap to compute from the one before."""
    x = sg.input("x", (steps, "n", width))
    w, v = (sg.parameter(name, np.ones((width, 4 * width), "f4")) for name in "wv")
    h = c = None
    for t in range(steps):
        gates = x[t] @ w if h is None else x[t] @ w + h @ v
        i, f, g, o = (gates[:, k * width : (k + 1) * width] for k in range(4))
        new = sg.sigmoid(i) * sg.tanh(g)
        c = new if c is None else sg.sigmoid(f) * c + new
        h = sg.sigmoid(o) * sg.tanh(c)
    loss = sg.square(h).sum()
    dw, dv = sg.grad(loss, [w, v])
    return pipeline(SETTLED)(sg.Graph({"loss": loss, "dw": dw, "dv": dv}))


def test_a_recurrence_is_not_unrolled_for_each_of_its_readers():
    border = residuals.Border(recurrence(24), 1, 1000)
    chosen = border.choose_nodes(set())
    clones = border.make_clones(chosen, set(chosen)).clones
    assert len(clones) < 6 * len(chosen)
    assert len(clones) > 4 * len(chosen)  # more than are tried


@pytest.mark.parametrize("name", ["gelu", "gated", "mish"])
def test_choices_do_not_depend_on_the_updates_that_fusion_leaves_out(monkeypatch, name):
    """The formulas of an optimizer read no residual: with them in the kernels, the same clones."""
    x = sg.input("x", ("n", 16), "float32")
    h, weights = x, []
    for k in range(3):
        weights.append(sg.parameter(f"w{k}", np.eye(16, dtype="float32")))
        h = ACTIVATIONS[name](h @ weights[-1])
    settled = pipeline(SETTLED)(sg.optim.AdamW(0.1).minimize(sg.square(h).mean(), weights))
    updates = residuals.find_updates(settled)
    names = {w.name for w in weights}
    assert {value.node for p, value in settled.updates if p.name in names} <= updates
    shorter = residuals.cut_updates(settled)
    verify_graph(shorter)
    assert len(shorter.nodes) == len(settled.nodes) - len(updates)
    assert names.isdisjoint(p.name for p, _ in shorter.updates)
    without = pipeline("residuals")(settled)
    monkeypatch.setattr(residuals, "_LEAST_UPDATES", 1.0)
    assert residuals.cut_updates(settled) is settled
    assert str(pipeline("residuals")(settled)) == str(without) != str(settled)


def test_what_reads_a_value_of_the_forward_pass_stays():
    x, w = sg.input("x", ("n", 4), "float32"), sg.parameter("w", np.ones(4, "float32"))
    hidden = sg.tanh(x * w)
    slope = sg.grad(hidden.sum(), w)
    step = sg.Graph({"loss": hidden.sum()}, {w: w - 0.1 * slope + 0.01 * hidden.sum(axis=0)})
    updates = residuals.find_updates(step)
    read = {arg.node.op.name for node in updates for arg in node.args if arg.node not in updates}
    assert len(updates) == 3  # the step along the slope, and the sum with what reads the total
    assert "sum" in read
    assert "tanh" not in read
