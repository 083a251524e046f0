"""Workers run several steps through, each for rows of its own, where rows are apart."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad import native
from staticgrad.analysis.barriers import ByteRange, StepBytes
from staticgrad.compiler.runtime.cuts import RowsApart, chains
from tests.helpers.diagonals import diagonals
from tests.runtime.several_workers import ChainedClaims, check_equal_bytes, with_workers

WIDE = 64


@pytest.fixture(autouse=True, scope="module")
def short_chains():
    """Chains that take no time are run through, too."""
    with sg.options(limits="chain_seconds=1e-12"):
        yield


def dense(h, w):
    return sg.tanh(h @ w + 0.1)


def transposed_weights(h, w):
    return sg.tanh(h @ w.T)


def residual(h, w):
    return h + sg.nn.relu(h @ w)


def layer_norm_product(h, w):
    return sg.nn.layer_norm(h) @ w


def gate(h, w):
    """Columns of a product, of which each part goes through something else."""
    z = h @ w
    return sg.concatenate([sg.sigmoid(z[:, :20]) * h[:, :20], sg.tanh(z[:, 20:])], axis=1)


def share_weights(h, w):
    return sg.nn.softmax(h @ w) @ w


def backwards(h, w):
    """Each row reads that of another worker."""
    return sg.tanh(h[::-1] @ w)


def center(h, w):
    return (h - h.mean(axis=0)) @ w


def together(h, w):
    """A product of the rows with each other; behind it are two that a worker runs through."""
    return sg.tanh((h @ h.T) @ h @ w)


def shift_rows(h, w):
    return sg.concatenate([h[1:], h[:1]]) @ w


APART = {
    "dense": dense,
    "transposed_weights": transposed_weights,
    "residual": residual,
    "normed": layer_norm_product,
    "gated": gate,
    "shared": share_weights,
}
TOGETHER = {"backwards": backwards, "centred": center, "shifted": shift_rows}


def network(layers, dtype="float32"):
    h = sg.input("x", ("batch", WIDE), dtype)
    weights = [sg.input(f"w{number}", (WIDE, WIDE), dtype) for number in range(3)]
    for number, layer in enumerate(layers):
        h = layer(h, weights[number % 3])
    return sg.Graph({"h": h})


def feeds(graph, batch):
    random = np.random.default_rng(batch)
    arrays = {}
    for value in graph.inputs:
        shape = [n if isinstance(n, int) else batch for n in value.shape]
        arrays[value.node.label] = random.normal(0, 0.2, shape).astype(value.dtype.numpy)
    return arrays


def run_through(f, arrays, workers):
    """The parts of each chain; the bytes are those of one worker, whichever part comes first."""
    tables = [check_equal_bytes(f, arrays, workers, seed, ChainedClaims) for seed in range(4)]
    (parts,) = {
        tuple(row.total for row in table.rows if row.function == native.through())
        for table in tables
    }
    return list(parts)


def steps_of(f, arrays, workers):
    """Count the steps of each chain."""
    executor = with_workers(f, workers, 0, ChainedClaims)
    executor.run(arrays)
    assert executor._latest is not None
    return [cut.end - first for first, cut in chains(executor._latest.plan).items()]


@pytest.mark.thinned
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    ("batch,workers", [(32, 2), (33, 2), (64, 2), (50, 3)]),
    ("layer", APART),
)
def test_rows_that_are_apart_are_run_through(layer, batch, workers, dtype):
    graph = network([APART[layer]] * 4, dtype)
    f, arrays = sg.compile(graph, threads=1), feeds(graph, batch)
    assert run_through(f, arrays, workers) == [workers]
    assert steps_of(f, arrays, workers) == [len(f.plan(batch=batch).steps)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layer", TOGETHER)
def test_rows_that_read_each_other_wait(layer):
    graph = network([TOGETHER[layer]] * 4)
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 32), 2) == []


def test_scratch_is_of_workers_not_of_parts():
    """Whoever runs a part is in another step than others: its scratch is where they may not be."""

    def span(start, stop):
        return ByteRange("", start, stop)

    def halves(reads, writes):
        """Each part has one half."""
        cuts = [(a, (a + b) // 2, b) for a, b in (reads, writes)]
        return [
            StepBytes((span(*cuts[0][n : n + 2]),), (span(*cuts[1][n : n + 2]),)) for n in (0, 1)
        ]

    rows = RowsApart(2)
    assert rows.take(halves((0, 64), (64, 128)), [span(256, 384)])
    assert rows.take(halves((64, 128), (0, 64)), [span(256, 384)]), "the same scratch again"
    assert not rows.take(halves((0, 64), (320, 384)), [])
    for scratch in (span(320, 448), span(0, 32), span(96, 256)):
        rows = RowsApart(2)
        assert rows.take(halves((0, 64), (64, 128)), [span(256, 384)])
        assert not rows.take(halves((64, 128), (512, 576)), [scratch]), scratch


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    layers=st.lists(
        st.sampled_from((*APART.values(), *TOGETHER.values(), together)), min_size=2, max_size=7
    ),
    batch=st.integers(1, 70),
    workers=st.integers(2, 4),
    slopes=st.booleans(),
)
def test_random_layers_have_equal_bytes(layers, batch, workers, slopes):
    graph = network(layers)
    if slopes:
        expected = [value for value in graph.inputs if value.node.label != "x"]
        gradients = sg.grad((graph.outputs["h"] ** 2).mean(), expected)
        named = {value.node.label: slope for value, slope in zip(expected, gradients, strict=True)}
        graph = sg.Graph({"h": graph.outputs["h"]} | named)
    run_through(sg.compile(graph, threads=1), feeds(graph, batch), workers)
