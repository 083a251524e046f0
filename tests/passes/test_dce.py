"""Dead nodes go, the signature stays."""

import staticgrad as sg
from passes.dce import DeadNodes
from staticgrad.ir.graph import Graph
from tests.chains import sum_chain


def test_what_nothing_needs_goes():
    x = sg.input("x", (), "float64")
    unread = sg.input("unread", (), "float64")
    w = sg.parameter("w", 1.0)
    live = x + 1.0
    dead = [x * 2.0, (unread * w) + x]
    nodes = sg.Graph({"live": live, **{f"dead{i}": d for i, d in enumerate(dead)}}).nodes
    graph = Graph.of_parts(nodes=nodes, inputs=(x, unread), parameters=(w,), outputs={"live": live})
    after = DeadNodes()(graph)
    assert [node.op.name for node in after.nodes] == ["input", "input", "parameter", "constant",
                                                      "add"]  # fmt: skip
    assert after.inputs == graph.inputs
    assert after.parameters == graph.parameters
    assert DeadNodes()(after) is after


def test_updates_keep_what_they_need():
    w = sg.parameter("w", 1.0)
    graph = sg.Graph(updates={w: w + 1.0})
    assert DeadNodes()(graph) is graph


def test_30_000_dead_nodes():
    x = sg.input("x", (), "float64")
    nodes = sg.Graph(sum_chain(x, x, 30_000)).nodes
    graph = Graph.of_parts(nodes=nodes, inputs=(x,), parameters=(), outputs={"x": x})
    assert len(DeadNodes()(graph).nodes) == 1
