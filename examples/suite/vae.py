"""A variational autoencoder with a reparametrized normal."""

import numpy as np

import staticgrad as sg

draw, noise = np.random.default_rng(0), sg.random.Generator(0)
encode, decode = sg.nn.Linear(32, 16), sg.nn.Linear(8, 32)


def loss(x):
    mean, log_variance = sg.split(encode(x), 2, axis=1)
    z = mean + sg.exp(0.5 * log_variance) * noise.normal(shape=mean.shape)
    spread = (sg.exp(log_variance) + mean**2 - 1.0 - log_variance).sum(1)
    return (((decode(z) - x) ** 2).sum(1) + 0.5 * spread).mean() / 32.0


example = loss, draw.normal(size=(64, 32)).astype("float32")
