"""Equal bytes on every way through: native or plain Python, repeated, in any neighbourhood."""

from math import prod

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ir.op import registered_ops
from staticgrad.language.vecmath.blocks import LONG
from tests.compiled.agreement import assert_same, input_like
from tests.compiled.test_programs import with_derivatives
from tests.helpers.diagonals import every_nth
from tests.helpers.random_programs import feeds_at, random_graph, whole_graph
from tests.laws.samples import as_tuple, load_providers, samples_of, types_of

NAMES = [name for name in registered_ops() if "." not in name and name in load_providers()]
FEW = 2
SMALL = 200  # elements of operands and results: plain Python takes a moment for each vector


def plain_python(graph, feeds):
    """The results of the generated source as Python runs it."""
    with sg.options(jit=False):
        return sg.compile(graph).run(feeds)


def elements(sample):
    """Count the elements of operands and results: those of two columns may be many more."""
    results = as_tuple(sample.op.infer(*types_of(sample)))
    return sum(a.size for a in sample.arrays) + sum(prod(t.shape) for t in results)


def few(name):
    """Some samples of an op, small ones, evenly picked; one of those that are long formulas."""
    sized = [(elements(s), s) for s in samples_of(name)]
    most = max(SMALL, min(size for size, _ in sized))
    small = [s for size, s in sized if size <= most]
    return small[:: -(-len(small) // (1 if name in LONG else FEW))]


@pytest.mark.thinned(6)
@every_nth(2, "name", NAMES)
def test_every_op_in_plain_python(name):
    feeds = {}
    outputs = {}
    for sample in few(name):
        operands = []
        for array in sample.arrays:
            label = f"x{len(feeds)}"
            feeds[label] = array
            operands.append(input_like(label, array))
        for result in as_tuple(sample.op(*operands)):
            outputs[f"y{len(outputs)}"] = result
    graph = sg.Graph(outputs)
    used = {v.node.op.label: feeds[v.node.op.label] for v in graph.inputs}
    assert_same(plain_python(graph, used), sg.compile(graph).run(used), name)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("seed", range(5))
def test_programs_in_plain_python(seed):
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=8, parameters=False)
    graph = with_derivatives(graph)
    assert_same(plain_python(graph, feeds), sg.compile(graph).run(feeds), seed)
    graph = whole_graph(seed, 5)
    feeds = feeds_at(graph, np.random.default_rng(seed), {"batch": 3, "n": 2}, "whole")
    assert_same(plain_python(graph, feeds), sg.compile(graph).run(feeds), seed)


def test_a_second_run_and_a_second_program_give_the_same_bytes(rng):
    x = sg.input("x", ("b", 33), "float64")
    graph = sg.Graph({"soft": sg.nn.softmax(x, 1), "all": sg.exp(x).sum(), "gram": x.T @ x})
    data = rng.normal(size=(65, 33))
    f = sg.compile(graph)
    first = {name: array.copy() for name, array in f.run({"x": data}).items()}
    f.run({"x": rng.normal(size=(200, 33))})  # the arena holds other numbers now
    assert_same(f.run({"x": data}), first)
    assert_same(sg.compile(sg.parse(str(graph))).run({"x": data}), first)
