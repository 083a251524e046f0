"""A variational autoencoder with a reparametrized normal."""

import numpy as np

import staticgrad as sg

draw, noise = np.random.default_rng(0), sg.random.Generator(0)
encode, decode = sg.nn.Linear(32, 16), sg.nn.Linear(8, 32)


def loss(x):
    mean, log_variance = sg.split(encode(x), 2, axis=1)
    z = mean + sg.exp(0.5 * log_variance) * noise.normal(shape=mean.shape)
    spread = (sg.exp(log_variance) + mean**2 - 1.0 - log_variance).sum(1)
    return (((decode(z) - x) ** 2).sum(1) + 0.5 * spread).mean() / 32.0


example = loss, draw.normal(size=(64, 32)).astype("float32")


def torch():
    import torch

    nets = torch.nn.Linear(32, 16), torch.nn.Linear(8, 32)
    for net, values in zip(nets, (encode, decode), strict=True):
        net.load_state_dict({n: torch.tensor(a) for n, a in values.torch_state().items()})

    def loss(x):
        mean, log_variance = nets[0](x).chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        spread = (torch.exp(log_variance) + mean**2 - 1.0 - log_variance).sum(1)
        return (((nets[1](z) - x) ** 2).sum(1) + 0.5 * spread).mean() / 32.0

    return loss


def jax():
    import jax
    from jax import numpy as np, random

    def loss(p, key, x):
        mean, log_variance = np.split(x @ p[0]["weight"].T + p[0]["bias"], 2, 1)
        z = mean + np.exp(0.5 * log_variance) * random.normal(key, mean.shape)
        spread = (np.exp(log_variance) + mean**2 - 1.0 - log_variance).sum(1)
        again = z @ p[1]["weight"].T + p[1]["bias"]
        return (((again - x) ** 2).sum(1) + 0.5 * spread).mean() / 32.0

    def step(state, x):
        p, key = state
        key, now = random.split(key)
        value, slopes = jax.value_and_grad(loss)(p, now, x)
        return value, (jax.tree.map(lambda a, g: a - 0.05 * g, p, slopes), key)

    return step, ([encode.torch_state(), decode.torch_state()], random.PRNGKey(0))
