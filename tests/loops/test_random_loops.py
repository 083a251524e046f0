"""Random programs with loops, looped and written out: derivatives, passes, text, kernels."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from tests.loops.random_loops import random_step
from tests.ops.graphs import variable

ROWS = 2


def programs(seed):
    """Value and gradients of one program in both forms, and its inputs."""
    step = random_step(np.random.default_rng(seed), 3)
    shapes = {"u": (3,), "v": (3,), "s": (), "rows": (ROWS, 3)}
    inputs = [variable(name, sg.float64, shape) for name, shape in shapes.items()]
    u, v, s, rows = inputs
    both = []
    for looped in (True, False):
        end = step((u, v, s), rows, looped)
        y = (end[0] * [1.0, 2.0, 3.0]).sum() + end[1].sum() * end[2]
        slopes = sg.grad(y, inputs, allow_disconnected=True)
        bend = sg.grad(sum((g * g).sum() for g in slopes), inputs, allow_disconnected=True)
        both.append({"y": y, **{f"d{i}": g for i, g in enumerate([*slopes, *bend])}})
    return both[0], both[1], inputs


def feeds(seed):
    rng = np.random.default_rng(100 + seed)
    shapes = {"u": (3,), "v": (3,), "s": (), "rows": (ROWS, 3)}
    return {name: np.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


@pytest.mark.thinned(8)
@pytest.mark.parametrize("seed", range(8))
def test_looped_is_written_out(seed):
    looped, written, inputs = programs(seed)
    graphs = [sg.Graph(each, inputs=inputs) for each in (looped, written)]
    found, wanted = (sg.evaluate(graph, feeds(seed)) for graph in graphs)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-8, atol=1e-8)
    after = pipeline("O1")(graphs[0])
    assert sg.same_graph(sg.parse(str(after)), after)
    improved = sg.evaluate(after, feeds(seed))
    assert all(same_bytes(improved[name], array) for name, array in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 5])
def test_compiled_is_evaluated(seed):
    looped, _, inputs = programs(seed)
    graph = sg.Graph({name: looped[name] for name in ("y", "d0", "d3")}, inputs=inputs)
    wanted = sg.evaluate(graph, feeds(seed))
    found = sg.compile(graph).run(feeds(seed))
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-8, atol=1e-8)
