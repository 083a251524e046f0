"""Transposed factors that no iteration changes are transposed once, before a loop; bytes stay."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.preparation.loops import FEWEST_ITERATIONS, with_transposed_invariants


def rnn(iterations=FEWEST_ITERATIONS, rows=5, n=6, both=False):
    """Iterations that multiply by the transpose of a matrix, and by the matrix if ``both`` is
    set."""
    x, w = sg.input("x", (iterations, rows, n)), sg.input("w", (n, n))

    def iteration(h, each):
        z = each + h @ w.T
        h = sg.tanh(z @ w if both else z)
        return h, h

    return pipeline("O1")(sg.Graph({"y": sg.scan(iteration, np.zeros((rows, n), "f4"), x)[1]}))


def transposed(graph):
    """How many of the products in loops are of a factor that is transposed no more."""

    def count(graph):
        nodes = [n for each in graph.nodes for body in each.op.bodies for n in body.nodes]
        return sum(n.op.name == "matmul" and n.op.transpose_b for n in nodes)

    return count(graph) - count(with_transposed_invariants(graph))


def test_a_factor_of_every_iteration_is_transposed_before_the_loop():
    assert transposed(rnn()) == 1
    assert transposed(rnn(sg.dim("iterations", hint=100))) == 1


@pytest.mark.parametrize(
    "graph",
    [rnn(FEWEST_ITERATIONS - 1), rnn(both=True), rnn(rows=65), rnn(n=400)],
    ids=["few iterations", "read both ways", "many rows", "a large matrix"],
)
def test_what_would_not_pay_stays(graph):
    assert with_transposed_invariants(graph) is graph


@pytest.mark.thinned(3)
@pytest.mark.parametrize("iterations", [0, 1, 9])
def test_bytes_are_those_of_iterations_that_transpose(iterations):
    graph = rnn(sg.dim("iterations", hint=9))
    draw = np.random.default_rng(0).normal
    feeds = {"x": draw(size=(iterations, 5, 6)).astype("f4"), "w": draw(size=(6, 6)).astype("f4")}
    found = [sg.compile(graph, fuse=fuse).run(feeds)["y"].tobytes() for fuse in (True, False)]
    assert found[0] == found[1]
