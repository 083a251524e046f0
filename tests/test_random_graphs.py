"""The generator of random graphs keeps its promises: valid types, tame values, the same by seed."""

import numpy as np
import pytest

from staticgrad.analysis.evaluate import evaluate
from staticgrad.ir.graph import Graph
from staticgrad.ir.printer import same_graph
from tests.random_graphs import LIMIT, random_graph

OPTIONS = [
    {},
    {"varied": True},
    {"empty": True},
    {"smooth": True},
    {"integers": False},
    {"named_sizes": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_value_is_tame(options):
    """The evaluator checks shapes and dtypes against the types on the way."""
    for seed in range(40):
        graph, feeds = random_graph(np.random.default_rng(seed), **options)
        values = [value for node in graph.nodes for value in node.values]
        everything = Graph({str(i): value for i, value in enumerate(values)}, inputs=graph.inputs)
        for array in evaluate(everything, feeds).values():
            assert np.all(np.isfinite(array))
            wraps = options.get("varied") and array.dtype.kind in "uif"  # where casts lose a sign
            assert np.all(np.abs(array.astype(float)) <= (2.0**65 if wraps else LIMIT**3 * 4096))


def test_a_seed_gives_one_graph():
    first, feeds = random_graph(np.random.default_rng(5))
    second, again = random_graph(np.random.default_rng(5))
    assert same_graph(first, second)
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)


def test_smooth_graphs_have_only_smooth_ops():
    rough = {"abs", "sign", "floor", "ceil", "rint", "trunc", "maximum", "minimum", "max", "min"}
    for seed in range(40):
        graph, _ = random_graph(np.random.default_rng(seed), smooth=True, integers=False)
        assert all(value.dtype.is_float for value in graph.outputs.values())
        assert not rough & {node.op.name for node in graph.nodes}


@pytest.mark.slow
def test_named_sizes_occur_and_can_be_left_out():
    made = [random_graph(np.random.default_rng(seed))[0] for seed in range(40)]
    assert sum(bool(graph.sizes) for graph in made) > 10
    made = [random_graph(np.random.default_rng(seed), named_sizes=False)[0] for seed in range(40)]
    assert not any(graph.sizes for graph in made)


def test_varied_graphs_have_ops_of_several_results_and_chains_of_casts():
    """Two results of one op are read by the same function, and integers lose their sign."""
    made = [random_graph(np.random.default_rng(seed), varied=True)[0] for seed in range(40)]
    several, casts = 0, set()
    for graph in made:
        for node in graph.nodes:
            several += len(node.types) > 1
            before = node.args[0].node if node.op.name == "cast" else node
            if before.op.name == node.op.name == "cast":
                casts.add((before.args[0].dtype, before.types[0].dtype, node.types[0].dtype))
    assert several > 20
    assert len(casts) > 60
    assert sum(one.kind == "i" and two.kind == "u" and three.is_float for one, two, three in casts)
