"""Graphs and ops: what they collect and refuse, how they are rewritten, compared and die."""

import copy
import gc
import warnings
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.errors import (
    ArgumentError,
    GraphError,
    LargeConstantWarning,
    NameConflictError,
    RankError,
    SymbolicValueError,
)
from staticgrad.language.ir.graph import Graph, ancestors, constant
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import dim
from staticgrad.language.types.dtype import F32, F64
from staticgrad.support.building import within
from tests.helpers.random_programs import graphs, input_value, parameter_value
from tests.ir.sample_ops import Link, TopTwo

VECTOR = TensorType(F32, (3,))


def names(graph):
    return [node.op.name for node in graph.nodes]


def test_a_graph_holds_what_its_roots_need_in_creation_order():
    x, w = input_value("x", VECTOR), parameter_value("w", np.ones(3, "float32"))
    unused = input_value("unused", VECTOR)
    y = np.tanh(x)
    np.sin(y)  # nobody asks for it
    z = y * w
    graph = Graph({"z": z, "x": x}, {w: z}, name="g", inputs=[unused])
    assert [n.serial for n in graph.nodes] == sorted(n.serial for n in graph.nodes)
    assert names(graph) == ["input", "parameter", "input", "tanh", "mul"]
    assert [v.node for v in graph.inputs] == [x.node, unused.node]
    assert graph.parameters[0].store is w.store
    assert graph["z"] is z
    assert [r.node for r in graph.roots] == [z.node, x.node, z.node]
    assert list(Graph(y).outputs) == ["output"]
    assert Graph(updates=[(w, z)]).outputs == {}
    x, w = input_value("x", VECTOR), parameter_value("w", np.ones(3, "float32"))
    assert names(Graph(updates={w: np.tanh(x)})) == ["input", "parameter", "tanh"]


def test_what_is_no_graph_is_refused():
    x, w = input_value("x", VECTOR), parameter_value("w", np.ones(3, "float32"))
    with pytest.raises(GraphError, match="at least one output or update"):
        Graph()
    with pytest.raises(GraphError, match="outputs map names to symbolic values"):
        Graph({"y": np.zeros(3)})
    with pytest.raises(GraphError, match="outputs map names"):
        Graph({1: x})
    with pytest.raises(GraphError, match=r"update of <x: .*>, which is not a parameter"):
        Graph(updates=[(x, x)])
    with pytest.raises(GraphError, match="updated twice"):
        Graph(updates=[(w, x), (w, x)])
    with pytest.raises(GraphError, match=r"f32\[3\] becomes f64\[3\]") as caught:
        Graph(updates={w: constant(np.zeros(3))})
    assert "w" in str(caught.value)


def test_names_are_unique_per_kind():
    x, w = input_value("same", VECTOR), parameter_value("same", np.ones(3, "float32"))
    Graph(x * w)
    with pytest.raises(NameConflictError, match="two inputs are named 'same'"):
        Graph(x * input_value("same", VECTOR))
    with pytest.raises(NameConflictError, match="two parameters are named 'same'"):
        Graph(w * parameter_value("same", np.ones(3, "float32")))
    left = input_value("one", TensorType(F32, (dim("n"),)))
    right = input_value("other", TensorType(F32, (dim("n", min=1),)))
    with pytest.raises(NameConflictError, match="size 'n' is declared twice"):
        Graph({"one": left, "other": right})


def test_sizes_and_guards_come_from_the_types():
    a, b = dim("a"), dim("b")
    x, y = input_value("x", TensorType(F32, (a,))), input_value("y", TensorType(F32, (b,)))
    z = x + y
    graph = Graph({"z": z, "more": np.tanh(z)})
    assert list(graph.sizes) == ["a", "b"]
    [(guard, node)] = graph.guards
    assert node is z.node
    assert guard.holds({"a": 2, "b": 2})
    assert not guard.holds({"a": 2, "b": 3})
    assert graph.guards is graph.guards
    assert Graph(x + x).guards == ()
    graph = Graph(input_value("x", TensorType(F32, (dim("m"), dim("n")))))
    graph.sizes.clear()
    assert [*graph.sizes] == ["m", "n"]


def test_derivative_orders_nest():
    x = input_value("x", VECTOR)
    with within(order=1):
        y = np.tanh(x)
        with within(order=2):
            z = np.tanh(y)
        w = np.tanh(z)
    assert [v.node.order for v in (y, z, w, np.tanh(w))] == [1, 2, 1, 0]


