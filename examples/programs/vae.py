"""Digits by a variational autoencoder (arXiv 1312.6114): a layer that draws, and a loss with it."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from ways import Array, Found, Way, show

import staticgrad as sg

TOLERANCE = 2e-4
nn = sg.nn


class Autoencoder(nn.Module):
    def __init__(self, latent: int = 4) -> None:
        self.encoder = nn.Sequential(nn.Linear(64, 48), sg.tanh, nn.Linear(48, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 48), sg.tanh, nn.Linear(48, 64))
        self.noise = sg.random.Generator(0)

    def forward(self, x: sg.Value) -> tuple[sg.Value, sg.Value]:
        """What is left of x, as log-odds of each pixel, and how far the code is from N(0, 1)."""
        mean, log_variance = sg.split(self.encoder(x), 2, axis=-1)
        code = mean + sg.exp(0.5 * log_variance) * self.noise.normal(shape=mean.shape)
        away = 0.5 * (mean**2 + sg.exp(log_variance) - 1.0 - log_variance)
        return self.decoder(code), away.sum(-1).mean()


def run(way: Way, steps: int = 300) -> Found:
    digits: Any = load_digits()
    images: Array = (digits.data / 16).astype("float32")
    nn.manual_seed(0)
    model, opt = Autoencoder(), sg.optim.Adam(5e-3)

    def step(x: sg.Value) -> dict[str, sg.Value]:
        logits, away = model(x)
        surprise = nn.binary_cross_entropy_with_logits(logits, x, reduction="none")
        loss = surprise.sum(-1).mean() + away
        opt.minimize(loss)
        return {"loss": loss, "away": away}

    stepped, losses = way(step), list[list[Array]]()
    batches = sg.train.Batches(images, size=128, seed=1)
    for k in range(steps):
        found = stepped(next(batches.epoch(k)))
        losses.append([found["loss"], found["away"]])

    fresh = sg.random.Generator(1)

    def drawn() -> sg.Value:
        code = fresh.normal(shape=(5, 4))
        return sg.sigmoid(model.decoder(code))

    return {"losses": np.array(losses), "drawn": way(drawn)()}


def check(found: Found) -> None:
    loss, away = found["losses"][-10:].mean(0)
    assert loss < 28.0
    assert 1.0 < away < 6.0


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
