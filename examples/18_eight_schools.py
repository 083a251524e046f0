"""Eight schools: a hierarchical model sampled by NUTS, checked by quadrature.

The effects of coaching in eight schools have a common mean and spread (Gelman et al., "Bayesian
Data Analysis", 5.5). Each chain, with its adaptation, is one compiled program.

Run me: python examples/18_eight_schools.py
"""

import numpy as np
import scipy.stats

import staticgrad as sg

st = sg.stats
effect = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def density(v):
    """The logarithm of the posterior density, up to a constant; schools are mu + tau * z."""
    prior = st.norm.logpdf(v["mu"], 0, 5) + st.halfcauchy.logpdf(v["tau"], 0, 5)
    theta = v["mu"] + v["tau"] * v["z"]
    return prior + st.norm.logpdf(v["z"]).sum() + st.norm.logpdf(effect, theta, error).sum()


def exact():
    """Posterior means of mu and tau: the effects of the schools integrate out."""
    mu, tau = np.meshgrid(np.linspace(-25, 35, 301), np.exp(np.linspace(-9, 7, 801)))
    logs = (
        scipy.stats.norm.logpdf(mu, 0, 5) + scipy.stats.halfcauchy.logpdf(tau, 0, 5) + np.log(tau)
    )
    for value, own in zip(effect, error, strict=True):
        logs = logs + scipy.stats.norm.logpdf(value, mu, np.hypot(tau, own))
    weight = np.exp(logs - logs.max())
    return (weight * mu).sum() / weight.sum(), (weight * tau).sum() / weight.sum()


start = {"mu": 0.0, "tau": 1.0, "z": np.zeros(8)}
found = st.nuts(density, start, 0, transforms={"tau": st.transforms.positive})
table = found.summary()
for name, wanted in zip(("mu", "tau"), exact(), strict=True):
    row = table[name]
    print(
        f"{name} {row['mean']:.1f} by draws, {wanted:.2f} exactly;"
        f" R-hat {row['rhat']:.2f}, {row['ess']:.0f} effective draws"
    )
    assert abs(row["mean"] - wanted) < 4 * row["mcse"]
