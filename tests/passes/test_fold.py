"""Constants fold exactly where the design says: exact ops, small results, no errors swallowed."""

from typing import ClassVar

import numpy as np
import pytest

import staticgrad as sg
from passes.dce import DeadNodes
from passes.fold import Fold
from staticgrad.building import within
from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.graph import Constant
from staticgrad.ir.op import Op
from staticgrad.ir.verify import verify_graph
from staticgrad.types.arrays import TensorType
from tests.chains import sum_chain


class Grow(Op):
    """Each operand repeated to three elements; exact."""

    name: ClassVar[str] = "test.grow"
    exact: ClassVar[bool] = True

    def infer(self, x):
        return TensorType(x.dtype, (3,))

    def reference(self, x):
        return np.broadcast_to(x, (3,))


class Split(Op):
    """The halves and their count; exact, three results."""

    name: ClassVar[str] = "test.split"
    exact: ClassVar[bool] = True

    def infer(self, x):
        return TensorType(x.dtype, (2,)), TensorType(x.dtype, (2,))

    def reference(self, x):
        return x[:2], x[2:]


class Raises(Op):
    name: ClassVar[str] = "test.raises"
    exact: ClassVar[bool] = True

    def infer(self, x):
        return x

    def reference(self, x):
        raise IndexOutOfRange("index 7 is out of range")


def folded(value, **options):
    graph = sg.Graph({"y": value})
    after = DeadNodes()(Fold(**options)(graph))
    verify_graph(after)
    return after["y"].node.op if len(after.nodes) == 1 else None


def constant(*numbers):
    return sg.constant(np.array(numbers))


def test_a_subgraph_of_constants_becomes_one():
    op = folded((constant(1.0, 2.0) + 3.0) * constant(2.0, 2.0) - 1.0)
    assert isinstance(op, Constant)
    assert op.data.array.tolist() == [7.0, 9.0]


def test_the_constant_stands_where_the_node_stood():
    with within(order=2):
        y = sg.constant(2.0) * 3.0  # the folded line
    after = Fold()(sg.Graph({"y": y}))
    node = after["y"].node
    assert node.order == 2
    assert "the folded line" in node.origin.resolve().text


def test_what_depends_on_an_input_stays():
    x = sg.input("x", (), "float64")
    graph = sg.Graph({"y": x * 2.0})
    assert Fold()(graph) is graph


def test_inexact_ops_stay():
    assert folded(np.exp(constant(1.0))) is None


def test_what_depends_on_a_named_size_stays():
    x = sg.input("x", ("n",), "float64")
    y = x.sum() / (sg.size_value(x.shape[0]) * 2.0)
    empty = sg.broadcast_to(sg.constant(np.ones(0)), (x.shape[0], 0)).sum(0)
    after = Fold()(sg.Graph({"y": y, "empty": empty}))
    for size in (2, 5):
        found = sg.evaluate(after, {"x": np.ones(size)})
        assert found["y"] == 0.5
        assert found["empty"].shape == (0,)


def test_results_that_grow_stay():
    assert folded(Grow()(constant(1.0))) is None
    assert folded(Grow()(constant(1.0, 2.0, 3.0))) is not None


def test_the_limit():
    two = constant(1.0, 2.0) + 1.0
    assert folded(two, limit=2) is not None
    assert folded(two, limit=1) is None
    assert folded(constant(1.0)[0] + 1.0, limit=0) is not None


def test_several_results():
    low, high = Split()(constant(1.0, 2.0, 3.0, 4.0))
    op = folded(low + high)
    assert op.data.array.tolist() == [4.0, 6.0]


def test_special_values_fold_without_a_warning():
    op = folded(constant(1.0, 0.0, -1.0) / constant(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(op.data.array, [np.inf, np.nan, -np.inf])


def test_an_op_that_raises_is_left_to_the_run():
    y = Raises()(constant(1.0, 2.0))
    assert folded(y) is None
    with pytest.raises(IndexOutOfRange):
        sg.evaluate(Fold()(sg.Graph({"y": y})))


@pytest.mark.slow
def test_10_000_nodes():
    y = sum_chain(sg.constant(0.0), sg.constant(1.0), 10_000)
    assert folded(y).data.array == 10_000.0


def test_folded_nodes_are_counted():
    x = sg.input("x", (), "float64")
    graph = sg.Graph(x * (sg.constant(2.0) * 3.0 + 1.0))
    assert Fold().traced(graph)[1] == {"fold": 2}
    assert Fold().traced(Fold()(graph))[1] == {}
