"""Random programs with gradients and Hessian-vector products, compiled, against the oracle.

Two kinds. Over whole numbers every value must be exact. Programs that are described are held node
by node against the ops' references, and compiled and planned otherwise to the same bytes, at
several sizes and layouts of feeds.

Some minutes more of both kinds: ``python -m pytest tests/compiled/test_programs.py -m exhaustive``.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedError
from tests.compiled.agreement import assert_same, differing
from tests.helpers.program_checks import WAYS, check_program
from tests.helpers.random_programs import Program, feeds_at, random_description, whole_graph

CHUNK = 10
SIZES = [{"batch": batch, "n": n} for batch, n in ((3, 2), (17, 1), (0, 5), (1, 9), (33, 3))]

exhaustive = [pytest.mark.exhaustive]
chunks = pytest.mark.parametrize(
    ("start", "steps"),
    [
        *((start, 8) for start in range(0, 40, CHUNK)),
        *(pytest.param(start, 16, marks=exhaustive) for start in range(1000, 2000, CHUNK)),
    ],
)


def check_whole(seed, steps):
    graph = whole_graph(seed, steps)
    fused = sg.compile(graph)
    apart = sg.compile(graph, fuse=False, pipeline="O0") if seed % 8 == 0 else None
    for sizes in SIZES:
        feeds = feeds_at(graph, np.random.default_rng(seed), sizes, "whole")
        try:
            expected = sg.evaluate(graph, feeds)
        except FeedError:
            continue  # sizes that the program excludes
        actual = fused.run(feeds)
        for name, array in expected.items():
            same = np.array_equal(actual[name], array, equal_nan=True)
            assert actual[name].dtype == array.dtype, (seed, sizes, name)
            assert same, f"{seed} {sizes} {name}: {differing(actual[name], array)}"
        if apart is not None:
            assert_same(apart.run(feeds), actual, (seed, sizes))


@pytest.mark.thinned(4)
@chunks
def test_programs_over_whole_numbers_are_exact(start, steps):
    for seed in range(start, start + CHUNK):
        check_whole(seed, steps)


@pytest.mark.thinned(4)
@chunks
def test_described_programs(start, steps):
    """Each in one other way, in turn."""
    for seed in range(start, start + CHUNK, 2):
        rng = np.random.default_rng([3, seed])
        program = Program(random_description(rng, steps, smooth=bool(seed // 2 % 2)))
        check_program(program, [WAYS[seed // 2 % (len(WAYS) - 2)]], layouts=2)


def with_derivatives(graph):
    """The outputs, the gradient of a smooth loss by all leaves, and a Hessian-vector product."""
    floats = [
        np.tanh(v.astype("float64")).sum() for v in graph.outputs.values() if v.dtype.is_float
    ]
    leaves = [v for v in (*graph.inputs, *graph.parameters) if v.dtype.is_float]
    if not floats or not leaves:
        return graph
    first = sg.grad(sum(floats[1:], floats[0]), leaves, allow_disconnected=True)
    slopes = [(g.astype("float64") * 0.25).sum() for g in first]
    second = sg.grad(sum(slopes[1:], slopes[0]), leaves, allow_disconnected=True)
    outputs = dict(graph.outputs)
    outputs |= {f"gradient {n}": g for n, g in enumerate(first)}
    outputs |= {f"product {n}": g for n, g in enumerate(second)}
    return sg.Graph(outputs, dict(graph.updates), inputs=graph.inputs)
