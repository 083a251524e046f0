"""Equal expressions once: what merges, what must not, and whose line stays."""

from typing import ClassVar

import numpy as np
import pytest

import staticgrad as sg
from passes.cse import CommonSubexpressions, PartsOfOthers
from passes.dce import DeadNodes
from passes.fold import Fold
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.op import Op
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.building import within
from tests.compiled.agreement import assert_same
from tests.helpers.chains import sum_chain

cse = CommonSubexpressions()


def names(graph):
    return [node.op.name for node in graph.nodes]


def scalar(name):
    return sg.input(name, (), "float64")


def test_equal_expressions_merge_into_the_first():
    x = scalar("x")
    first = np.exp(x)  # the line that stays
    second = np.exp(x)
    merged = cse(sg.Graph({"y": np.tanh(first) * np.tanh(second)}))
    verify_graph(merged)
    assert names(merged) == ["input", "exp", "tanh", "mul"]
    assert "the line that stays" in merged.nodes[1].origin.resolve().text
    assert sg.evaluate(merged, {"x": 0.5})["y"] == np.tanh(np.exp(0.5)) ** 2


def test_results_of_one_op_are_different_operands():
    x = sg.input("x", (3, 3), "float64")
    u, _, v = sg.linalg.svd(x)
    graph = sg.Graph({"u": np.exp(u), "v": np.exp(v), "again": np.exp(v)})
    merged = cse(graph)
    assert names(merged).count("exp") == 2
    feeds = {"x": np.arange(9.0).reshape(3, 3)}
    assert_same(sg.evaluate(merged, feeds), sg.evaluate(graph, feeds))


def test_attributes_and_operands_tell_apart():
    x = scalar("x")
    graph = sg.Graph({"y": (x - 1.0) * (1.0 - x) + x**3 + x**2})
    assert sorted(set(names(cse(graph)))) == sorted(set(names(graph)))
    assert names(cse(graph)).count("sub") == 2
    assert names(cse(graph)).count("integer_pow") == 2


def test_constants_merge_by_bits():
    x = scalar("x")
    constant_one = sg.constant(np.float64(1.0))
    graph = sg.Graph(
        {
            "same": x + constant_one + sg.constant(np.float64(1.0)),
            "zeros": (x / sg.constant(np.float64(0.0))) * (x / sg.constant(np.float64(-0.0))),
            "dtypes": x.astype("float32") + sg.constant(np.float32(1.0)),
        }
    )
    merged = cse(graph)
    values = [node.op.data for node in merged.nodes if node.op.name == "constant"]
    assert [(v.dtype, float(v.array)) for v in values] == [
        ("float64", 1.0), ("float64", 0.0), ("float64", -0.0), ("float32", 1.0)]  # fmt: skip
    feeds = {"x": 2.0}
    assert sg.evaluate(merged, feeds) == sg.evaluate(graph, feeds)


def test_commuted_operands_of_sizes_with_two_names_keep_their_types():
    """A sum has the name of its first operand's size; a run checks that both sizes are equal."""
    x, y = sg.input("x", ("n",), "float64"), sg.input("y", ("m",), "float64")
    graph = sg.Graph({"a": sg.exp(x) * y, "b": y * sg.exp(x), "c": sg.exp(x) * y})
    merged, count = cse.apply(graph)
    verify_graph(merged)
    assert count == {"cse": 3}  # two functions, one product
    assert [str(value.type) for value in merged.outputs.values()] == ["f64[n]", "f64[m]", "f64[n]"]
    arrays = {"x": np.arange(3.0), "y": np.array([1.0, -2.0, 0.5])}
    for result in sg.compile(graph).run(arrays).values():
        np.testing.assert_allclose(result, np.exp(arrays["x"]) * arrays["y"], rtol=1e-15)


def test_constants_of_equal_bytes_and_other_types_stay_apart():
    arrays = [np.zeros(shape, dtype) for shape in ((2,), (1, 2), (2, 1)) for dtype in "fil"]
    arrays += [np.zeros(1, "f8"), np.zeros(1, "i8"), np.zeros(8, "i1"), np.zeros(8, "bool")]
    kinds = dict.fromkeys((a.dtype, a.shape) for a in arrays)
    graph = cse(sg.Graph({f"y{k}": sg.constant(np.zeros(s, d)) for k, (d, s) in enumerate(kinds)}))
    actual = sg.evaluate(graph)
    assert [(a.dtype, a.shape) for a in actual.values()] == [*kinds]


class Distance(Op):
    """|x - y|, the same either way round."""

    name: ClassVar[str] = "test.distance"
    commutative: ClassVar[bool] = True

    def infer(self, x, y):
        return x

    def reference(self, x, y):
        return np.abs(x - y)


