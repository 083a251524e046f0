"""Pickles and copies of graphs: complete, shared where they were shared, never deep."""

import copy
import gc
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from staticgrad.errors import GraphError
from staticgrad.language.calls import pickling
from staticgrad.language.ir.graph import Graph, Parameter, constant
from staticgrad.language.ir.parser import parse
from staticgrad.language.ir.printer import first_difference, same_graph
from staticgrad.language.ir.verify import verify_graph
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F32
from tests.helpers.processes import python
from tests.helpers.random_programs import graphs, input_value, parameter_value
from tests.ir.sample_ops import Link

LINK = Link()
VECTOR = TensorType(F32, (3,))


def model():
    x, w = input_value("x", VECTOR), parameter_value("w", np.arange(3, dtype="float32"))
    table = constant(np.arange(20, dtype="float32"))
    return Graph({"y": np.tanh(x * w), "table": table}, {w: w * 0.5}, name="model"), x, w


@pytest.mark.slow
@given(graphs(empty=True))
def test_graphs_travel_whole(graph_and_feeds):
    graph, _ = graph_and_feeds
    read = pickle.loads(pickle.dumps(graph))
    assert first_difference(read, graph) is None
    assert str(read) == str(graph)
    verify_graph(read)
    for old, new in zip(graph.parameters, read.parameters, strict=True):
        assert new.store is not old.store
        assert np.array_equal(new.value, old.value)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_was_shared_stays_shared(protocol):
    graph, x, w = model()
    second = Graph(np.sin(w))
    read, read_x, read_w, read_other = pickle.loads(pickle.dumps((graph, x, w, second), protocol))
    assert read.inputs[0].node is read_x.node
    assert read.parameters[0].node is read_other.parameters[0].node is read_w.node
    assert read.updates[0][0].node is read_w.node
    assert isinstance(read_w, Parameter)
    read_w.value = np.ones(3, "float32")
    assert np.array_equal(read_other.parameters[0].value, np.ones(3))
    assert np.array_equal(w.value, np.arange(3))


def test_a_copy_is_the_graph_and_a_deep_copy_is_independent():
    graph, x, w = model()
    assert copy.copy(graph) is graph
    deep, deep_x, deep_w = copy.deepcopy((graph, x, w))
    assert same_graph(deep, graph)
    assert deep.parameters[0].store is not w.store
    assert deep.parameters[0].node is deep_w.node
    assert deep.inputs[0].node is deep_x.node
    deep_w.value = np.zeros(3, "float32")
    assert np.array_equal(w.value, np.arange(3))


def test_an_inner_value_is_refused_with_its_line():
    _, x, _ = model()
    y = np.tanh(x)
    for action in (pickle.dumps, copy.deepcopy):
        with pytest.raises(GraphError, match="without its graph") as caught:
            action(y)
        assert "Graph" in caught.value.hint
        assert y.node.origin.short in str(caught.value)
    assert copy.copy(y).node is y.node


@pytest.mark.slow
def test_a_fresh_process_knows_the_ops():
    graph, x, w = model()
    program = (
        "import pickle, sys; x, w, g = pickle.load(sys.stdin.buffer); sys.stdout.write(str(g));"
        "assert str((x * w + 1).type) == 'f32[3]';"
        "assert not {'numba', 'llvmlite', 'scipy', 'rich', 'click'} & set(sys.modules)"
    )
    packed, paths = pickle.dumps((x, w, graph)), {"PYTHONPATH": str(Path.cwd())}
    run = python("-c", program, input=packed, env=paths, text=False)
    assert run.stdout.decode() == str(graph)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_of_another_version_is_one_error(protocol, monkeypatch):
    graph, x, _ = model()
    with monkeypatch.context() as patch:
        patch.setattr(pickling, "__version__", "0.0.9")
        written = [pickle.dumps(value, protocol) for value in (graph, x, {"g": graph})]
    for data in written:
        renamed = data.replace(b"ParameterStore", b"ParameterMoved").replace(b"Input", b"Inbox")
        with pytest.raises(GraphError, match=r"by staticgrad 0\.0\.9") as caught:
            pickle.loads(renamed)
        assert "sg.parse(text)" in caught.value.hint


@pytest.mark.usefixtures("collected_apart")
@pytest.mark.slow
def test_long_chains_never_recurse():
    x = input_value("x", VECTOR)
    value = x
    for _ in range(1_500):
        value = LINK(value)
    graph = Graph(value)
    alive = weakref.ref(value.node)
    assert len(graph.nodes) == 1_501
    text = str(graph)
    read = pickle.loads(pickle.dumps(graph))
    deep = copy.deepcopy(graph)
    assert str(read) == text
    assert str(deep) == str(parse(text)) == text
    verify_graph(deep)
    assert same_graph(deep, graph)
    assert copy.copy(graph) is graph
    assert repr(value.node)
    with pytest.raises(GraphError):
        pickle.dumps(value)
    del graph, read, deep, value
    gc.collect()
    assert alive() is None
