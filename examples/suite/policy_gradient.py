"""The gradient of returns by a policy over five actions."""

import numpy as np

import staticgrad as sg

draw, adam = np.random.default_rng(0), sg.optim.Adam(1e-2)
policy = sg.nn.Sequential(sg.nn.Linear(6, 32), sg.nn.Tanh(), sg.nn.Linear(32, 5))


def step(states, actions, returns):
    logits = sg.nn.log_softmax(policy(states), axis=1)
    chosen = sg.take_along_axis(logits, actions, axis=1)
    loss = -(chosen * (returns - returns.mean())).mean()
    adam.minimize(loss)
    return loss


states = draw.normal(size=(64, 6)).astype("float32")
example = step, states, draw.integers(0, 5, (64, 1)), states.sum(1, keepdims=True)


def torch():
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.Tanh(), torch.nn.Linear(32, 5))
    net.load_state_dict({n: torch.tensor(a) for n, a in policy.torch_state().items()})
    adam = torch.optim.Adam(net.parameters(), 1e-2)

    def step(states, actions, returns):
        chosen = torch.log_softmax(net(states), 1).gather(1, actions)
        loss = -(chosen * (returns - returns.mean())).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss

    return step


def jax():
    import jax
    from jax import nn, numpy as np

    start = policy.torch_state()

    def loss(p, states, actions, returns):
        h = np.tanh(states @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]
        chosen = np.take_along_axis(nn.log_softmax(h, axis=1), actions, 1)
        return -(chosen * (returns - returns.mean())).mean()

    def step(state, states, actions, returns):
        p, m, v, t = state
        value, g = jax.value_and_grad(loss)(p, states, actions, returns)
        t = t + 1.0
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)

        def moved(a, m, v):
            return a - 1e-2 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

        return value, (jax.tree.map(moved, p, m, v), m, v, t)

    zeros = jax.tree.map(np.zeros_like, start)
    return step, (start, zeros, zeros, np.float32(0))
