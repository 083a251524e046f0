"""Leapfrog steps of Hamiltonian Monte Carlo in eight dimensions."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)


def energy(q):
    return (0.5 * q**2 + 0.1 * q**4).sum()


def step(q, p):
    for _ in range(5):
        p = p - 0.05 * sg.grad(energy(q), q)
        q = q + 0.1 * p
        p = p - 0.05 * sg.grad(energy(q), q)
    return energy(q) + (0.5 * p**2).sum(), q


example = step, draw.normal(size=8).astype("float32"), draw.normal(size=8).astype("float32")
