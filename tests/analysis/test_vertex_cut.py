"""The least vertex cut against all subsets of small random graphs."""

import itertools

import numpy as np

from staticgrad.analysis.vertex_cut import vertex_cut
from tests.helpers.cases import check_all


def is_separated(count, edges, sources, sinks, cut):
    """Return whether no path from a source to a sink avoids ``cut``."""
    reached = {v for v in sources if v not in cut}
    for _ in range(count):
        reached |= {b for a, b in edges if a in reached and b not in cut}
    return not reached & set(sinks)


def test_no_subset_that_parts_them_weighs_less():
    def check(seed):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 9))
        weights = [int(w) for w in rng.integers(0, 6, count)]
        edges = [(a, b) for a, b in itertools.combinations(range(count), 2) if rng.random() < 0.35]
        sources = [v for v in range(count) if rng.random() < 0.4]
        sinks = [v for v in range(count) if rng.random() < 0.4]
        actual = vertex_cut(weights, edges, sources, sinks)
        assert is_separated(count, edges, sources, sinks, actual)
        subsets = (
            set(s) for n in range(count + 1) for s in itertools.combinations(range(count), n)
        )
        right = [s for s in subsets if is_separated(count, edges, sources, sinks, s)]
        assert sum(weights[v] for v in actual) == min(sum(weights[v] for v in s) for s in right)

    check_all(check, zip(range(60)))


def test_long_chains_of_cells_take_few_rounds():
    """A recurrence: a cell reads the state before it and something of its own; all are wanted."""
    for cells in (10, 3000):
        edges = [(2 * n, 2 * n + 1) for n in range(cells)]
        edges += [(2 * n - 1, 2 * n + 1) for n in range(1, cells)]
        weights = [1, 3] * cells
        cells_of_path, states = range(0, 2 * cells, 2), range(1, 2 * cells, 2)
        assert vertex_cut(weights, edges, cells_of_path, states, most_rounds=2) == set(
            cells_of_path
        )
