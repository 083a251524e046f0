"""Random programs with gradients and Hessian-vector products, compiled, against the oracle.

Two kinds. Over whole numbers (``whole_programs``) every value must be exact. Over real numbers
(``tests/random_graphs``) values must be near those in float64, and all ways of compiling must give
equal bytes: with and without passes, fused and unfused, at several sizes from one compilation.

Some minutes more of both kinds: ``python -m pytest tests/compiled/test_programs.py -m exhaustive``.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedError, StaticgradError
from staticgrad.types.dim import evaluate
from tests.compiled.agreement import assert_near, assert_same, differing
from tests.compiled.whole_programs import Maker
from tests.random_graphs import random_graph

CHUNK = 10

quick = pytest.mark.parametrize("start", range(0, 40, CHUNK))
thorough = pytest.mark.parametrize(
    "start",
    [pytest.param(start, marks=pytest.mark.exhaustive) for start in range(1000, 2000, CHUNK)],
)


# -- whole numbers --------------------------------------------------------------------------------

SIZES = ({"b": 3, "c": 2}, {"b": 17, "c": 1}, {"b": 0, "c": 5}, {"b": 1, "c": 9}, {"b": 33, "c": 3})


def check_whole(seed, steps):
    maker = Maker(seed)
    graph = maker.build(maker.integer(3, steps))
    fused = sg.compile(graph)
    apart = sg.compile(graph, fuse=False, pipeline="O0") if seed % 8 == 0 else None
    for sizes in SIZES:
        feeds = maker.feeds(graph, sizes)
        try:
            expected = sg.evaluate(graph, feeds)
        except FeedError:
            continue  # sizes that the program excludes
        found = fused.run(feeds)
        for name, array in expected.items():
            same = np.array_equal(found[name], array, equal_nan=True)
            assert found[name].dtype == array.dtype, (seed, sizes, name)
            assert same, f"{seed} {sizes} {name}: {differing(found[name], array)}"
        if apart is not None:
            assert_same(apart.run(feeds), found, (seed, sizes))


@pytest.mark.thinned(4)
@quick
def test_programs_over_whole_numbers_are_exact(start):
    for seed in range(start, start + CHUNK):
        check_whole(seed, 8)


@thorough
def test_more_programs_over_whole_numbers(start):
    for seed in range(start, start + CHUNK):
        check_whole(seed, 16)


# -- real numbers ---------------------------------------------------------------------------------


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


def run_fresh(graph, feeds, **options):
    """Results and the parameters afterwards; the parameters are then put back."""
    before = [p.value for p in graph.parameters]
    found = sg.compile(graph, **options).run(feeds)
    after = {p.name: p.value for p in graph.parameters}
    for parameter, value in zip(graph.parameters, before, strict=True):
        parameter.value = value
    return found, after


def resized(graph, feeds, rng):
    """Feeds for other values of the named sizes."""
    sizes = {name: int(rng.choice((0, 1, 2, 15, 16, 17, 33))) for name in graph.sizes}
    drawn = {}
    for value in graph.inputs:
        shape = tuple(evaluate(n, sizes) for n in value.shape)
        old = feeds[value.node.op.label]
        pool = old if old.size else np.zeros(1, old.dtype)
        drawn[value.node.op.label] = rng.choice(np.ravel(pool), shape).astype(old.dtype)
    return drawn


def check_real(seed, ops):
    rng = np.random.default_rng(seed)
    graph, feeds = random_graph(rng, max_ops=ops, empty=seed % 3 == 0)
    graph = with_derivatives(graph)
    try:
        _, updated = sg.evaluate(graph, feeds, updates=True)
    except FeedError:
        return  # a size that no feed determines
    found, after = run_fresh(graph, feeds)
    assert_near(found, graph, feeds, seed, floats_only=True)
    for name, array in updated.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-3)
    options = ({"pipeline": "O0"}, {"fuse": False}, {"pipeline": "O0", "fuse": False})[seed % 3]
    other = run_fresh(graph, feeds, **options)
    assert_same(other[0], found, f"{seed} {options}")
    assert_same(other[1], after, f"{seed} {options}")
    if graph.sizes and not graph.updates:
        check_other_sizes(graph, feeds, rng, seed)


def check_other_sizes(graph, feeds, rng, seed):
    """One compiled program serves every size."""
    f = sg.compile(graph)
    compiled = len(f.kernels)
    for _ in range(2):
        other = resized(graph, feeds, rng)
        try:
            assert_near(f.run(other), graph, other, f"{seed} resized", floats_only=True)
        except StaticgradError:
            continue  # sizes that the program excludes
    stats = f.stats
    assert stats.compiles + stats.disk_hits + stats.memory_hits == compiled


@pytest.mark.thinned(4)
@quick
def test_programs_over_real_numbers(start):
    for seed in range(start, start + CHUNK):
        check_real(seed, 9)


@thorough
def test_more_programs_over_real_numbers(start):
    for seed in range(start, start + CHUNK):
        check_real(seed, 30)
