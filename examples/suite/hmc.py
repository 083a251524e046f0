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


def torch():
    import torch

    def energy(q):
        return (0.5 * q**2 + 0.1 * q**4).sum()

    def slope(q):
        q = q.detach().requires_grad_()
        return torch.autograd.grad(energy(q), q)[0]

    def step(q, p):
        for _ in range(5):
            p = p - 0.05 * slope(q)
            q = q + 0.1 * p
            p = p - 0.05 * slope(q)
        return energy(q) + (0.5 * p**2).sum(), q

    return step


def jax():
    import jax

    def step(_, q, p):
        for _ in range(5):
            p = p - 0.05 * jax.grad(energy)(q)
            q = q + 0.1 * p
            p = p - 0.05 * jax.grad(energy)(q)
        return energy(q) + (0.5 * p**2).sum(), q

    return step, example[1]
