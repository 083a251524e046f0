"""Plans of a program before a kernel is compiled, and the page of its memory. The oracle of the
plans are budgets in bytes; of bytes over time, the placements counted one by one."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import backends
from staticgrad.analysis.cost import plan_seconds
from staticgrad.compiler.reports.memory_page import held_bands
from staticgrad.compiler.reports.profiling import live_bytes
from staticgrad.errors import ArgumentError, BudgetInfeasible, UnknownNameError
from staticgrad.language.ir.plan import columns_with_repeats
from staticgrad.language.ops import loop_sums as sums


def network():
    """Four layers over open rows, in scopes, one of an awkward name."""
    h = sg.input("x", ("n", 24))
    weights = [sg.parameter(f"w{k}", np.eye(24, dtype="f4")) for k in range(4)]
    for k, w in enumerate(weights):
        with sg.scope("<b>&" if k == 3 else f"layer{k}"):
            h = sg.tanh(h @ w)
    loss = (h * h).mean()
    return sg.Graph({"loss": loss}, sg.optim.SGD(0.1).updates(loss, weights), name="net<1>")


@pytest.mark.parametrize("policy", ["sqrt", "recompute"])
def test_a_large_budget_keeps_what_a_policy_saves(policy):
    """A budget is a bound, no permission to store what the policy recomputes."""
    h, weights = sg.input("x", (64, 32), "float32"), []
    for k in range(12):
        weights.append(sg.input(f"w{k}", (32, 32), "float32"))
        h = sg.tanh(h @ weights[-1])
    graph = sg.Graph({f"g{k}": g for k, g in enumerate(sg.grad((h * h).sum(), weights))})
    stored = sg.compile(graph).peak_bytes
    recomputed = sg.compile(graph, checkpoint=policy).peak_bytes
    assert recomputed < 0.7 * stored
    for budget in (1 << 40, stored, recomputed):
        assert sg.compile(graph, checkpoint=policy, memory_budget=budget).peak_bytes <= recomputed


def test_a_loop_runs_before_the_first_write_of_a_parameter():
    """A run can be cancelled until then, so the loop comes first, at the price of some bytes: the
    update would end the life of the sorted array."""
    x, rows = sg.input("x", (4000,), "float64"), sg.input("rows", ("n", 4000), "float64")
    p = sg.parameter("p", np.zeros(4000))
    ordered = sg.sort(x)
    _, stack = sg.scan(lambda c, row: (0.5 * c + sg.sort(row)[7], c * row), ordered[0], rows)
    program = sg.compile(sg.Graph({"y": (stack * stack).sum()}, updates={p: p - ordered}))
    plan = program.plan(n=50)
    loops = [n for n, s in enumerate(plan.steps) if plan.schedule.steps[s.step].runs_loop]
    assert loops
    assert max(loops) < plan.commit < len(plan.steps)


def test_steps_run_in_the_order_in_which_values_die_early():
    """Run independent chains one after the other: more of them take no more memory."""

    def peak_of(chains):
        rows = []
        for k in range(chains):
            x, w = sg.input(f"x{k}", (64,), "float64"), sg.input(f"w{k}", (64, 2048), "float64")
            rows.append(sg.sort(x @ w))
        factors = [sg.input(f"v{k}", (2048, 8), "float64") for k in range(chains)]
        pairs = zip(rows, factors, strict=True)
        return sg.compile(
            {f"y{k}": sg.tanh(row) @ v for k, (row, v) in enumerate(pairs)}
        ).peak_bytes

    assert peak_of(9) <= peak_of(2) + 1024


@pytest.mark.slow
def test_each_choice_is_what_its_budget_plans(monkeypatch):
    graph = network()
    monkeypatch.setattr(backends, "compiled", None)  # no kernel is compiled
    actual = sg.tradeoff(graph, {"n": 300})
    monkeypatch.undo()
    assert len(actual.choices) > 2
    sizes, times = [c.peak_bytes for c in actual.choices], [c.seconds for c in actual.choices]
    assert sizes == sorted(sizes, reverse=True)
    assert times == sorted(times)
    assert actual.everything.peak_bytes == sg.compile(graph).plan(n=300).peak_bytes
    assert actual.everything.again == 0
    for choice in (actual.choices[1], actual.smallest):
        plan = sg.compile(graph, memory_budget=choice.peak_bytes).plan(n=300)
        assert (plan.peak_bytes, plan_seconds(plan)) == (choice.peak_bytes, choice.seconds)
        assert choice.again == len(plan.steps) - len(plan.schedule.steps) > 0
    with pytest.raises(BudgetInfeasible) as refusal:
        sg.compile(graph, memory_budget=actual.smallest.peak_bytes - 1).plan(n=300)
    assert refusal.value.smallest_peak == actual.smallest.peak_bytes
    assert refusal.value.lower_bound == actual.lower_bound <= actual.smallest.peak_bytes
    half = actual.within("80%")
    assert half is not None
    assert half.peak_bytes <= 0.8 * actual.everything.peak_bytes
    assert actual.within(actual.smallest.peak_bytes - 1) is None
    assert sg.tradeoff(sg.compile(graph), {"n": 300}) == actual
    document = json.loads(json.dumps(actual.as_json()))
    assert [c["peak_bytes"] for c in document["choices"]] == sizes
    assert str(actual).splitlines()[2].split()[:2] == [f"{sizes[0]:,}", "100.0%"]
    read_page(actual._repr_html_())
    many = dataclasses.replace(actual, choices=actual.choices * 20)
    read_page(many._repr_html_())
    assert many.html_table().count("<tr>") == 1 + 12 + 1 + len(many.choices)
    assert f"all {len(many.choices)} plans" in many.html_table()


@pytest.mark.slow
def test_loops_give_the_plans_of_all_their_divisions(monkeypatch):
    """And of some in which part of the iterations does not run again, as budgets have them."""
    monkeypatch.setattr(sums, "BLOCK_ROWS", 80)  # of two iterations
    x, w = sg.input("x", (64, 40, 8)), sg.input("w", (8, 8))
    h, _ = sg.scan(lambda h, row: (sg.tanh(row + h @ w),) * 2, sg.zeros((40, 8)), x)
    graph = sg.Graph({"dw": sg.grad((h * h).sum(), w)})
    actual = sg.tradeoff(graph)
    assert actual.smallest.peak_bytes < 0.5 * actual.everything.peak_bytes
    assert len(actual.choices) > 5
    assert str(sg.tradeoff(sg.compile(graph))) == str(actual)
    some = actual.within(0.7)
    assert some is not None
    assert some.peak_bytes > actual.smallest.peak_bytes
    budgeted = sg.compile(graph, memory_budget=some.peak_bytes)
    assert plan_seconds(budgeted.plan()) <= 1.01 * some.seconds


@pytest.mark.slow
def test_the_smallest_plan_of_few_segments_is_what_its_budget_compiles():
    """It keeps part of the iterations, which a whole level of segments has no bytes for."""
    path = Path(__file__).parents[2] / "examples" / "suite" / "lstm_scan.py"
    from staticgrad.comparison.loading import subject
    from staticgrad.comparison.ways import DefineThenRun

    program = subject(str(path))
    way = DefineThenRun(program)
    sizes = way.sizes(program.batch_size)
    smallest = sg.tradeoff(way.graph, sizes, threads=1).smallest.peak_bytes
    budgeted = sg.compile(way.graph, memory_budget=smallest, threads=1)
    assert budgeted.plan(**sizes).peak_bytes <= smallest
    below = sg.compile(way.graph, memory_budget=smallest - 1, threads=1)
    with pytest.raises(BudgetInfeasible) as refused:
        below.plan(**sizes)
    assert refused.value.smallest_peak == smallest


def test_what_has_no_tradeoff_is_told():
    graph = network()
    for sizes, word in ((None, "missing"), ({"m": 3, "n": 3}, "no size 'm'")):
        with pytest.raises(UnknownNameError, match=word):
            sg.tradeoff(graph, sizes)
    double = sg.function(lambda x: x * 2)
    for wrong in (None, "x", 3):
        with pytest.raises(ArgumentError, match="the arguments of a call") as refusal:
            sg.tradeoff(double, arguments=wrong)
        assert "arguments=(x, y)" in refusal.value.hint
    with pytest.raises(ArgumentError, match="this is none"):
        sg.tradeoff(graph, sizes, arguments=(np.ones(3),))


def test_bytes_over_time_are_those_of_the_placements():
    plan = sg.compile(network(), checkpoint="recompute").plan(n=50)
    bands = held_bands(plan, lambda buffer: buffer.name)
    assert [sum(column) for column in zip(*(b.sizes for b in bands), strict=True)] == live_bytes(
        plan
    )
    again = [k for k, column in enumerate(columns_with_repeats(plan)) if column == "q"]
    assert len(again) == len(plan.steps) - len(plan.schedule.steps) > 0


class Balance(HTMLParser):
    """Notes every tag, and that each is closed in order."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.words = []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in ("meta", "line", "rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read_page(page):
    """The words of a page whose tags are closed, and that reads no other file."""
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return " ".join(parser.words)


