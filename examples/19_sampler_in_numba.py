"""Hamiltonian Monte Carlo in Numba around a compiled gradient, chains in threads.

Run me: python examples/19_sampler_in_numba.py
"""

import numba
import numpy as np

import staticgrad as sg

# Eight schools, without centre: effects of coaching and their standard errors.
effects = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
errors = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def energy(w):
    """Minus the log posterior of (mu, log tau, eight standardized effects)."""
    mu, log_tau, eta = w[0], w[1], w[2:]
    tau = sg.exp(log_tau)
    schools = (((effects - mu - tau * eta) / errors) ** 2).sum() / 2
    prior = (mu / 5.0) ** 2 / 2 + sg.log1p((tau / 5.0) ** 2) - log_tau
    return schools + prior + (eta**2).sum() / 2


posterior = sg.numba.function(sg.value_and_grad(energy), np.zeros(10))


@numba.njit
def chain(seed, draws, step, leaps):
    np.random.seed(seed)
    w, slope = np.zeros(10), np.empty(10)
    value, _ = posterior(w, out=(None, slope))
    samples, accepted = np.empty((draws, 10)), 0
    for draw in range(draws):
        p = np.random.normal(0.0, 1.0, 10)
        before = value + (p * p).sum() / 2
        new, new_slope, new_value = w.copy(), slope.copy(), value
        for _ in range(leaps):
            p -= step / 2 * new_slope
            new += step * p
            new_value, _ = posterior(new, out=(None, new_slope))
            p -= step / 2 * new_slope
        if np.random.random() < np.exp(before - new_value - (p * p).sum() / 2):
            w, slope, value = new, new_slope, new_value
            accepted += 1
        samples[draw] = w
    return samples, accepted / draws


@numba.njit(parallel=True)
def sample(chains, draws, step=0.12, leaps=12):
    samples, rates = np.empty((chains, draws, 10)), np.empty(chains)
    for number in numba.prange(chains):
        samples[number], rates[number] = chain(number, draws, step, leaps)
    return samples, rates


def main():
    """Sample four chains, and compare their means."""
    samples, rates = sample(4, 5000)
    samples = samples[:, 500:]
    mu, tau = samples[..., 0], np.exp(samples[..., 1])
    print(f"accepted {rates.mean():.0%}")
    print(f"mu {mu.mean():.1f}, tau {tau.mean():.1f}")
    within, between = mu.var(axis=1).mean(), mu.mean(axis=1).var()
    print(f"R-hat of mu {np.sqrt(1 + between / within):.3f}")
    assert abs(mu.mean() - 4.4) < 0.4
    assert abs(tau.mean() - 3.6) < 0.5


if __name__ == "__main__":
    main()
