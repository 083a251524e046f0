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
from tests.passes.test_rules import STEEP, _closed, attempts
from tests.passes.true_values import true_values

KEEPING = [name for name, each in RULES.items() if each.kind != "stable"]


def slopes(graph, feeds):
    """The gradient of every floating input, each element of the output with its own weight."""
    value = graph["output"]
    leaves = [leaf for leaf in graph.inputs if leaf.dtype.is_float]
    weights = (np.cos(np.arange(int(np.prod(value.shape)))) + 1.5).reshape(value.shape)
    found = sg.grad(value, leaves, weights.astype(value.dtype.numpy), allow_disconnected=True)
    own = {leaf.node.op.label: g for leaf, g in zip(leaves, found, strict=True)}
    with np.errstate(all="ignore"):
        return sg.evaluate(sg.Graph(own, inputs=graph.inputs), feeds) if own else {}


def modest(feeds):
    """Feeds of the same types: few small numbers, so that many are equal and at kinks."""
    random = np.random.default_rng(3)
    return {
        name: (random.integers(-3, 4, array.shape) * 0.5).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def differences(each):
    """Where both sides were differentiated: (elements compared, the first program that differs)."""
    compared = 0
    for before, after, hits, adversarial in attempts(each):
        if not hits or not before["output"].dtype.is_float:
            continue
        for feeds in (adversarial, modest(adversarial)):
            expected, actual = slopes(before, feeds), slopes(after, feeds)
            for name, array in expected.items():
                known = np.isfinite(array) | (np.isnan(array) & (each.kind == "exact"))
                compared += int(np.isfinite(array).sum())
                limits = finfo(array.dtype)
                with np.errstate(all="ignore"):
                    top = np.max(np.abs(array), initial=0.0, where=np.isfinite(array))
                    near = np.isclose(
                        actual[name],
                        array,
                        rtol=32 * limits.eps,
                        atol=limits.tiny + (each.kind == "value") * 64 * limits.eps * top,
                        equal_nan=True,
                    )
                if not near[known].all():
                    told = f"d/d{name}: {array} became {actual[name]}"
                    return compared, f"{told}\n{before}\n{feeds}"
    return compared, ""


@pytest.mark.thinned(35)
@pytest.mark.parametrize("name", KEEPING)
def test_both_sides_have_one_derivative(name):
    each = RULES[name]
    compared, difference = differences(each)
    assert not difference, difference
    tried = any(hits and b["output"].dtype.is_float for b, _, hits, _ in attempts(each))
    assert compared or not tried or not_differentiable(each), "nothing was compared"


def not_differentiable(each):
    """Whether the op at the top passes no gradient on: there is nothing to lose."""
    return not each.pattern.op_class.differentiable


def written(graph, leaf):
    """The gradient of the formula as it stands, by no stable one: what has to be computed."""
    value = graph["output"]
    seed = sg.broadcast_to(sg.constant(1.0, value.dtype), value.shape)
    (found,) = pull_back([(value, seed)], [leaf])
    return found


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", [n for n, each in RULES.items() if each.kind == "stable"])
def test_what_a_stable_rule_applies_to_has_true_derivatives(name):
    """Against the gradient of the formula as written, with 800 digits."""
    each = RULES[name]
    for build in each.examples or (_closed(each),):
        names = list(inspect.signature(build).parameters)
        inputs = [sg.input(n, (6, 3), "float64") for n in names]
        graph = CommonSubexpressions()(sg.Graph(build(*inputs), inputs=inputs))
        feeds = {n: np.roll(STEEP, 7 * k).reshape(6, 3) * 8.0 for k, n in enumerate(names)}
        for leaf in graph.inputs:
            raw = written(graph, leaf)
            if raw is None:
                continue
            truth = true_values(sg.Graph(raw, inputs=graph.inputs), feeds)
            slope = sg.grad(graph["output"].sum(), leaf)
            after = pipeline("O0")(sg.Graph(slope, inputs=graph.inputs))
            actual = sg.evaluate(after, feeds)["output"]
            known = np.isfinite(truth)
            if graph["output"].shape == leaf.shape:
                known &= np.isfinite(true_values(graph, feeds))  # inside the domain
            assert known.any()
            np.testing.assert_allclose(actual[known], truth[known], rtol=1e-13, atol=1e-14)


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
