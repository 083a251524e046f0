"""What a compiled program says about itself: passes, rules, steps, memory; reproducible."""

import json

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.pass_report import value_bytes


def program():
    x = sg.input("x", ("n", 4))
    w = sg.parameter("w", np.ones((4, 3), "f4"))
    loss = sg.log(sg.exp(sg.negative(-(x @ w))).sum(-1)).sum()
    return sg.compile(sg.Graph({"loss": loss}, {w: w - 0.1 * sg.grad(loss, w)}, name="told"))


def test_text_and_data_are_the_same_for_the_same_program():
    one, two = program(), program()
    assert one.explain(n=8) == two.explain(n=8)
    assert one.explanation(n=8).as_json() == two.explanation(n=8).as_json()
    assert one.explanation(n=8) == two.explanation(n=8)
    assert "seconds" not in json.dumps(one.explanation(n=8).as_json())


def test_every_pass_and_rule_is_named():
    found = program().explanation()
    hits = {name: count for each in found.passes for name, count in each.hits.items()}
    assert hits["log-sum-exp"] == 1
    assert hits["negate-twice"] == 2  # of the value, and of its cotangent
    assert "1x log-sum-exp" in str(found)
    assert found.plan is None
    assert "arena: depends on n" in str(found)


def test_nodes_are_those_of_the_graph():
    compiled = program()
    found = compiled.explanation(n=8)
    assert found.passes[0].nodes_before == len(compiled.program_graph.nodes)
    assert found.passes[-1].nodes_after == len(compiled.graph.nodes)
    assert found.passes[0].bytes_before == value_bytes(compiled.program_graph, {"n": 8})
    assert found.passes[-1].bytes_after == value_bytes(compiled.graph, {"n": 8})
    at_hint = compiled.explanation(n=64).passes[0]  # the hint of a size that has none
    assert (
        at_hint.bytes_before == value_bytes(compiled.program_graph) > found.passes[0].bytes_before
    )
    changed = next(each for each in found.passes if each.nodes_before != each.nodes_after)
    assert f" {changed.bytes_before} -> {changed.bytes_after} bytes" in str(found)
    assert len(found.steps) == len(compiled.schedule.steps)
    assert found.as_json()["peak_bytes"] == compiled.plan(n=8).peak_bytes
    assert any("test_explain.py" in line for step in found.steps for line in step.lines)


def test_what_a_prompt_shows_is_short():
    x = sg.input("x", ("n", 3))
    f = sg.compile(sg.Graph({"y": sg.tanh(x) @ np.ones((3, 2), "float32")}, name="net"))
    assert repr(f.plan(n=4)).startswith("<plan of net at n=4: ")
    assert f"{f.plan(n=4).peak_bytes} bytes" in repr(f.plan(n=4))
    assert repr(f.schedule) == f"<schedule of net: {len(f.schedule.steps)} steps, " + (
        f"{len(f.schedule.buffers)} buffers>"
    )


def test_a_size_given_to_a_program_without_names_is_answered_by_its_shapes():
    f = sg.compile(sg.input("x", (64, 20)).sum())
    with pytest.raises(sg.StaticgradError) as caught:
        f.explain(batch=64)
    assert caught.value.hint == "all its sizes are fixed: x (64, 20)"
