"""Each invariant of a graph, broken once."""

import numpy as np
import pytest

from staticgrad.errors import VerifyError
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F32, F64
from staticgrad.support.building import within
from tests.helpers.random_programs import input_value, parameter_value
from tests.ir.sample_ops import Link

VECTOR = TensorType(F32, (3,))


def parts(**changes):
    """x, w, tanh(x), tanh(x) + w; some parts replaced."""
    x, w = input_value("x", VECTOR), parameter_value("w", np.zeros(3, "float32"))
    middle = np.tanh(x)
    out = middle + w
    values = {"x": x, "w": w, "middle": middle, "out": out}
    fields = {
        "nodes": [x.node, w.node, middle.node, out.node],
        "inputs": [x],
        "parameters": [w],
        "outputs": {"out": out},
        "updates": [(w, out)],
    }
    for name, change in changes.items():
        fields[name] = change(values)
    return Graph.of_parts(**fields)


def with_types(node, *types):
    return Node(node.op, node.args, types, node.origin, node.order)


def test_a_sound_graph_passes():
    verify_graph(parts())


def foreign(values):
    return np.tanh(input_value("other", VECTOR))


BROKEN = [
    ({"nodes": lambda v: [v[k].node for k in ("x", "w", "middle", "middle", "out")]},
     "listed twice"),
    ({"nodes": lambda v: [v[k].node for k in ("x", "w", "out", "middle")]},
     "operand 0 of add is listed after it"),
    ({"nodes": lambda v: [v[k].node for k in ("x", "w", "out")]},
     "operand 0 of add belongs to no node of the graph"),
    ({"outputs": lambda v: {"out": foreign(v)}}, "output 'out' belongs to no node of the graph"),
    ({"outputs": lambda v: {"out": Symbolic(v["out"].node, 1)}}, "output 'out' belongs to no node"),
    ({"updates": lambda v: [(v["w"], foreign(v))]},
     "the update of 'w' belongs to no node of the graph"),
    ({"inputs": lambda v: []}, "the input is listed 0 times"),
    ({"inputs": lambda v: [v["x"], v["x"]]}, "the input is listed 2 times"),
    ({"inputs": lambda v: [v["x"], input_value("y", VECTOR)]}, "no such node of the graph"),
    ({"parameters": lambda v: []}, "the parameter is listed 0 times"),
    ({"outputs": lambda v: {}, "updates": lambda v: []}, "there is no output and no update"),
    ({"updates": lambda v: [(v["w"], v["out"])] * 2}, "parameter 'w' is updated twice"),
    ({"updates": lambda v: [(parameter_value("v", np.zeros(3, "float32")), v["out"])]},
     "replaces no parameter of the graph"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BROKEN)
def test_broken_parts(changes, message):
    with pytest.raises(VerifyError, match=message):
        verify_graph(parts(**changes))


def test_an_update_by_a_value_of_another_type():
    x, w = input_value("x", VECTOR), parameter_value("w", np.zeros(3, "float32"))
    total = x.sum()
    graph = Graph.of_parts(
        nodes=[x.node, w.node, total.node],
        inputs=[x],
        parameters=[w],
        outputs={"x": x},
        updates=[(w, total)],
    )
    with pytest.raises(VerifyError, match=r"the update of 'w' is f32\[\], not f32\[3\]"):
        verify_graph(graph)


def graph_of(*nodes):
    values = [Symbolic(node) for node in nodes]
    return Graph.of_parts(
        nodes=nodes,
        inputs=[v for v in values if v.node.op.name == "input"],
        parameters=[],
        outputs={"out": values[-1]},
    )


def test_types_that_inference_does_not_give():
    x = input_value("x", VECTOR)
    for types, message in (
        ((TensorType(F64, (3,)),), r"tanh gives f32\[3\]"),
        ((VECTOR, VECTOR), r"tanh gives f32\[3\]"),
        ((), "tanh has no result"),
    ):
        with pytest.raises(VerifyError, match=message):
            verify_graph(graph_of(x.node, with_types(np.tanh(x).node, *types)))


def test_operands_that_an_op_refuses():
    x, y = input_value("x", VECTOR), input_value("y", TensorType(F32, (4,)))
    add = (x + x).node
    bad = Node(add.op, (x, y), add.types, add.origin)
    with pytest.raises(VerifyError, match="add refuses its operands: add: shapes do not broadcast"):
        verify_graph(graph_of(x.node, y.node, bad))
    with pytest.raises(VerifyError, match=r"sample\.link refuses its operands"):
        verify_graph(graph_of(x.node, Node(Link(), (), (VECTOR,), add.origin)))
    x = input_value("x", VECTOR)
    node = np.tanh(x).node
    with pytest.raises(VerifyError, match="operand 0 of tanh is a result that does not exist"):
        verify_graph(
            graph_of(x.node, Node(node.op, (Symbolic(x.node, 2),), node.types, node.origin))
        )


def test_orders():
    x = input_value("x", VECTOR)
    with within(order=-1):
        y = np.tanh(x)
    with pytest.raises(VerifyError, match="-1 is not a derivative order"):
        verify_graph(graph_of(x.node, y.node))
    with within(order=2):
        y = np.tanh(x)
    verify_graph(Graph(np.sin(y)))  # a later node may be of a lower order


def test_the_message_shows_the_node_and_the_line():
    x = input_value("x", VECTOR)
    node = np.tanh(x).node
    graph = graph_of(x.node, with_types(node, TensorType(F64, (3,))))
    with pytest.raises(VerifyError) as caught:
        verify_graph(graph)
    text = str(caught.value)
    assert "%0: f64[3] = tanh(%x)" in text
    assert node.origin.short in text
    assert "node = np.tanh(x).node" in text
    assert len(text.splitlines()) <= 12
