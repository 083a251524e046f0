"""A program compiled in several ways, beside a kernel for each node and beside the evaluator."""

import numpy as np

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.compiler.lowering.fuse import fuse
from tests.compiled.agreement import assert_near, assert_same, differing

WAYS = ({"fuse": False}, {"threads": 3})


def numbers(shape, dtype, seed=0):
    """Numbers of every sign and size, with NaN, infinities and both zeros among floats."""
    random, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    array = random.integers(-99, 99, shape) * random.choice([0.25, 1.0, 37.5], shape)
    if dtype.kind not in "iu":
        strange = random.choice([np.nan, np.inf, -0.0, 0.0, 1e-3], shape)
        array = np.where(random.integers(0, 9, shape) == 0, strange, array)
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def drawn(outputs, seed=0, **sizes):
    """Normal numbers for every input; integers are 0, 1 or 2, which are indices of most axes."""
    random, feeds = np.random.default_rng(seed), {}
    for leaf in graph_of(outputs).inputs:
        shape = [sizes.get(str(extent), extent) for extent in leaf.shape]
        is_integer = not leaf.dtype.is_float
        array = random.integers(0, 3, shape) if is_integer else random.normal(size=shape)
        feeds[leaf.node.op.label] = np.asarray(array).astype(leaf.dtype.numpy)
    return feeds


def graph_of(outputs):
    return outputs if isinstance(outputs, sg.Graph) else sg.Graph(outputs)


def schedule_of(outputs, level="O1", merge=True):
    return fuse(pipeline(level)(graph_of(outputs)), merge)


def kernels(outputs, level="O1"):
    """The kernels of the steps of a program."""
    return [kernel for step in schedule_of(outputs, level).steps for kernel in step.kernels()]


def stages(outputs, level="O1"):
    """The classes of the stages of each kernel."""
    all_kernels = kernels(outputs, level)
    return [" ".join(type(stage).__name__ for stage in kernel.stages) for kernel in all_kernels]


def check(outputs, *feeds, ways=WAYS, oracle=True):
    """Compile in every way; each gives the same bytes, at every size, and true ones."""
    graph = graph_of(outputs)
    f = sg.compile(graph)
    others = [(way, sg.compile(graph, **way)) for way in ways]
    for arrays in feeds:
        actual = {name: np.array(array) for name, array in f.run(arrays).items()}
        for way, variant in others:
            assert_same(variant.run(arrays), actual, way)
        if oracle:
            assert_true(graph, actual, arrays)
    return f


def assert_true(graph, actual, feeds):
    """The evaluator's bytes of all that exact operations give, sums among them; others near."""
    inexact = set()
    for node in graph.nodes:
        if not node.is_leaf and (not node.op.exact or any(a.node in inexact for a in node.args)):
            inexact.add(node)
    expected = sg.evaluate(graph, feeds)
    for name, value in graph.outputs.items():
        if value.node not in inexact:
            same = same_bytes(actual[name], expected[name])
            assert same, f"{name}: {differing(actual[name], expected[name])}"
    if inexact:
        assert_near(actual, graph, feeds)
