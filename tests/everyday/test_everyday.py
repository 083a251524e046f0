"""Programs as users write them: one result in every way they run, and gradients that are slopes.

The oracle is ``sg.evaluate``, node by node in float64, and of derivatives differences of what it
gives. A few are tried daily; ``-m exhaustive`` tries all, which takes minutes.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.eager import Tensor
from tests.everyday.programs import PROGRAMS

for path in Path(__file__).parent.glob("[!t_]*.py"):  # fills the table
    importlib.import_module(f"tests.everyday.{path.stem}")

#: Of a few kernels each: what runs on every day.
DAILY = ("logistic_weights", "triplet")
#: Of differences of fourth order. The short one stays on one side of kinks.
STEPS = (1e-4, 2e-6)


def with_names(names):
    return pytest.mark.parametrize("name", names)


class Tried:
    """A program over its arguments: its graph with gradients, and what the oracle says of it."""

    def __init__(self, program):
        self.program = program
        self.arguments = program.arguments()
        self.places = [i for i, a in enumerate(self.arguments) if a.dtype.kind == "f"]
        self.graph = self.graph_of([a.shape for a in self.arguments])
        self.expected = self.evaluate(self.graph, self.arguments)

    def graph_of(self, shapes):
        inputs = [
            sg.input(f"a{i}", shape, a.dtype)
            for i, (shape, a) in enumerate(zip(shapes, self.arguments, strict=True))
        ]
        value = self.program.function(*inputs)
        slopes = sg.grad(value, [inputs[i] for i in self.places], allow_disconnected=True)
        outputs = {"value": value} | {f"d{i}": d for i, d in zip(self.places, slopes, strict=True)}
        return sg.Graph(outputs, inputs=inputs)

    def feeds(self, arrays):
        return {f"a{i}": a for i, a in enumerate(arrays)}

    def evaluate(self, graph, arrays):
        with np.errstate(all="ignore"):
            return [np.asarray(a) for a in sg.evaluate(graph, self.feeds(arrays)).values()]

    def compile(self, graph, **options):
        program = sg.compile(graph, **options)
        return lambda arrays: [np.array(a) for a in program.run(self.feeds(arrays)).values()]

    def differentiate(self):
        return sg.value_and_grad(
            self.program.function, argnums=tuple(self.places), allow_disconnected=True
        )

    def near(self, what, actual, expected=None, by=1):
        """Every result is near, by the magnitude of the array; one may cancel to nothing."""
        references = expected or self.expected
        least = 1e-5 * max(np.abs(want).max(initial=0) for want in references) or 1.0
        for i, (got, want) in enumerate(zip(actual, references, strict=True)):
            assert got.shape == want.shape, (what, i)
            scale = max(np.abs(want).max(initial=0), least)
            worst = np.abs(got.astype("float64") - want).max(initial=0) / scale
            assert worst <= self.program.near * by, (what, i, worst)


def flat(result):
    """A value and its gradients as arrays in a row."""
    return [np.asarray(result[0]), *(np.asarray(gradient) for gradient in result[1])]


def are_slopes(slope, f, allowed):
    """Return whether ``slope`` is the slope of ``f`` at 0, by one of the steps."""
    for step in STEPS:
        at = {k: f(k * step) for k in (-2, -1, 1, 2)}
        expected = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
        if np.abs(slope - expected).max(initial=0) <= allowed:
            return True
    return False


def gradients_are_slopes(tried):
    """Along random directions, of all arguments at once."""
    random = np.random.default_rng(3)
    values = sg.Graph({"value": tried.graph.outputs["value"]}, inputs=tried.graph.inputs)
    for _ in range(2):
        ways = [random.normal(size=tried.arguments[i].shape) for i in tried.places]

        def value_at(by, ways=ways):
            arrays = list(tried.arguments)
            for i, way in zip(tried.places, ways, strict=True):
                arrays[i] = arrays[i] + by * way
            return tried.evaluate(values, arrays)[0]

        slopes = [np.vdot(d, way) for d, way in zip(tried.expected[1:], ways, strict=True)]
        scale = sum(np.abs(d * way).sum() for d, way in zip(tried.expected[1:], ways, strict=True))
        assert are_slopes(sum(slopes), value_at, 1e-6 * scale + 1e-9)


def second_derivatives_are_slopes_of_gradients(tried):
    first = tried.places[0]
    way = np.random.default_rng(4).normal(size=tried.arguments[first].shape)

    def of_first(z):
        arrays = [z if i == first else sg.constant(a) for i, a in enumerate(tried.arguments)]
        return tried.program.function(*arrays)

    actual = sg.function(lambda z, v: sg.hvp(of_first, z, v, allow_disconnected=True))(
        tried.arguments[first], way
    )

    def gradient_at(by):
        arrays = [a + by * way if i == first else a for i, a in enumerate(tried.arguments)]
        return tried.evaluate(tried.graph, arrays)[1]

    scale = np.abs(actual).max(initial=0) + np.abs(tried.expected[1]).max(initial=0) + 1e-9
    assert are_slopes(actual, gradient_at, 1e-5 * scale)


def ways_agree(tried):
    """Traced, tensor by tensor, a batch of it, and in float32."""
    function = sg.function(tried.differentiate())
    tried.near("traced", flat(function(*tried.arguments)))
    with sg.eager_mode():
        tensors = [
            Tensor(a, requires_grad=i in tried.places, dtype=a.dtype)
            for i, a in enumerate(tried.arguments)
        ]
        value = tried.program.function(*tensors)
        value.backward()
        slopes = [tensors[i].grad for i in tried.places]
    zeros = [np.zeros(tried.arguments[i].shape) for i in tried.places]
    gradients = [z if g is None else np.asarray(g) for g, z in zip(slopes, zeros, strict=True)]
    tried.near("tensors", [value.numpy(), *gradients])
    batches = [np.stack([a, a * 1.01 if a.dtype.kind == "f" else a]) for a in tried.arguments]
    batched = flat(sg.function(sg.vmap(tried.differentiate()))(*batches))
    for k in range(2):
        expected = tried.evaluate(tried.graph, [a[k] for a in batches])
        tried.near(f"batch {k}", [np.asarray(a[k]) for a in batched], expected, by=10)
    singles = [a.astype("float32") if a.dtype == "float64" else a for a in tried.arguments]
    results = flat(function(*singles))
    assert all(got.dtype == "float32" for got in results[1:])
    tried.near("float32", results, by=tried.program.single / tried.program.near)


def plans_agree(tried):
    """Levels within the error of their rules, plans and threads by every byte."""
    first = tried.compile(tried.graph, threads=1)(tried.arguments)
    tried.near("compiled", first)
    tried.near("O0", tried.compile(tried.graph, pipeline="O0")(tried.arguments))
    tried.near("O2", tried.compile(tried.graph, pipeline="O2")(tried.arguments), by=100)
    options = [
        {"checkpoint": "recompute"},
        {"memory_budget": "70%"},
        {"threads": 2, "debug": True},
    ]
    for choice in options:
        try:
            actual = tried.compile(tried.graph, **choice)(tried.arguments)
        except sg.BudgetInfeasible:
            continue
        assert all(same_bytes(a, b) for a, b in zip(actual, first, strict=True)), choice


def sizes_agree(tried):
    """One program for batches of several sizes, with a budget too."""
    axes = tried.program.named
    graph = tried.graph_of([axes.get(i, a.shape) for i, a in enumerate(tried.arguments)])
    plain, small = tried.compile(graph), tried.compile(graph, memory_budget="80%")
    random = np.random.default_rng(11)
    for size in (1, 3, 17):
        arrays = list(tried.arguments)
        for i, shape in axes.items():
            for axis in [k for k, extent in enumerate(shape) if isinstance(extent, str)]:
                rows = random.integers(0, arrays[i].shape[axis], size)
                arrays[i] = np.take(arrays[i], rows, axis=axis)
        literal = tried.graph_of([a.shape for a in arrays])
        actual = plain(arrays)
        tried.near(f"named {size}", actual, tried.evaluate(literal, arrays), by=10)
        try:
            again = small(arrays)
        except sg.BudgetInfeasible:
            continue
        assert all(same_bytes(a, b) for a, b in zip(again, actual, strict=True)), size


@pytest.mark.exhaustive
@with_names(PROGRAMS)
def test_a_program_gives_one_result_in_every_way(name):
    tried = Tried(PROGRAMS[name])
    if tried.program.slopes:
        gradients_are_slopes(tried)
    if tried.program.second and tried.program.slopes:
        second_derivatives_are_slopes_of_gradients(tried)
    ways_agree(tried)
    plans_agree(tried)
    if tried.program.named:
        sizes_agree(tried)


@pytest.mark.thinned(2)
@with_names(DAILY)
def test_a_few_are_right_daily(name):
    tried = Tried(PROGRAMS[name])
    gradients_are_slopes(tried)
    tried.near("compiled", tried.compile(tried.graph)(tried.arguments))
