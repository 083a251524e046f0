"""Overlapping rules meet: whichever is applied first, one form comes out at the end."""

from collections import Counter

import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.rules import EXACT, RULES, STABILIZING
from passes.validation import mismatch
from staticgrad.language.ir.verify import verify_graph
from tests.passes.critical_pairs import canonical, critical_pairs

SETTLE = "fixpoint(simplify,cse,fold),dce"
#: Exact rules that end in different forms, of equal bytes: which product a sign is taken into, and
#: whether it moves below a broadcast first. There is no cheaper one of the two.
APART = {
    ("add-negative", "elementwise-below-broadcast"),
    ("subtract-negative", "elementwise-below-broadcast"),
    ("multiply-negatives", "elementwise-below-broadcast"),
    ("divide-negatives", "elementwise-below-broadcast"),
    ("multiply-negatives", "negate-twice"),
    ("divide-negatives", "negate-twice"),
}
#: Stable rules that end in different forms, of equal bytes: the logarithm of a ratio guards that of
#: a sum which is 0, and that of a softmax, whose sum is 1 or more, does not.
GUARDED = {("log-of-ratio", "softmax-by-hand"), ("log-of-ratio", "softmax-by-hand-kept")}


def apart(rules, text):
    """The pairs of rules that do not meet, each with its first program; and all that overlap."""
    settle = pipeline(text)
    differing, seen = {}, Counter()
    for pair in critical_pairs(rules):
        names = pair.outer.name, pair.inner.name
        seen[names] += 1
        first, second = map(settle, pair.results)
        verify_graph(first)
        if canonical(first) != canonical(second):
            differing.setdefault(names, (pair.graph, first, second))
    return differing, seen


@pytest.mark.slow
def test_stable_rules_meet_in_one_form():
    actual, seen = apart(STABILIZING, f"stabilize,dce,{SETTLE}")
    assert actual.keys() == GUARDED
    for _, first, second in actual.values():
        assert mismatch(first, second, "exact") is None
    assert seen["log-one-minus", "one-minus-sigmoid"]
    assert seen["log-of-ratio", "softmax-by-hand-kept"]


@pytest.mark.slow
def test_exact_rules_meet_or_differ_in_no_byte():
    actual, seen = apart(EXACT, SETTLE)
    assert actual.keys() == APART
    assert len(seen) > 80
    for graph, first, second in actual.values():
        assert mismatch(graph, first, "exact") is None
        assert mismatch(first, second, "exact") is None


@pytest.mark.parametrize(
    ("missing", "overlapping"),
    [
        ("log1p-minus-sigmoid", ("log-one-minus", "one-minus-sigmoid")),
        ("log1p-minus-exp", ("log-one-minus", "one-minus-exp")),
        ("log-of-product", ("log-of-ratio", "over-one-plus-exp")),
    ],
)
def test_a_rule_that_is_missing_is_noticed(missing, overlapping):
    """Each of these stands in the table because two others overlap."""
    rules = [RULES[name] for name in overlapping]
    assert apart(rules, f"stabilize{{without=({missing!r},)}},dce,{SETTLE}")[0]


def test_equal_expressions_have_one_number():
    x, y = sg.input("x", (3,)), sg.input("y", (3,))
    assert canonical(sg.Graph(x * y + 1.0)) == canonical(sg.Graph(1.0 + y * x))
    assert canonical(sg.Graph(x - y)) != canonical(sg.Graph(y - x))
