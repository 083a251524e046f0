"""Nodes that passes build name the lines of all their sources: text, errors, kernels, reports."""

import linecache
import pickle

import staticgrad as sg
from passes.cse import CommonSubexpressions
from passes.pipelines import pipeline
from passes.rewrite import rewrite
from passes.rules import RULES
from staticgrad.errors import ShapeError
from staticgrad.language.ir.schedule import print_schedule
from staticgrad.language.ir.schedule_text import parse_schedule

SUM = RULES["log-sum-exp"]


def program(*lines):
    """Return the names that a user's file of these lines defines; it is called ``model.py``."""
    text = "\n".join(["import staticgrad as sg", 'x = sg.input("x", (4, 3), "float32")', *lines])
    linecache.cache["model.py"] = (len(text), None, text.splitlines(keepends=True), "model.py")
    names = {}
    exec(compile(text, "model.py", "exec"), names)
    return names


def lines(node):
    return [place.resolve().line for place in node.origin.places]


def three_lines():
    return program("e = sg.exp(x)", "s = e.sum(1)", "y = sg.log(s)")["y"]


def test_a_new_node_has_the_lines_of_all_that_the_pattern_found_the_root_first():
    graph = sg.Graph(three_lines())
    steps = []
    rewritten, hits = rewrite(graph, [SUM], watch=steps.append)
    assert hits == {"log-sum-exp": 1}
    new_nodes = [node for node in rewritten.nodes if node not in graph.nodes]
    assert len(new_nodes) > 3
    assert all(lines(node) == [5, 4, 3] for node in new_nodes)
    assert str(steps[0]).startswith("model.py:5, model.py:4, model.py:3: log-sum-exp")


def test_a_merged_node_has_the_lines_of_both():
    names = program("a = sg.exp(x)", "b = sg.exp(x)", "y = a.sum() * b.sum()")
    graph = sg.Graph(names["y"])
    merged, hits = CommonSubexpressions().apply(graph)
    assert hits == {"cse": 2}
    assert [(n.op.name, lines(n)) for n in merged.nodes] == [
        ("input", [2]), ("exp", [3, 4]), ("sum", [5]), ("mul", [5]),
    ]  # fmt: skip
    assert CommonSubexpressions()(merged) is merged


def test_text_and_pickles_keep_all_lines():
    names = program("with sg.scope('head'):", "    e = sg.exp(x)", "y = sg.log(e.sum(1))")
    rewritten, _ = rewrite(sg.Graph(names["y"]), [SUM])
    text = str(rewritten)
    assert "   # model.py:5, model.py:4 [head]\n" in text
    assert str(sg.parse(text)) == text
    copied = pickle.loads(pickle.dumps(rewritten))
    assert str(copied) == text
    origin = copied["output"].node.origin
    assert origin.label == rewritten["output"].node.origin.label
    assert [(place.short, place.scope) for place in origin.places] == [
        ("model.py:5", ""), ("model.py:4", "head"),
    ]  # fmt: skip


def test_kernels_and_explain_name_every_line():
    f = sg.compile(three_lines(), pipeline="stabilize")
    lines_of_steps = {line for step in f.explanation().steps for line in step.lines}
    assert lines_of_steps == {"model.py:5", "model.py:4", "model.py:3"}
    assert any("model.py:5, model.py:4, model.py:3" in kernel.label for kernel in f.kernels)
    text = print_schedule(f.schedule)
    assert text.count("# model.py:5, model.py:4, model.py:3\n") > len(f.schedule.steps)
    assert print_schedule(parse_schedule(text)) == text


def test_an_error_shows_the_first_line_and_names_the_others():
    rewritten, _ = rewrite(sg.Graph(three_lines()), [SUM])
    node = rewritten["output"].node
    message = str(ShapeError("bad", at=node.origin)).splitlines()
    assert message[1:] == [
        "  model.py:5",
        "      y = sg.log(s)",
        "          ^^^^^^^^^",
        "  also from model.py:4, model.py:3",
    ]


def test_the_level_o1_gives_every_node_a_line():
    names = program("e = sg.exp(x)", "y = sg.log(1.0 + e).sum() * 1.0")
    slope = sg.grad(names["y"], names["x"])
    optimized = pipeline("O1")(sg.Graph({"y": names["y"], "slope": slope}))
    assert all(
        set(lines(node)) <= {2, 3, 4} for node in optimized.nodes if node.op.name != "constant"
    )
