"""A pass that fails: the program is compiled without it, or the error names the pass."""

import warnings

import numpy as np
import pytest

import staticgrad as sg
from passes import failures
from passes.base import Pass, may_fail
from passes.late import chunks
from passes.late.base import late_pass
from passes.loops import rows_inside, segments
from passes.pipelines import LATE, LEVELS, PASSES, pipeline
from staticgrad.autodiff import reverse
from staticgrad.errors import PassError, PassWarning, ShapeError


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch):
    monkeypatch.setattr(failures, "_warned", set())


def program():
    """Return a graph with feeds, and its results by NumPy."""
    x = sg.input("x", (4, 3), "float64")
    graph = sg.Graph({"y": sg.tanh(x) * 2.0 + x.sum(0)})
    array = np.arange(12.0).reshape(4, 3) / 10
    return graph, {"x": array}, np.tanh(array) * 2.0 + array.sum(0)


def fail(*args):
    """Fail like a pass that gives an op operands of the wrong shape."""
    return sg.reshape(sg.input("inner", (4,), "float64"), (3,))


def break_pass(monkeypatch, name):
    cls = type(pipeline(name).passes[0])
    method = "apply" if "apply" in vars(cls) or cls.apply is not Pass.apply else "__call__"
    monkeypatch.setattr(cls, method, fail)


#: Passes that are not required.
OPTIONAL = [
    name
    for name in (*(cls.name for cls in PASSES if cls.may_fail), *LATE)
    if not pipeline(name).passes[0].required
]


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_program_is_compiled_without_a_pass_that_fails(name, monkeypatch):
    break_pass(monkeypatch, name)
    graph, feeds, expected = program()
    with pytest.warns(PassWarning, match=rf"pass {name}.* failed and was left out") as record:
        compiled = sg.compile(graph, pipeline="O2")
    text = str(record[0].message)
    assert "ShapeError in " in text
    assert "[SG101] reshape: 4 elements do not fill the shape [3]" in text
    assert "Please report it" in text
    assert record[0].filename == __file__
    np.testing.assert_allclose(compiled.run(feeds)["y"], expected, rtol=1e-14)


def test_the_warning_comes_once_for_each_pass_and_the_report_says_it_always(monkeypatch):
    break_pass(monkeypatch, "short-writes")
    graph, _, _ = program()
    with pytest.warns(PassWarning) as record:
        compiled = [sg.compile(graph, threads=threads) for threads in (1, 2)]
    assert len(record) == 1
    assert "short-writes: unchanged, failed, left out 1x" in compiled[0].explain()


def test_a_warning_that_is_an_error_comes_each_time(monkeypatch):
    break_pass(monkeypatch, "cse")
    graph, _, _ = program()
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(PassWarning, match="pass cse failed"):
                sg.compile(graph)


@pytest.mark.parametrize("name", [name for name in LATE if pipeline(name).passes[0].required])
def test_a_pass_without_which_no_program_compiles_is_named(name, monkeypatch):
    break_pass(monkeypatch, name)
    with pytest.raises(PassError, match=f"pass {name} failed: ShapeError in") as raised:
        pipeline("late").run(program()[0])
    assert "please report it" in raised.value.hint
    assert isinstance(raised.value.__cause__, ShapeError)


def test_an_invalid_graph_of_a_late_pass_costs_the_pass_alone():
    @late_pass("tests-twice")
    def repeat_nodes(graph):
        """Return a graph that has its nodes in the wrong order."""
        broken = sg.Graph(dict(graph.outputs))
        object.__setattr__(broken, "nodes", graph.nodes[::-1])
        return broken

    graph, _, _ = program()
    with pytest.warns(PassWarning, match="pass tests-twice failed.*VerifyError"):
        result, reports = pipeline("tests-twice,dce").run(graph)
    assert result is graph
    assert [dict(report.hits) for report in reports] == [{"failed, left out": 1}, {}]


def test_a_rule_that_fails_in_front_of_derivatives_is_left_out(monkeypatch):
    monkeypatch.setattr(reverse, "rewrite_nodes", fail)
    x = sg.input("x", (3,), "float64")
    with pytest.warns(PassWarning, match="pass stabilize failed"):
        slope = sg.grad(sg.log(sg.exp(x)).sum(), x)
    np.testing.assert_allclose(sg.evaluate(slope, {"x": np.ones(3)}), np.ones(3))


@pytest.mark.parametrize(
    ("name", "place", "function"),
    [
        ("products-in-loops", rows_inside, "move_products_into_loops"),
        ("recomputed-products", chunks, "compute_products_again"),
        ("segments", segments, "run_in_segments"),
    ],
)
def test_a_policy_goes_without_a_pass_that_fails(name, place, function, monkeypatch):
    monkeypatch.setattr(place, function, fail)
    w, rows = sg.input("w", (8, 8), "float64"), sg.input("rows", (20, 2, 8), "float64")
    last, _ = sg.scan(lambda h, x: (sg.tanh(h @ w + x), None), np.zeros((2, 8)), rows)
    slope = sg.grad(last.sum(), w)
    with pytest.warns(PassWarning, match=f"pass {name} failed"):
        compiled = sg.compile(slope, checkpoint="sqrt")
    feeds = {"w": np.eye(8) / 2, "rows": np.full((20, 2, 8), 0.1)}
    np.testing.assert_allclose(compiled.run(feeds), sg.evaluate(slope, feeds), rtol=1e-12)


class Careless(Pass, name="tests-careless"):
    def __call__(self, graph):
        return graph.replace_nodes(lambda node, args: fail())


@pytest.mark.parametrize("text", ["{}", "fixpoint({},cse)", "O1,{}"])
def test_an_error_in_a_pass_from_outside_is_raised_and_names_it(text):
    with pytest.raises(ShapeError) as raised:
        sg.compile(program()[0], pipeline=text.format("tests-careless"))
    assert raised.value.__notes__ == ["in pass tests-careless"]


def test_errors_are_raised_where_rewrites_are_watched(monkeypatch):
    break_pass(monkeypatch, "fold")
    with pytest.raises(ShapeError) as raised:
        pipeline("fold").run(program()[0], watch=print)
    assert raised.value.__notes__ == ["in pass fold"]


def test_memory_that_runs_out_is_no_defect_of_a_pass(monkeypatch):
    def run_out(*args):
        raise MemoryError

    monkeypatch.setattr(type(pipeline("cse").passes[0]), "apply", run_out)
    with pytest.raises(MemoryError):
        sg.compile(program()[0])


def test_each_pass_of_a_level_may_fail():
    for name in LEVELS:
        assert all(may_fail(graph_pass) for graph_pass in pipeline(name).passes)
