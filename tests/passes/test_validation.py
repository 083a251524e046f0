"""Translation validation: right passes pass, wrong ones are caught and shrunk to a few nodes."""

import re

import numpy as np
import pytest

import staticgrad as sg
from passes.base import Pass, Pipeline
from passes.pipelines import pipeline
from passes.rewrite import Rewrite, holes, rule
from passes.validation import mismatch, sample_feeds
from staticgrad.errors import PassMismatchError

x, y = holes("x y")


class Wrong(Rewrite, name="validation.wrong"):
    """x - y is not x + y."""

    rules = (rule("plus", x - y, x + y),)


class Zero(Rewrite, name="zero"):
    """x + 0.0 is not x where x is -0.0."""

    rules = (rule("zero", x + 0.0, x),)


class Overflow(Rewrite, name="overflow"):
    """log(exp(x)) is not x to the last bit, and not at all beyond the range of exp."""

    rules = (rule("log-exp", sg.log(sg.exp(x)), x),)


class Dropped(Pass, name="dropped"):
    """The wrong value is put out."""

    def __call__(self, graph):
        first = {value: value.node.args[:1] for value in graph.outputs.values()}
        new = {v.key: arg for v, args in first.items() for arg in args if arg.type == v.type}
        return graph.with_nodes(graph.nodes, new)


def program():
    a = sg.input("a", ("n", 4))
    w = sg.parameter("w", np.ones((4, 3), "f4"))
    hidden = sg.tanh(a @ w) * 2.0 + 0.0
    loss = (sg.log(sg.exp(hidden)) - hidden.mean()).sum()
    shifted = {"shifted": a + 0.0, "doubled": a + a}
    return sg.Graph({"loss": loss, **shifted}, {w: w - 0.1 * sg.grad(loss, w)})


@pytest.mark.parametrize("level", ["O0", "O1", "O2", "dce,simplify,cse{border=True},fold"])
def test_the_passes_there_are_hold(level):
    graph = program()
    optimized, reports = pipeline(level).run(graph, check=True)
    assert any(report.changed for report in reports)
    assert list(optimized.outputs) == list(graph.outputs)


@pytest.mark.parametrize("wrong", [Wrong(), Zero(), Overflow(), Dropped()])
def test_a_wrong_pass_is_caught_and_shrunk(wrong):
    with pytest.raises(PassMismatchError, match=f"pass {wrong} changes") as caught:
        Pipeline((wrong,)).run(program(), check=True)
    text = str(caught.value)
    body = text[text.index("staticgrad-ir 1") :]
    lines = [line.strip() for line in body[: body.rindex("}") + 1].splitlines()]
    smallest = sg.parse("\n".join(lines))
    assert len(smallest.nodes) <= 4, text
    assert mismatch(smallest, wrong(smallest), "exact")
    assert re.search(r"with \w+ = ", text)


def test_without_check_nothing_is_evaluated():
    _, reports = Pipeline((Wrong(),)).run(program())
    assert reports[0].hits


def test_the_setting_asks_for_it():
    with sg.options(check=True), pytest.raises(PassMismatchError):
        Pipeline((Wrong(),)).run(program())


def test_feeds_meet_the_conditions_of_the_graph():
    n = sg.dim("n", min=4, multiple_of=4)
    a, b = sg.input("a", (n,)), sg.input("b", ("m",), "int64")
    graph = sg.Graph(sg.reshape(a, (-1, 2)).sum() + (a[:4] * b).sum())
    seen = list(sample_feeds(graph))
    assert seen
    for feeds, sizes in seen:
        assert sizes["n"] % 4 == 0
        sg.evaluate(graph, feeds)
    assert any(np.isnan(feeds["a"]).any() for feeds, _ in seen)


class Brittle(Pass, name="brittle"):
    """Wrong on the whole program, and without an answer to any smaller one."""

    def __call__(self, graph):
        if len(graph.outputs) == 1:
            raise KeyError("an output that smaller graphs do not have")
        return Wrong()(graph)


def test_a_pass_that_fails_on_smaller_graphs_is_reported_on_the_whole():
    with pytest.raises(PassMismatchError, match="pass brittle changes") as caught:
        Pipeline((Brittle(),)).run(program(), check=True)
    assert "graph graph(%a: f32[n, 4])" in str(caught.value)
