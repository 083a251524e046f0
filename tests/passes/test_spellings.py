"""Rules from outside: tried in all spellings of equal bits; those that never apply say why."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.rewrite import Rewrite, hole, holes, rule, some
from passes.rewrite.spelling import canonical_form, spellings
from passes.rules import EXACT
from staticgrad.language.ops.arithmetic import IntegerPow

x, y = holes("x y")
SQUARES = {
    "powers": lambda v: sg.cos(v) ** 2 + sg.sin(v) ** 2,
    "products": lambda v: sg.cos(v) * sg.cos(v) + sg.sin(v) * sg.sin(v),
    "both": lambda v: sg.square(sg.sin(v)) + sg.cos(v) * sg.cos(v),
    "floats": lambda v: np.power(np.sin(v), 2.0) + np.square(np.cos(v)),
}


def value_rule(name, pattern, replacement, **more):
    return rule(name, pattern, replacement, "value", error="rounding", dtypes="f", **more)


class ByPowers(Rewrite, name="tests.by-powers"):
    keeps = "close"
    rules = (value_rule("pythagoras", sg.cos(x) ** 2 + sg.sin(x) ** 2, lambda m: m.x * 0.0 + 1.0),)


class ByProducts(Rewrite, name="tests.by-products"):
    keeps = "close"
    rules = (
        value_rule(
            "pythagoras", sg.cos(x) * sg.cos(x) + sg.sin(x) * sg.sin(x), lambda m: m.x * 0.0 + 1.0
        ),
    )


class Halves(Rewrite, name="tests.halves"):
    keeps = "close"
    rules = (value_rule("log-of-half", sg.log(x / 2.0), lambda m: sg.log(m.x) - np.log(2.0)),)


class ToPowers(Rewrite, name="tests.to-powers"):
    rules = (rule("to-power", x * x, x**2),)


class ToProducts(Rewrite, name="tests.to-products"):
    rules = (rule("to-product", x**2, lambda m: m.x * m.x),)


def run_pass(text, program):
    graph, reports = pipeline(text).run(sg.Graph(program))
    return graph, reports[-1]


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("text", ["tests.by-powers", "tests.by-products"])
@pytest.mark.parametrize("level", ["", "O1,"])
def test_a_square_is_found_in_every_spelling(level, text, square):
    v = sg.input("v", (3,), "float64")
    graph, report = run_pass(level + text, SQUARES[square](v))
    assert report.hits == {"pythagoras": 1}
    assert report.misses == ()
    numbers = np.array([0.1, 1.0, 2.0])
    np.testing.assert_allclose(sg.evaluate(graph, {"v": numbers})["output"], 1.0)


@pytest.mark.parametrize("level", ["", "O1,"])
def test_a_pattern_is_found_in_the_form_of_the_exact_rules(level):
    v = sg.input("v", (3,), "float64")
    graph, report = run_pass(level + "tests.halves", sg.log(v / 2.0))
    assert report.hits == {"log-of-half": 1}
    numbers = np.array([0.5, 3.0, 7.0])
    np.testing.assert_allclose(sg.evaluate(graph, {"v": numbers})["output"], np.log(numbers / 2))


@pytest.mark.parametrize("make", [lambda v: v * v, lambda v: v**2], ids=["product", "power"])
@pytest.mark.parametrize(
    ("text", "op"), [("tests.to-powers", "integer_pow"), ("tests.to-products", "mul")]
)
def test_a_rule_between_spellings_keeps_its_direction_and_ends(text, op, make):
    graph, _ = run_pass(text, make(sg.input("v", (3,), "float64")))
    assert [node.op.name for node in graph.nodes if not node.is_leaf] == [op]


def test_spellings_have_equal_bits_and_are_few():
    rules = spellings(rule("squares", x * x + y**2, y))
    assert sorted({str(entry.pattern) for entry in rules}) == [
        "add(integer_pow{exponent=2}(x), integer_pow{exponent=2}(y))",
        "add(integer_pow{exponent=2}(x), mul(y, y))",
        "add(mul(x, x), integer_pow{exponent=2}(y))",
        "add(mul(x, x), mul(y, y))",
    ]
    numbers = np.concatenate([np.random.default_rng(0).normal(size=99), [np.inf, np.nan, -0.0]])
    v = sg.input("v", (102,), "float64")
    power, product = (sg.compile(sg.Graph(z)).run({"v": numbers}) for z in (v**2, v * v))
    np.testing.assert_array_equal(power["output"], product["output"])
    long = x * x
    for _ in range(7):
        long = sg.exp(long) * sg.exp(long) + y * y
    assert len(spellings(rule("long", long, y))) <= 32
    # attributes that are open, and names, stay as they are written
    assert len(spellings(rule("open", some(IntegerPow, x), x * x, where=lambda m: False))) == 1
    assert canonical_form(sg.exp(x)) is None
    assert str(canonical_form(x / 2.0 + y)) == "add(mul(x, 0.5), y)"
    assert canonical_form(sg.where(hole("c", "bool"), x, y)) is None


def test_rules_of_the_repository_are_tried_as_they_are_written_and_never_reported():
    v = sg.input("v", (3,), "float64")
    _, reports = pipeline("O2").run(sg.Graph(sg.exp(v)))
    assert all(report.misses == () for report in reports)
    assert len(EXACT) > 10


class Never(Rewrite, name="tests.never"):
    keeps = "close"
    rules = (
        value_rule("pythagoras", sg.cos(x) ** 2 + sg.sin(x) ** 2, 1.0),
        value_rule("same", sg.exp(x) - sg.exp(x), 0.0),
        value_rule("no-site", sg.erf(x), x),
        value_rule("refused", sg.tanh(x), x, where=lambda match: False),
        value_rule("number", x * 3.0, x),
    )


def test_a_rule_that_never_applies_says_why():
    v, w = sg.input("v", (3,), "float64"), sg.input("w", (3,), "float64")
    program = sg.cos(v) ** 2 + sg.tanh(v) ** 2 + (sg.exp(v) - sg.exp(w)) * 4.0
    _, report = run_pass("tests.never", program)
    misses = dict(zip((entry.name for entry in Never.rules), report.misses, strict=True))
    assert misses["pythagoras"].startswith("rule pythagoras: 0 of 2 sites; sin(x) is tanh(v) there")
    assert "test_spellings.py:" in misses["pythagoras"]
    assert "x stands for two values that differ, one is w" in misses["same"]
    assert misses["no-site"] == "rule no-site: 0 of 0 sites; no erf is in the graph"
    assert "0 of 1 sites; its condition is false" in misses["refused"]
    assert "3.0 is 4.0 there" in misses["number"]
    f = sg.compile(program, pipeline="fixpoint(tests.never,cse),O1")
    assert "rule pythagoras: 0 of 2 sites; sin(x) is tanh(v) there" in f.explain()
    assert f.explanation().as_json()["passes"][0]["misses"] == [*misses.values()]
    _, report = run_pass("tests.never{without=('same', 'no-site')}", program)
    assert len(report.misses) == 3


def test_sites_in_bodies_of_loops_count():
    v = sg.input("v", ("n", 3), "float64")
    zero = sg.zeros(3, "float64")
    last, _ = sg.scan(lambda c, row: (sg.sin(c) + sg.erf(row), None), zero, v)
    _, report = run_pass("tests.by-powers", last)
    assert report.misses[0].startswith("rule pythagoras: 0 of 1 sites; ")
