"""Four steps whose gradients are added up before an update."""

import numpy as np

import staticgrad as sg

draw, adam = np.random.default_rng(0), sg.optim.Adam(1e-2, accumulate=4)
net = sg.nn.Sequential(sg.nn.Linear(32, 64), sg.nn.ReLU(), sg.nn.Linear(64, 1))


def step(x, y):
    loss = ((net(x) - y) ** 2).mean()
    adam.minimize(loss)
    return loss


x = draw.normal(size=(32, 32)).astype("float32")
example = step, x, x.sum(1, keepdims=True)


def torch():
    import torch

    other = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    other.load_state_dict({n: torch.tensor(a) for n, a in net.torch_state().items()})
    rule, runs = torch.optim.Adam(other.parameters(), 1e-2), torch.zeros(())

    def step(x, y):
        loss = ((other(x) - y) ** 2).mean()
        (loss / 4).backward()
        runs.add_(1)
        if runs.item() % 4 == 0:
            rule.step()
            rule.zero_grad()
        return loss

    return step


def jax():
    import jax
    from jax import lax, nn, numpy as np

    start = net.torch_state()

    def loss(p, x, y):
        h = nn.relu(x @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]
        return ((h - y) ** 2).mean()

    def update(state):
        p, total, m, v, t, runs = state
        g, t = jax.tree.map(lambda a: a / 4, total), t + 1.0
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)

        def moved(a, m, v):
            return a - 1e-2 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

        return jax.tree.map(moved, p, m, v), jax.tree.map(np.zeros_like, total), m, v, t, runs

    def step(state, x, y):
        p, total, *rest, runs = state
        value, g = jax.value_and_grad(loss)(p, x, y)
        state = p, jax.tree.map(np.add, total, g), *rest, runs + 1
        return value, lax.cond((runs + 1) % 4 == 0, update, lambda state: state, state)

    zeros = jax.tree.map(np.zeros_like, start)
    return step, (start, zeros, zeros, zeros, np.float32(0), np.int32(0))
