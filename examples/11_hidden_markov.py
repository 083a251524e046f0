"""The likelihood of a hidden Markov model in log space, and what its gradient counts.

The forward algorithm is a `sg.scan` whose length is a named size: one program for sequences of any
length. The gradient of the log likelihood by the log of a transition is the expected number
of such transitions: the backward algorithm is nothing but reverse mode.
"""

from itertools import pairwise, product

import numpy as np

import staticgrad as sg

start = np.log([0.6, 0.3, 0.1])
moves = sg.input("moves", (3, 3), "float64")  # log chance from a state (row) to the next
shows = np.log([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4]])
seen = sg.input("seen", ("time",), "int64")


def forward(alpha, symbol):
    """Log chances of what was seen so far and of each state now."""
    alpha = sg.nn.logsumexp(alpha[:, None] + moves, 0) + sg.take(shows.T, symbol, 0)
    return alpha, None


alpha = start + sg.take(shows.T, seen[0], 0)
alpha, _ = sg.scan(forward, alpha, seen[1:])
likelihood = sg.nn.logsumexp(alpha)
model = sg.compile({"log p": likelihood, "moves": sg.grad(likelihood, moves)})

table = np.log([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.2, 0.3, 0.5]])
for symbols in ([0, 1, 2, 2], [2, 0, 1, 1, 0, 2]):
    found = model.run({"moves": table, "seen": symbols})
    # Every path through the states, one by one.
    chance, count = 0.0, np.zeros((3, 3))
    for path in product(range(3), repeat=len(symbols)):
        p = start[path[0]] + sum(shows[s, symbol] for s, symbol in zip(path, symbols, strict=True))
        p = np.exp(p + sum(table[a, b] for a, b in pairwise(path)))
        chance += p
        for a, b in pairwise(path):
            count[a, b] += p
    print(f"{len(symbols)} symbols: log p = {float(found['log p']):.6f}, {3 ** len(symbols)} paths")
    print(found["moves"].round(3))
    assert np.allclose(found["log p"], np.log(chance))
    assert np.allclose(found["moves"], count / chance)
print(f"{model.stats.plans} plans, compiled once")