def test_a_symbolic_value_has_no_number():
    x = input_value("x", TensorType(F64))
    for convert in (bool, float, int, complex, np.asarray, range):
        with pytest.raises(SymbolicValueError, match="symbolic"):
            convert(x)
    for convert in (list, len):
        with pytest.raises(RankError, match="no axes"):
            convert(x)
    with pytest.raises(SymbolicValueError):
        3 in x  # noqa: B015
    assert repr(x) == "<x: f64[]>"


def test_results_of_one_node():
    values, positions = TopTwo()(input_value("x", VECTOR))
    assert values.node is positions.node
    assert (values.index, positions.index) == (0, 1)
    assert str(values.type) == "f32[2]"
    assert str(positions.type) == "i64[2]"
    x = input_value("x", VECTOR)
    y = np.tanh(x)
    z = y + y
    assert set(ancestors([z])) == {x.node, y.node, z.node}
    assert set(ancestors([z], stop={y.node: None})) == {z.node}


# -- rewriting ------------------------------------------------------------------------------------


def test_no_change_is_the_same_object():
    x = input_value("x", VECTOR)
    graph = Graph(np.tanh(x) + x)
    assert graph.replace_nodes(lambda node, args: None) is graph
    assert graph.replace_nodes(lambda node, args: node.values) is graph
    x = input_value("x", VECTOR)
    graph = Graph(np.sin(np.tanh(x)))
    new = graph.replace_nodes(lambda node, args: args if node.op.name == "tanh" else None)
    verify_graph(new)
    assert names(new) == ["input", "sin"]
    assert new["output"].node.args[0].node is x.node


def test_replacing_rebuilds_what_depends_on_it():
    x, w = input_value("x", VECTOR), parameter_value("w", np.ones(3, "float32"))
    unchanged, old = np.sin(x), np.tanh(x)
    with within(order=1):
        user = old * w
    graph = Graph({"kept": unchanged, "user": user}, {w: user})

    def sigmoid_for_tanh(node, args):
        return [-(np.cos(args[0]))] if node.op.name == "tanh" else None

    new = graph.replace_nodes(sigmoid_for_tanh)
    verify_graph(new)
    assert names(new) == ["input", "parameter", "sin", "cos", "neg", "mul"]
    assert new["kept"].node is unchanged.node
    assert (new["user"].node.order, new["user"].node.origin) == (1, user.node.origin)
    assert new.updates[0][1].node is new["user"].node
    assert new.inputs == graph.inputs or new.inputs[0].node is x.node
    assert names(graph) == ["input", "parameter", "sin", "tanh", "mul"]


@pytest.mark.parametrize("of_kind", [False, True])
@pytest.mark.parametrize(
    ("results", "words"),
    [
        (lambda x: (x, x), r"a tuple of 2: f32\[3\], f32\[3\], not a value"),
        (lambda x: [], "no values, not a value"),
        (lambda x: 2.0, "a float, not a value"),
        (lambda x: [None], "a list of 1: None, not a value"),
        (lambda x: np.zeros(3), "an array, not a value"),
    ],
)
def test_other_results_of_a_rewrite_are_refused_at_its_line(results, words, of_kind):
    x = input_value("x", VECTOR)
    graph = Graph(np.tanh(x))
    tanh = graph.nodes[-1].op

    def rewrite(node, *arguments):
        return results(arguments[-1][0]) if node.op is tanh else None

    replaced = graph.replace_nodes
    if of_kind:
        replaced = partial(graph.replace_ops, type(tanh))
    with pytest.raises(ArgumentError, match=f"rewrite of tanh gives {words}") as caught:
        replaced(rewrite)
    assert caught.value.at.resolve().line == rewrite.__code__.co_firstlineno


@pytest.mark.slow
@given(graphs(), st.integers(0, 1000))
def test_rewritten_graphs_are_sound(graph_and_feeds, which):
    graph, _ = graph_and_feeds
    inner = [node for node in graph.nodes if not node.is_leaf]
    if not inner:
        return
    target = inner[which % len(inner)]

    def multiply_by_one(node, args):
        if node is not target or not node.types[0].dtype.is_float:
            return None
        return [node.op(*args) * 1.0]

    verify_graph(graph.replace_nodes(multiply_by_one))


