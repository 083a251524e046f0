"""The two engines that the course builds, taken from its pages and tested by other means."""

import ast
import contextlib
import itertools
import re

import numpy as np
import pytest

from staticgrad.tools.documentation.site import GUIDE
from tests.page_programs import programs

#: What is no part of an engine: drawings, tests, an example.
BESIDE = {"draw", "drawn", "network_step", "check_plan", "fill"}


def engine(name, count):
    """The names of the first programs of a page, which print nothing here."""
    names = {}
    with contextlib.redirect_stdout(None):
        for source, _ in programs(GUIDE / f"{name}.md")[:count]:
            exec(source, names)
    return names


@pytest.fixture(scope="module")
def tape():
    return engine("an-engine", 4)


@pytest.fixture(scope="module")
def compiler():
    """All steps; the last one without its print."""
    return engine("a-compiler", 8)


@pytest.mark.parametrize(("name", "count", "least"), [("an-engine", 4, 60), ("a-compiler", 8, 100)])
def test_an_engine_has_about_a_hundred_lines(name, count, least):
    """Definitions and tables, without examples; blank lines do not count."""
    lines = set()
    for k, (source, _) in enumerate(programs(GUIDE / f"{name}.md")[:count]):
        for node in ast.parse(source).body:
            table = isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            function = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in BESIDE
            if table or function:
                lines |= {(k, n) for n in range(node.lineno, node.end_lineno + 1)
                          if source.splitlines()[n - 1].strip()}  # fmt: skip
    assert least < len(lines) <= 160


SIZES = [(3, (2, 4, 2)), (5, (3, 4, 4, 2)), (1, (1, 1, 1)), (2, (6, 5, 4, 3, 2))]


def by_hand(feeds, depth):
    """The loss of a network and its gradients, in NumPy."""
    layers = [feeds["x"]]
    for k in range(depth - 1):
        layers.append(np.tanh(layers[-1] @ feeds[f"w{k}"]))
    error = layers[-1] @ feeds[f"w{depth - 1}"] - feeds["y"]
    ct, gradients = 2 * error / len(error), []
    for k in reversed(range(depth)):
        gradients.append(layers[k].T @ ct)
        ct = ct @ feeds[f"w{k}"].T * (1 - layers[k] ** 2)
    return [(error**2).sum() / len(error), *gradients[::-1]]


def draw_feeds(rows, sizes):
    random = np.random.default_rng(rows)
    shapes = {"x": (rows, sizes[0]), "y": (rows, sizes[-1])}
    shapes |= {f"w{k}": pair for k, pair in enumerate(itertools.pairwise(sizes))}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def same(actual, expected):
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(np.reshape(left, np.shape(right)), right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rows", "sizes"), SIZES)
def test_gradients_of_the_tape_are_those_by_hand(tape, rows, sizes):
    feeds, depth = draw_feeds(rows, sizes), len(sizes) - 1
    variables = {name: tape["Var"](array) for name, array in feeds.items()}
    h = variables["x"]
    for k in range(depth - 1):
        h = tape["tanh"](h @ variables[f"w{k}"])
    error = h @ variables[f"w{depth - 1}"] + variables["y"] * -1.0
    loss = tape["total"](error * error) * (1.0 / rows)
    tape["backward"](loss)
    same([loss.data, *[variables[f"w{k}"].grad for k in range(depth)]], by_hand(feeds, depth))


@pytest.mark.parametrize(("rows", "sizes"), SIZES)
def test_gradients_of_the_compiler_are_those_by_hand(compiler, rows, sizes):
    """Python runs the code: what Numba compiles is the same text."""
    feeds, depth = draw_feeds(rows, sizes), len(sizes) - 1
    outs = compiler["network_step"](rows, sizes)
    run = compiler["compiled"](outs, jit=False)
    same(run(feeds), by_hand(feeds, depth))
    same(run(feeds), by_hand(feeds, depth))  # nothing of the first run is left in the arena


@pytest.mark.slow
def test_gradients_of_machine_code_are_those_by_hand(compiler):
    feeds = draw_feeds(5, (3, 4, 4, 2))
    run = compiler["compiled"](compiler["network_step"](5, (3, 4, 4, 2)))
    same(run(feeds), by_hand(feeds, 3))


@pytest.mark.parametrize(("rows", "sizes"), SIZES)
def test_arrays_that_share_bytes_of_the_arena_never_disturb_each_other(compiler, rows, sizes):
    """The same code with an array of its own for each kernel gives the same bits."""
    outs, feeds = compiler["network_step"](rows, sizes), draw_feeds(rows, sizes)
    run = compiler["compiled"](outs, jit=False)
    alone = re.sub(r"arena\[(\d+):(\d+)\]", lambda m: f"np.full({int(m[2]) - int(m[1])}, np.nan)",
                   run.source)  # fmt: skip
    scope = {"np": np, "math": compiler["math"]}
    exec(alone, scope)
    names = [f"v{out.number}" for out in outs]
    exec(alone.replace("def step", "def named") + f"\n    return {', '.join(names)}", scope)
    inputs = re.search(r"\(arena, (.*)\):", run.source)[1].replace("in_", "").split(", ")
    expected = scope["named"](None, *[feeds[name] for name in inputs])
    for left, right in zip(run(feeds), expected, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("rows", "sizes"), SIZES)
def test_the_arena_is_known_before_the_run(compiler, rows, sizes):
    """It is what the code addresses, and at least what lives at the fullest step."""
    outs = compiler["network_step"](rows, sizes)
    places, peak = compiler["plan"](outs)
    run = compiler["compiled"](outs, jit=False)
    ends = [int(end) for end in re.findall(r"arena\[\d+:(\d+)\]", run.source)]
    assert run.peak_bytes == 8 * peak == 8 * max(ends)
    lives = compiler["lifetimes"](outs).items()
    fullest = max(
        sum(np.prod(n.shape) for n, (first, last) in lives if first <= k <= last)
        for k in range(len(places))
    )
    assert fullest <= peak <= sum(np.prod(n.shape) for n in places)


def test_second_derivatives_are_one_more_application_of_the_rules(compiler):
    t = compiler["variable"]("t", 2, 3)
    (first,) = compiler["grad"](compiler["total"](compiler["tanh"](t) * t), [t])
    (second,) = compiler["grad"](compiler["total"](first), [t])
    point = np.linspace(-1, 1, 6).reshape(2, 3)
    actual = compiler["compiled"]([first, second], jit=False)({"t": point})
    h = np.tanh(point)
    d = 1 - h * h
    same(actual, [h + point * d, 2 * d - 2 * point * h * d])


def test_products_of_results_that_are_repeated_or_transposed(compiler):
    """Gradients of plain sums: what is filled with ones enters products."""
    a, b = compiler["variable"]("a", 2, 3), compiler["variable"]("b", 3, 4)
    product = a @ b
    slopes = compiler["grad"](compiler["total"](product.T * 2.0), [a, b])
    feeds = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(12.0).reshape(3, 4)}
    ones = np.full((2, 4), 2.0)
    same(compiler["compiled"](slopes, jit=False)(feeds), [ones @ feeds["b"].T, feeds["a"].T @ ones])
