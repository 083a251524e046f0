"""Matrices that iterations of a loop multiply by are brought into panels once; no byte depends on
it."""

import numpy as np
import pytest

import staticgrad as sg
from passes.late.loops import FEWEST_ITERATIONS, transpose_invariants
from passes.pipelines import pipeline
from staticgrad.language.ir.bodies import BodyStep
from staticgrad.language.ir.graph import bodies_of
from tests.helpers.diagonals import diagonals

ITERATIONS = 24


def program(inner, columns, dtype="float32", transposed=False):
    """Rows of x by a matrix, and what follows element by element: positions, rows of z."""
    x = sg.input("x", (ITERATIONS, "rows", inner), dtype)
    z = sg.input("z", (ITERATIONS, "rows", columns), dtype)
    u = sg.input("u", (columns, inner) if transposed else (inner, columns), dtype)
    numbers = sg.astype(sg.arange(columns), dtype)

    def iteration(c, slices):
        row, addend = slices
        y = row @ (u.T if transposed else u)
        return c + 1.0, (sg.tanh(y + addend), y * numbers)

    last, every = sg.scan(iteration, sg.zeros((), dtype), (x, z))
    return sg.Graph({"last": last, "a": every[0], "b": every[1]})


def feeds(rows, inner, columns, dtype, transposed):
    random = np.random.default_rng(rows)
    shapes = {"x": (ITERATIONS, rows, inner), "z": (ITERATIONS, rows, columns)}
    shapes["u"] = (columns, inner) if transposed else (inner, columns)
    return {n: random.normal(size=shape).astype(dtype) for n, shape in shapes.items()}


def in_panels(f):
    """Products of bodies that go over panels."""
    loops = [step for step in f.schedule.steps if isinstance(step, BodyStep)]
    kernels = [kernel for loop in loops for kernel in loop.kernels() if kernel.outer == "tiles"]
    return sum(bool(kernel.axes) for kernel in kernels)


@pytest.mark.thinned
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    ("transposed", [False, True]),
    ("inner,columns", [(130, 256), (65, 256), (380, 128)]),
)
def test_bytes_are_those_of_the_matrix_as_it_lies(dtype, transposed, inner, columns):
    graph = program(inner, columns, dtype, transposed)
    plain = sg.compile(graph, threads=1, fuse=False)
    for threads in (1, 2):
        f = sg.compile(graph, threads=threads)
        assert in_panels(f) == 1
        for rows in (1, 3, 16, 31, 64, 130):
            arrays = feeds(rows, inner, columns, dtype, transposed)
            expected, actual = plain.run(arrays), f.run(arrays)
            assert {n: a.tobytes() for n, a in actual.items()} == {
                n: a.tobytes() for n, a in expected.items()
            }
            assert f.plan(rows=rows).peak_bytes >= arrays["u"].nbytes


def rnn(iterations=FEWEST_ITERATIONS, rows=5, n=6, twice=False):
    """Iterations that multiply by the transpose of a matrix, and by the matrix if ``both`` is
    set."""
    x, w = sg.input("x", (iterations, rows, n)), sg.input("w", (n, n))

    def iteration(h, row):
        z = row + h @ w.T
        h = sg.tanh(z @ w if twice else z)
        return h, h

    return pipeline("O1")(sg.Graph({"y": sg.scan(iteration, np.zeros((rows, n), "f4"), x)[1]}))


def count_transposed_factors(graph):
    """Count the products in loops whose factor is no longer transposed."""

    def count(graph):
        nodes = [n for node in graph.nodes for body in bodies_of(node) for n in body.nodes]
        return sum(n.op.name == "matmul" and n.op.transpose_b for n in nodes)

    return count(graph) - count(transpose_invariants(graph))


def test_a_factor_of_every_iteration_is_transposed_before_the_loop():
    assert count_transposed_factors(rnn()) == 1
    assert count_transposed_factors(rnn(sg.dim("iterations", hint=100))) == 1


@pytest.mark.thinned(3)
@pytest.mark.parametrize("iterations", [0, 1, 9])
def test_bytes_are_those_of_iterations_that_transpose(iterations):
    graph = rnn(sg.dim("iterations", hint=9))
    draw = np.random.default_rng(0).normal
    feeds = {"x": draw(size=(iterations, 5, 6)).astype("f4"), "w": draw(size=(6, 6)).astype("f4")}
    actual = [sg.compile(graph, fuse=fuse).run(feeds)["y"].tobytes() for fuse in (True, False)]
    assert actual[0] == actual[1]
