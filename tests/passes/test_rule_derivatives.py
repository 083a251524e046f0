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
from staticgrad.eager import Tensor, grad as grad_of_tensors
from tests.helpers.diagonals import diagonals
from tests.helpers.limits import finfo
from tests.helpers.true_values import context, exact, exact_values
from tests.passes.test_rules import STEEP, _pattern_builder, attempts

#: Units in the last place of the true slope that an error may have, and how many times the tape's.
MOST, FARTHER = 64.0, 8.0
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


_STEP = context.mpf(10) ** -40  # of the differences


class SumsOfFormula:
    """A weighted sum of a formula's elements, with 800 digits, and its differences."""

    def __init__(self, graph, feeds, weights):
        self.graph, self.weights = graph, exact(weights)
        self.feeds = {name: exact(array) for name, array in feeds.items()}

    def at(self, name, all_elements, one_element, place):
        """The elements of the result, of an input whose elements are moved by some steps."""
        shifted = self.feeds[name] + all_elements * _STEP
        shifted[place] += one_element * _STEP
        return exact_values(self.graph, self.feeds | {name: shifted}) * self.weights

    def differences(self, name, place):
        """The slope by one element of an input, and that of the sum of all its slopes.

        NaN at a kink, and where the result is not finite.
        """
        middle = self.at(name, 0, 0, place)
        finite = (abs(middle) < context.inf).astype(bool)
        is_inside = finite.shape != self.feeds[name].shape or finite[place]
        above, below = (self.at(name, 0, side, place) - middle for side in (1, -1))
        above, below = above[finite], below[finite]
        larger = np.maximum(abs(above), abs(below)).sum()
        if not is_inside or not abs((above + below).sum()) <= larger * context.mpf(10) ** -20:
            return context.nan, context.nan
        ends = [self.at(name, side, 1, place) - self.at(name, side, -1, place) for side in (1, -1)]
        curve = (ends[0] - ends[1])[finite].sum() / (4 * _STEP**2)
        return (above - below).sum() / (2 * _STEP), curve


def slopes_to_second_order(value, leaves, label):
    """The gradient of a value by a leaf, and that of the sum of this gradient."""
    first = sg.grad(value, leaves[label])
    second = sg.grad(first.sum(), leaves[label], allow_disconnected=True)
    return sg.Graph({"first": first, "second": second}, inputs=[*leaves.values()])


def slopes_of_tape(value, tensor):
    """The same of tensors: of the formula as it stands, for no rule applies to a tape."""
    with np.errstate(all="ignore"):
        (first,) = grad_of_tensors([value], [tensor], create_graph=True)
        if not first.requires_grad:
            return first.data, np.zeros_like(first.data)
        (second,) = grad_of_tensors([first.sum()], [tensor], allow_disconnected=True)
    return first.data, second.data


@pytest.mark.thinned(8)
@diagonals(
    2,
    ("dtype", ["float32", "float64"]),
    ("name", [n for n, rule in RULES.items() if rule.kind == "stable"]),
)
def test_slopes_of_stable_rules_are_no_farther_from_the_truth(name, dtype):
    """First and second derivatives beside those of the tape, and differences of 800 digits.

    ``MOST`` units of the last place are granted, or ``FARTHER`` times the error of the tape.
    """
    rule, limits = RULES[name], finfo(dtype)
    scale = 1.0 if dtype == "float32" else 8.0
    for build in rule.examples or (_pattern_builder(rule),):
        names = list(inspect.signature(build).parameters)
        leaves = {n: sg.input(n, (6, 3), dtype) for n in names}
        feeds = {
            n: (np.roll(STEEP, 7 * k).reshape(6, 3) * scale).astype(dtype)
            for k, n in enumerate(names)
        }
        formula = build(*leaves.values())
        weights = np.cos(np.arange(formula.size)).reshape(formula.shape).astype(dtype) + 1.5
        graph = CommonSubexpressions()(sg.Graph(formula))
        sums, compared = SumsOfFormula(graph, feeds, weights), 0
        for label in (leaf.node.op.label for leaf in graph.inputs):
            slopes = slopes_to_second_order((formula * weights).sum(), leaves, label)
            actual = sg.evaluate(pipeline("O0")(slopes), feeds).values()
            tensors = {n: Tensor(array, True) for n, array in feeds.items()}
            with np.errstate(all="ignore"):
                on_tape = (build(*tensors.values()) * weights).sum()
            pairs = list(zip(actual, slopes_of_tape(on_tape, tensors[label]), strict=True))
            for place, point in np.ndenumerate(feeds[label]):
                for true, (slope, eager) in zip(sums.differences(label, place), pairs, strict=True):
                    if abs(true) < float(limits.max):
                        compared += 1
                        assert is_no_farther(slope[place], eager[place], true, limits), (
                            f"by {label} at {point}: {slope[place]}, on the tape {eager[place]},"
                            f" in truth {float(true)}"
                        )
        assert compared


def is_no_farther(slope, eager, true, limits):
    """Return whether a slope is near the true one, or as near as that of the tape."""
    ours, theirs = (abs(context.convert(float(number)) - true) for number in (slope, eager))
    if not theirs < context.inf:
        theirs = float(limits.eps)  # the slope is still a number, near 0 where the true one is
    near = MOST * float(limits.eps) * abs(true) + float(limits.tiny)
    return ours <= near or ours <= FARTHER * theirs


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
