"""Optimizers against loops written by hand in NumPy: the exact sequence, in float64."""

from dataclasses import dataclass

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, DisconnectedError, NameConflictError
from tests.optimizers import SAMPLES, missing

A = np.array([[2.0, 0.5], [0.5, 1.0]])
START = np.array([1.0, -2.0])


def quadratic(w):
    """Loss w·Aw/2 and, by hand, its gradient: the sum that the reference computes."""
    return ((sg.constant(A) * w).sum(1) * w).sum() * 0.5


def gradient_by_graph(w_value):
    w = sg.input("w", (2,), "float64")
    return sg.evaluate(sg.grad(quadratic(w), w), {"w": w_value})


def run(step, feeds=(), times=5, watch="w"):
    """The value of a parameter after each of several runs, committing the updates."""
    found = []
    for i in range(times):
        _, updates = sg.evaluate(step, feeds[i] if feeds else {}, updates=True)
        for p, _value in step.updates:
            p.value = updates[p.name]
        found.append(updates[watch])
    return np.array(found)


def trained(optimizer, times=5, feeds=()):
    w = sg.parameter("w", START)
    return run(sg.Graph(updates=optimizer.updates(quadratic(w), [w])), feeds, times)


def by_hand(rule, times=5):
    """``rule(t, w, g)`` from t = 1 on; gradients as the graph computes them."""
    w, found = START, []
    for t in range(1, times + 1):
        w = rule(t, w, gradient_by_graph(w))
        found.append(w)
    return np.array(found)


def test_the_gradient_of_the_example():
    np.testing.assert_allclose(gradient_by_graph(START), A @ START, rtol=1e-15)


def test_sgd():
    expected = by_hand(lambda t, w, g: w - 0.1 * g)
    np.testing.assert_array_equal(trained(sg.optim.SGD(0.1)), expected)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_with_momentum(nesterov, decay):
    v = np.zeros(2)

    def rule(t, w, g):
        nonlocal v
        g = g + decay * w if decay else g
        v = 0.9 * v + g
        return w - 0.1 * (g + 0.9 * v if nesterov else v)

    optimizer = sg.optim.SGD(0.1, momentum=0.9, nesterov=nesterov, weight_decay=decay)
    np.testing.assert_array_equal(trained(optimizer), by_hand(rule))


@pytest.mark.parametrize("decay", [None, 0.1])
def test_adam_and_adamw(decay):
    m = v = np.zeros(2)

    def rule(t, w, g):
        nonlocal m, v
        m = 0.9 * m + (1.0 - 0.9) * g
        v = 0.999 * v + (1.0 - 0.999) * (g * g)
        m_hat = m / (1.0 - np.power(0.9, float(t)))
        v_hat = v / (1.0 - np.power(0.999, float(t)))
        direction = m_hat / (np.sqrt(v_hat) + 1e-8)
        return w - 0.01 * (direction if decay is None else direction + decay * w)

    optimizer = sg.optim.Adam(0.01) if decay is None else sg.optim.AdamW(0.01, weight_decay=decay)
    np.testing.assert_allclose(trained(optimizer), by_hand(rule), rtol=1e-14)


def test_adam_divides_each_element_once():
    """A division takes as long as all that it computes beside: memory is what it waits for."""
    w = sg.parameter("w", np.zeros((64, 64), "float32"))
    f = sg.compile(sg.Graph({}, updates=sg.optim.Adam().apply({w: sg.input("g", (64, 64))})))
    (update,) = [kernel.source for kernel in f.kernels if "f32x16(0.89" in kernel.source]
    loop = update[update.index("while") : update.index("if j < end")]
    roots = loop.count("sqrt(") + loop.count("root_f32(")  # by products on wide registers
    assert loop.count(" / ") == roots == loop.count("load(p0")


def test_the_first_adam_step_has_the_size_of_the_learning_rate():
    steps = START - trained(sg.optim.Adam(0.01), times=1)[0]
    np.testing.assert_allclose(steps, 0.01 * np.sign(A @ START), rtol=1e-7)


