"""Random programs with gradients and Hessian-vector products, compiled, against the oracle.

Two kinds. Over whole numbers (``whole_programs``) every value must be exact. Over real numbers
(``tests/random_graphs``) values must be near those in float64, and all ways of compiling must give
equal bytes: with and without passes, fused and unfused, at several sizes from one compilation.

Some minutes more of both kinds: ``python -m pytest tests/compiled/test_programs.py -m exhaustive``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import FeedError, StaticgradError
from staticgrad.types.dim import evaluate
from tests.compiled.agreement import Arrays, assert_near, assert_same, differing
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


def check_whole(seed: int, steps: int) -> None:
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
def test_programs_over_whole_numbers_are_exact(start: int) -> None:
    for seed in range(start, start + CHUNK):
        check_whole(seed, 8)


@thorough
def test_more_programs_over_whole_numbers(start: int) -> None:
    for seed in range(start, start + CHUNK):
        check_whole(seed, 16)


def check(graph: sg.Graph, feeds: dict[str, Any]) -> None:
    assert_same(sg.compile(graph).run(feeds), sg.evaluate(graph, feeds))


def test_positions_inside_a_column_reduction() -> None:
    """The kept axis is walked first there; a position must still be that of its own axis."""
    x, i = sg.input("x", ("b", 4), "float32"), sg.input("i", ("b",), "int64")
    graph = sg.Graph(
        {
            "triangle": sg.tril(x).sum(0),
            "upper": sg.maximum(sg.triu(x, 1), 0).max(0),
            "counts": sg.one_hot(i, 9, dtype="float32").sum(0),
            "places": (x * sg.iota(x.shape, 0, "float32") + sg.iota(x.shape, 1, "float32")).sum(0),
            "largest": sg.argmax(x, 0),
        }
    )
    rng = np.random.default_rng(0)
    data = rng.integers(-3, 4, (19, 4)).astype("float32")
    check(graph, {"x": data, "i": rng.integers(0, 9, 19)})


def test_lookups_beside_products_and_inside_column_reductions() -> None:
    """Kernels that cannot check an index do not take one in."""
    x, i = sg.input("x", ("b", 4), "float32"), sg.input("i", ("b",), "int64")
    rng = np.random.default_rng(0)
    w = sg.parameter("w", rng.integers(-3, 4, (4, 5)).astype("float32"))
    table = sg.parameter("table", rng.integers(-3, 4, (7, 5)).astype("float32"))
    rows = sg.take(table, i, 0)
    graph = sg.Graph({"sum": x @ w + rows, "columns": rows.sum(0), "most": (rows * 2).max(0)})
    data = rng.integers(-3, 4, (19, 4)).astype("float32")
    check(graph, {"x": data, "i": rng.integers(-7, 7, 19)})


def test_an_empty_constant_under_a_named_size_is_not_folded() -> None:
    none = sg.constant(np.zeros((0, 1), "float32"))
    x = sg.input("x", ("b",), "float32")
    graph = sg.Graph({"y": sg.broadcast_to(none, (0, sg.dim("b"))) + x})
    check(graph, {"x": np.ones(3, np.float32)})


# -- real numbers ---------------------------------------------------------------------------------


def with_derivatives(graph: sg.Graph) -> sg.Graph:
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


def run_fresh(graph: sg.Graph, feeds: Any, **options: Any) -> tuple[Arrays, Arrays]:
    """Results and the parameters afterwards; the parameters are then put back."""
    before = [p.value for p in graph.parameters]
    found = sg.compile(graph, **options).run(feeds)
    after = {p.name: p.value for p in graph.parameters}
    for parameter, value in zip(graph.parameters, before, strict=True):
        parameter.value = value
    return found, after


def resized(graph: sg.Graph, feeds: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Feeds for other values of the named sizes."""
    sizes = {name: int(rng.choice((0, 1, 2, 15, 16, 17, 33))) for name in graph.sizes}
    drawn = {}
    for value in graph.inputs:
        shape = tuple(evaluate(n, sizes) for n in value.shape)
        old = feeds[value.node.op.label]
        pool = old if old.size else np.zeros(1, old.dtype)
        drawn[value.node.op.label] = rng.choice(np.ravel(pool), shape).astype(old.dtype)
    return drawn


def check_real(seed: int, ops: int) -> None:
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


def check_other_sizes(
    graph: sg.Graph, feeds: dict[str, Any], rng: np.random.Generator, seed: int
) -> None:
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
def test_programs_over_real_numbers(start: int) -> None:
    for seed in range(start, start + CHUNK):
        check_real(seed, 9)


@thorough
def test_more_programs_over_real_numbers(start: int) -> None:
    for seed in range(start, start + CHUNK):
        check_real(seed, 30)