def test_operands_of_an_op_that_commutes_may_stand_either_way():
    x, y = scalar("x"), scalar("y")
    graph = sg.Graph({"a": Distance()(x, y), "b": Distance()(y, x), "c": x - y, "d": y - x})
    merged = cse(graph)
    assert names(merged) == ["input", "input", "test.distance", "sub", "sub"]
    assert [arg.key for arg in merged["b"].node.args] == [x.key, y.key]


def test_inputs_and_parameters_never_merge():
    a, b = scalar("a"), scalar("b")
    v, w = sg.parameter("v", 1.0), sg.parameter("w", 1.0)
    graph = sg.Graph({"y": a + b + v + w})
    assert cse(graph) is graph


def both_sides():
    x = scalar("x")
    forward = np.tanh(x)
    with within(order=1):
        backward = np.tanh(x)
        again = np.tanh(x)
    return sg.Graph({"y": forward, "dy": backward * again})


def test_the_border_between_orders_is_crossed_unless_asked_not_to():
    graph = both_sides()
    assert names(cse(graph)) == ["input", "tanh", "mul"]
    merged = CommonSubexpressions(border=True)(graph)
    assert [(node.op.name, node.order) for node in merged.nodes] == [
        ("input", 0), ("tanh", 0), ("tanh", 1), ("mul", 0)]  # fmt: skip


COMMUTATIVE = {
    "add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


@pytest.mark.parametrize("name", COMMUTATIVE)
def test_exchanged_operands_merge_and_no_bit_changes(name):
    x, y = sg.input("x", (196,), "float64"), sg.input("y", (196,), "float64")
    graph = sg.Graph({"a": COMMUTATIVE[name](x, y), "b": COMMUTATIVE[name](y, x)})
    merged = cse(graph)
    assert names(merged) == ["input", "input", name]
    special = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1.7e308, 1e-300]
    special += [np.pi, 1 / 3, -2.0]
    left, right = (a.ravel() for a in np.meshgrid(special, special))
    expected = sg.evaluate(graph, {"x": left, "y": right})
    now = sg.compile(merged).run({"x": left, "y": right})
    for output in "ab":
        assert same_bytes(now[output], expected[output])


def test_what_nothing_needs_goes():
    x = sg.input("x", (), "float64")
    unread = sg.input("unread", (), "float64")
    w = sg.parameter("w", 1.0)
    live = x + 1.0
    dead = [x * 2.0, (unread * w) + x]
    nodes = sg.Graph({"live": live, **{f"dead{i}": d for i, d in enumerate(dead)}}).nodes
    graph = Graph.of_parts(nodes=nodes, inputs=(x, unread), parameters=(w,), outputs={"live": live})
    reduced = DeadNodes()(graph)
    assert [node.op.name for node in reduced.nodes] == ["input", "input", "parameter", "constant",
                                                      "add"]  # fmt: skip
    assert reduced.inputs == graph.inputs
    assert reduced.parameters == graph.parameters
    assert DeadNodes()(reduced) is reduced


def test_30_000_dead_nodes():
    x = sg.input("x", (), "float64")
    nodes = sg.Graph(sum_chain(x, x, 30_000)).nodes
    graph = Graph.of_parts(nodes=nodes, inputs=(x,), parameters=(), outputs={"x": x})
    assert len(DeadNodes()(graph).nodes) == 1


class Grow(Op):
    """Each operand repeated to three elements; exact."""

    name: ClassVar[str] = "test.grow"
    exact: ClassVar[bool] = True

    def infer(self, x):
        return TensorType(x.dtype, (3,))

    def reference(self, x):
        return np.broadcast_to(x, (3,))


class Raises(Op):
    name: ClassVar[str] = "test.raises"
    exact: ClassVar[bool] = True

    def infer(self, x):
        return x

    def reference(self, x):
        raise IndexOutOfRange("index 7 is out of range")


def fold_to_op(value, **options):
    graph = sg.Graph({"y": value})
    folded_graph = DeadNodes()(Fold(**options)(graph))
    verify_graph(folded_graph)
    return folded_graph["y"].node.op if len(folded_graph.nodes) == 1 else None


def constant(*numbers):
    return sg.constant(np.array(numbers))


def test_the_constant_stands_where_the_node_stood():
    with within(order=2):
        y = sg.constant(2.0) * 3.0  # the folded line
    folded_graph = Fold()(sg.Graph({"y": y}))
    node = folded_graph["y"].node
    assert node.order == 2
    assert "the folded line" in node.origin.resolve().text