def test_state_is_named_after_its_parameter_and_optimizer():
    w = sg.parameter("w", START)
    momentum = sg.optim.SGD(0.1, momentum=0.9, accumulate=2).updates(quadratic(w), [w])
    assert {p.name: str(p.type) for p in momentum} == {
        "w": "f64[2]",
        "w.momentum": "f64[2]",
        "w.accumulator": "f64[2]",
        "sgd.micro_step": "i64[]",
    }
    adam = sg.optim.Adam(name="fast").updates(quadratic(w), [w])
    assert {p.name for p in adam} == {"w", "w.first_moment", "w.second_moment", "fast.step"}


def test_two_optimizers_of_one_graph_need_two_names():
    v, w = sg.parameter("v", START), sg.parameter("w", START)
    loss = quadratic(v) + quadratic(w)
    same = [sg.optim.Adam().updates(loss, [p]) for p in (v, w)]
    with pytest.raises(NameConflictError, match=r"adam\.step"):
        sg.Graph(updates={**same[0], **same[1]})
    other = sg.optim.Adam(name="other").updates(loss, [w])
    assert len(sg.Graph(updates={**same[0], **other}).updates) == 8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_learning_rate_from_outside(dtype):
    rate = sg.input("rate", (), dtype)
    feeds = [{"rate": r} for r in (0.5, 0.25, 0.0)]
    w, expected = START, []
    for feed in feeds:
        w = w - feed["rate"] * gradient_by_graph(w)
        expected.append(w)
    np.testing.assert_array_equal(trained(sg.optim.SGD(rate), 3, feeds), expected)


def test_a_learning_rate_that_is_a_parameter_may_decay():
    rate = sg.parameter("rate", 0.5)
    w = sg.parameter("w", START)
    updates = {**sg.optim.SGD(rate).updates(quadratic(w), [w]), rate: rate * 0.5}
    found = run(sg.Graph(updates=updates), times=2)
    first = START - 0.5 * gradient_by_graph(START)
    np.testing.assert_array_equal(found, [first, first - 0.25 * gradient_by_graph(first)])


def test_float32_parameters_stay_float32():
    w = sg.parameter("w", START.astype("float32"))
    rate = sg.input("rate", (), "float64")
    for optimizer in (sg.optim.SGD(rate, momentum=0.9), sg.optim.AdamW(rate, accumulate=2)):
        updates = optimizer.updates((w * w).sum(), [w])
        state = {p: value for p, value in updates.items() if p.name.startswith("w")}
        assert all(p.dtype == value.dtype == np.float32 for p, value in state.items())


# Accumulation


@pytest.mark.parametrize(
    "make",
    [
        lambda k: sg.optim.SGD(0.1, momentum=0.9, accumulate=k),
        lambda k: sg.optim.Adam(0.1, accumulate=k),
    ],
)
def test_k_mini_batches_step_once_with_the_mean(make, rng):
    batches = rng.normal(size=(6, 2))

    def step_with(optimizer):
        w = sg.parameter("w", START)
        batch = sg.input("batch", (2,), "float64")
        return sg.Graph(updates=optimizer.updates(quadratic(w) + (w * batch).sum(), [w]))

    found = run(step_with(make(3)), [{"batch": b} for b in batches], 6)
    for held in (found[0], found[1]):
        np.testing.assert_array_equal(held, START)
    np.testing.assert_array_equal(found[2], found[3])
    means = [{"batch": batches[i : i + 3].mean(0)} for i in (0, 3)]
    at_once = run(step_with(make(1)), means, 2)
    np.testing.assert_allclose(found[[2, 5]], at_once, rtol=1e-13)


def test_mini_batches_are_added_in_the_order_of_the_runs():
    values = [1e16, 1.0, -1e16, 1.0]
    w = sg.parameter("w", np.array(0.0))
    batch = sg.input("batch", (), "float64")
    step = sg.Graph(updates=sg.optim.SGD(1.0, accumulate=4).updates(w * batch, [w]))
    found = run(step, [{"batch": v} for v in values], 4)
    assert found[3] == -(((1e16 + 1.0) - 1e16) + 1.0) / 4


# Clipping


