"""The same MLP trained both ways, compiled and define-by-run: the same losses."""

from itertools import pairwise

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor

SIZES = (30, 24, 16, 5)
STEPS = 50


def compiled_losses(initial, batches, dtype):
    x, labels = sg.input("x", ("batch", SIZES[0]), dtype), sg.input("labels", ("batch",), "int64")
    h = x
    parameters = []
    for n, (w0, b0) in enumerate(initial):
        w, b = sg.parameter(f"w{n}", w0), sg.parameter(f"b{n}", b0)
        parameters += [w, b]
        h = h @ w + b if n == len(initial) - 1 else sg.nn.relu(h @ w + b)
    loss = sg.nn.cross_entropy(h, labels)
    updates = sg.optim.SGD(0.1, momentum=0.5).updates(loss, parameters)
    step = sg.compile(sg.Graph({"loss": loss}, updates=updates))
    return [float(step.run({"x": a, "labels": c})["loss"]) for a, c in batches]


def eager_losses(initial, batches, dtype):
    layers = []
    for w0, b0 in initial:
        layer = sg.nn.Linear(*w0.shape, dtype=dtype)
        layer.load_state_dict({"weight": w0, "bias": b0})
        layers += [layer, sg.nn.ReLU()]
    net, losses = sg.nn.Sequential(*layers[:-1]), []
    optimizer = sg.optim.SGD(0.1, momentum=0.5)
    for a, c in batches:
        loss = sg.nn.cross_entropy(net(Tensor(a, dtype=dtype)), c)
        optimizer.minimize(loss)
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_both_ways_of_training_give_the_same_losses(dtype, tolerance):
    rng = np.random.default_rng(0)
    initial = [
        ((rng.normal(size=(m, n)) / np.sqrt(m)).astype(dtype), np.zeros(n, dtype))
        for m, n in pairwise(SIZES)
    ]
    truth = rng.normal(size=(SIZES[0], SIZES[-1]))
    batches = []
    for _ in range(STEPS):
        x = rng.normal(size=(32, SIZES[0])).astype(dtype)
        batches.append((x, np.argmax(x @ truth, axis=1)))
    expected = compiled_losses(initial, batches, dtype)
    found = eager_losses(initial, batches, dtype)
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert abs(ours - theirs) <= tolerance * (step + 1) * abs(theirs), step
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])
