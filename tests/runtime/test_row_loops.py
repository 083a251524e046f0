"""Workers run loops from their first iteration to their last where the rows of iterations are
apart."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import native
from staticgrad.errors import NonFiniteError
from tests.helpers.diagonals import diagonals
from tests.runtime.several_workers import check_equal_bytes

ITERATIONS = 7
WIDE = 64


def cell(h, row, u):
    return sg.tanh(row + h @ u)


def plain(h, row, u, w):
    h = cell(h, row, u)
    return h, h


def gate(h, row, u, w):
    """Columns of a wider product, of which each part goes through something else."""
    z = (row + h) @ w
    gate = sg.sigmoid(z[:, :WIDE])
    h = gate * h + (1.0 - gate) * sg.tanh(z[:, WIDE : 2 * WIDE] + row)
    return h, z[:, WIDE:] * 2.0


def normalize(h, row, u, w):
    """A sum along each row, and one number of it as a result."""
    h = cell(h, row, u)
    h = h / (1.0 + (h * h).sum(axis=1, keepdims=True))
    return h, h[:, 0]


def twice(h, row, u, w):
    """Several products, whose results lie in the same bytes of the arena one after the other."""
    h = cell(cell(h, row, u), row, u.T)
    return cell(h, row * 0.5, u), None


def center(h, row, u, w):
    h = cell(h, row, u)
    return h - h.mean(axis=0), None


def transpose_rows(h, row, u, w):
    """Each row reads that of another worker."""
    return cell(h[::-1], row, u), h


def shift_rows(h, row, u, w):
    return cell(sg.concatenate([h[1:], h[:1]]), row, u), None


def sum_rows(h, row, u, w):
    h = cell(h, row, u)
    return h, h.sum(axis=0)


def square_rows(h, row, u, w):
    """A product of the rows with each other."""
    h = cell(h, row, u)
    return sg.tanh((h @ h.T) @ row), None


APART = {"plain": plain, "gated": gate, "normalized": normalize, "twice": twice}
TOGETHER = {
    "centred": center,
    "transposed": transpose_rows,
    "shifted": shift_rows,
    "summed": sum_rows,
    "squared": square_rows,
}


def program(body, backwards=False):
    x = sg.input("x", (ITERATIONS, "batch", WIDE))
    u, w = sg.input("u", (WIDE, WIDE)), sg.input("w", (WIDE, 3 * WIDE))
    start = sg.zeros((x.shape[1], WIDE), "float32")
    last, every = sg.scan(lambda h, row: body(h, row, u, w), start, x, reverse=backwards)
    return sg.Graph({"last": last} | ({} if every is None else {"every": every}))


def feeds(batch):
    random = np.random.default_rng(batch)
    shapes = {"x": (ITERATIONS, batch, WIDE), "u": (WIDE, WIDE), "w": (WIDE, 3 * WIDE)}
    return {n: random.normal(0, 0.2, shape).astype("float32") for n, shape in shapes.items()}


def through(table):
    """Count the parts of each loop that workers run through."""
    return [row.total for row in table.rows if row.function == native.through()]


def check_parts(graph, batch, workers):
    """The loops' parts; the bytes are those of one worker, whichever part comes first."""
    f = sg.compile(graph, threads=1)
    arrays = {value.node.label: feeds(batch)[value.node.label] for value in graph.inputs}
    (parts,) = {tuple(through(check_equal_bytes(f, arrays, workers, seed))) for seed in range(4)}
    return list(parts)


@pytest.mark.thinned
@diagonals(
    2, ("backwards", [False, True]), ("batch,workers", [(24, 2), (33, 2), (40, 3)]), ("body", APART)
)
def test_rows_that_are_apart_are_run_through(body, batch, workers, backwards):
    assert check_parts(program(APART[body], backwards), batch, workers) == [workers]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("body", TOGETHER)
def test_rows_that_read_each_other_wait_in_each_iteration(body):
    assert check_parts(program(TOGETHER[body]), 32, 2) == []


def test_loops_in_loops_are_run_through():
    """The loop around moves what the inner one begins with, and the rows that it reads."""
    x, u = sg.input("x", (3, ITERATIONS, "batch", WIDE)), sg.input("u", (WIDE, WIDE))
    start = sg.zeros((x.shape[2], WIDE), "float32")

    def outer_iteration(h, rows):
        h, every = sg.scan(lambda g, row: (cell(g, row, u),) * 2, h, rows)
        return h - h.mean(axis=0), every

    last, every = sg.scan(outer_iteration, start, x)
    f = sg.compile(sg.Graph({"last": last, "every": every}), threads=1)
    random = np.random.default_rng(0)
    arrays = {
        "x": random.normal(size=(3, ITERATIONS, 32, WIDE)).astype("float32"),
        "u": random.normal(0, 0.1, (WIDE, WIDE)).astype("float32"),
    }
    for seed in range(3):
        assert through(check_equal_bytes(f, arrays, 2, seed)) == [2]


@pytest.mark.slow
def test_the_iteration_of_a_nan_is_named():
    arrays = feeds(40)
    del arrays["w"]
    arrays["x"] = abs(arrays["x"]) + 0.1
    arrays["x"][4, 39, 3] = -1.0
    graph = program(lambda h, row, u, w: (cell(h, sg.log(row), u),) * 2)
    f = sg.compile(graph, threads=2, debug="nan")
    with pytest.raises(NonFiniteError, match="log"):
        f.run(arrays)
