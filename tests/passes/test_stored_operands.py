"""Stable formulas inside derivatives: which form reads what is stored anyway."""

import mpmath
import numpy as np

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.language.ops.transcendental import Sigmoid


def sigmoids(graph):
    return sum(isinstance(node.op, Sigmoid) for node in graph.nodes)


def slope_of_gate(x):
    """The derivative of a sigmoid of a product, in which ``x`` is not stored."""
    w = sg.parameter("w", np.eye(3))
    return sg.grad(sg.sigmoid(x @ w).sum(), x)


def test_a_derivative_reads_the_result_of_a_sigmoid_that_is_stored():
    x = sg.input("x", (2, 3), "float64")
    graph = pipeline("O1")(sg.Graph({"y": slope_of_gate(x)}))
    assert sigmoids(graph) == 1
    at = np.array([[-30.0, -2.0, 0.0], [1.0, 5.0, 30.0]])
    actual = sg.evaluate(graph, {"x": at})["y"]
    with mpmath.workdps(40):
        s = [1 / (1 + mpmath.exp(-mpmath.mpf(x))) for x in at.ravel()]
        truth = np.array([float(value * (1 - value)) for value in s]).reshape(2, 3)
    assert np.max(np.abs(actual - truth)) <= 2.0**-52  # an ulp of 1


def test_a_derivative_of_inputs_alone_is_right_to_its_last_digits():
    x = sg.input("x", (3,), "float64")
    graph = pipeline("O1")(sg.Graph({"y": sg.grad(sg.sigmoid(2.0 * x).sum(), x)}))
    actual = sg.evaluate(graph, {"x": np.array([15.0, 100.0, -100.0])})["y"]
    truth = 2.0 * np.exp(-np.array([30.0, 200.0, 200.0]))
    assert np.allclose(actual, truth, rtol=1e-12, atol=0.0)


def test_what_the_user_writes_is_stable_wherever_its_operand_comes_from():
    x = sg.input("x", (2, 3), "float64")
    w = sg.parameter("w", np.eye(3))
    graph = pipeline("O1")(sg.Graph({"y": 1.0 - sg.sigmoid(x @ w)}))
    actual = sg.evaluate(graph, {"x": np.full((2, 3), 50.0)})["y"]
    assert np.allclose(actual, np.exp(-50.0), rtol=1e-12, atol=0.0)


def test_an_lstm_in_a_python_loop_stores_no_sums_beside_its_gates():
    """Each step stores its gates, the state and the output: six arrays of [batch, hidden]."""
    steps, batch, hidden = 12, 32, 64
    random = np.random.default_rng(0)
    u = sg.parameter("u", random.normal(size=(hidden, 4 * hidden)).astype("float32") * 0.1)
    x = sg.input("x", (steps, batch, 4 * hidden), "float32")
    h = c = sg.constant(np.zeros((batch, hidden), "float32"))
    for t in range(steps):
        z = x[t] + h @ u
        i, f, g, o = (z[:, k * hidden : (k + 1) * hidden] for k in range(4))
        c = sg.sigmoid(f) * c + sg.sigmoid(i) * sg.tanh(g)
        h = sg.sigmoid(o) * sg.tanh(c)
    loss = (h * h).mean()
    graph = sg.Graph({"loss": loss}, updates={u: u - 0.1 * sg.grad(loss, u)})
    peak = sg.tradeoff(graph, threads=1).choices[0].peak_bytes
    row = batch * hidden * 4
    assert peak <= steps * 6 * row + 20 * row + u.value.nbytes * 2
