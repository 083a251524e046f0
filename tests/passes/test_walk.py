"""What a rewriting pass looks at: every node once, and later only what is new."""

import numpy as np
import pytest

import staticgrad as sg
from passes.rewrite import holes, rewrite, rule
from passes.rules import RULES
from staticgrad.errors import VerifyError
from staticgrad.ir.graph import Node, Symbolic, rebuild
from staticgrad.ir.verify import verify_graph

x, y = holes("x y")


def test_numbers_are_found_through_what_moves_them_also_below_marked_nodes():
    a = sg.input("a", (2, 3))
    one = sg.broadcast_to(sg.constant(np.float32(1.0)), (3, 2))
    graph = sg.Graph({"kept": sg.exp(one), "y": sg.sin(a) * sg.transpose(one)})
    rules = [rule("times-one", x * 1.0, x), rule("never", sg.cos(x), lambda m: None)]
    first, hits = rewrite(sg.Graph(graph["kept"]), rules)
    assert not hits
    after, hits = rewrite(graph, rules)
    assert hits == {"times-one": 1}
    assert after["y"].node.op.name == "sin"
    assert first["output"].node in after.nodes


@pytest.mark.slow
def test_rewriting_is_linear_where_everything_changes():
    value = sg.input("a", (3,))
    for _ in range(3000):
        value = sg.sin(sg.negative(-value))
    after, hits = rewrite(sg.Graph(value), [RULES["negate-twice"]])
    assert hits == {"negate-twice": 3000}
    assert len(after.nodes) == 3001


# -- what verification need not do again ----------------------------------------------------------


def test_a_bound_or_rebuilt_node_is_verified_and_one_made_by_hand_is_not():
    a, b = sg.input("a", (3,)), sg.input("b", (3,))
    bound = sg.exp(a).node
    assert bound.verified
    assert rebuild(bound, (b,)).verified
    made = Node(bound.op, bound.args, bound.types, bound.origin)
    assert not made.verified
    assert not rebuild(made, (b,)).verified
    wide = rebuild(bound, (sg.input("c", (5, 2)),))
    assert (wide.verified, wide.types[0].shape) == (True, (5, 2))


def test_a_wrong_type_made_by_hand_is_still_found():
    a = sg.input("a", (3,))
    good = sg.exp(a).node
    wrong = Node(good.op, good.args, (sg.input("c", (5,)).type,), good.origin)
    graph = sg.Graph(sg.tanh(a)).replace_nodes(
        lambda node, args: [Symbolic(wrong)] if node.op.name == "tanh" else None
    )
    with pytest.raises(VerifyError, match="the node says otherwise"):
        verify_graph(graph)