# -- life and death -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
def test_nothing_keeps_a_dropped_graph_alive():
    x = input_value("x", VECTOR)
    graph = Graph(np.tanh(x))
    node = weakref.ref(graph.nodes[-1])
    str(graph)
    repr(graph)
    graph.guards  # noqa: B018
    del graph
    gc.collect()
    assert node() is None


@pytest.mark.slow
@pytest.mark.usefixtures("collected_apart")
def test_30_000_nodes_build_and_die():
    x = input_value("x", VECTOR)
    value = x
    link = Link()
    for _ in range(30_000):
        value = link(value)
    graph = Graph(value)
    assert len(graph.nodes) == 30_001
    last = weakref.ref(value.node)
    del graph, value
    gc.collect()
    assert last() is None


def scaled_exp(rows, factor):
    x = sg.input("x", (rows, 3), "float32")
    return sg.Graph({"y": sg.exp(x) * factor}, name="body")


LIMIT = 10**6


def test_a_large_array_warns_at_the_users_line():
    x = sg.input("x", (LIMIT // 8 + 1,), "float64")
    with pytest.warns(LargeConstantWarning, match=r"SG901.*f64\[125001\], 1.0 MB") as caught:
        x * np.ones(LIMIT // 8 + 1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "build", [sg.constant, lambda a: sg.concatenate([sg.input("x", (1,), "int8"), a])]
)
def test_up_to_a_megabyte_is_quiet(build):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(np.zeros(LIMIT, "int8"))
        sg.parameter("w", np.zeros(2 * LIMIT))
    with pytest.warns(LargeConstantWarning):
        build(np.zeros(LIMIT + 1, "int8"))


@pytest.mark.parametrize(
    "make", [lambda: sg.input("x", (3,)), lambda: sg.eager.Tensor([1.0, 2.0, 3.0])]
)
def test_values_and_tensors_take_no_assignment(make):
    """Their elements; no operator writes into an operand, and ``y += 1`` gives a new one."""
    x = make()
    with pytest.raises(sg.errors.ImmutableError, match=r"at\["):
        x[0] = 1.0
    y = x
    y += 1.0
    y *= 2.0
    new = x.at[0].set(7.0)
    outs = [
        v.numpy() if isinstance(v, sg.eager.Tensor) else sg.evaluate(v, {"x": [1, 2, 3]})
        for v in (x, y, new)
    ]
    assert [out.tolist() for out in outs] == [[1, 2, 3], [4, 6, 8], [7, 2, 3]]


def test_graphs_schedules_and_plans_take_no_attribute():
    x = sg.input("x", (3,))
    f = sg.compile(sg.tanh(x))
    texts = [str(value) for value in (f.graph, f.schedule, f.plan())]
    outputs = f.graph.outputs
    for name in ("name", "outputs", "updates", "nodes", "inputs", "parameters"):
        with pytest.raises(sg.errors.ImmutableError, match="a graph never changes"):
            setattr(f.graph, name, getattr(f.graph, name))
    for write in (
        lambda: outputs.update(y=x),
        lambda: outputs.__setitem__("y", x),
        lambda: outputs.__delitem__("output"),
        lambda: outputs.__ior__({"y": x}),
        lambda: outputs.setdefault("y", x),
        lambda: outputs.pop("output"),
        outputs.popitem,
        outputs.clear,
    ):
        with pytest.raises(sg.errors.ImmutableError):
            write()
    for value in (f.schedule, f.plan()):
        with pytest.raises(AttributeError):
            value.steps = ()
    assert [str(value) for value in (f.graph, f.schedule, f.plan())] == texts
    more = {**outputs, "y": sg.exp(x)}
    assert list(sg.Graph(more).outputs) == ["output", "y"]
    assert type(outputs | {}) is type(copy.copy(outputs)) is dict


def count_graphs():
    gc.collect()
    return sum(type(thing) is Graph for thing in gc.get_objects())


def test_a_process_keeps_no_body_of_a_loop_that_is_gone():
    count = count_graphs()
    loops = [
        sg.fori_loop(0, 3, lambda i, c, size=size: sg.sin(c) * size, sg.input("x", (size,)))
        for size in range(2, 9)
    ]
    assert count_graphs() == count + len(loops)
    loops.clear()
    assert count_graphs() == count
