"""Budgets that depend on sizes: shares of what storing everything needs, and what memory has room
for. Oracles are the plans of budgets in bytes."""

import pickle

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, BudgetInfeasible
from staticgrad.native import processors
from tests.native.test_processors import SECOND


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

    def body(h, each):
        h = sg.tanh(each + h @ w)
        return h, h.sum()

    h, sums = sg.scan(body, sg.zeros((x.shape[1], 8)), x)
    loss = (h * h).sum() + sums.sum()
    return sg.Graph({"loss": loss, "dw": sg.grad(loss, w)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "share"), [(chain, 0.5), (chain, "50 %"), (chain, "0.5"), (recurrence, 0.6)]
)
def test_a_share_is_of_what_storing_everything_needs_at_those_sizes(made, share):
    graph = made()
    everything, shared = sg.compile(graph), sg.compile(graph, memory_budget=share)
    part = 0.6 if made is recurrence else 0.5
    for n in (200,) if made is recurrence else (3, 200):
        top = everything.plan(n=n).peak_bytes
        assert shared.plan(n=n).peak_bytes <= part * top
        if made is chain:
            told = sg.compile(graph, memory_budget=int(part * top)).plan(n=n)
            assert str(shared.plan(n=n)) == str(told)


def test_everything_is_all_of_it():
    graph = chain()
    all_of_it = pickle.loads(pickle.dumps(sg.compile(graph, memory_budget=1.0)))
    assert all_of_it.plan(n=50).peak_bytes == sg.compile(graph).plan(n=50).peak_bytes
    with pytest.raises(BudgetInfeasible, match=r"0\.01 of \d+, where everything is stored"):
        sg.compile(graph, memory_budget="1%").plan(n=50)


@pytest.mark.slow
def test_what_fits_stands_beside_feeds_and_parameters(monkeypatch):
    graph, n = chain(), 4000
    top = sg.compile(graph).plan(n=n).peak_bytes
    outside = n * 16 * 4 + 6 * 16 * 16 * 4 + 4  # x, weights, loss
    monkeypatch.setattr(processors, "allowed_memory", lambda: outside + top // 2)
    fitting = sg.compile(graph, memory_budget="fit")
    told = sg.compile(graph, memory_budget=top // 2)
    assert str(fitting.plan(n=n)) == str(told.plan(n=n))
    assert fitting.plan(n=10).peak_bytes == sg.compile(graph).plan(n=10).peak_bytes
    with pytest.raises(BudgetInfeasible, match="of feeds, parameters and results"):
        fitting.plan(n=10 * n)
    feeds = {"x": np.ones((n, 16), "f4")}
    again = sg.compile(chain(), memory_budget="fit")
    assert fitting.run(feeds)["loss"].tobytes() == again.run(feeds)["loss"].tobytes()
    assert fitting.peak_bytes == told.plan(n=n).peak_bytes
    monkeypatch.setattr(processors, "allowed_memory", lambda: None)
    with pytest.raises(ArgumentError, match="does not say"):
        sg.compile(graph, memory_budget="fit")


@pytest.mark.parametrize(
    "budget", [0.0, 1.01, -0.5, float("nan"), "0%", "101%", "%", "fits", "1.5", [0.5]]
)
def test_what_is_no_budget_is_refused(budget):
    with pytest.raises(ArgumentError, match="memory_budget="):
        sg.compile(chain(), memory_budget=budget)


@pytest.mark.parametrize(("text", "wanted"), [("4096\n", 4096), ("max\n", None), ("what?", None)])
def test_a_container_says_what_it_has(tmp_path, text, wanted):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "memory.max").write_text(text)
    (tmp_path / "mounts").write_text(SECOND.format(mount=tmp_path, root="/"))
    (tmp_path / "groups").write_text("0::/a\n")
    whole = processors.allowed_memory(tmp_path / "none", tmp_path / "none")
    found = processors.allowed_memory(tmp_path / "groups", tmp_path / "mounts")
    assert found == (whole if wanted is None else wanted)
