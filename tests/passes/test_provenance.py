"""What passes build knows the lines of all that went into it, in text, errors, kernels, reports."""

import linecache
import pickle

import numpy as np
import pytest

import staticgrad as sg
from passes.cse import CommonSubexpressions
from passes.pipelines import pipeline
from passes.rewrite import holes, rewrite, rule, some
from passes.rules import RULES
from staticgrad.errors import NonFiniteError, ShapeError
from staticgrad.ir.schedule_text import parse_schedule, print_schedule
from staticgrad.ops.elementwise import Elementwise
from staticgrad.ops.movement import Broadcast

SUM = RULES["log-sum-exp"]


def program(*lines):
    """What a user's file of these lines defines; the file is called ``model.py``."""
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
    after, hits = rewrite(graph, [SUM], watch=steps.append)
    assert hits == {"log-sum-exp": 1}
    made = [node for node in after.nodes if node not in graph.nodes]
    assert len(made) > 3
    assert all(lines(node) == [5, 4, 3] for node in made)
    assert str(steps[0]).startswith("model.py:5, model.py:4, model.py:3: log-sum-exp")


def test_what_is_in_a_hole_keeps_its_line_and_one_line_is_said_once():
    names = program("a = -x", "y = sg.log(1.0 + a) + sg.log(1.0 + x)")
    after, _ = rewrite(sg.Graph(names["y"]), [RULES["log-one-plus"]])
    kept, *made = (node for node in after.nodes if node.op.name in ("neg", "log1p"))
    assert kept is names["a"].node
    assert [lines(node) for node in made] == [[4], [4]]


def test_no_more_than_a_few_lines():
    text = ["y = x", *["y = sg.floor(-y)" for _ in range(9)]]
    value = program(*text)["y"]
    x = holes("x")[0]
    pattern = x
    for _ in range(9):
        pattern = sg.floor(-pattern)
    after, hits = rewrite(sg.Graph(value), [rule("many", pattern, sg.ceil(-x))])
    assert hits == {"many": 1}
    assert lines(after["output"].node) == [12, 11, 10, 9]


def test_operands_that_an_open_pattern_asks_for_count():
    names = program("a = sg.broadcast_to(x, (2, 4, 3))", "b = sg.exp(a)")
    each = RULES["elementwise-below-broadcast"]
    after, hits = rewrite(sg.Graph(names["b"]), [each])
    assert hits == {"elementwise-below-broadcast": 1}
    assert [lines(node) for node in after.nodes if node.op.name != "input"] == [[4, 3], [4, 3]]
    wide = some(Elementwise, ..., over=Broadcast)
    assert repr(wide) == "Elementwise(..., broadcast, ...)"
    assert not rewrite(sg.Graph(sg.exp(names["x"])), [rule("no", wide, lambda m: 1 / 0)])[1]


def test_a_merged_node_has_the_lines_of_both():
    names = program("a = sg.exp(x)", "b = sg.exp(x)", "y = a.sum() * b.sum()")
    graph = sg.Graph(names["y"])
    after, hits = CommonSubexpressions().traced(graph)
    assert hits == {"cse": 2}
    assert [(n.op.name, lines(n)) for n in after.nodes] == [
        ("input", [2]), ("exp", [3, 4]), ("sum", [5]), ("mul", [5]),
    ]  # fmt: skip
    assert CommonSubexpressions()(after) is after


def test_merged_constants_keep_the_line_of_the_first():
    names = program("a = x * 3.0", "b = x + 3.0", "y = a * b")
    after = CommonSubexpressions()(sg.Graph(names["y"]))
    assert [lines(n) for n in after.nodes if n.op.name == "constant"] == [[3]]


def test_text_and_pickles_keep_all_lines():
    names = program("with sg.scope('head'):", "    e = sg.exp(x)", "y = sg.log(e.sum(1))")
    after, _ = rewrite(sg.Graph(names["y"]), [SUM])
    text = str(after)
    assert "   # model.py:5, model.py:4 [head]\n" in text
    assert str(sg.parse(text)) == text
    copied = pickle.loads(pickle.dumps(after))
    assert str(copied) == text
    origin = copied["output"].node.origin
    assert origin.labelled == after["output"].node.origin.labelled
    assert [(place.short, place.scope) for place in origin.places] == [
        ("model.py:5", ""), ("model.py:4", "head"),
    ]  # fmt: skip


def test_parsed_text_without_comments_stays_so():
    text = """staticgrad-ir 1
graph g(%x: f32[4]) {
  %0: f32[4] = exp(%x)
  %1: f32[] = sum{axes=(0,)}(%0)
  %2: f32[] = log(%1)
  return output = %2
}
"""
    bare = sg.parse(text)
    assert str(bare) == text
    after, hits = rewrite(bare, [SUM])
    assert hits
    assert "#" not in str(after)


def test_gradients_of_a_new_node_have_its_lines():
    after, _ = rewrite(sg.Graph(three_lines()), [SUM])
    slope = sg.grad(after["output"].sum(), after.inputs[0])
    made = [node for node in sg.Graph(slope).nodes if node.order == 1]
    assert [5, 4, 3] in map(lines, made)


def test_kernels_and_explain_name_every_line():
    f = sg.compile(three_lines(), pipeline="stabilize")
    told = {line for step in f.explanation().steps for line in step.lines}
    assert told == {"model.py:5", "model.py:4", "model.py:3"}
    assert any("model.py:5, model.py:4, model.py:3" in kernel.label for kernel in f.kernels)
    text = print_schedule(f.schedule)
    assert text.count("# model.py:5, model.py:4, model.py:3\n") > len(f.schedule.steps)
    assert print_schedule(parse_schedule(text)) == text


def test_an_error_shows_the_first_line_and_names_the_others():
    after, _ = rewrite(sg.Graph(three_lines()), [SUM])
    node = after["output"].node
    message = str(ShapeError("bad", at=node.origin)).splitlines()
    assert message[1:] == [
        "  model.py:5",
        "      y = sg.log(s)",
        "          ^^^^^^^^^",
        "  also from model.py:4, model.py:3",
    ]


def test_debug_nan_names_every_line():
    names = program("a = x - 1.0", "b = sg.log(1.0 + a)", "y = b.sum()")
    f = sg.compile(names["y"], debug="nan", fuse=False)
    with pytest.raises(NonFiniteError) as caught:
        f.run({"x": np.full((4, 3), -5.0, "float32")})
    assert "model.py:4" in str(caught.value)


def test_the_level_o1_gives_every_node_a_line():
    names = program("e = sg.exp(x)", "y = sg.log(1.0 + e).sum() * 1.0")
    slope = sg.grad(names["y"], names["x"])
    after = pipeline("O1")(sg.Graph({"y": names["y"], "slope": slope}))
    assert all(set(lines(node)) <= {2, 3, 4} for node in after.nodes if node.op.name != "constant")
