"""Every pass on random joint graphs: the same bytes, the same signature, nothing left to do."""

import functools

import numpy as np
import pytest

import staticgrad as sg
from passes.base import keeps
from passes.pipelines import LEVELS, PASSES, pipeline
from passes.validation import mismatch
from staticgrad.ir.verify import verify_graph
from tests.random_graphs import random_graph

#: Every pass that keeps each byte, with its options; combinations; and the levels.
PIPELINES = (
    *(each.name for each in PASSES if each.keeps == "exact"),
    "cse{border=True}", "residuals{flops=1000}", "fold,dce,cse", "O1,cse{border=True},residuals",
    "narrow{dtype='float32'}", "O1,narrow{dtype='float32',readers='all'}", *LEVELS,
)  # fmt: skip


@functools.cache
def joint_graph(seed, varied=False):
    """A random graph with the gradient of its floating outputs, and feeds."""
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=30, varied=varied)
    outputs = dict(graph.outputs)
    floats = [value for value in outputs.values() if value.dtype.is_float]
    inputs = [value for value in graph.inputs if value.dtype.is_float]
    for position, value in enumerate(floats[:2]):
        gradients = sg.grad(value.sum(), inputs, allow_disconnected=True)
        outputs |= {f"d{position}_{i}": gradient for i, gradient in enumerate(gradients)}
    return sg.Graph(outputs, graph.updates, inputs=graph.inputs), feeds


def assert_same_bytes(before, after):
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, strict=True)
        signs = (np.signbit(x[~np.isnan(x)]) for x in (array, after[name]))
        assert array.dtype.kind != "f" or np.array_equal(*signs)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("text", PIPELINES)
@pytest.mark.parametrize("seed", range(8))
def test_values_and_signature_stay(seed, text):
    graph, feeds = joint_graph(seed)
    after = pipeline(text)(graph)
    verify_graph(after)
    assert after.inputs == graph.inputs
    assert after.parameters == graph.parameters
    assert list(after.outputs) == list(graph.outputs)
    more = any(name in str(pipeline(text)) for name in ("residuals", "narrow"))
    assert more or len(after.nodes) <= len(graph.nodes)
    before, now = (sg.evaluate(g, feeds, updates=True) for g in (graph, after))
    assert_same_bytes(before[0], now[0])
    assert_same_bytes(before[1], now[1])


@pytest.mark.thinned(13)
@pytest.mark.parametrize("text", PIPELINES)
def test_values_stay_of_ops_with_several_results_and_of_chains_of_casts(text):
    for seed in range(30):
        graph, feeds = joint_graph(seed, varied=True)
        after = pipeline(text)(graph)
        verify_graph(after)
        before, now = (sg.evaluate(g, feeds, updates=True) for g in (graph, after))
        for one, two in zip(before, now, strict=True):
            if "stabilize" not in str(pipeline(text)):
                assert_same_bytes(one, two)
                continue
            for name, array in one.items():  # log(1 + x) is nearer the true value
                close = 1e-12 if array.dtype == "float64" else 1e-5
                np.testing.assert_allclose(two[name], array, close, close, err_msg=str(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_second_run_changes_nothing(seed):
    graph, _ = joint_graph(seed)
    settle = pipeline("fixpoint(cse,fold,dce)")
    after = settle(graph)
    assert settle(after) is after
    for text in ("dce", "cse", "cse{border=True}", "residuals"):
        once = pipeline(text)(graph)
        assert pipeline(text)(once) is once


@pytest.mark.parametrize("text", [*(each.name for each in PASSES), *LEVELS])
@pytest.mark.parametrize("seed", range(8, 11))
def test_every_pass_and_level_is_valid_on_special_values(seed, text):
    graph, _ = joint_graph(seed)
    passes = pipeline(text)
    assert mismatch(graph, passes.unrounded()(graph), keeps(passes)) is None
