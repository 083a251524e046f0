"""A step whose lookups cannot but fail has no iterations, and the plan says so."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.runtime.step import Table
from staticgrad.errors import IndexOutOfRange, VerifyError
from staticgrad.language.ir.index_checks import first_checks
from staticgrad.language.ir.schedule_text import parse_plan
from staticgrad.native import ROW_WORDS, Row
from tests.helpers.diagonals import diagonals
from tests.safety.fenced_runs import LOOKUPS


@diagonals(2, ("name", LOOKUPS), ("debug", [False, True]))
def test_the_plan_is_what_runs(name, debug):
    table, rows = sg.input("table", ("n", 40)), sg.input("rows", (5,), "int64")
    new = sg.input("new", (5, 40))
    outputs = {"y": LOOKUPS[name](table, rows, new)}
    f = sg.compile(sg.Graph(outputs, inputs=[table, rows, new]), debug=debug)
    for n in (0, 3):
        plan = f.plan(n=n)
        verify_plan(plan)
        failing = [planned for planned in plan.steps if planned.fails]
        assert bool(failing) == (n == 0)
        assert all(planned.total == 0 for planned in failing)
        assert parse_plan(str(plan)) == plan
        assert (" fails " in str(plan)) == (n == 0)
        words = Table(f._executor.program, plan)._words.array
        rows = words[: ROW_WORDS * len(plan.steps)].reshape(-1, ROW_WORDS)
        assert [Row(*row).total for row in rows] == [planned.total for planned in plan.steps]
    feeds = {"table": np.ones((0, 40), "f4"), "rows": np.zeros(5, "i8")}
    with pytest.raises(IndexOutOfRange, match="axis"):
        f.run({**feeds, "new": np.ones((5, 40), "f4")})


def test_a_plan_that_runs_such_a_step_is_refused():
    table, rows = sg.input("table", ("n", 40)), sg.input("rows", (5,), "int64")
    plan = sg.compile(sg.take(table, rows, 0)).plan(n=0)
    (step,) = plan.steps
    assert step.fails
    for wrong in (
        replace(step, fails=()),
        replace(step, total=200),
        replace(step, total=200, fails=()),
        replace(step, grain=step.grain + 1),
    ):
        with pytest.raises(VerifyError, match="the numbers of step 0"):
            verify_plan(replace(plan, steps=(wrong,)))


def test_a_lookup_outside_of_an_empty_loop_fails_too():
    """The rule of NumPy: rows of no columns are not in a table without rows."""
    table, rows = sg.input("table", ("n", "m")), sg.input("rows", (5,), "int64")
    f = sg.compile(sg.take(table, rows, 0))
    for columns in (0, 3):
        assert [step.fails != () for step in f.plan(n=0, m=columns).steps] == [True]
        with pytest.raises(IndexOutOfRange, match="axis"):
            f.run({"table": np.ones((0, columns), "f4"), "rows": np.zeros(5, "i8")})


# -- implied checks --------------------------------------------------------------------------------


WORDS, WIDTH, BATCH, TIME = 11, 16, 4, 7


def _tokens(dtype="int64", *, batch=BATCH, time=TIME):
    return sg.input("x", (batch, time), dtype)


def _checks(graph):
    """Count the steps that check an index, and those before parameters are written."""
    schedule = fuse(pipeline("O1")(graph))
    return sum(bool(step.checks()) for step in schedule.steps), len(first_checks(schedule))


def test_checks_of_something_else_are_barriers():
    table, small = (sg.parameter(n, np.ones((k, WIDTH), "f4")) for n, k in (("E", 11), ("S", 10)))
    x, y = _tokens(), sg.input("y", (BATCH, TIME), "int64")
    scores = sg.input("scores", (BATCH, WORDS), "float32")

    def update_after_lookup(looked, rows, into=table):
        """A lookup, whose sum says what is added to some rows."""
        added = sg.tanh(looked).sum() * sg.ones((*rows.shape, WIDTH))
        new = into + sg.scatter_add(added, rows, into.shape[0])
        return sg.Graph({"sum": looked.sum()}, {into: new})

    column = x[:, 0]
    assert _checks(update_after_lookup(table[x], x)) == (2, 1)
    for graph in (
        update_after_lookup(table[x], y),  # other indices
        update_after_lookup(table[x], x, small),  # of fewer rows
        update_after_lookup(table[x[:, :5]], x),  # of some elements alone
        update_after_lookup(table[x * 2], x),  # of another function of them
        update_after_lookup(table[x], sg.concat([x[:, 1:], x[:, :1] + 1], 1)),
        # one that wraps says nothing of one that does not
        sg.Graph(
            {"loss": sg.nn.cross_entropy(scores * table[column].sum(), column)},
            {small: small * 0.5},
        ),
    ):
        looking, first = _checks(graph)
        assert looking == first == 2


class _Model:
    """A table, layers (or a loop over columns), an output of classes; its step, and its state."""

    def __init__(self, optimizer, loop=False, **options):
        random = np.random.default_rng(1)
        shapes = {"E": (WORDS, WIDTH), "w": (WIDTH, WIDTH), "u": (WIDTH, WORDS)}
        self.params = [sg.parameter(n, random.normal(size=s)) for n, s in shapes.items()]
        table, w, u = self.params
        x, labels = _tokens(), sg.input("labels", (BATCH, TIME), "int64")
        if loop:
            start = sg.zeros((BATCH, WIDTH), dtype="float64")
            _, h = sg.scan(lambda h, rows: (sg.tanh(h @ w + table[rows]),) * 2, start, x.T)
        else:
            h = table[x]
            for _ in range(3):
                h = h + sg.tanh(h @ w)
        loss = sg.nn.cross_entropy((h @ u).reshape((-1, WORDS)), sg.ravel(labels))
        updates = optimizer.updates(loss, self.params)
        self.all = [*updates]
        self.f = sg.compile(sg.Graph({"loss": loss}, updates), **options)
        self.feeds = {n: random.integers(0, WORDS, (BATCH, TIME)) for n in ("x", "labels")}

    def parameter_bytes(self):
        """The bytes of all parameters."""
        return [np.asarray(parameter.value).tobytes() for parameter in self.all]


RUNS = {
    "SGD": (sg.optim.SGD(0.1), ({}, {"threads": 2, "memory_budget": "80%"})),
    "loop": (sg.optim.SGD(0.1), ({"loop": True, "threads": 2},)),
    "Adam": (sg.optim.Adam(0.1), ({"checkpoint": "recompute"}, {"debug": "nan"})),
}


#: Feeds that fail: which, where, and by what.
WRONG = (
    ("x", (0, 0), WORDS),
    ("x", (BATCH // 2, 3), -WORDS - 1),
    ("x", (-1, -1), 2**40),
    ("labels", (0, 0), -1),
    ("labels", (-1, -1), WORDS),
)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("run", RUNS)
def test_a_failing_index_leaves_every_parameter_old(run):
    optimizer, options_of_runs = RUNS[run]
    finals = set()
    for options in options_of_runs:
        model = _Model(optimizer, **options)
        old_state = model.parameter_bytes()
        for name, place, wrong in WRONG:
            feeds = {key: array.copy() for key, array in model.feeds.items()}
            feeds[name][place] = wrong
            with pytest.raises(IndexOutOfRange, match=str(wrong)) as actual:
                model.f.run(feeds)
            assert run == "loop" or f"feed {name!r}" in str(actual.value)
            assert model.parameter_bytes() == old_state
        losses = [model.f.run(model.feeds)["loss"].tobytes() for _ in range(2)]
        finals.add((*losses, *model.parameter_bytes()))
        plan = model.f.plan()
        verify_plan(plan)
        schedule = plan.schedule
        late = {n for n, s in enumerate(schedule.steps) if s.checks()} - first_checks(schedule)
        positions = [at for at, planned_step in enumerate(plan.steps) if planned_step.step in late]
        # The updates of a loop are all behind it; it may have no check that comes late.
        assert run == "loop" or max(positions) > plan.commit
    assert len(finals) == 1