def test_what_depends_on_a_named_size_stays():
    x = sg.input("x", ("n",), "float64")
    y = x.sum() / (sg.size_value(x.shape[0]) * 2.0)
    empty = sg.broadcast_to(sg.constant(np.ones(0)), (x.shape[0], 0)).sum(0)
    folded_graph = Fold()(sg.Graph({"y": y, "empty": empty}))
    for size in (2, 5):
        actual = sg.evaluate(folded_graph, {"x": np.ones(size)})
        assert actual["y"] == 0.5
        assert actual["empty"].shape == (0,)


def test_results_that_grow_stay():
    assert fold_to_op(Grow()(constant(1.0))) is None
    assert fold_to_op(Grow()(constant(1.0, 2.0, 3.0))) is not None


def test_special_values_fold_without_a_warning():
    op = fold_to_op(constant(1.0, 0.0, -1.0) / constant(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(op.data.array, [np.inf, np.nan, -np.inf])


def test_an_op_that_raises_is_left_to_the_run():
    y = Raises()(constant(1.0, 2.0))
    assert fold_to_op(y) is None
    with pytest.raises(IndexOutOfRange):
        sg.evaluate(Fold()(sg.Graph({"y": y})))


#: What has no vectors -> the function, that of NumPy, and the op that has its result among others.
PARTS = {
    "eigvalsh": (
        lambda x: sg.linalg.eigvalsh(x + x.T),
        lambda x: np.linalg.eigvalsh(x + x.T),
        "eigh",
    ),
    "svdvals": (
        lambda x: sg.linalg.svdvals(x + x.T),
        lambda x: np.linalg.svd(x + x.T, compute_uv=False),
        "svd",
    ),
    "of complex numbers": (
        lambda x: sg.linalg.eigvalsh(x + x.T + 1j * (x - x.T)),
        lambda x: np.linalg.eigvalsh(x + x.T + 1j * (x - x.T)),
        "complex_eigh",
    ),
}
MATRIX = np.random.default_rng(1).normal(size=(6, 6))


@pytest.mark.parametrize("name", PARTS)
def test_values_beside_their_derivative_come_with_the_vectors(name):
    values, of_numpy, op_name = PARTS[name]
    x = sg.input("x", (6, 6), "float64")
    y = values(x)
    loss = sg.sum(y**3)
    alone = {n.op.name for n in PartsOfOthers()(sg.Graph({"y": y})).nodes}
    assert op_name not in alone  # nothing needs the vectors
    merged = PartsOfOthers()(sg.Graph({"y": y, "g": sg.grad(loss, x)}))
    verify_graph(merged)
    assert [n for n in names(merged) if "eig" in n or "svd" in n] == [op_name]
    actual = sg.evaluate(merged, {"x": MATRIX})["y"]
    np.testing.assert_allclose(actual, of_numpy(MATRIX), rtol=1e-12)
    of = merged.outputs["y"].node
    assert (of.op.name, of.order) == (op_name, 0)  # in forward, which comes first


def test_full_bases_serve_singular_values_too():
    x = sg.input("x", (3, 5), "float64")
    u, s, v = sg.linalg.svd(x, full_matrices=True)
    again = sg.linalg.svdvals(x)
    merged = PartsOfOthers()(sg.Graph({"again": again, "u": u, "v": v, "s": s}))
    assert names(merged) == ["input", "svd"]
    assert merged.outputs["again"].key == merged.outputs["s"].key
    actual = sg.evaluate(merged, {"x": MATRIX[:3, :5]})
    np.testing.assert_allclose(actual["again"], np.linalg.svd(MATRIX[:3, :5])[1], rtol=1e-12)


def test_vectors_of_another_matrix_are_no_reason():
    x = sg.input("x", (6, 6), "float64")
    values, (_, vectors) = sg.linalg.eigvalsh(x), sg.linalg.eigh(2.0 * x)
    graph = sg.Graph({"values": values, "vectors": vectors})
    assert PartsOfOthers()(graph) is graph
    merged = PartsOfOthers()(sg.Graph({"values": values, "vectors": sg.linalg.eigh(x)[1]}))
    assert "eigvalsh" not in names(merged)


def test_levels_take_parts_of_the_same_ops():
    """Operands that are equal only when lines are simplified would make levels differ."""
    x = sg.input("x", (6, 6), "float64")
    values, (_, vectors) = sg.linalg.eigvalsh(x + x.T), sg.linalg.eigh(x * 1.0 + x.T)
    graph = sg.Graph({"values": values, "vectors": vectors, "g": sg.grad(sg.sum(values**3), x)})
    actual = [sg.compile(graph, pipeline=level).run({x: MATRIX}) for level in ("O0", "O1")]
    assert_same(*actual)
