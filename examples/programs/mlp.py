"""Digits by a multilayer perceptron: modules, dropout, AdamW along a cosine."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-4


def run(way: Way, steps: int = 200) -> Found:
    digits: Any = load_digits()
    labels: Array = digits.target
    images: Array = (digits.data / 16).astype("float32")
    sg.nn.manual_seed(0)
    model = sg.nn.Sequential(
        sg.nn.Linear(64, 48), sg.nn.gelu, sg.nn.Dropout(0.1), sg.nn.Linear(48, 10)
    )
    opt = sg.optim.AdamW(sg.optim.cosine(1e-2, steps=200))

    def step(x: sg.Value, y: sg.Value) -> sg.Value:
        loss = sg.nn.cross_entropy(model(x), y)
        opt.minimize(loss)
        return loss

    def classify(x: sg.Value) -> sg.Value:
        return sg.argmax(model(x), axis=1)

    stepped = way(step)
    batches = sg.train.Batches(images[:1500], labels[:1500], size=100, seed=1)
    losses = [stepped(x, y) for k in range(-(-steps // 15)) for x, y in batches.epoch(k)][:steps]
    model.eval()
    classes = way(classify)(images[1500:])
    return {"losses": np.array(losses), "right": np.mean(classes == labels[1500:])}


def check(found: Found) -> None:
    assert found["right"] > 0.88
    assert found["losses"][-15:].mean() < 0.1


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
