"""Pipeline text: reading, printing, levels, and a place for every mistake."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from passes.base import REGISTRY, Fixpoint, Pass, Pipeline
from passes.cse import CommonSubexpressions
from passes.dce import DeadNodes
from passes.fold import Fold
from passes.pipelines import LEVELS, pipeline
from staticgrad.errors import ArgumentError, ParseError, PipelineError, PluginWarning


class Named(Pass, name="pkg.named-pass"):
    """A pass from outside with an option of each kind."""

    label: str
    sizes: tuple[int, ...] = ()
    table: object = None


LEAVES = st.one_of(
    st.just(DeadNodes()),
    st.builds(CommonSubexpressions, border=st.booleans()),
    st.builds(Fold, limit=st.integers(0, 99)),
    st.builds(
        Named,
        label=st.text(max_size=8),
        sizes=st.lists(st.integers(-9, 9), max_size=3).map(tuple),
        table=st.one_of(st.none(), st.dictionaries(st.text(max_size=2), st.floats(0, 1))),
    ),
)
PASSES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Fixpoint, st.lists(inner, min_size=1, max_size=3).map(tuple), st.integers(1, 30)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@given(st.lists(PASSES, max_size=4))
def test_text_reads_back(passes):
    built = Pipeline(tuple(passes))
    assert pipeline(str(built)) == built


def test_a_level_stands_for_its_passes():
    assert str(pipeline("O0,residuals{flops=100}")) == "stabilize,parts,residuals{flops=100}"
    assert str(pipeline(" dce , O0")) == "dce,stabilize,parts"
    assert str(pipeline("fixpoint(O0,fold)")) == "fixpoint(stabilize,parts,fold)"
    assert pipeline("O1,cse") == pipeline(f"{LEVELS['O1']},cse")
    x = sg.input("x", ("n",))
    f = sg.compile(sg.tanh(x) * sg.tanh(x), pipeline="O0,cse")
    assert [report.name for report in f.explanation().passes] == ["stabilize", "parts", "cse"]


@pytest.mark.parametrize(
    ("text", "says", "column"),
    [
        ("dce,fuze", "no pass is named 'fuze'", 5),
        ("dce,", "expected the name of a pass", 5),
        ("O1,fuze", "no pass is named 'fuze'", 4),
        ("O1{limit=3}", "expected ',' or the end", 3),
        ("O7", "no pass is named 'O7'", 1),
        ("dce cse", "expected ',' or the end", 5),
        ("dce,,cse", "expected the name of a pass", 5),
        ("fold{size=3}", "no option 'size'", 6),
        ("fold{limit=1,limit=2}", "'limit' twice", 14),
        ("fold{limit 3}", "expected '='", 12),
        ("fold{limit=x}", "expected a Python literal", 12),
        ("fold{limit=3", "expected a Python literal", 12),
        ("fixpoint(dce", "expected ')'", 13),
        ("fixpoint", "expected '('", 9),
        ("pkg.named-pass", "'pkg.named-pass' needs label", 1),
    ],
)
def test_a_mistake_is_shown_where_it_stands(text, says, column):
    with pytest.raises(ParseError, match=re.escape(says)) as caught:
        pipeline(text)
    assert (caught.value.line, caught.value.column) == (1, column)
    assert text in str(caught.value)


def test_a_near_name_is_suggested():
    with pytest.raises(ParseError, match="did you mean 'fold'"):
        pipeline("flod")


def test_two_passes_of_one_name():
    with pytest.raises(PipelineError, match="two passes are named 'dce'"):

        class Impostor(Pass, name="dce"):
            """Not ours."""

    assert pipeline("dce") == Pipeline((DeadNodes(),))


def test_a_pass_is_known_by_its_name_once_it_is_defined():
    """Passes are registered as policies and ops are; a cell that is run again replaces one."""
    for rate in (2, 3):

        class Mine(Pass, name="my.own-pass"):
            """A pass of a user."""

            limit: int = rate

            def __call__(self, graph):
                return graph

        assert pipeline("O0,my.own-pass").passes[-1].limit == rate
    x = sg.input("x", (3,), "float32")
    f = sg.compile(sg.tanh(x), pipeline="my.own-pass{limit=5},O1")
    assert "my.own-pass{limit=5}" in str(f.options.pipeline)


class _Entry:
    """An entry point as ``importlib.metadata`` gives it; a pass is defined by ``load``."""

    dist = None

    def __init__(self, load, name="elsewhere"):
        self.name, self.value, self.load = name, "elsewhere:Loaded", load


def _failing(error):
    raise error


def _define_pass(name):
    class Loaded(Pass, name=name):
        """A pass of another package."""

        def __call__(self, graph):
            return graph

    return Loaded


@pytest.fixture
def elsewhere(monkeypatch):
    """No pass is named so yet, nor afterwards."""
    yield _Entry(lambda: _define_pass("elsewhere"))
    REGISTRY.pop("elsewhere", None)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (lambda: int, "is a class int, no named Pass"),
        (
            lambda: _failing(ImportError("no such library")),
            "cannot be imported: ImportError: no such library",
        ),
        (lambda: _failing(SystemExit(3)), "cannot be imported: SystemExit: 3"),
        (
            lambda: _define_pass("dce"),
            "cannot be imported: PipelineError: .*two passes are named 'dce'",
        ),
    ],
)
def test_a_broken_plugin_costs_a_warning(monkeypatch, load, reason, elsewhere):
    entries = [_Entry(load, "broken"), elsewhere]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)
    with pytest.warns(PluginWarning, match=reason):
        assert str(pipeline("elsewhere,dce")) == "elsewhere,dce"
    with pytest.warns(PluginWarning), pytest.raises(ParseError, match="did you mean 'fold'"):
        pipeline("flod")


def test_hits_are_reported_and_rewrites_watched():
    x = sg.input("x", ("n",))
    seen = []
    graph = sg.Graph(sg.negative(-x))
    _, reports = pipeline("dce,fixpoint(simplify,cse)").run(graph, watch=seen.append)
    assert dict(reports[1].hits) == {"negate-twice": 1}
    assert "negate-twice 1x" in str(reports[1])
    assert len(seen) == 1


# -- pipelines as objects -------------------------------------------------------------------------


@pytest.mark.parametrize("passes", ["dce,cse", Pipeline((DeadNodes(), CommonSubexpressions()))])
def test_compile_takes_a_pipeline_as_text_or_itself(passes):
    x = sg.input("x", ("n",), "float32")
    value = sg.tanh(x) + sg.tanh(x)
    f = sg.compile(value, pipeline=passes)
    assert str(f.graph).count("tanh(") == 1
    assert "dce,cse" in str(f.explanation().as_json())
    again = pickle.loads(pickle.dumps(f))
    feeds = {"x": np.linspace(-1, 1, 5, dtype="float32")}
    assert again.run(feeds).tobytes() == f.run(feeds).tobytes()


def test_compile_refuses_what_is_no_pipeline():
    x = sg.input("x", ("n",), "float32")
    with pytest.raises(ArgumentError, match="neither text nor a pass, but a list"):
        sg.compile(x + 1.0, pipeline=["dce"])
