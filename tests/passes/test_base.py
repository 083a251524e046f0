"""The pipeline: what it checks, counts, dumps and leaves out; fixpoints."""

import dataclasses

import pytest

import staticgrad as sg
from passes.base import Fixpoint, Pass, Pipeline
from passes.cse import CommonSubexpressions
from passes.dce import DeadNodes
from passes.fold import Fold
from passes.remat.base import Policy
from staticgrad.errors import PipelineError, VerifyError
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.op import Op


class Reversed(Pass, name="reversed"):
    """Breaks the graph: operands after users."""

    def __call__(self, graph):
        return graph.with_nodes(reversed(graph.nodes), {})


class Toggle(Pass, name="toggle"):
    """Never settles: another equal graph each time; counts its calls."""

    calls: list = dataclasses.field(default_factory=list, compare=False)

    def __call__(self, graph):
        self.calls.append(1)
        return graph.with_nodes(graph.nodes, {})

    def options(self):
        return {}


class ToSchedule(Pass, name="to_schedule"):
    gives = "schedule"


@pytest.fixture
def graph():
    x = sg.input("x", (), "float64")
    return sg.Graph({"y": (x + 1.0) * (x + 1.0), "k": sg.constant(2.0) * 3.0})


def test_a_pass_a_policy_and_an_op_may_have_the_decorator():
    @dataclasses.dataclass(frozen=True)
    class Limited(Pass, name="limited"):
        limit: int = 3

    @dataclasses.dataclass(frozen=True)
    class Every(Policy):
        name = "every"
        count: int

    @dataclasses.dataclass(frozen=True)
    class Scaled(Op, name="tests.scaled"):
        by: float

    assert str(Limited(limit=4)) == "limited{limit=4}"
    for instance, field in ((Limited(), "limit"), (Every(2), "count"), (Scaled(0.5), "by")):
        assert dataclasses.replace(instance, **{field: 7}) != instance
        assert getattr(dataclasses.replace(instance, **{field: 7}), field) == 7
        for name in (field, "other"):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(instance, name, 1)


def test_each_pass_is_reported(graph):
    pipeline = Pipeline((CommonSubexpressions(), DeadNodes(), Fold(), DeadNodes()))
    reduced, reports = pipeline.run(graph)
    assert [(r.name, r.nodes_before, r.nodes_after, r.changed) for r in reports] == [
        ("cse", 9, 7, True),
        ("dce", 7, 7, False),
        ("fold", 7, 7, True),
        ("dce", 7, 5, True),
    ]
    assert all(report.seconds > 0 for report in reports)
    assert len(reduced.nodes) == 5
    assert [(r.bytes_before, r.bytes_after) for r in reports] == [
        (32, 24),  # four f64 scalars: x + 1.0 twice, their product, 2.0 * 3.0
        (24, 24),
        (24, 16),  # the last is a constant now
        (16, 16),
    ]


def test_nothing_to_do_gives_the_same_object(graph):
    assert Pipeline(())(graph) is graph
    done = Pipeline((CommonSubexpressions(), Fold(), DeadNodes()))(graph)
    assert Pipeline((CommonSubexpressions(), Fold(), DeadNodes()))(done) is done


def test_a_pass_that_breaks_the_graph_is_named(graph):
    with pytest.raises(VerifyError) as caught:
        Pipeline((DeadNodes(), Reversed(), Fold())).run(graph)
    assert caught.value.__notes__ == ["found after pass reversed"]


def test_the_input_is_verified_too(graph):
    broken = Reversed()(graph)
    with pytest.raises(VerifyError) as caught:
        Pipeline((DeadNodes(),))(broken)
    assert caught.value.__notes__ == ["found after the input"]
    Pipeline(()).run(broken, verify=False)


def test_passes_are_left_out_by_name(graph):
    pipeline = Pipeline((DeadNodes(), CommonSubexpressions(), Fold(), DeadNodes()))
    reduced, reports = pipeline.run(graph, disable=["dce", "cse"])
    assert [report.name for report in reports] == ["fold"]
    assert len(reduced.nodes) == 9
    with pytest.raises(PipelineError, match="no pass 'fuse' to disable"):
        pipeline.run(graph, disable=["fuse"])


def test_text_is_dumped_after_each_pass(graph, tmp_path, monkeypatch):
    pipeline = Pipeline((CommonSubexpressions(), DeadNodes()))
    reduced, _ = pipeline.run(graph, dump=tmp_path / "given")
    files = sorted((tmp_path / "given").iterdir())
    assert [file.name for file in files] == ["00-input.sg", "01-cse.sg", "02-dce.sg"]
    assert files[0].read_text() == str(graph).rstrip("\n") + "\n"
    assert files[2].read_text() == str(reduced).rstrip("\n") + "\n"
    monkeypatch.setenv("STATICGRAD_DUMP", str(tmp_path / "told"))
    pipeline(graph)
    assert len(list((tmp_path / "told").iterdir())) == 3


def test_levels_must_meet():
    with pytest.raises(PipelineError, match="'dce' cannot follow 'to_schedule'"):
        Pipeline((DeadNodes(), ToSchedule(), DeadNodes()))
    with pytest.raises(PipelineError, match="'fixpoint' cannot follow 'pipeline'"):
        Pipeline((Pipeline((ToSchedule(),)), Fixpoint((DeadNodes(),))))
    with pytest.raises(PipelineError, match="cannot follow"):
        Fixpoint((ToSchedule(),))


def test_a_fixpoint_ends_when_nothing_changes(graph):
    settle = Fixpoint((CommonSubexpressions(), Fold(), DeadNodes()))
    done = settle(graph)
    assert settle(done) is done
    assert len(done.nodes) == 5


def test_a_fixpoint_ends_at_its_limit(graph):
    toggle = Toggle()
    assert isinstance(Fixpoint((toggle,), limit=4)(graph), Graph)
    assert len(toggle.calls) == 4
    with pytest.raises(PipelineError, match="at least one pass and one round"):
        Fixpoint(())
    with pytest.raises(PipelineError, match="at least one pass and one round"):
        Fixpoint((toggle,), limit=0)
