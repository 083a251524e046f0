"""What a rewriting pass looks at: every node once, and later only what is new."""

import numpy as np
import pytest

import passes.rewrite.driver as driver
import staticgrad as sg
from passes.pipelines import pipeline
from passes.rewrite import holes, rewrite, rule, some
from passes.rules import RULES
from passes.simplify import Simplify
from staticgrad.errors import VerifyError
from staticgrad.ir.graph import Node, Symbolic, rebuild
from staticgrad.ir.op import Op
from staticgrad.ir.verify import verify_graph
from staticgrad.ops.transcendental import Exp

x, y = holes("x y")


def chain(length=50):
    value = sg.input("a", (3,))
    for _ in range(length):
        value = sg.tanh(value * 1.5 + 0.5)
    return sg.Graph(value)


@pytest.fixture
def looked(monkeypatch):
    """Nodes at which a rule was tried."""
    seen = []

    def matches(rules, value, readers):
        seen.append(value.node)
        return inner(rules, value, readers)

    inner = driver.matches
    monkeypatch.setattr(driver, "matches", matches)
    return seen


def test_a_second_walk_looks_at_nothing(looked):
    rules = [rule("never", x * y, lambda m: None)]
    graph = chain()
    assert rewrite(graph, rules)[0] is graph
    assert len(looked) == 50
    assert rewrite(graph, rules)[0] is graph
    assert len(looked) == 50
    longer = sg.Graph(graph["output"] * 3.0)
    rewrite(longer, rules)
    assert len(looked) == 51
    rewrite(longer, [rule("another", x * y, lambda m: None)])
    assert len(looked) == 102


def test_the_fixpoint_looks_at_a_node_once_per_table(looked):
    graph = chain(200)
    passes = pipeline("fixpoint(simplify,cse,fold)")
    passes(graph)
    first = len(looked)
    assert len(set(looked)) == first
    passes(graph)
    assert len(looked) == first


def test_a_rule_that_asks_for_readers_is_asked_again():
    def alone(match):
        return sg.sin(match.x) if match.readers("inner") == 1 else None

    rules = [rule("alone", -some(Exp, x, name="inner"), alone)]
    e = sg.exp(sg.input("a", (3,)))
    outer = -e
    two = sg.Graph({"outer": outer, "e": e})
    assert rewrite(two, rules) == (two, {})
    after, hits = rewrite(sg.Graph(outer), rules)
    assert hits == {"alone": 1}
    assert [node.op.name for node in after.nodes] == ["input", "sin"]


def test_a_limit_marks_nothing_it_did_not_look_at():
    value = sg.input("a", (3,))
    for _ in range(4):
        value = sg.negative(-value)
    graph = sg.Graph(value)
    rules = [RULES["negate-twice"]]
    for limit, left in ((0, 9), (1, 7), (0, 9), (3, 3), (None, 1)):
        after, hits = rewrite(graph, rules, limit=limit)
        assert (len(after.nodes), hits.total()) == (left, (9 - left) // 2)


def test_a_table_with_a_rule_left_out_knows_nothing_of_the_whole_table():
    a = sg.input("a", (3,))
    graph = sg.Graph(sg.negative(-a))
    assert Simplify(without=("negate-twice",))(graph) is graph
    assert len(Simplify()(graph).nodes) == 1
    assert Simplify(without=("negate-twice",))(graph) is graph


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


def test_an_op_that_says_nothing_of_memory_is_no_number():
    class Silent(Op):
        def infer(self, x):
            return x

    value = sg.input("a", (3,)) * Silent()(sg.constant(np.ones(3, "float32")))
    graph = sg.Graph(value)
    assert rewrite(graph, [RULES["multiply-one"]])[0] is graph


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
