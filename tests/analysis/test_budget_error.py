"""The error of a budget names copies of feeds, with their cure, and marks, with their bound."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.budgets import marked_bound
from staticgrad.analysis.plan_check import lower_bound
from staticgrad.compiler.memory.planner import Planner

N = 1000


def refusal_of(call):
    with pytest.raises(sg.BudgetInfeasible) as caught:
        call()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert len(str(caught.value).splitlines()) <= 12
    assert "more" not in str(caught.value).split("hint:")[0]
    return caught.value


def misaligned_array(dtype):
    return np.zeros(8 * N + 1, np.uint8)[1:].view(dtype)


#: The dtype of the input, a feed that is copied, why, and what needs no copy.
FEEDS = {
    "strided": ("f8", np.zeros(2 * N)[::2], "it is strided", "np.ascontiguousarray(x)"),
    "dtype": (
        "f8", np.zeros(N, "f4"), "it is float32, and the input is float64", "x.astype('float64')",
    ),
    "both": (
        "f8", np.zeros(2 * N, "f4")[::2], "it is float32 and strided",
        "np.ascontiguousarray(x, 'float64')",
    ),
    "byte order": ("f8", np.zeros(N, ">f8"), "stand in the other order", "x.astype('float64')"),
    "misaligned": ("f8", misaligned_array("f8"), "it is misaligned", "x.copy()"),
    "list": ("f8", [0] * N, "it is a list, which NumPy makes int64", "np.asarray(x, 'float64')"),
    "bools": (
        "?", np.full(N, 7, np.uint8).view(bool), "bytes other than 0 and 1", "x.view('uint8') != 0",
    ),
    "strided bools": ("?", np.zeros(2 * N, bool)[::2], "it is strided", "np.ascontiguousarray(x)"),
}  # fmt: skip


@pytest.mark.thinned(3)
@pytest.mark.parametrize("size", [N, "n"])
@pytest.mark.parametrize("name", FEEDS)
def test_a_copy_that_does_not_fit_is_named_with_its_cure(name, size):
    dtype, data, why, cure = FEEDS[name]
    x, y = sg.input("x", (size,), np.dtype(dtype).name), sg.input("y", (size,))
    step = sg.Graph({"z": sg.where(x, y, 0.0) if dtype == "?" else x * y})
    f = sg.compile(step, memory_budget=0)
    nbytes = N * np.dtype(dtype).itemsize
    plain = np.zeros(N, "f4")
    error = refusal_of(lambda: f.run({"x": data, "y": plain}))
    assert error.copied_feeds == {"x": nbytes}
    assert f"the copy of feed 'x' takes {nbytes} bytes of it: " in str(error)
    assert why in str(error)
    assert error.hint == f"without copies it needs 0 bytes, and fits: {cure}"
    healed = eval(cure, {"np": np, "x": data})
    assert f.run({"x": healed, "y": plain})["z"].shape == (N,)
    named = {"n": N} if size == "n" else {}
    assert "the copy of feed 'x'" in str(refusal_of(lambda: f.plan(staged=["x"], **named)))
    assert f.plan(**named).peak_bytes == 0


def test_a_copy_is_not_blamed_for_what_does_not_fit_without_it():
    x = sg.input("x", (N, 8))
    f = sg.compile(sg.nn.softmax(x @ sg.parameter("w", np.eye(8, dtype="f4")), axis=0).sum())
    needed = f.peak_bytes
    f = sg.compile(
        {"y": f.graph.outputs["output"], "k": sg.input("k", ("n",)).sum()},
        memory_budget=needed - 64,
    )
    error = refusal_of(lambda: f.run({"x": np.zeros((N, 8)), "k": np.zeros(1, "f4")}))
    assert f"without copies it needs {needed} bytes" in str(error)
    assert error.hint == "nothing was run; give it more memory or smaller feeds"
    assert error.copied_feeds == {"x": 32 * N}


def deep(layers, marks):
    x = sg.input("x", (64, 16))
    weights = [sg.parameter(f"w{i}", np.eye(16, dtype="f4")) for i in range(layers)]
    h = x
    for i, w in enumerate(weights):
        h = sg.tanh(h @ w)
        if i in marks:
            h = sg.checkpoint(h)
    loss = (h * h).mean()
    pairs = zip(weights, sg.grad(loss, weights), strict=True)
    return sg.Graph(loss, {w: w - 0.1 * d for w, d in pairs})


@pytest.mark.slow
def test_marks_that_pin_the_peak_are_named():
    """The last of six hidden layers of 4096 bytes is written beside the five before it."""
    f = sg.compile(deep(6, range(6)))
    error = refusal_of(lambda: sg.compile(deep(6, range(6)), memory_budget=f.peak_bytes // 2))
    assert error.marked_bound == 6 * 4096
    assert error.lower_bound == 2 * 4096
    assert "marks of sg.checkpoint keep 24576 bytes of it: test_budget_error.py:" in str(error)
    assert "no plan that keeps all marked needs fewer than 24576: matmul, tanh" in str(error)
    assert "take marks away" in error.hint
    assert sg.compile(deep(6, ()), memory_budget=f.peak_bytes // 2).peak_bytes <= f.peak_bytes // 2
    plain = refusal_of(lambda: sg.compile(deep(6, ()), memory_budget=100))
    assert plain.marked_bound == 0
    assert "marks" not in str(plain)


@pytest.mark.slow
@given(st.sets(st.integers(0, 7)), st.booleans())
@settings(max_examples=8, deadline=None)
def test_no_plan_that_keeps_the_marked_is_below_their_bound(marks, fuse):
    schedule = sg.compile(deep(8, marks), fuse=fuse).schedule
    plans = [plan for plan, _ in Planner(schedule).front({})]
    bounds = {marked_bound(plan)[0] for plan in plans}
    assert len(bounds) == 1
    (bound,) = bounds
    assert max(map(lower_bound, plans)) <= bound <= min(plan.peak_bytes for plan in plans)
    if len(marks) > 2:
        assert bound > lower_bound(plans[0])
