"""Every rewrite rule keeps derivatives: at generic points, and at kinks, ties and special numbers.

A pass gives a graph that may be differentiated, so that a rule whose sides agree in value alone is
wrong. Rules need nothing here to be tested: the programs are those of ``test_rules``.
"""

import inspect

import numpy as np
import pytest

import staticgrad as sg
from passes.cse import CommonSubexpressions
from passes.pipelines import pipeline
from passes.rewrite import holes, rule
from passes.rules.tables import RULES
from staticgrad.autodiff.reverse import pull_back
from tests.helpers.limits import finfo
from tests.passes.test_rules import STEEP, _pattern_builder, attempts
from tests.helpers.true_values import true_values

KEEPING = [name for name, rule in RULES.items() if rule.kind != "stable"]


def slopes(graph, feeds):
    """The gradient of every floating input, each element of the output with its own weight."""
    value = graph["output"]
    leaves = [leaf for leaf in graph.inputs if leaf.dtype.is_float]
    weights = (np.cos(np.arange(int(np.prod(value.shape)))) + 1.5).reshape(value.shape)
    gradients = sg.grad(value, leaves, weights.astype(value.dtype.numpy), allow_disconnected=True)
    by_label = {leaf.node.op.label: g for leaf, g in zip(leaves, gradients, strict=True)}
    with np.errstate(all="ignore"):
        return sg.evaluate(sg.Graph(by_label, inputs=graph.inputs), feeds) if by_label else {}


def modest(feeds):
    """Feeds of the same types: few small numbers, so that many are equal and at kinks."""
    random = np.random.default_rng(3)
    return {
        name: (random.integers(-3, 4, array.shape) * 0.5).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def differences(rule):
    """Compare derivatives of both sides: (elements compared, first program that differs)."""
    compared = 0
    for graph, rewritten, hits, adversarial in attempts(rule):
        if not hits or not graph["output"].dtype.is_float:
            continue
        for feeds in (adversarial, modest(adversarial)):
            expected, actual = slopes(graph, feeds), slopes(rewritten, feeds)
            for name, array in expected.items():
                compared_elements = np.isfinite(array) | (np.isnan(array) & (rule.kind == "exact"))
                compared += int(np.isfinite(array).sum())
                limits = finfo(array.dtype)
                with np.errstate(all="ignore"):
                    top = np.max(np.abs(array), initial=0.0, where=np.isfinite(array))
                    near = np.isclose(
                        actual[name],
                        array,
                        rtol=32 * limits.eps,
                        atol=limits.tiny + (rule.kind == "value") * 64 * limits.eps * top,
                        equal_nan=True,
                    )
                if not near[compared_elements].all():
                    difference = f"d/d{name}: {array} became {actual[name]}"
                    return compared, f"{difference}\n{graph}\n{feeds}"
    return compared, ""


@pytest.mark.thinned(35)
@pytest.mark.parametrize("name", KEEPING)
def test_both_sides_have_one_derivative(name):
    rule = RULES[name]
    compared, difference = differences(rule)
    assert not difference, difference
    tried = any(hits and b["output"].dtype.is_float for b, _, hits, _ in attempts(rule))
    assert compared or not tried or not_differentiable(rule), "nothing was compared"


def not_differentiable(rule):
    """Return whether the root op passes no gradient on: there is nothing to lose."""
    return not rule.pattern.op_class.differentiable


def gradient_as_written(graph, leaf):
    """The gradient of the formula as it stands, by no stable one: what has to be computed."""
    value = graph["output"]
    seed = sg.broadcast_to(sg.constant(1.0, value.dtype), value.shape)
    (gradient,) = pull_back([(value, seed)], [leaf])
    return gradient


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", [n for n, rule in RULES.items() if rule.kind == "stable"])
def test_what_a_stable_rule_applies_to_has_true_derivatives(name):
    """Against the gradient of the formula as written, with 800 digits."""
    rule = RULES[name]
    for build in rule.examples or (_pattern_builder(rule),):
        names = list(inspect.signature(build).parameters)
        inputs = [sg.input(n, (6, 3), "float64") for n in names]
        graph = CommonSubexpressions()(sg.Graph(build(*inputs), inputs=inputs))
        feeds = {n: np.roll(STEEP, 7 * k).reshape(6, 3) * 8.0 for k, n in enumerate(names)}
        for leaf in graph.inputs:
            raw = gradient_as_written(graph, leaf)
            if raw is None:
                continue
            truth = true_values(sg.Graph(raw, inputs=graph.inputs), feeds)
            slope = sg.grad(graph["output"].sum(), leaf)
            optimized = pipeline("O0")(sg.Graph(slope, inputs=graph.inputs))
            actual = sg.evaluate(optimized, feeds)["output"]
            finite = np.isfinite(truth)
            if graph["output"].shape == leaf.shape:
                finite &= np.isfinite(true_values(graph, feeds))  # inside the domain
            assert finite.any()
            np.testing.assert_allclose(actual[finite], truth[finite], rtol=1e-13, atol=1e-14)


x, y = holes("x y")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sg.maximum(sg.maximum(x, y), y), sg.maximum(x, y)),  # at ties: a quarter became a half
        (sg.minimum(sg.minimum(x, y), y), sg.minimum(x, y)),
        (sg.stop_gradient(x), x),
        (sg.where(x > 0.0, x, x), sg.where(x > 0.0, x, sg.stop_gradient(x))),
        (sg.sqrt(x * x), abs(x)),  # at 0: NaN became 0
    ],
)
def test_a_rule_that_changes_a_derivative_is_caught(left, right):
    assert differences(rule("wrong", left, right, dtypes="f"))[1]
