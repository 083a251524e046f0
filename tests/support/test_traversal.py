"""Walks of graphs, against their definitions over random graphs."""

import random
from itertools import pairwise

import pytest

from staticgrad.support.traversal import operands_first, reach, sort_topologically


def random_graph(seed, size=30):
    """Return the operands of each vertex of a random graph without cycles, some of them twice."""
    numbers = random.Random(seed)
    labels = numbers.sample(range(size), size)
    places = [numbers.choices(range(place), k=numbers.randrange(4)) for place in range(1, size)]
    edges = {labels[0]: []}
    for place, lower in enumerate(places, 1):
        edges[labels[place]] = [labels[k] for k in lower]
    return edges


def closure(edges, roots):
    """Return what is reachable by powers of the relation, without a walk."""
    reached = {*roots}
    for _ in edges:
        reached |= {operand for vertex in reached for operand in edges[vertex]}
    return reached


def postorder(edges, roots):
    """Return the postorder by the recursive definition."""
    order = []

    def visit(vertex):
        if vertex not in order:
            for operand in edges[vertex]:
                visit(operand)
            order.append(vertex)

    for root in roots:
        visit(root)
    return order


@pytest.mark.parametrize("seed", range(20))
def test_reach_yields_each_reachable_element_once(seed):
    edges = random_graph(seed)
    roots = random.Random(seed).choices(range(30), k=3)
    elements = [*reach(roots, edges.__getitem__)]
    assert len(elements) == len({*elements})
    assert {*elements} == closure(edges, roots)
    assert elements[0] == roots[-1]


def test_reach_goes_depth_first_and_takes_the_last_edge_first():
    edges = {"r": "ab", "a": "cx", "b": "dx", "c": "", "d": "", "x": ""}
    assert "".join(reach("r", edges.__getitem__)) == "rbxdac"


def test_reach_follows_cycles_once():
    assert [*reach([0], lambda k: [(k + 1) % 5])] == [0, 1, 2, 3, 4]


def test_reach_calls_successors_after_the_caller_and_only_as_far_as_it_iterates():
    stored, asked = {}, []

    def successors(number):
        asked.append(number)
        return [stored[number]]

    for number in reach([1], successors):
        stored[number] = 2 * number
        if number == 8:
            break
    assert asked == [1, 2, 4]


@pytest.mark.parametrize("seed", range(20))
def test_operands_first_is_the_recursive_postorder(seed):
    edges = random_graph(seed)
    roots = random.Random(seed).choices(range(30), k=3)
    assert [*operands_first(roots, edges.__getitem__)] == postorder(edges, roots)


def test_walks_are_linear_and_need_no_recursion():
    """Long chains, and ladders with 2**n paths."""
    count = 0

    def two_below(number):
        nonlocal count
        count += 1
        return [max(number - 1, 0), max(number - 2, 0)] if number else []

    assert {*reach([5_000], two_below)} == {*range(5_001)}
    assert count == 5_001
    count = 0
    assert [*operands_first([5_000], two_below)] == [*range(5_001)]
    assert count <= 2 * 5_001


@pytest.mark.parametrize("seed", range(20))
def test_topological_orders_take_the_least_of_those_that_are_ready(seed):
    edges = random_graph(seed)
    earlier = [edges[step] for step in range(len(edges))]
    priorities = random.Random(seed).choices(range(5), k=len(edges))
    order = sort_topologically(earlier, priorities.__getitem__)
    assert sorted(order) == [*range(len(edges))]
    for place, step in enumerate(order):
        done = {*order[:place]}
        ready = [s for s in range(len(edges)) if s not in done and done.issuperset(earlier[s])]
        assert step == min(ready, key=lambda s: (priorities[s], s))


def test_topological_orders_leave_out_cycles_and_what_depends_on_them():
    assert sort_topologically([(), (0, 2), (1,), (2,), (0,)]) == [0, 4]
    assert all(a < b for a, b in pairwise(sort_topologically([()] * 9)))
