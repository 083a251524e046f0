"""Workers run several steps through, each for rows of its own, where rows are apart."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad import native
from staticgrad.analysis.barriers import ByteRange, StepBytes
from staticgrad.runtime import row_chains
from staticgrad.runtime.row_chains import LEAST_SECONDS, RowsApart, chains
from tests.diagonals import diagonals
from tests.runtime.several_workers import ChainedClaims, check_equal_bytes, with_workers

WIDE = 64


@pytest.fixture(autouse=True, scope="module")
def short_chains():
    """Chains that take no time are run through, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_chains, "LEAST_SECONDS", 0.0)
        yield


def dense(h, w):
    return sg.tanh(h @ w + 0.1)


def transposed_weights(h, w):
    return sg.tanh(h @ w.T)


def residual(h, w):
    return h + sg.nn.relu(h @ w)


def normed(h, w):
    return sg.nn.layer_norm(h) @ w


def gated(h, w):
    """Columns of a product, of which each part goes through something else."""
    z = h @ w
    return sg.concatenate([sg.sigmoid(z[:, :20]) * h[:, :20], sg.tanh(z[:, 20:])], axis=1)


def shared(h, w):
    return sg.nn.softmax(h @ w) @ w


def backwards(h, w):
    """Each row reads that of another worker."""
    return sg.tanh(h[::-1] @ w)


def centred(h, w):
    return (h - h.mean(axis=0)) @ w


def together(h, w):
    """A product of the rows with each other; behind it are two that a worker runs through."""
    return sg.tanh((h @ h.T) @ h @ w)


def shifted(h, w):
    return sg.concatenate([h[1:], h[:1]]) @ w


APART = (dense, transposed_weights, residual, normed, gated, shared)
TOGETHER = (backwards, centred, shifted)


def network(layers, dtype="float32"):
    h = sg.input("x", ("batch", WIDE), dtype)
    weights = [sg.input(f"w{number}", (WIDE, WIDE), dtype) for number in range(3)]
    for number, layer in enumerate(layers):
        h = layer(h, weights[number % 3])
    return sg.Graph({"h": h})


def feeds(graph, batch):
    random = np.random.default_rng(batch)
    found = {}
    for value in graph.inputs:
        shape = [n if isinstance(n, int) else batch for n in value.shape]
        found[value.node.label] = random.normal(0, 0.2, shape).astype(value.dtype.numpy)
    return found


def run_through(f, given, workers):
    """The parts of each chain; the bytes are those of one worker, whichever part comes first."""
    tables = [check_equal_bytes(f, given, workers, seed, ChainedClaims) for seed in range(4)]
    (found,) = {
        tuple(row.total for row in table.rows if row.function == native.through())
        for table in tables
    }
    return list(found)


def steps_of(f, given, workers):
    """How many steps each chain has."""
    executor = with_workers(f, workers, 0, ChainedClaims)
    executor.run(given)
    assert executor._latest is not None
    return [chain.behind - chain.first for chain in chains(executor._latest.plan).values()]


@pytest.mark.thinned
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    ("batch,workers", [(32, 2), (33, 2), (64, 2), (50, 3)]),
    ("layer", APART),
)
def test_rows_that_are_apart_are_run_through(layer, batch, workers, dtype):
    graph = network([layer] * 4, dtype)
    f, given = sg.compile(graph, threads=1), feeds(graph, batch)
    assert run_through(f, given, workers) == [workers]
    assert steps_of(f, given, workers) == [len(f.plan(batch=batch).steps)]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layer", TOGETHER, ids=lambda layer: layer.__name__)
def test_rows_that_read_each_other_wait(layer):
    graph = network([layer] * 4)
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 32), 2) == []


def test_a_chain_begins_behind_what_reads_all_rows():
    graph = network([together])
    f, given = sg.compile(graph, threads=1), feeds(graph, 32)
    assert run_through(f, given, 2) == [2]
    assert steps_of(f, given, 2) == [2]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("layer", TOGETHER, ids=lambda layer: layer.__name__)
def test_chains_end_where_rows_meet(layer):
    graph = network([dense, dense, dense, layer, dense, residual, dense])
    found = run_through(sg.compile(graph, threads=1), feeds(graph, 32), 2)
    assert 2 <= len(found) <= 3


