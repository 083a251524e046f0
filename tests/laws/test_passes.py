"""Laws of every pass and every level, checked on a corpus of graphs.

The corpus has random graphs with their gradients, training steps as benchmarks have them, and loops
with first and second derivatives. The oracle is ``sg.evaluate`` of the graph before the pass.
``repository/test_reached.py`` finds a pass that no table has.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

import staticgrad as sg
from passes.base import keeps
from passes.pipelines import LEVELS, PASSES, RARE, pipeline
from passes.validation import mismatch
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.verify import verify_graph
from tests.helpers.processes import python
from tests.helpers.random_programs import random_graph
from tests.laws.table import Laws
from tests.loops.programs import TWINS
from tests.ops.graphs import variable
from tests.passes.golden_models import MODELS

#: Every pass and level, and passes with options and in combinations.
PIPELINES = (
    *(graph_pass.name for graph_pass in PASSES), *RARE, *LEVELS,
    "cse{border=True}", "residuals{flops=1000}", "fold,dce,cse", "O1,cse{border=True},residuals",
    "narrow{dtype='float32'}", "O1,narrow{dtype='float32',readers='all'}", "fixpoint(cse,fold,dce)",
    "fixpoint(residuals)", "fixpoint(dce,loops)", "saved{policy='dots_saveable'},O1",
)  # fmt: skip
#: Passes that may add nodes: clones in a later phase, conversions; rules, whose constants are not
#: shared before ``cse``.
LARGER = ("residuals", "narrow", "saved")
RULES = ("simplify", "algebra")
#: Passes a second run of which may change something, and why.
AGAIN = {
    "residuals": "clones of a value that a clone reads come in the next run: fixpoint(residuals)",
    "narrow{dtype='float32'}": "float32 rounds nothing, so nothing shows that it has run",
    "saved": "marks are of one run",
    "loops": "a shorter loop may leave results inside it unread: fixpoint(dce,loops)",
}
#: Pipelines that have one of them, and where a second run changes nothing.
SETTLED = ("fixpoint(residuals)", "fixpoint(dce,loops)")


# -- the corpus ------------------------------------------------------------------------------------


def joint_graph(seed, varied):
    """A random graph with the gradient of its floating outputs, and feeds."""
    graph, feeds = random_graph(np.random.default_rng(seed), max_ops=30, varied=varied)
    outputs = dict(graph.outputs)
    floats = [value for value in outputs.values() if value.dtype.is_float]
    inputs = [value for value in graph.inputs if value.dtype.is_float]
    for position, value in enumerate(floats[:2]):
        gradients = sg.grad(value.sum(), inputs, allow_disconnected=True)
        outputs |= {f"d{position}_{i}": gradient for i, gradient in enumerate(gradients)}
    return Graph(outputs, graph.updates, inputs=graph.inputs), feeds


def training_step(name):
    graph, rng = MODELS[name](), np.random.default_rng(1)
    feeds = {}
    for x in graph.inputs:
        shape = [size if isinstance(size, int) else 3 for size in x.shape]
        feeds[x.name] = rng.integers(0, 2, shape) if x.dtype.kind == "i" else rng.normal(size=shape)
    return graph, {x.name: feeds[x.name].astype(x.dtype.numpy) for x in graph.inputs}


def loops(name, order):
    """A program of loops with its gradients, of the first or second order."""
    twins = TWINS[name]
    values = [variable(f"x{i}", sg.float64, a.shape) for i, a in enumerate(twins.arrays)]
    y = twins.run_loop(*values)
    if order == 2:
        y = sum(sg.sin(g).sum() for g in sg.grad(y, values, allow_disconnected=True))
    slopes = sg.grad(y, values, allow_disconnected=True)
    graph = Graph({"y": y, **{f"d{i}": g for i, g in enumerate(slopes)}}, inputs=values)
    return graph, {f"x{i}": a for i, a in enumerate(twins.arrays)}


#: Name -> (maker of a graph and feeds, its arguments).
CORPUS = {
    **{f"random {seed}": (joint_graph, seed, False) for seed in range(8)},
    **{f"varied {seed}": (joint_graph, seed, True) for seed in range(30)},
    **{name: (training_step, name) for name in MODELS},
    **{f"{name}, order {n}": (loops, name, n) for name in TWINS for n in (1, 2)},
}


@cache
def graph_of(name):
    make, *arguments = CORPUS[name]
    graph, feeds = make(*arguments)
    return graph, feeds, sg.evaluate(graph, feeds, updates=True)


@dataclass
class Sample:
    """A pipeline and a graph, with the graph that the pipeline makes of it."""

    text: str
    graph_name: str

    def __post_init__(self):
        self.passes = pipeline(self.text)
        self.graph, self.feeds, self.values = graph_of(self.graph_name)
        self.optimized = self.passes(self.graph)

    def has(self, *names):
        return any(name in str(self.passes) for name in names)


LAWS = Laws()


@LAWS.law()
def the_interface_stays(sample):
    graph, optimized = sample.graph, sample.optimized
    verify_graph(optimized)
    assert optimized.inputs == graph.inputs
    assert {p.name for p in optimized.parameters} <= {p.name for p in graph.parameters}
    assert list(optimized.outputs) == list(graph.outputs)
    assert [p.name for p, _ in optimized.updates] == [p.name for p, _ in graph.updates]
    assert sample.has(*LARGER) or sample.text in RULES or len(optimized.nodes) <= len(graph.nodes)


@LAWS.law()
def values_stay(sample):
    """To the bit; stable formulas and other orders are nearer the true value, not equal."""
    optimized = sample.passes.without_rounding()(sample.graph)
    actual = sg.evaluate(optimized, sample.feeds, updates=True)
    is_close = sample.has("stabilize", "parts")
    is_close = is_close or (keeps(sample.passes) == "close" and sample.has("algebra"))
    for expected, now in zip(sample.values, actual, strict=True):
        assert expected.keys() == now.keys()
        for name, array in expected.items():
            if is_close and sample.graph_name == "stable, order 1":
                continue  # it overflows unless it is made stable
            if is_close and array.dtype.kind == "f":
                close = 1e-10 if array.dtype == "float64" else 1e-5
                np.testing.assert_allclose(now[name], array, close, close, err_msg=name)
                continue
            np.testing.assert_array_equal(now[name], array, strict=True, err_msg=name)
            signs = (np.signbit(x[~np.isnan(x)]) for x in (array, now[name]))
            assert array.dtype.kind != "f" or np.array_equal(*signs), name


@LAWS.law(on=lambda samples: [s for s in samples if s.graph_name in ("random 1", "varied 2")])
def special_values_stay(sample):
    optimized = sample.passes.without_rounding()(sample.graph)
    assert mismatch(sample.graph, optimized, keeps(sample.passes)) is None


@LAWS.law()
def equal_graphs_give_equal_graphs(sample):
    """And one that changes nothing gives its input."""
    assert sg.same_graph(sample.passes(sample.graph), sample.optimized)
    if sample.optimized is not sample.graph and len(sample.passes.passes) == 1:
        assert not sg.same_graph(sample.optimized, sample.graph)


@LAWS.law(on=lambda samples: [s for s in samples if not s.has(*AGAIN) or s.text in SETTLED])
def a_second_run_changes_nothing(sample):
    again = sample.passes(sample.optimized)
    assert sg.same_graph(again, sample.optimized)
    assert again is sample.optimized or len(sample.passes.passes) > 1


@LAWS.law()
def text_reads_back(sample):
    assert pipeline(str(sample.passes)) == sample.passes
    parameters = {p.name: p for p in sample.graph.parameters}
    arrays = sample.optimized.constants
    again = sg.parse(str(sample.optimized), parameters=parameters, constants=arrays)
    assert sg.same_graph(again, sample.optimized)


@pytest.mark.thinned(10)
@pytest.mark.parametrize("text", PIPELINES)
@pytest.mark.parametrize("graph", CORPUS)
def test_laws_of_every_pass(graph, text):
    sample = Sample(text, graph)
    for law in LAWS:
        LAWS.check(law, [sample])


@pytest.mark.parametrize("name", RARE)
def test_a_rare_pass_is_defined_by_its_module(name):
    """The pass's module is imported when its name is read first."""
    code = (
        f"from passes.pipelines import pipeline; print(type(*pipeline({name!r}).passes).__module__)"
    )
    assert python("-c", code).stdout.strip() == RARE[name]
