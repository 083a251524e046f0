"""Copies of nodes: what they keep, what is inferred, and what they share with the original."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ir.copies import NodeCopies, rebuild, rebuild_all
from staticgrad.language.ir.graph import Graph, Symbolic
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.op import Constant
from staticgrad.language.ops.arithmetic import Add, Mul
from staticgrad.language.types.arrays import ArrayData
from staticgrad.support.building import capture
from tests.ops.graphs import variable


def product():
    x, y = variable("x", sg.float64, (3,)), variable("y", sg.float64, (3,))
    return (x * y).node, x, y


def test_a_copy_of_the_same_op_keeps_what_is_known_of_the_node():
    node, x, y = product()
    form = node.form
    copy = rebuild(node, (y, x))
    assert copy is not node
    assert [arg.key for arg in copy.args] == [y.key, x.key]
    assert (copy.op, copy.types, copy.origin, copy.order) == (
        node.op, node.types, node.origin, node.order,
    )  # fmt: skip
    assert copy.form is form
    assert copy.verified
    node.verified = False
    assert not rebuild(node, (y, x)).verified


def test_types_of_a_copy_are_inferred_over_operands_of_other_types():
    node, x, _ = product()
    assert node.form  # of the old types
    narrow = variable("n", sg.float32, (5, 1))
    copy = rebuild(node, (narrow, narrow))
    assert str(copy.types[0]) == "f32[5, 1]"
    assert copy.verified
    fresh = (narrow * narrow).node
    assert copy.form == fresh.form
    with pytest.raises(sg.errors.ShapeError):
        rebuild(node, (x, variable("w", sg.float64, (4,))))


def test_a_copy_with_another_op_or_given_types_is_to_be_verified():
    node, x, y = product()
    added = rebuild(node, (x, y), op=Add())
    assert (added.op, added.types, added.verified) == (Add(), node.types, False)
    wide = (node.types[0].with_dtype(sg.float32),)
    typed = rebuild(node, (x, y), types=wide)
    assert (typed.op, typed.types, typed.verified) == (Mul(), wide, False)


def test_a_copy_takes_another_line_and_order():
    node, x, y = product()
    line = capture()
    copy = rebuild(node, (x, y), origin=line, order=2)
    assert copy.origin is line
    assert copy.order == 2
    assert copy.verified


def test_rebuild_all_copies_nodes_over_replacements_and_reads_the_rest():
    x, y = variable("x", sg.float64, (3,)), variable("y", sg.float64, (3,))
    shared = sg.sin(y)
    first = x * shared
    last = first - x
    z = variable("z", sg.float64, (3,))
    new = {x.key: z}
    rebuild_all([first.node, last.node], new, {last.node: Add()})
    graph = Graph({"last": new[last.key]}, inputs=[y, z])
    feeds = {"y": np.array([0.1, 0.2, 0.3]), "z": np.array([1.0, 2.0, 3.0])}
    expected = feeds["z"] * np.sin(feeds["y"]) + feeds["z"]
    np.testing.assert_allclose(sg.evaluate(graph, feeds)["last"], expected, rtol=1e-15)
    assert shared.node in graph.nodes
    assert NodeCopies({x.key: z}).apply([shared])[0].key == shared.key


def test_leaf_nodes_have_the_type_of_their_op():
    op = Constant(ArrayData(np.arange(6.0).reshape(2, 3)))
    leaf = leaf_node(op, capture(), 1)
    assert leaf.is_leaf
    assert (leaf.args, str(leaf.types[0]), leaf.order) == ((), "f64[2, 3]", 1)
    assert Symbolic(leaf).shape == (2, 3)
