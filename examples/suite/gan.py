"""A generator against a discriminator, two optimizers in one step."""

import numpy as np

import staticgrad as sg

draw, noise = np.random.default_rng(0), sg.random.Generator(0)
maker = sg.nn.Sequential(sg.nn.Linear(4, 32), sg.nn.ReLU(), sg.nn.Linear(32, 2))
judge = sg.nn.Sequential(sg.nn.Linear(2, 32), sg.nn.ReLU(), sg.nn.Linear(32, 1))
first, second = sg.optim.SGD(1e-2), sg.optim.SGD(1e-2)


def step(x):
    made = maker(noise.normal(shape=(64, 4)))
    wrong = sg.nn.softplus(judge(made)).mean()
    first.minimize(wrong + sg.nn.softplus(-judge(x)).mean(), judge.parameters())
    fooled = sg.nn.softplus(-judge(made)).mean()
    second.minimize(fooled, maker.parameters())
    return wrong


example = step, draw.normal(size=(64, 2)).astype("float32")


def torch():
    import torch

    nn, softplus = torch.nn, torch.nn.functional.softplus
    one = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    two = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
    for net, values in ((one, maker), (two, judge)):
        net.load_state_dict({n: torch.tensor(a) for n, a in values.torch_state().items()})
    rules = [torch.optim.SGD(net.parameters(), 1e-2) for net in (two, one)]

    def step(x):
        made = one(torch.randn(64, 4))
        wrong = softplus(two(made)).mean()
        fooled = softplus(-two(made)).mean()
        judged = wrong + softplus(-two(x)).mean()
        of_judge = torch.autograd.grad(judged, [*two.parameters()], retain_graph=True)
        of_maker = torch.autograd.grad(fooled, [*one.parameters()])
        for rule, net, slopes in zip(rules, (two, one), (of_judge, of_maker), strict=True):
            for p, slope in zip(net.parameters(), slopes, strict=True):
                p.grad = slope
            rule.step()
        return wrong

    return step


def jax():
    import jax
    from jax import nn, random

    def net(p, x):
        return nn.relu(x @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]

    def judged(p, q, z, x):
        wrong = nn.softplus(net(q, net(p, z))).mean()
        return wrong + nn.softplus(-net(q, x)).mean(), wrong

    def fooled(p, q, z):
        return nn.softplus(-net(q, net(p, z))).mean()

    def step(state, x):
        p, q, key = state
        key, now = random.split(key)
        z = random.normal(now, (64, 4))
        (_, wrong), of_judge = jax.value_and_grad(judged, 1, has_aux=True)(p, q, z, x)
        of_maker = jax.grad(fooled)(p, q, z)
        q = jax.tree.map(lambda a, g: a - 1e-2 * g, q, of_judge)
        return wrong, (jax.tree.map(lambda a, g: a - 1e-2 * g, p, of_maker), q, key)

    return step, (maker.torch_state(), judge.torch_state(), random.PRNGKey(0))
