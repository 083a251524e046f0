"""The same program in PyTorch and JAX: its figures, and the reason where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison import compare, peers, table
from staticgrad.comparison.loading import load_peer, subject
from staticgrad.comparison.page import page
from staticgrad.comparison.peers import measure_peers
from staticgrad.comparison.programs import program
from staticgrad.comparison.report import COMPILED_TORCH, JAX, TORCH, Peer, TapeAlone
from staticgrad.comparison.ways import DefineByRun
from staticgrad.errors import ArgumentError, UnknownNameError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 6)).astype("float32")
Y = X.sum(1, keepdims=True)
START = RANDOM.normal(size=(6, 1)).astype("float32")
W = sg.parameter("w", START)
ADAM = sg.optim.Adam(1e-2)


def loss(x: Any, y: Any) -> Any:
    return ((x @ W - y) ** 2).mean()


def step(x: Any, y: Any) -> Any:
    value = loss(x, y)
    ADAM.minimize(value)
    return value


def rows(what: Any, **programs: Any) -> dict[str, Peer]:
    chosen = program(what, (X, Y))
    peers = {peer.name: peer for peer in measure_peers(chosen, 0.0, **programs)}
    np.testing.assert_array_equal(W.value, START)
    return peers


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, whose compiler gives the function back: compiling takes half a minute."""
    library = pytest.importorskip("torch")
    monkeypatch.setattr(library, "compile", lambda function: function)
    return library


def test_a_step_in_pytorch(torch: Any) -> None:
    w = torch.tensor(START, requires_grad=True)
    adam = torch.optim.Adam([w], 1e-2)

    def in_torch(x: Any, y: Any) -> Any:
        value = ((x @ w - y) ** 2).mean()
        adam.zero_grad()
        value.backward()
        adam.step()
        return value

    actual = rows(step, torch=in_torch)
    for name in (TORCH, COMPILED_TORCH):
        assert not actual[name].reason
        assert actual[name].losses < 1e-5
        assert actual[name].first > 0
        # at least the difference and the square: 2 arrays of 16 floats
        assert 2 * 16 * 4 <= actual[name].tape < 4096
    np.testing.assert_array_equal(w.detach().numpy(), START)
    assert actual[JAX].reason == "no program: jax=(step, state), or --jax"
    way = peers._makers(program(step, (X, Y)), in_torch, None, peers.ExitStack())[TORCH]()
    first = way.step({"x": X, "y": Y})
    assert way.step({"x": X, "y": Y}) < first
    way.restore()  # parameters and the state of the optimizer
    assert way.step({"x": X, "y": Y}) == first
    way.restore()
    np.testing.assert_array_equal(w.detach().numpy(), START)


def test_a_loss_is_trained_by_the_same_rule(torch: Any) -> None:
    numpy = pytest.importorskip("jax.numpy")
    w = torch.tensor(START, requires_grad=True)
    peers = rows(
        loss,
        torch=lambda x, y: ((x @ w - y) ** 2).mean(),
        jax=(lambda w, x, y: numpy.mean((x @ w - y) ** 2), START),
    )
    for peer in peers.values():
        assert not peer.reason
        assert peer.losses < 1e-5
        assert peer.pair is not None
        assert peer.tape > 0


def test_a_step_in_jax() -> None:
    jax = pytest.importorskip("jax")

    def in_jax(state: Any, x: Any, y: Any) -> Any:
        w, m, v, t = state
        value, g = jax.value_and_grad(lambda w: ((x @ w - y) ** 2).mean())(w)
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 1e-2 * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        return value, (w, m, v, t)

    zero = np.zeros_like(START)
    row = rows(step, torch=False, jax=(in_jax, (START, zero, zero, np.float32(0))))[JAX]
    assert not row.reason
    assert row.losses < 1e-5
    row = rows(step, torch=False, jax=(lambda w, x, y: ((x @ w - y) ** 2).mean(), START))[JAX]
    assert "Adam" in row.reason or "another program" in row.reason


def test_another_program_has_no_figure(torch: Any) -> None:
    w = torch.tensor(START * 1.01, requires_grad=True)
    row = rows(loss, torch=lambda x, y: ((x @ w - y) ** 2).mean())[TORCH]
    assert row.pair is None
    assert "its loss at step 1 is" in row.reason
    row = rows(loss, torch=lambda x, y: x.no_such_method())[TORCH]
    assert row.reason.startswith("AttributeError: 'Tensor' object has no attribute")


