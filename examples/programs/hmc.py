"""Hamiltonian Monte Carlo (arXiv 1701.02434) of a correlated Gaussian, many chains side by side.

A leapfrog step is an iteration of a loop; a proposal is taken or not by ``where``. The places of
the chains are a parameter that each call updates.
"""

import numpy as np
from ways import Found, Way, show

import staticgrad as sg

TOLERANCE = 1e-9
CHAINS, LEAPS, LEAP = 64, 12, 0.25
MEAN = np.array([1.0, -2.0])
COVARIANCE = np.array([[1.0, 0.8], [0.8, 1.5]])


def run(way: Way, steps: int = 200) -> Found:
    rng, places = sg.random.Generator(0), sg.parameter("places", np.zeros((CHAINS, 2)))
    precision = np.linalg.inv(COVARIANCE)

    def energy(q: sg.Value) -> sg.Value:
        """Minus the logarithm of the density at each place, [..., 2]."""
        away = q - MEAN
        return 0.5 * ((away @ precision) * away).sum(-1)

    def total(q: sg.Value) -> sg.Value:
        return energy(q).sum()

    slope = sg.grad(total)

    def leap(_: sg.Value, state: tuple[sg.Value, sg.Value]) -> tuple[sg.Value, sg.Value]:
        q, p = state
        p = p - 0.5 * LEAP * slope(q)
        q = q + LEAP * p
        return q, p - 0.5 * LEAP * slope(q)

    def step() -> dict[str, sg.Value]:
        momenta = rng.normal(shape=(CHAINS, 2), dtype="float64")
        q, p = sg.fori_loop(0, LEAPS, leap, (places, momenta))
        before = energy(places) + 0.5 * (momenta**2).sum(-1)
        after = energy(q) + 0.5 * (p**2).sum(-1)
        taken = sg.log(rng.uniform(shape=(CHAINS,), dtype="float64")) < before - after
        now = sg.where(taken[:, None], q, places)
        places.update(now)
        return {"places": now, "taken": taken.mean()}

    stepped = way(step)
    found = [stepped() for _ in range(steps)]
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


def check(found: Found) -> None:
    seen = found["places"][20:].reshape(-1, 2)
    np.testing.assert_allclose(seen.mean(0), MEAN, atol=0.06)
    np.testing.assert_allclose(np.cov(seen.T), COVARIANCE, atol=0.12)
    assert 0.8 < found["taken"].mean() < 1.0


def main(**sizes: int) -> None:
    show(run, check, TOLERANCE, **sizes)


if __name__ == "__main__":
    main()