def test_the_page_says_what_is_held_by_scope_line_and_tensor(tmp_path):
    f = sg.compile(network(), memory_budget=0.6)
    path = f.report(tmp_path / "memory.html", n=200)
    page = path.read_text("utf-8")
    words = read_page(page)
    for expected in (
        "Memory of net<1> at n=200",
        "layer0",
        "<b>&",
        "by source line",
        "by scope",
        "What is computed again",
        "Everything is stored",
        Path(__file__).name,
    ):
        assert expected in words, expected  # fmt: skip
    assert "<script" not in page
    assert "http" not in page
    small = sg.compile(sg.input("x", (3,)) * 2).report(str(tmp_path / "small.html"))
    empty = small.read_text("utf-8")
    assert "the arena is empty" in read_page(empty)
    assert "<svg" not in empty
    with pytest.raises(UnknownNameError, match="size 'n' is missing") as caught:
        f.report(tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()
    (name,) = re.findall(r"(\w+)=\.\.\.", caught.value.hint)  # what the hint says is what works
    assert f.report(tmp_path / "other.html", **{name: 200}).exists()


def chain():
    """Six layers over open rows, and a step of gradient descent."""
    x = sg.input("x", ("n", 16))
    weights = [sg.parameter(f"w{k}", np.eye(16, dtype="f4")) for k in range(6)]
    h = x
    for w in weights:
        h = sg.tanh(h @ w)
    loss = (h * h).mean()
    return sg.Graph({"loss": loss}, sg.optim.SGD(0.1).updates(loss, weights))


def recurrence():
    """A loop that a budget divides into segments."""
    x, w = sg.input("x", (24, "n", 8)), sg.input("w", (8, 8))

    def body(h, row):
        h = sg.tanh(row + h @ w)
        return h, h.sum()

    h, sums = sg.scan(body, sg.zeros((x.shape[1], 8)), x)
    loss = (h * h).sum() + sums.sum()
    return sg.Graph({"loss": loss, "dw": sg.grad(loss, w)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "share"), [(chain, 0.5), (chain, "50 %"), (chain, "0.5"), (recurrence, 0.6)]
)
def test_a_share_is_of_what_storing_everything_needs_at_those_sizes(build, share):
    graph = build()
    everything, shared = sg.compile(graph), sg.compile(graph, memory_budget=share)
    part = 0.6 if build is recurrence else 0.5
    for n in (200,) if build is recurrence else (3, 200):
        top = everything.plan(n=n).peak_bytes
        assert shared.plan(n=n).peak_bytes <= part * top
        if build is chain:
            limited_plan = sg.compile(graph, memory_budget=int(part * top)).plan(n=n)
            assert str(shared.plan(n=n)) == str(limited_plan)


@pytest.mark.parametrize(
    "budget", [0.0, 1.01, -0.5, float("nan"), "0%", "101%", "%", "fits", "1.5", [0.5]]
)
def test_what_is_no_budget_is_refused(budget):
    with pytest.raises(ArgumentError, match="memory_budget="):
        sg.compile(chain(), memory_budget=budget)