def test_clipping_scales_all_gradients_together():
    a, b = sg.input("a", (2,), "float64"), sg.input("b", (), "float32")
    clipped = sg.optim.clip_by_global_norm({"a": a, "b": [b]}, 1.0)
    assert [str(clipped["a"].type), str(clipped["b"][0].type)] == ["f64[2]", "f32[]"]
    values = [clipped["a"], clipped["b"][0], sg.optim.global_norm([a, b])]
    found = sg.evaluate(values, {"a": [2.0, 3.0], "b": 6.0})
    assert found[2] == 7.0
    np.testing.assert_allclose(found[0], [2 / 7, 3 / 7], rtol=1e-15)
    np.testing.assert_allclose(found[1], 6 / 7, rtol=1e-7)
    short = sg.evaluate(values, {"a": [0.1, 0.2], "b": 0.3})
    assert short[0].tolist() == [0.1, 0.2]
    zero = sg.evaluate(values, {"a": [0.0, 0.0], "b": 0.0})
    assert zero[0].tolist() == [0.0, 0.0]
    assert np.isnan(sg.evaluate(values, {"a": [np.nan, 0.0], "b": 1.0})[1])


def test_clipped_gradients_are_applied():
    w = sg.parameter("w", START)
    (g,) = sg.optim.clip_by_global_norm([sg.grad(quadratic(w), w)], 0.5)
    step = sg.Graph(updates=sg.optim.SGD(1.0).apply({w: g}))
    moved = START - run(step, times=1)[0]
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-14)


# Mistakes


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sg.optim.SGD(-1.0), "learning_rate must be 0 or more"),
        (lambda: sg.optim.SGD(0.1, momentum=1.0), r"momentum must be in \[0, 1\)"),
        (lambda: sg.optim.SGD(0.1, nesterov=True), "nesterov must be False without momentum"),
        (lambda: sg.optim.SGD(0.1, weight_decay=-1.0), "weight_decay must be 0 or more"),
        (lambda: sg.optim.SGD(0.1, accumulate=0), "accumulate must be 1 or more"),
        (lambda: sg.optim.LBFGS(1.0), "max_iter must be a whole number, 1 or more"),
        (lambda: sg.optim.SGD(sg.input("r", (2,), "float64")), "learning_rate is f64"),
        (lambda: sg.optim.Adam(beta1=1.0), "beta1 must be"),
        (lambda: sg.optim.Adam(beta2=-0.1), "beta2 must be"),
        (lambda: sg.optim.Adam(eps=-1.0), "eps must be"),
        (lambda: sg.optim.AdamW(weight_decay=-1.0), "weight_decay must be"),
        (lambda: sg.optim.clip_by_global_norm([], 1.0), "norm of no gradients"),
        (lambda: sg.optim.clip_by_global_norm([], 0.0), "max_norm must be positive"),
    ],
)
def test_hyperparameters_out_of_range(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()


def test_what_an_optimizer_refuses():
    w = sg.parameter("w", START)
    x = sg.input("x", (), "float64")
    with pytest.raises(ArgumentError, match="is none"):
        sg.optim.SGD(0.1).updates(x * x, [x])
    with pytest.raises(ArgumentError, match="'w' is listed twice"):
        sg.optim.SGD(0.1).updates(quadratic(w), [w, w])
    with pytest.raises(DisconnectedError, match="does not depend on 'w'"):
        sg.optim.SGD(0.1).updates(x * x, [w])


# What all of them have


def test_every_optimizer_and_option_has_a_sample():
    assert missing() == []


def test_an_optimizer_without_samples_is_noticed(monkeypatch):
    monkeypatch.setitem(SAMPLES, sg.optim.SGD, SAMPLES[sg.optim.SGD][:1])
    monkeypatch.delitem(SAMPLES, sg.optim.AdamW)
    found = missing()
    assert "AdamW has no sample" in found
    assert "SGD: no sample sets nesterov" in found


def test_optimizers_register_by_being_defined():
    @dataclass(frozen=True, eq=False)
    class Signed(sg.optim.SGD):
        """Steps of one size."""

    found = sg.optim.registered_optimizers()
    assert found.index(sg.optim.SGD) < found.index(Signed)
    assert found.index(sg.optim.Adam) < found.index(sg.optim.AdamW)
    assert missing() == []
