"""Digits by a multilayer perceptron: modules, dropout, AdamW along a cosine."""

import numpy as np
from sklearn.datasets import load_digits
from ways import show

import staticgrad as sg

TOLERANCE = 1e-4


def run(way, steps=200):
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    sg.nn.manual_seed(0)
    model = sg.nn.Sequential(
        sg.nn.Linear(64, 48), sg.nn.gelu, sg.nn.Dropout(0.1), sg.nn.Linear(48, 10)
    )
    opt = sg.optim.AdamW(sg.optim.cosine(1e-2, steps=200))

    def step(x, y):
        loss = sg.nn.cross_entropy(model(x), y)
        opt.minimize(loss)
        return loss

    step = way(step)
    batches = sg.train.Batches(images[:1500], labels[:1500], size=100, seed=1)
    losses = [step(x, y) for k in range(-(-steps // 15)) for x, y in batches.epoch(k)][:steps]
    model.eval()
    classes = way(lambda x: sg.argmax(model(x), axis=1))(images[1500:])
    return {"losses": np.array(losses), "right": np.mean(classes == labels[1500:])}


def check(found):
    assert found["right"] > 0.88
    assert found["losses"][-15:].mean() < 0.1


if __name__ == "__main__":
    check(show(run, TOLERANCE))
