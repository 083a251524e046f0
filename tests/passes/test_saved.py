"""``sg.compile(graph, checkpoint=predicate)``: the pass ``saved``. The oracles are the program that
stores everything, whose bytes it keeps, and counts of what is computed again."""

from collections import Counter

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from passes.saved import SavedValues
from staticgrad import checkpoint_policies as cp
from staticgrad.compiling import scheduling
from staticgrad.errors import ArgumentError, ParseError, StaticgradError

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
    """How many nodes of each op the pass adds."""
    after = SavedValues(policy)(graph)
    count = Counter(node.op.name for node in after.nodes)
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
    wanted = sg.compile(graph).plan().peak_bytes
    updated = []
    policies = ["store_all", "dots_saveable", cp.save_only_these_names("h"), _is_dot]
    for policy in policies:
        f = sg.compile(network(), checkpoint=policy)
        updated.append([f.run(FEEDS)["loss"] for _ in range(2)])
        assert policy == "store_all" or f.peak_bytes < 0.9 * wanted
    assert all(np.array_equal(updated[0], each) for each in updated)
    whole = sg.compile(graph, checkpoint="dots_saveable").peak_bytes
    tight = sg.compile(graph, checkpoint="dots_saveable", memory_budget=whole - 64)
    assert tight.peak_bytes < whole


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
        with pytest.raises((StaticgradError, ParseError), match="none of sg"):
            pipeline(f'saved{{policy="{wrong}"}}')


def test_what_a_function_from_outside_decides_is_not_kept_on_disk():
    assert not scheduling._is_own(SavedValues(_is_dot))
    assert scheduling._is_own(SavedValues(ONLY))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (cp.save_only_these_names("q"), "no value is named 'q'"),
        ("dots_savable", "'dots_savable' is not a policy"),
        (cp.save_only_these_names, "makes a policy of its arguments"),
        (lambda op, *types: 1, "gives 1 for"),
    ],
)
def test_mistakes_are_named(policy, said):
    with pytest.raises(ArgumentError, match=said):
        sg.compile(network(1), checkpoint=policy)