def test_random_numbers_agree_in_the_mean(torch: Any) -> None:
    draw, w = sg.random.Generator(3), torch.tensor(START, requires_grad=True)

    def noisy(x: Any, y: Any) -> Any:
        mask = draw.uniform(shape=x.shape) < 0.8
        return ((sg.where(mask, x, 0.0) @ W - y) ** 2).mean()

    def drop(share: float) -> Any:
        return lambda x, y: ((torch.where(torch.rand_like(x) < share, x, 0.0) @ w - y) ** 2).mean()

    torch.manual_seed(0)
    assert not rows(noisy, torch=drop(0.8))[TORCH].reason
    assert "the mean of its losses" in rows(noisy, torch=drop(0.0))[TORCH].reason


class Counted:
    """A way that notes what is called."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.calls: list[str] = []
        WAYS.append(self)

    def call(self, batch: Any) -> None:
        self.calls.append("call")

    def step(self, batch: Any) -> float:
        self.calls.append("step")
        return 0.0


WAYS: list[Counted] = []


def test_every_library_is_timed_by_the_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of the loss is made outside of what is timed, on both sides."""
    monkeypatch.setattr(peers, "DefineThenRun", Counted)
    WAYS.clear()
    peers._race(program(loss, (X, Y)), [{"x": X, "y": Y}], [Counted()], 0.0)
    assert [{*way.calls} for way in WAYS] == [{"call"}] * 2


def test_a_program_without_a_graph_stands_beside_the_tape(torch: Any) -> None:
    """Each step that is timed is a first one: from the start values it takes as many updates."""
    w, counts = sg.parameter("w", START), []
    rule = sg.optim.SGD(0.1)

    def until(x: Any, y: Any) -> Any:
        value = ((x @ w - y) ** 2).mean()
        while value > 3.0:
            rule.minimize(value)
            value = ((x @ w - y) ** 2).mean()
        return value

    def in_torch() -> Any:
        parameter = torch.tensor(START, requires_grad=True)
        sgd = torch.optim.SGD([parameter], 0.1)

        def step(x: Any, y: Any) -> Any:
            value, count = ((x @ parameter - y) ** 2).mean(), 0
            while value > 3.0:
                sgd.zero_grad()
                value.backward()
                sgd.step()
                value, count = ((x @ parameter - y) ** 2).mean(), count + 1
            counts.append(count)
            return value

        return step

    actual = compare(until, X, Y, torch=in_torch, seconds=0.0)
    assert isinstance(actual, TapeAlone)
    peers = {peer.name: peer for peer in actual.peers}
    assert peers[TORCH].reason == ""
    assert peers[TORCH].losses < 1e-5
    assert peers[TORCH].pair is not None
    assert peers[TORCH].tape > 0
    assert peers[JAX].reason.startswith("no program")
    *timed, last = counts[-28:-8] + counts[-1:]  # the others are under the profiler
    assert min(timed) == max(timed) == last > 1
    shown = table.peers(actual)
    assert [row[0] for row in shown.rows] == [
        "by run: staticgrad's tape", "by run: PyTorch", "then run: torch.compile", "then run: JAX",
    ]  # fmt: skip
    assert {len(row) for row in shown.rows} == {1 + len(shown.heads)}
    assert "then run: torch.compile" in page(actual)


def test_without_the_libraries_rows_have_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    actual = rows(loss, jax=lambda x, y: x)
    assert [peer.reason for peer in actual.values()] == [
        "PyTorch is not installed", "JAX is not installed",
    ]  # fmt: skip
    assert [*rows(loss, torch=False)] == [JAX]


def test_without_a_program_for_jax_there_is_none() -> None:
    assert rows(loss, torch=False)[JAX].reason.startswith("no program")


def test_the_character_model_is_the_same_program_in_pytorch() -> None:
    pytest.importorskip("torch")
    from staticgrad.comparison import torch_peer

    chosen = subject("chars")
    way, batch = torch_peer.training(chosen), chosen.draw(2, RANDOM)
    tape = DefineByRun(chosen)
    for _ in range(2):
        assert way.step(batch) == pytest.approx(tape.step(batch), rel=1e-5)
    chosen.restore()


@pytest.mark.parametrize(
    ("programs", "says"),
    [({"torch": 3}, "torch is"), ({"jax": (1, 2)}, "jax is"), ({"jax": [3]}, "jax is")],
)
def test_a_program_that_is_none(programs: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        compare(loss, X, Y, **programs)


def test_names_of_the_same_file(tmp_path: Any) -> None:
    file = tmp_path / "two_programs.py"
    file.write_text("def one(): return 1\ndef other(x): return x\n")
    assert load_peer(f"{file}:one", "other")(3) == 3
    assert load_peer("mlp", f"{file}:other")(4) == 4
    with pytest.raises(UnknownNameError, match="not in a file"):
        load_peer("mlp", "other")
