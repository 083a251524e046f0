"""Policies from outside that go wrong, what a plan says of its policy, and recompute <= sqrt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.remat import Policy, Problem, Recompute, Sqrt, as_policy
from passes.saved import SavedValues
from staticgrad import checkpoint_policies as cp
from staticgrad.compiler.compiling import scheduling
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner, plan
from staticgrad.errors import ArgumentError, ParseError, PolicyError, StaticgradError
from tests.helpers.diagonals import diagonals
from tests.laws.optimizers import SAMPLES, Case
from tests.memory.models import MODELS
from tests.passes.test_remat import chain_of, layers


class Proposes(Policy):
    """A policy that proposes the result of a function."""

    propose: Callable[[Problem], Any]

    def sequences(self, problem):
        return self.propose(problem)


def replace_step(problem, at, step):
    sequence = list(problem.order)
    sequence[at] = step
    return sequence


def early(problem):
    """A reader before what it reads."""
    order = list(problem.order)
    return [[order[1], order[0], *order[2:]]]


def late(problem):
    """The first forward step once more at the end, when its parameter has been written."""
    return [[*problem.order, 0]]


def twice(problem):
    return [[*problem.order, problem.flow.commits[0]]]


@pytest.mark.parametrize(
    ("propose", "says"),
    [
        (lambda p: None, "returned None instead of sequences"),
        (lambda p: 3, "returned an int instead of sequences"),
        (lambda p: "steps", "returned a text instead of sequences"),
        (lambda p: p.order, "sequence 0 is an int, no sequence of steps"),
        (lambda p: [None], "sequence 0 is None, no sequence of steps"),
        (lambda p: ["01"], "sequence 0 is a text, no sequence of steps"),
        (
            lambda p: [p.order, replace_step(p, 2, "tanh")],
            "sequence 1 has at position 2 a text 'tanh'",
        ),
        (
            lambda p: [replace_step(p, 0, 0.0)],
            "at position 0 a float 0.0, not the number of a step",
        ),
        (lambda p: [replace_step(p, 1, True)], "at position 1 a bool True"),
        (lambda p: [replace_step(p, 1, 99)], "at position 1 99, and the steps are 0 to 20"),
        (lambda p: [replace_step(p, 1, -1)], "at position 1 -1, and the steps are 0 to 20"),
        (lambda p: [], "it proposed no sequence at all"),
        (lambda p: [p.order[:-1]], r"sequence 0: step \d+ \(.*\) does not run"),
        (
            early,
            r"sequence 0: at position 0, step \d+ \(\) reads 'b\d+', which no step has written",
        ),
        (late, r"at position 21, step 0 \(\) reads 'b\d+', a parameter, after it was written"),
        (twice, r"step \d+ \(\) writes a parameter and runs 2 times|, a parameter, after"),
    ],
)
def test_a_policy_that_goes_wrong_is_named_with_the_rule(propose, says):
    schedule = layers(5)
    assert len(schedule.steps) == 21
    with pytest.raises(PolicyError, match="Proposes") as caught:
        plan(schedule, {"n": 40}, policy=Proposes(propose))
    caught.match(says)


def test_an_index_that_is_checked_too_late_is_a_fault():
    schedule = layers(3, check=True)
    planner = Planner(schedule)
    (check,) = planner.flow.checks
    unchecked = [step for step in planner.orders[0] if step != check]
    fault = planner.repeats.fault([*unchecked, check])
    assert fault is not None
    assert f"step {check} ()" in fault or "which no step has written yet" in fault


def test_the_users_exception_passes_with_a_note():
    def raise_late(problem):
        yield problem.order
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        plan(layers(3), {"n": 4}, policy=Proposes(raise_late))
    assert any("Proposes" in note for note in caught.value.__notes__)


def test_a_policy_without_sequences_and_a_class_are_refused():
    class Silent(Policy):
        """Says nothing."""

    with pytest.raises(PolicyError, match="does not say what runs again"):
        plan(layers(3), {"n": 4}, policy=Silent())
    with pytest.raises(ArgumentError, match=r"checkpoint=Sqrt\(\)"):
        as_policy(Sqrt)
    with pytest.raises(PolicyError, match="returned None"):
        sg.compile(chain_of(3), checkpoint=Proposes(lambda p: None), sizes={"batch": 5})


# -- what a plan says of its policy ---------------------------------------------------------------


def test_a_policy_that_found_nothing_says_so():
    x = sg.input("x", ("n", 4), "float32")
    w = sg.parameter("w", np.ones((4, 4), "float32"))
    loss = sg.tanh(x @ w).sum()
    graph = sg.Graph({"loss": loss}, {w: w - sg.grad(loss, w)})
    reason = "nothing is computed again: policy 'recompute' proposed nothing that needs fewer bytes"
    f = sg.compile(graph, checkpoint="recompute")
    assert reason in f.explain(n=8)
    assert reason in f.stats.reasons[-1]
    for options in ({}, {"memory_budget": "1MiB"}):
        limited = sg.compile(graph, **options)
        assert "nothing is computed again" not in limited.explain(n=8)
    again = sg.compile(chain_of(12), checkpoint="recompute")
    assert "nothing is computed again" not in again.explain(batch=100)
    assert "nothing is computed again" not in again.stats.reasons[-1]


# -- recompute and sqrt ---------------------------------------------------------------------------


def needs_no_more_than_sqrt(schedule, sizes):
    peaks = [Planner(schedule, policy).plan(sizes).peak_bytes for policy in (Recompute(), Sqrt())]
    assert peaks[0] <= peaks[1]
    return peaks[0], Planner(schedule).plan(sizes).peak_bytes


@pytest.mark.thinned(3)
@diagonals(2, ("name", MODELS), ("merge", [True, False]))
def test_recompute_needs_no_more_than_sqrt_in_models(name, merge):
    model = MODELS[name]()
    graph = Case(next(iter(SAMPLES))).step(model.loss, model.params, model.outputs)
    needs_no_more_than_sqrt(fuse(pipeline("O1")(graph), merge), {"batch": 40})


# -- costs ----------------------------------------------------------------------------------------


FEEDS = {"x": np.random.default_rng(0).normal(size=(256, 32)).astype("f4")}
ONLY = "save_only_these_names('h')"


def network(layers=6):
    """Layers of a named product and two operations on it, a step of Adam, the last layer given."""
    h = sg.input("x", (256, 32))
    weights = [sg.parameter(f"w{k}", np.eye(32, dtype="f4")) for k in range(layers)]
    for w in weights:
        h = sg.tanh(2.0 * sg.sin(sg.checkpoint_name(h @ w, "h")))
    loss = (h * h).mean()
    return sg.Graph({"loss": loss, "last": h}, sg.optim.Adam().updates(loss, weights))


def again(graph, policy):
    """Count the nodes of each op that the pass adds."""
    recomputing = SavedValues(policy)(graph)
    count = Counter(node.op.name for node in recomputing.nodes)
    return count - Counter(node.op.name for node in graph.nodes)


def test_what_is_not_saved_is_cloned_but_for_what_is_there_anyway():
    graph = network()
    assert again(graph, "everything_saveable") == Counter()
    dots = again(graph, "dots_saveable")
    assert (dots["matmul"], dots["sin"], dots["tanh"]) == (0, 5, 5)  # the last tanh is a result
    nothing = again(graph, "nothing_saveable")
    assert (nothing["matmul"], nothing["sin"], nothing["tanh"]) == (6, 5, 5)
    marked = sg.Graph({"dx": sg.grad(sg.sin(sg.sin(sg.checkpoint(sg.exp(X)))).sum(), X)})
    assert again(marked, "nothing_saveable")["exp"] == 0


X = sg.input("x", (3,), "float64")


@pytest.mark.slow
def test_a_predicate_is_a_policy_of_a_program_and_keeps_its_bytes():
    graph = network()
    expected = sg.compile(graph).plan().peak_bytes
    updated = []
    policies = ["store_all", "dots_saveable", cp.save_only_these_names("h"), _is_dot]
    for policy in policies:
        f = sg.compile(network(), checkpoint=policy)
        updated.append([f.run(FEEDS)["loss"] for _ in range(2)])
        assert policy == "store_all" or f.peak_bytes < 0.9 * expected
    assert all(np.array_equal(updated[0], value) for value in updated)
    unlimited_peak = sg.compile(graph, checkpoint="dots_saveable").peak_bytes
    tight = sg.compile(graph, checkpoint="dots_saveable", memory_budget=unlimited_peak - 64)
    assert tight.peak_bytes < unlimited_peak


def _is_dot(op, *types):
    return bool(op.name == "matmul")


def test_a_policy_is_text_in_a_pipeline():
    graph = network()
    text = f'saved{{policy="{ONLY}"}},O1'
    passes = pipeline(text)
    assert str(pipeline(str(passes))) == str(passes)
    assert (
        sg.compile(graph, pipeline=text).peak_bytes == sg.compile(graph, checkpoint=ONLY).peak_bytes
    )
    for wrong in ("dots", "dots_saveable()", "save_only_these_names()", "print('a')"):
        with pytest.raises((StaticgradError, ParseError), match="not one of sg"):
            pipeline(f'saved{{policy="{wrong}"}}')


def test_what_a_function_from_outside_decides_is_not_kept_on_disk():
    assert not scheduling._is_own(SavedValues(_is_dot))
    assert scheduling._is_own(SavedValues(ONLY))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (cp.save_only_these_names("q"), "no value is named 'q'"),
        ("dots_savable", "'dots_savable' is not a policy"),
        (cp.save_only_these_names, "makes a policy of its arguments"),
        (lambda op, *types: 1, "gives 1 for"),
    ],
)
def test_mistakes_are_named(policy, message):
    with pytest.raises(ArgumentError, match=message):
        sg.compile(network(1), checkpoint=policy)
