"""``staticgrad plan`` and ``sg.plan_abstract`` on files, and problems that programs give."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.plan_report import Timeline
from staticgrad.analysis.planning.checking import check_plan
from staticgrad.analysis.planning.planner import plan_abstract
from staticgrad.analysis.planning.problem import (
    MemoryProblem,
    MemoryValue,
    problem_document,
    problem_of,
)
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import ArgumentError, BudgetInfeasible, UnknownArgumentError, VerifyError
from staticgrad.tools.commands import cli
from tests.planning.problems import chain, random_problem


def run(*arguments):
    return CliRunner().invoke(cli.main, ["plan", *arguments], catch_exceptions=False)


def test_a_file_becomes_a_plan_that_the_checker_accepts(tmp_path):
    file, plan = (str(tmp_path / name) for name in ("p.json", "plan.json"))
    problem = chain(16, seed=3)
    (tmp_path / "p.json").write_text(json.dumps(problem_document(problem)), "utf-8")
    top = sg.plan_abstract(file).height
    result = run("--abstract", file, "--budget", "60%", "--effort", "fast", "--json", plan)
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    actual = check_plan(problem, document, budget=int(0.6 * top))
    assert f"arena     {actual.height:,} bytes" in result.stdout
    same = sg.plan_abstract(problem_document(problem), 0.6, effort="fast")
    assert same.document() == document


def test_what_cannot_be_planned_is_said_in_a_line(tmp_path):
    file = tmp_path / "p.json"
    file.write_text(json.dumps(problem_document(chain(6))), "utf-8")
    result = run("--abstract", str(file), "--budget", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: [SG503] no plan of 'problem' within 1 bytes")
    assert run("--abstract", str(file), "--budget", "much").stderr.startswith("error: [SG108]")
    missing = run("--abstract", str(tmp_path / "none.json"))
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr
    nowhere = run("--abstract", str(file), "--json", str(tmp_path / "no" / "plan.json"))
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.stderr


@pytest.mark.parametrize("wrong", [{"budget": 1.5}, {"effort": "best"}, {"align": 0}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        sg.plan_abstract(chain(3), **wrong)


def test_without_a_budget_nothing_runs_again():
    assert sg.plan_abstract(chain(12)).overhead == 0
    with pytest.raises(UnknownArgumentError, match="there is no argument 'policy'"):
        sg.plan_abstract(chain(12), policy="sqrt")


def test_a_program_that_is_not_compiled_is_a_problem_that_names_its_lines(tmp_path):
    x = h = sg.input("x", ("n", 24))
    for k in range(4):
        h = sg.tanh(h @ sg.parameter(f"w{k}", np.eye(24, dtype="f4")))
    graph = sg.Graph({"dx": sg.grad((h * h).mean(), x)}, name="net")
    choices = sg.tradeoff(graph, {"n": 300})
    assert {op.line.partition(":")[0] for op in choices.problem.ops} == {Path(__file__).name}
    assert choices.problem.cost == pytest.approx(choices.everything.seconds)
    (tmp_path / "net.sg").write_text(str(graph), "utf-8")
    result = tradeoff(str(tmp_path / "net.sg"), "--size", "n=300", "--problem", str(tmp_path / "p"))
    assert result.exit_code == 0, result.stderr
    problem = problem_of(json.loads((tmp_path / "p").read_text("utf-8")))
    assert problem == choices.problem
    actual = sg.plan_abstract(problem, 0.8, effort="fast", align=64)
    schedule = choices.everything.plan.schedule
    planner = Planner(schedule)
    assert planner.repeats.is_valid(actual.order)
    layout = Timeline(planner.flow, actual.order, frozenset()).layout(
        planner.extents.at({"n": 300})
    )
    assert max(layout.loads) <= actual.load


def tradeoff(*arguments, text=None):
    return CliRunner().invoke(
        cli.main, ["tradeoff", *arguments], input=text, catch_exceptions=False
    )


def test_the_plans_of_a_graph_are_listed_and_written(tmp_path):
    x = h = sg.input("x", ("n", 24))
    for k in range(4):
        h = sg.tanh(h @ sg.parameter(f"w{k}", np.eye(24, dtype="f4")))
    graph = sg.Graph({"dx": sg.grad((h * h).mean(), x)}, name="net")
    file, figures, page = (str(tmp_path / name) for name in ("net.sg", "t.json", "t.html"))
    (tmp_path / "net.sg").write_text(str(graph), "utf-8")
    actual = sg.tradeoff(graph, {"n": 300})
    result = tradeoff(file, "--size", "n=300", "--json", figures, "--html", page, "--budget", "80%")
    assert result.exit_code == 0, result.stderr
    chosen = actual.within("80%")
    last = f"within 80%: {chosen.peak_bytes:,} bytes, {actual.share(chosen):.1%}"
    assert result.stdout.startswith(f"{actual}\n{last}, +")
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == actual.as_json()
    assert "Memory of net at n=300" in (tmp_path / "t.html").read_text("utf-8")
    assert tradeoff("-", "--size", "n=300", text=str(graph)).stdout == f"{actual}\n"
    few = tradeoff(file, "--size", "n=300", "--budget", "1")
    assert (few.exit_code, few.stdout) == (1, "")
    assert few.stderr == (
        "error: [SG503] no plan found of 'net' is within 1\n"
        f"  hint: the smallest needs {actual.smallest.peak_bytes:,} bytes\n"
    )
    assert tradeoff(file).stderr.startswith("error: [SG106] size 'n' is missing")
    assert "is not NAME=N" in tradeoff(file, "--size", "n").stderr


# -- problem documents -----------------------------------------------------------------------------


NAN = float("nan")


NO_TEXT = (None, 0, 1.5, True, [], {}, "\ud800")


NO_NAME = (None, 1.5, NAN, False, [], {}, "\udfff")


NO_NAMES = (None, 3, "a", {}, True, [None], [2.5], [["a0"]], [True])


NO_COUNT = (None, -1, -(10**30), 1 << 62, 10**30, 1.0, NAN, "1", True, [], {})


NO_NUMBER = (None, -1, -0.5, NAN, float("inf"), 1e300, 10**400, "1", True, [], {})


NO_ROWS = (None, {}, 3, "values", [3], [None], [[]], [["id", "a"]])


WHOLE = {
    "name": NO_TEXT,
    "provenance": NO_TEXT,
    "format": (*NO_TEXT, "", "staticgrad-schedule/1"),
    "values": NO_ROWS,
    "ops": NO_ROWS,
    "resident": (*NO_NAMES, ["nobody"]),
    "donated": (*NO_NAMES, ["nobody"]),
    "outputs": (*NO_NAMES, ["nobody"]),
}


VALUE = {"id": NO_NAME, "size": NO_COUNT, "kind": NO_TEXT, "alias_of": NO_NAME[1:]}


OP = {
    "id": NO_NAME,
    "name": NO_TEXT,
    "inputs": (*NO_NAMES, ["nobody"]),
    "outputs": (*NO_NAMES, ["nobody"]),
    "cost": NO_NUMBER,
    "workspace": NO_COUNT,
    "inplace": (*NO_NAMES, ["ab"], [["a0"]], [["a0", "a1", "a2"]], [["nobody", "a0"]]),
    "mutates": (*NO_NAMES, ["nobody"]),
    "reads_updated": NO_NAMES,
    "max_runs": (*NO_COUNT, 0),
    "line": NO_TEXT,
}


NEEDED = [("values",), ("ops",), ("format",), ("values", "id"), ("values", "size"), ("ops", "id")]


seeds = st.integers(0, 10_000)


def places(document, kind):
    """The objects of a kind that a document has, each with the words that messages have for it."""
    if kind == "document":
        return [(document, "")]
    rows = document[kind]
    return [(row, f"{kind}[{i}] {row['id']!r}") for i, row in enumerate(rows)]


def refusal_of(document):
    """The words of the one error that a document gives."""
    with pytest.raises(VerifyError) as raised:
        problem_of(document)
    error = raised.value
    assert error.headline.startswith("memory problem: ")
    assert "\n" not in error.headline
    return error


def names_the_place(error, words):
    """Return whether an error says where in a document it is: by number, or by name."""
    return not words or any(word in error.headline for word in words.split())


@settings(max_examples=150, deadline=None)
@given(seeds, st.data())
def test_what_a_field_cannot_have_is_refused_where_it_stands(seed, data):
    document = problem_document(random_problem(seed))
    kind, fields = data.draw(
        st.sampled_from([("document", WHOLE), ("values", VALUE), ("ops", OP)]), label="kind"
    )
    row, words = data.draw(st.sampled_from(places(document, kind)), label="place")
    field = data.draw(st.sampled_from([*fields]), label="field")
    wrong = data.draw(st.sampled_from(fields[field]), label="wrong")
    assume(row.get(field) != wrong)
    row[field] = wrong
    if kind != "document" and field == "id":
        words = words.split()[0]
    assert names_the_place(refusal_of(document), words or field)


@pytest.mark.parametrize("path", NEEDED, ids=".".join)
def test_what_must_stand_there_is_missed(path):
    document = problem_document(chain(3))
    row = document if len(path) == 1 else document[path[0]][1]
    del row[path[-1]]
    headline = refusal_of(document).headline
    assert f"lacks {path[-1]!r}" in headline or "the format is ''" in headline


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(["document", "values", "ops"]), st.text(max_size=12), st.data())
def test_a_field_that_nobody_reads_is_refused(seed, kind, extra, data):
    document = problem_document(random_problem(seed))
    row, words = data.draw(st.sampled_from(places(document, kind)))
    assume(extra not in {**WHOLE, **VALUE, **OP})
    row[extra] = 1
    error = refusal_of(document)
    assert names_the_place(error, words)
    assert "is not part of the format" in error.headline


def test_names_that_plans_write_alike_are_refused():
    document = problem_document(chain(3))
    document["values"][1]["id"], document["values"][2]["id"] = 7, "7"
    assert "value '7' occurs twice, as text 7" in str(refusal_of(document))
    document["values"][1]["id"], document["values"][2]["id"] = "workspace", "a1"
    assert "a value is named 'workspace'" in str(refusal_of(document))


def test_a_cycle_of_ops_and_one_of_views_are_told():
    document = problem_document(chain(2))
    document["ops"][0]["inputs"] = ["a1"]
    assert "op 'f0' reads 'a1' before an op of the list makes it" in str(refusal_of(document))
    views = [MemoryValue(f"v{i}", 0, alias_of=f"v{(i + 1) % 3}") for i in range(3)]
    with pytest.raises(VerifyError, match="is a view of itself"):
        MemoryProblem(tuple(views), ())


NUMBERS = st.one_of(
    st.integers(0, 1 << 50), st.floats(0, 1e299), st.sampled_from([0, 1e-300, 5e-324, 1e299])
)


@settings(max_examples=60, deadline=None)
@given(seeds, st.data())
def test_any_numbers_give_a_plan_that_holds_or_one_error(seed, data):
    document = problem_document(random_problem(seed))
    for row in document["ops"]:
        row["cost"] = data.draw(NUMBERS)
    row = data.draw(st.sampled_from(document["values"]))
    row["size"] = data.draw(st.integers(0, 1 << 49))
    budget = data.draw(st.sampled_from([None, 0, 1, 20, 10**40, "50%", "1%", 0.3, "64MiB"]))
    align = data.draw(st.sampled_from([1, 64, 1 << 62]))
    try:
        plan = plan_abstract(document, budget, effort="fast", align=align)
    except (VerifyError, BudgetInfeasible):
        return
    check_plan(problem_of(document), plan.document(), align=align)


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.integers(0, 400)))
@pytest.mark.filterwarnings("error")
def test_a_file_of_anything_is_told_in_one_line(tmp_path_factory, content):
    """Random bytes, and a document that ends in the middle."""
    file = tmp_path_factory.mktemp("problems") / "p.json"
    document = json.dumps(problem_document(chain(3))).encode()
    file.write_bytes(document[:content] if isinstance(content, int) else content)
    result = CliRunner().invoke(cli.main, ["plan", "--abstract", str(file)], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: [SG203] memory problem: ")
