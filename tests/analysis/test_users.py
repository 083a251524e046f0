"""Users and last uses on a small graph whose answers can be read off."""

import pytest

import staticgrad as sg
from staticgrad.analysis.liveness import last_uses, users_of


@pytest.fixture
def graph():
    x = sg.input("x", (), "float64")
    square = x * x
    total = square + x
    return sg.Graph({"a": square, "b": total}, updates={})


def test_users_are_listed_once_in_order(graph):
    x, square, total = graph.nodes
    assert users_of(graph) == {(x, 0): [square, total], (square, 0): [total], (total, 0): []}


def test_last_uses_leave_out_what_is_returned(graph):
    x, square, total = graph.nodes
    assert last_uses(graph) == {x: [], square: [], total: [x]}


def test_a_node_that_nobody_reads_dies_at_once(graph):
    x, square, total = graph.nodes
    dead = sg.Graph.of_parts(
        nodes=graph.nodes, inputs=graph.inputs, parameters=(), outputs={"a": graph["a"]}
    )
    assert last_uses(dead) == {x: [], square: [], total: [x, total]}
