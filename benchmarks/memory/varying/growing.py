"""A recurrent cell in a loop of Python over sequences that differ from step to step."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
shapes = {"wz": (48, 32), "wr": (48, 32), "wh": (48, 32), "out": (32, 4)}
names = {name: sg.parameter(name, draw.normal(0, 0.2, s)) for name, s in shapes.items()}
wz, wr, wh, out = names.values()
rule = sg.optim.SGD(0.1)


def step(x, y):
    h = np.zeros((x.shape[1], 32))
    for t in range(x.shape[0]):
        columns = sg.concatenate([x[t], h], axis=1)
        z, r = sg.sigmoid(columns @ wz), sg.sigmoid(columns @ wr)
        new = sg.tanh(sg.concatenate([x[t], r * h], axis=1) @ wh)
        h = (1 - z) * h + z * new
    loss = sg.nn.cross_entropy(h @ out, y)
    rule.minimize(loss)
    return loss


def batch(random):
    return random.normal(size=(int(random.integers(3, 12)), 8, 16)), random.integers(0, 4, 8)


example = step, batch


def torch():
    import torch

    params = [torch.tensor(p.value, requires_grad=True) for p in names.values()]
    rule = torch.optim.SGD(params, 0.1)
    wz, wr, wh, out = params

    def step(x, y):
        rule.zero_grad()
        h = torch.zeros(x.shape[1], 32, dtype=x.dtype)
        for t in range(x.shape[0]):
            columns = torch.cat([x[t], h], 1)
            z, r = torch.sigmoid(columns @ wz), torch.sigmoid(columns @ wr)
            new = torch.tanh(torch.cat([x[t], r * h], 1) @ wh)
            h = (1 - z) * h + z * new
        loss = torch.nn.functional.cross_entropy(h @ out, y)
        loss.backward()
        rule.step()
        return loss

    return step
