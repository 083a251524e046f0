"""Groups as values: what every step of fusion gives, and that it leaves what it was given."""

from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given, settings

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.fusion.copies import with_copies, with_late_copies
from staticgrad.fusion.grouping import group
from staticgrad.fusion.groups import (
    Copied,
    Group,
    Home,
)
from staticgrad.fusion.merging import fused, merged
from staticgrad.fusion.walks import broken_rows
from staticgrad.ir.forms import Leaf, Pointwise
from tests.passes.golden_models import MODELS
from tests.random_graphs import graphs

GOLDEN = {name: pipeline("O1")(make()) for name, make in MODELS.items()}


def seen(groups):
    """All that the groups say, as it is now."""
    tables = [groups.owners, groups.sources, groups.types, groups.phases]
    each = [tuple(getattr(g, f.name) for f in fields(Group)) for g in groups.all]
    return [*map(dict, tables), set(groups.kept), set(groups.roots), each]


def check_steps(graph):
    """Every value is owned once, every step of fusion leaves the value before as it was."""
    first = group(graph)
    before = seen(first)
    second = merged(first)
    assert seen(first) == before
    between = seen(second)
    placed = with_copies(second)
    assert seen(second) == between
    after = seen(placed.groups)
    late, copies = with_late_copies(placed.groups, placed.outputs.values())
    assert seen(placed.groups) == after
    assert {*copies.values()} == {*late.types} - {*placed.groups.types}
    for groups in (first, second, placed.groups, late):
        check_owners(groups)
    roots = [*placed.outputs.values(), *(key for _, key in placed.updates)]
    assert len(set(roots)) == len(roots)
    assert all(placed.groups.home(key) is not None for key in roots)
    assert all(not broken_rows(placed.groups, g) or g.copied for g in placed.groups.all)


def check_owners(groups):
    members = Counter(node for each in groups.all for node in each.nodes)
    assert set(members.values()) <= {1}
    assert all(key == each.number for key, each in groups.by_number.items())
    assert {*groups.owners.values()} <= {*groups.by_number}
    for each in groups.all:
        assert all(groups.home(key) is each for key in each.stored)
        assert all(groups.home(key) is each for key in each.reductions)
    for node in groups.graph.nodes:
        source = groups.sources[node, 0]
        if isinstance(node.form, Leaf):
            assert groups.home(Home(node)) is None
        elif isinstance(node.form, Pointwise) and not source.inline:
            assert node in groups.by_number[groups.owners[Home(node)]].nodes


@pytest.mark.parametrize("name", MODELS)
def test_every_value_has_one_owner_in_four_training_steps(name):
    check_steps(GOLDEN[name])


@given(graphs())
@settings(max_examples=50)
def test_every_value_of_a_random_graph_has_one_owner(drawn):
    graph, _ = drawn
    check_steps(graph)
    check_steps(pipeline("O1")(graph))


def test_a_value_that_is_an_output_twice_is_computed_once_and_copied():
    x = sg.input("x", ("n",), "float64")
    y = sg.tanh(x)
    placed = with_copies(fused(sg.Graph({"first": y, "again": y, "input": x})))
    kinds = {name: type(key) for name, key in placed.outputs.items()}
    assert kinds == {"first": Home, "again": Copied, "input": Copied}
