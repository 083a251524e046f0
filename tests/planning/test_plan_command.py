"""``staticgrad plan`` and ``sg.plan_abstract`` on files, and problems that programs give."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.analysis.plan_report import Timeline
from staticgrad.commands import cli
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.memory.planner import Planner
from staticgrad.planning.checking import check_plan
from staticgrad.planning.page import plan_page
from staticgrad.planning.problem import problem_document, problem_of
from tests.planning.problems import chain


def run(*arguments):
    return CliRunner().invoke(cli.main, ["plan", *arguments], catch_exceptions=False)


def test_a_file_becomes_a_plan_that_the_checker_accepts(tmp_path):
    file, plan, page = (str(tmp_path / name) for name in ("p.json", "plan.json", "plan.html"))
    problem = chain(16, seed=3)
    (tmp_path / "p.json").write_text(json.dumps(problem_document(problem)), "utf-8")
    top = sg.plan_abstract(file).height
    said = run(
        "--abstract", file, "--budget", "60%", "--effort", "fast", "--json", plan, "--html", page
    )
    assert said.exit_code == 0, said.stderr
    document = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    found = check_plan(problem, document, budget=int(0.6 * top))
    assert f"arena     {found.height:,} bytes" in said.stdout
    text = (tmp_path / "plan.html").read_text("utf-8")
    again = found.runs - len(problem.ops)
    assert text.count('<li class="again">') == again > 0
    assert len(re.findall("<rect ", text)) >= len(problem.ops)
    assert {f"{value.id}: {value.size:,} bytes" for value in problem.values if value.id != "x"} <= {
        *re.findall("<title>(.*?)</title></rect>", text)
    }
    listed = re.findall("<li.*?>(.*?)</li>", text)
    made = {value.id: value.size for value in problem.values}
    steps = {f"{v} ({made[v]:,})" for op in problem.ops for v in op.outputs}
    assert len(listed) == found.runs
    assert steps == {part for step in listed for part in step.partition(": ")[2].split(", ")}
    marks = [int(mark) for mark in re.findall(r">(\d+) B</text>", text)]
    assert marks == list(range(0, found.height + 1, marks[1]))
    assert 4 <= found.height // marks[1] < 8
    same = sg.plan_abstract(problem_document(problem), 0.6, effort="fast")
    assert same.document() == document


def test_what_cannot_be_planned_is_said_in_a_line(tmp_path):
    file = tmp_path / "p.json"
    file.write_text(json.dumps(problem_document(chain(6))), "utf-8")
    said = run("--abstract", str(file), "--budget", "1")
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith("error: [SG503] no plan of 'problem' within 1 bytes")
    assert run("--abstract", str(file), "--budget", "much").stderr.startswith("error: [SG108]")
    missing = run("--abstract", str(tmp_path / "none.json"))
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr
    nowhere = run("--abstract", str(file), "--json", str(tmp_path / "no" / "plan.json"))
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.stderr


@pytest.mark.parametrize("wrong", [{"budget": 1.5}, {"policy": "best"}, {"align": 0}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        sg.plan_abstract(chain(3), **wrong)


def test_store_all_runs_nothing_again():
    with pytest.raises(BudgetInfeasible):
        sg.plan_abstract(chain(12), 0.6, policy="store_all")
    assert sg.plan_abstract(chain(12), policy="store_all").overhead == 0


def test_a_program_that_is_not_compiled_is_a_problem_that_names_its_lines(tmp_path):
    x = h = sg.input("x", ("n", 24))
    for k in range(4):
        h = sg.tanh(h @ sg.parameter(f"w{k}", np.eye(24, dtype="f4")))
    graph = sg.Graph({"dx": sg.grad((h * h).mean(), x)}, name="net")
    choices = sg.tradeoff(graph, {"n": 300})
    assert {op.line.partition(":")[0] for op in choices.problem.ops} == {Path(__file__).name}
    assert choices.problem.cost == pytest.approx(choices.everything.seconds)
    (tmp_path / "net.sg").write_text(str(graph), "utf-8")
    said = tradeoff(str(tmp_path / "net.sg"), "--size", "n=300", "--problem", str(tmp_path / "p"))
    assert said.exit_code == 0, said.stderr
    problem = problem_of(json.loads((tmp_path / "p").read_text("utf-8")))
    assert problem == choices.problem
    found = sg.plan_abstract(problem, 0.8, effort="fast", align=64)
    schedule = choices.everything.plan.schedule
    planner = Planner(schedule)
    assert planner.repeats.is_valid(found.order)
    layout = Timeline(planner.flow, found.order, frozenset()).layout(planner.extents.at({"n": 300}))
    assert max(layout.loads) <= found.load
    page = plan_page(found)
    for op in problem.ops:
        assert f"# {op.line}</li>" in page


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
    found = sg.tradeoff(graph, {"n": 300})
    said = tradeoff(file, "--size", "n=300", "--json", figures, "--html", page, "--budget", "80%")
    assert said.exit_code == 0, said.stderr
    chosen = found.within("80%")
    last = f"within 80%: {chosen.peak_bytes:,} bytes, {found.share(chosen):.1%}"
    assert said.stdout.startswith(f"{found}\n{last}, +")
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == found.as_json()
    assert "Memory of net at n=300" in (tmp_path / "t.html").read_text("utf-8")
    assert tradeoff("-", "--size", "n=300", text=str(graph)).stdout == f"{found}\n"
    few = tradeoff(file, "--size", "n=300", "--budget", "1")
    assert (few.exit_code, few.stdout) == (1, "")
    assert few.stderr == (
        "error: [SG503] no plan found of 'net' is within 1\n"
        f"  hint: the smallest needs {found.smallest.peak_bytes:,} bytes\n"
    )
    assert tradeoff(file).stderr.startswith("error: [SG106] size 'n' is missing")
    assert "is not NAME=N" in tradeoff(file, "--size", "n").stderr