def test_few_rows_and_single_products_stay_together():
    graph = network([dense] * 4)
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 8), 2) == []
    graph = network([normed])
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 32), 2) == []
    for layer, found in ((dense, [2]), (transposed_weights, [])):
        graph = network([layer] * 4)
        assert run_through(sg.compile(graph, threads=1), feeds(graph, 24), 2) == found
    graph = network([dense, normed, residual])
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 600), 2) == [4]


def test_chains_of_no_time_stay_with_the_caller(monkeypatch):
    monkeypatch.setattr(row_chains, "LEAST_SECONDS", LEAST_SECONDS)
    few, many = network([dense] * 2), network([dense] * 40)
    assert run_through(sg.compile(few, threads=1), feeds(few, 24), 2) == []
    assert run_through(sg.compile(many, threads=1), feeds(many, 48), 2) == [2]


def test_few_rows_read_no_more_than_a_cache_holds(monkeypatch):
    graph = network([dense] * 3)
    monkeypatch.setattr(row_chains, "CACHE", 3 * 4 * WIDE**2 - 1)
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 48), 2) == []
    assert run_through(sg.compile(graph, threads=1), feeds(graph, 64), 2) == [2]


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


def training_step(dtype):
    """A recurrence that is written out, and layers; each gradient has terms of all steps."""
    random = np.random.default_rng(0)
    x, y = sg.input("x", (5, "batch", WIDE), dtype), sg.input("y", ("batch", WIDE), dtype)
    w, u, v = (
        sg.parameter(name, random.normal(0, 0.1, (WIDE, WIDE)).astype(dtype)) for name in "wuv"
    )
    h = sg.tanh(x[0] @ w)
    for step in range(1, 5):
        z = x[step] @ w + h @ u
        gate = sg.sigmoid(z)
        h = gate * h + (1.0 - gate) * sg.tanh(z)
    loss = ((sg.nn.layer_norm(h @ v) - y) ** 2).mean()
    updates = {p: p - 0.1 * g for p, g in zip((w, u, v), sg.grad(loss, [w, u, v]), strict=True)}
    f = sg.compile(sg.Graph({"loss": loss, "h": h}, updates), threads=1)
    return f, {name: random.normal(size=shape).astype(dtype) for name, shape in
               {"x": (5, 48, WIDE), "y": (48, WIDE)}.items()}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_a_training_step_has_equal_bytes(workers, dtype):
    f, given = training_step(dtype)
    assert run_through(f, given, workers)[0] == workers


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    layers=st.lists(st.sampled_from((*APART, *TOGETHER, together)), min_size=2, max_size=7),
    batch=st.integers(1, 70),
    workers=st.integers(2, 4),
    slopes=st.booleans(),
)
def test_random_layers_have_equal_bytes(layers, batch, workers, slopes):
    graph = network(layers)
    if slopes:
        wanted = [value for value in graph.inputs if value.node.label != "x"]
        found = sg.grad((graph.outputs["h"] ** 2).mean(), wanted)
        named = {value.node.label: slope for value, slope in zip(wanted, found, strict=True)}
        graph = sg.Graph({"h": graph.outputs["h"]} | named)
    run_through(sg.compile(graph, threads=1), feeds(graph, batch), workers)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"debug": True}, {"debug": "nan"}])
def test_modes_give_equal_bytes(options):
    graph = network([dense, residual, normed, gated, dense])
    given = feeds(graph, 48)
    wanted = sg.compile(graph, threads=1).run(given)["h"].tobytes()
    f = sg.compile(graph, threads=2, **options)
    for _ in range(3):
        assert f.run(given)["h"].tobytes() == wanted
    assert len(f.profile(given, runs=2).steps) == len(f.plan(batch=48).steps)


@pytest.mark.slow
def test_plain_python_gives_equal_bytes():
    graph = network([dense, residual])
    given = feeds(graph, 25)
    wanted = sg.compile(graph, threads=1).run(given)["h"].tobytes()
    with sg.options(jit=False):
        assert sg.compile(graph, threads=2).run(given)["h"].tobytes() == wanted
