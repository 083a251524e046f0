"""Digits by a convolutional network with batch norm, whose running statistics are updates, too."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 2e-4
nn = sg.nn


def run(way: Way, steps: int = 120) -> Found:
    digits: Any = load_digits()
    labels: Array = digits.target
    images: Array = (digits.data / 16).astype("float32").reshape(-1, 1, 8, 8)
    nn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same", bias=False),
        nn.BatchNorm2d(8),
        nn.relu,
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding="same"),
        nn.relu,
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    opt = sg.optim.Adam(1e-2)

    def step(x: sg.Value, y: sg.Value) -> sg.Value:
        loss = nn.cross_entropy(model(x), y)
        opt.minimize(loss)
        return loss

    def classify(x: sg.Value) -> sg.Value:
        return sg.argmax(model(x), axis=1)

    stepped = way(step)
    batches = sg.train.Batches(images[:1500], labels[:1500], size=50, seed=1)
    losses = [stepped(x, y) for k in range(-(-steps // 30)) for x, y in batches.epoch(k)][:steps]
    model.eval()  # another program: the running statistics take the place of the batch's
    classes = way(classify)(images[1500:])
    states = {name: array for name, array in model.state_dict().items() if "running" in name}
    return {"losses": np.array(losses), "right": np.mean(classes == labels[1500:]), **states}


def check(found: Found) -> None:
    assert found["right"] > 0.85
    assert found["losses"][-15:].mean() < 0.2


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
