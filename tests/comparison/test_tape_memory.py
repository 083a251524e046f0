"""The tape's peak beside PyTorch's and beside what the sizes say; the row of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison import torch_peer
from staticgrad.comparison.loading import subject
from staticgrad.comparison.memory import PARTS_OF_PEAK, tape_parts, tape_peak
from staticgrad.comparison.programs import program, unchanged
from staticgrad.comparison.report import Peer

RULES: dict[str, Callable[[], Any]] = {
    "sgd": lambda: sg.optim.SGD(0.01),
    "momentum": lambda: sg.optim.SGD(0.01, momentum=0.9),
    "adam": lambda: sg.optim.Adam(1e-3),
}


def perceptron() -> tuple[Any, list[Any]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 200)).astype("float32")
    layers = [sg.nn.Linear(200, 300), sg.nn.ReLU(), sg.nn.Linear(300, 300), sg.nn.Tanh()]
    return sg.nn.Sequential(*layers, sg.nn.Linear(300, 10)), [x, random.integers(0, 10, 64)]


def convolutions() -> tuple[Any, list[Any]]:
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 3, 24, 24)).astype("float32")
    net = sg.nn.Sequential(
        sg.nn.Conv2d(3, 16, 3, padding=1), sg.nn.ReLU(), sg.nn.MaxPool2d(2),
        sg.nn.Conv2d(16, 32, 5, stride=2), sg.nn.ReLU(), sg.nn.Flatten(), sg.nn.Linear(512, 10),
    )  # fmt: skip
    return net, [x, random.integers(0, 10, 16)]


def gathers() -> tuple[Any, list[Any]]:
    random = np.random.default_rng(0)
    net = sg.nn.Sequential(
        sg.nn.Embedding(5000, 16), sg.nn.Flatten(), sg.nn.Linear(160, 64), sg.nn.ReLU(),
        sg.nn.Linear(64, 4),
    )  # fmt: skip
    return net, [random.integers(0, 5000, (32, 10)), random.integers(0, 4, 32)]


@pytest.mark.thinned
@pytest.mark.parametrize("made", [perceptron, convolutions, gathers])
@pytest.mark.parametrize("rule", RULES)
def test_the_tape_holds_what_pytorch_holds(made: Any, rule: str) -> None:
    pytest.importorskip("torch")
    net, arrays = made()
    chosen = program(net, arrays, optimizer=RULES[rule]())
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    with unchanged(chosen):
        way = torch_peer.TorchTraining(chosen)
        for _ in range(2):
            way.step(batch)
        # Single tensors of PyTorch's Adam hold two more arrays of the largest parameter.
        assert tape_peak(chosen, batch) <= 1.1 * way.peak(batch)


@pytest.mark.slow
def test_the_parts_are_those_of_the_sizes() -> None:
    """A product with a large matrix: the peak is its gradient, beside next to nothing."""
    net = sg.nn.Linear(1000, 500, bias=False)
    arrays = [np.ones((4, 1000), "float32"), np.ones((4, 500), "float32")]
    for optimizer, state in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        chosen = program(net, arrays, optimizer=RULES[optimizer]())
        batch = chosen.draw(4, np.random.default_rng(0))
        with unchanged(chosen):
            parts = tape_parts(chosen, batch)
        weight, activations = 1000 * 500 * 4, 4 * 500 * 4
        assert parts["state"] == state * weight
        assert weight <= parts["gradients"] <= weight + 8 * activations
        assert parts["activations"] <= 4 * activations
        assert sum(parts[p] for p in PARTS_OF_PEAK) <= 1.05 * weight


def lstm_cell(steps: int, width: int) -> Any:
    layer, state = sg.nn.Linear(width, 4 * width), sg.nn.Linear(width, 4 * width, bias=False)

    class Net(sg.nn.Module):
        def __init__(self) -> None:
            self.layer, self.state = layer, state

        def forward(self, x: Any) -> Any:
            h = c = sg.zeros((x.shape[0], width), "float32")
            for t in range(steps):
                both = self.layer(x[:, t]) + self.state(h)
                i, f, u, o = (both[:, k * width : (k + 1) * width] for k in range(4))
                c = sg.sigmoid(f) * c + sg.sigmoid(i) * sg.tanh(u)
                h = sg.sigmoid(o) * sg.tanh(c)
            return h

    return Net()


@pytest.mark.slow
def test_an_lstm_holds_what_pytorch_holds() -> None:
    torch = pytest.importorskip("torch")
    steps, width, batch = 12, 32, 64
    arrays = [np.ones((batch, steps, width), "float32"), np.ones((batch, width), "float32")]
    chosen = program(lstm_cell(steps, width), arrays, optimizer=RULES["adam"]())
    layer, state = torch.nn.Linear(width, 4 * width), torch.nn.Linear(width, 4 * width, False)
    parameters = [*layer.parameters(), *state.parameters()]
    way = object.__new__(torch_peer.TorchTraining)

    def loss(given: Any) -> Any:
        x, target = given.values()
        h = c = torch.zeros(batch, width)
        for t in range(steps):
            both = layer(x[:, t]) + state(h)
            i, f, u, o = (both[:, k * width : (k + 1) * width] for k in range(4))
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
        return torch.nn.functional.mse_loss(h, target)

    way._loss, way._max_norm = loss, None
    way._optimizer = torch.optim.Adam(parameters)
    with unchanged(chosen):
        given = chosen.draw(batch, np.random.default_rng(0))
        for _ in range(2):
            way.step(given)
        assert tape_peak(chosen, given) <= 1.1 * way.peak(given)


# -- the row of PyTorch ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "mlp", "deep", "chars"])
def test_the_models_of_the_package_are_the_same_programs(name: str) -> None:
    pytest.importorskip("torch")
    chosen = subject(name)
    (found,) = torch_peer.peers(chosen, 0.05)
    assert not found.reason
    assert found.losses is not None
    assert found.losses < 1e-4
    assert found.tape
    assert found.pair is not None
    assert found.pair.by_run.cpu > 0


def test_what_pytorch_has_not_is_said_in_a_line() -> None:
    pytest.importorskip("torch")
    x, y = np.ones((4, 3), "float32"), np.ones((4, 2), "float32")

    class Own(sg.nn.Module):
        def __init__(self) -> None:
            self.layer = sg.nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x) * 2.0

    cases = [
        (program(Own(), [x, y]), "Own"),
        (program(sg.nn.Linear(3, 2), [x, y], optimizer=sg.optim.Lion(0.1)), "Lion"),
        (program(sg.nn.Linear(3, 2), [x, y], lambda o, t: (o - t).sum()), "loss of one's own"),
    ]
    for chosen, word in cases:
        with unchanged(chosen):
            (found,) = torch_peer.peers(chosen, 0.05)
        assert word in found.reason
        assert found.pair is None


def test_without_pytorch_there_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_peer, "torch", None)
    found: tuple[Peer, ...] = torch_peer.peers(subject("linear"), 0.05)
    assert found == ()
