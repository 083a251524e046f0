"""A gradient for every example of a batch: ``vmap`` of ``grad``, clipped one by one, then averaged.

The loss is written for one example. Private training (DP-SGD) bounds what each contributes, so it
needs the norm of every gradient; a loop over examples gives the same numbers.
"""

import numpy as np

import staticgrad as sg

rng = np.random.default_rng(0)
weights = {
    "w": sg.parameter("w", rng.normal(size=(20, 16)) * 0.3),
    "b": sg.parameter("b", np.zeros(16)),
    "out": sg.parameter("out", rng.normal(size=16) * 0.3),
}
x, y = sg.input("x", ("batch", 20), "float64"), sg.input("y", ("batch",), "float64")


def slopes(x, y):
    """The gradient of one example's loss."""
    hidden = sg.tanh(x @ weights["w"] + weights["b"])
    return sg.grad((hidden @ weights["out"] - y) ** 2, weights)


def clipped(grads, most=1.0):
    """One example's gradient, no longer than ``most``, and its length."""
    length = sg.sqrt(sum(sg.sum(g * g) for g in grads.values()))
    factor = most / sg.maximum(length, most)
    return {name: g * factor for name, g in grads.items()}, length


grads, lengths = sg.vmap(lambda x, y: clipped(slopes(x, y)))(x, y)
step = sg.Graph(
    {"lengths": lengths},
    {weights[name]: weights[name] - 0.1 * g.mean(axis=0) for name, g in grads.items()},
)
train = sg.compile(step)

# The same, an example at a time: each iteration of a loop has its gradient.
looped, _ = sg.map(lambda each: clipped(slopes(*each)), (x, y))
alike = sg.compile({f"{k}{way}": g[k] for way, g in ((0, grads), (1, looped)) for k in g})

feeds = {"x": rng.normal(size=(64, 20)), "y": rng.normal(size=64)}
found = alike.run(feeds)
error = max(float(np.abs(found[f"{k}0"] - found[f"{k}1"]).max()) for k in weights)
print(f"64 gradients, largest difference from those as a loop {error:.1e}")
assert error < 1e-12
for turn in range(5):
    lengths = train.run(feeds)["lengths"]
    print(f"step {turn}: longest {lengths.max():.2f}, clipped {int((lengths > 1).sum())} of 64")
