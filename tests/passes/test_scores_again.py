"""Attention's gradient computes the scores again: none are stored, and bits are equal."""

import numpy as np
import pytest

import staticgrad as sg

WITHOUT = "stabilize,parts,dce,loops,fixpoint(simplify,cse,fold),dce"


def gradients(context, causal, heads=2, depth=8):
    """A layer of attention in front of and behind dense layers, and all its gradients."""
    random = np.random.default_rng(0)
    width = heads * depth
    x = sg.input("x", (context, width), "float32")
    w = sg.parameter("w", random.normal(size=(width, 3 * width)).astype("float32"))
    out = sg.parameter("out", random.normal(size=(width, width)).astype("float32"))
    q, k, v = (
        sg.transpose(sg.reshape(part, (context, heads, depth)), (1, 0, 2))
        for part in sg.split(x @ w, 3, axis=1)
    )
    mixed = sg.transpose(sg.nn.attention(q, k, v, causal=causal), (1, 0, 2))
    y = sg.reshape(mixed, (context, width)) @ out
    loss = (y * y).mean()
    w_slope, out_slope = sg.grad(loss, [w, out])
    return sg.Graph({"loss": loss, "w": w_slope, "out": out_slope})


def peak(graph, **options):
    return sg.tradeoff(graph, threads=1, **options).everything.peak_bytes


@pytest.mark.parametrize("causal", [False, True])
def test_no_square_of_the_context_is_stored(causal):
    graph = gradients(256, causal, heads=8)
    squares = 8 * 256 * 256 * 4  # of all heads; the scratch of a block is that of one
    assert peak(graph) < squares
    assert peak(graph, pipeline=WITHOUT) > 2 * squares


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [2, 4])
def test_bytes_are_linear_in_the_context(causal, heads):
    """Sums over queries go on from tile to tile, and a large mask is computed where it is read."""
    contexts = (512, 1024, 2048, 8192)
    least, *more = (peak(gradients(context, causal, heads)) for context in contexts)
    for factor, nbytes in zip((2, 4, 16), more, strict=True):
        assert nbytes < 1.2 * factor * least


@pytest.mark.parametrize(
    ("causal", "context"), [(False, 48), (True, 48), (False, 400), (True, 460)]
)
def test_bits_are_those_of_stored_scores(causal, context):
    graph = gradients(context, causal)
    at = {"x": np.random.default_rng(1).normal(size=(context, 16)).astype("float32")}
    again, stored = (
        sg.compile(graph, threads=1, pipeline=text).run(at) for text in ("O1", WITHOUT)
    )
    for name, array in stored.items():
        assert np.asarray(again[name]).tobytes() == np.asarray(array).tobytes(), name
    truth = sg.evaluate(graph, at)
    assert np.allclose(again["w"], truth["w"], rtol=1e-4, atol=1e-5)


def test_short_contexts_store_their_scores():
    """Scores of 8 x 8 are fewer bytes than their operands of 8 x 16."""
    graph = gradients(8, False, depth=16)
    assert peak(graph) <= peak(graph, pipeline=WITHOUT)


def test_a_dense_layer_is_not_computed_again():
    """One matrix for all rows is no square of queries and keys, however wide its result."""
    x = sg.input("x", (4, 32, 8), "float32")
    w = sg.parameter("w", np.ones((8, 128), "float32"))
    loss = sg.exp(x @ w).sum()
    graph = sg.Graph({"loss": loss, "slope": sg.grad(loss, w)})
    steps = {
        text: len(sg.compile(graph, threads=1, pipeline=text).schedule.steps)
        for text in ("O1", WITHOUT)
    }
    assert steps["O1"] == steps[WITHOUT]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("context", [1000, 1024, 1056])
def test_gradients_need_two_tiles_of_scratch_with_padded_rows(causal, context):
    """Weights take the scratch of exponentials. Rows are an odd number of cache lines apart."""
    f = sg.compile(gradients(context, causal), threads=1)
    backward = next(
        step for step in f.schedule.steps if "exp" in step.label and "neg" in step.label
    )
    size_of = {buffer.name: buffer.size for buffer in f.schedule.buffers}
    sizes = [size_of[scratch.buffer] for scratch in backward.scratch()]
    tiles = [size for size in sizes if size > 12 * context]
    assert len(tiles) == 2
    rows = 32 if causal else 64
    for size in tiles:
        pitch, remainder = divmod(size - context, rows - 1)
        assert (remainder, pitch % 32) == (0, 16)


def test_no_exponential_is_computed_inside_a_product():
    """There it took 1.2 of the time of a whole step."""
    f = sg.compile(gradients(48, False), threads=1)
    nests = [str(step.kernel) for step in f.schedule.steps if "exp" in step.label]
    products = [part.split("}")[0] for text in nests for part in text.split("gemm")[1:]]
    assert len(products) >= 5
    assert not any(" exp " in text for text in products)
