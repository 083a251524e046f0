"""Random programs with gradients and updates: the same bytes for every policy and budget."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.binding import bind_sizes
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.memory.planner import Planner
from tests.random_graphs import random_graph

BUDGETS = 5


def program(seed):
    """A random graph with the gradients of a loss as outputs, and updates of its parameters."""
    rng = np.random.default_rng(seed)
    graph, feeds = random_graph(
        rng, min_ops=20, max_ops=60, dtypes=("float32",), integers=bool(seed % 2)
    )
    values = [v for v in graph.outputs.values() if v.dtype.is_float]
    if not values:
        return graph, feeds
    loss = sum(((v * v).sum() for v in values[1:]), (values[0] * values[0]).sum())
    wanted = [v for v in (*graph.inputs, *graph.parameters) if v.dtype.is_float]
    gradients = sg.grad(loss, wanted, allow_disconnected=True)
    outputs = {**graph.outputs, **{f"gradient {i}": g for i, g in enumerate(gradients)}}
    updates = [
        (v, v - 0.1 * g)
        for v, g in zip(wanted, gradients, strict=True)
        if isinstance(v, sg.Parameter)
    ]
    return sg.Graph(outputs, updates, inputs=graph.inputs), feeds


def results(f, feeds, start):
    """The bytes of every output and updated parameter of one run from the same start."""
    parameters = f.program_graph.parameters
    for parameter, value in zip(parameters, start, strict=True):
        parameter.value = value
    found = f.run(feeds)
    return [a.tobytes() for a in (*found.values(), *(p.value for p in parameters))]


def recomputing_runs(seed):
    """Compare a program's runs over policies and budgets; how many of them ran kernels twice."""
    graph, feeds = program(seed)
    start = [p.value for p in graph.parameters]
    fuse = bool(seed % 3)
    base = sg.compile(graph, fuse=fuse)
    wanted, peak = results(base, feeds, start), base.peak_bytes
    sizes = bind_sizes(graph, {name: a.shape for name, a in feeds.items()}, {})
    smallest = Planner(base.schedule).front(sizes)[-1][0].peak_bytes
    options = [{"checkpoint": "sqrt"}, {"checkpoint": "recompute"}]
    options += [
        {"memory_budget": smallest + (peak - smallest) * k // (BUDGETS - 1)} for k in range(BUDGETS)
    ]
    repeats = 0
    for chosen in options:
        f = sg.compile(graph, fuse=fuse, **chosen)
        assert results(f, feeds, start) == wanted, chosen
        verify_plan(f.plan(**sizes))
        assert f.peak_bytes <= chosen.get("memory_budget", peak)
        repeats += len(f.plan(**sizes).steps) > len(f.schedule.steps)
    return repeats


@pytest.mark.slow
def test_bytes_do_not_depend_on_policy_or_budget():
    assert sum(recomputing_runs(seed) for seed in (3, 6, 13)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [20, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (25, 30, 35))]
)
def test_bytes_of_many_programs(first):
    for seed in range(first, first + 5):
        recomputing_runs(seed)
