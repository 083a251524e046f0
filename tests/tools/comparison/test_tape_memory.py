"""The tape's peak beside PyTorch's and beside what the sizes say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison.memory import tape_memory, tape_peak
from staticgrad.comparison.programs import program, restore_afterwards

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
@pytest.mark.parametrize("make", [perceptron, convolutions, gathers])
@pytest.mark.parametrize("rule", RULES)
def test_the_tape_holds_what_pytorch_holds(make: Any, rule: str) -> None:
    pytest.importorskip("torch")
    from staticgrad.comparison import torch_peer

    net, arrays = make()
    chosen = program(net, arrays, optimizer=RULES[rule]())
    batch = chosen.draw(chosen.batch_size, np.random.default_rng(0))
    with restore_afterwards(chosen):
        way = torch_peer.TorchTraining(chosen)
        for _ in range(2):
            way.step(batch)
        # Single tensors of PyTorch's Adam hold two more arrays of the largest parameter.
        assert tape_peak(chosen, batch) <= 1.1 * way.peak(batch)


def test_small_arrays_are_counted_where_they_are_most() -> None:
    """Four parts keep their errors, of 25 float32 each; Adam's objects are most in the update."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 25, 20)).astype("float32")
    net, adam = sg.nn.Linear(20, 1), sg.optim.Adam(1e-2)

    def step(x: Any, y: Any) -> Any:
        loss = sum(((net(x[k]) - y[k]) ** 2).mean() for k in range(4))
        adam.minimize(loss)
        return loss

    chosen = program(step, (x, x.sum(2, keepdims=True)))
    with restore_afterwards(chosen):
        actual = tape_memory(chosen, chosen.draw(25, random))
    assert 4 * 25 * 4 <= actual.peak < 3000
    assert actual.causes.kept >= 4 * 25 * 4
    assert actual.causes.total == actual.peak
