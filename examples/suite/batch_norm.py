"""Convolutions with batch normalization and running statistics."""

import numpy as np

import staticgrad as sg

draw = np.random.default_rng(0)
images = draw.normal(size=(16, 3, 12, 12)).astype("float32")
net = sg.nn.Sequential(
    sg.nn.Conv2d(3, 16, 3, padding=1), sg.nn.BatchNorm2d(16), sg.nn.ReLU(),
    sg.nn.Conv2d(16, 16, 3, padding=1), sg.nn.BatchNorm2d(16), sg.nn.ReLU(),
    sg.nn.Flatten(), sg.nn.Linear(2304, 10),
)  # fmt: skip
example = net, images, draw.integers(0, 10, 16)


def jax():
    import jax
    from jax import lax, nn, numpy as np

    state = net.torch_state()
    means = {name: state.pop(name) for name in [*state] if "running" in name}
    state = {name: array for name, array in state.items() if "tracked" not in name}

    def loss(p, means, x, y):
        new = {}
        for k in (0, 3):
            x = lax.conv_general_dilated(x, p[f"{k}.weight"], (1, 1), "SAME")
            x = x + p[f"{k}.bias"][:, None, None]
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            count = x.size / x.shape[1]
            for name, now in (("mean", mean), ("var", var * count / (count - 1))):
                name = f"{k + 1}.running_{name}"
                new[name] = 0.9 * means[name] + 0.1 * lax.stop_gradient(now)
            x = (x - mean[:, None, None]) * lax.rsqrt(var + 1e-5)[:, None, None]
            weight, bias = p[f"{k + 1}.weight"], p[f"{k + 1}.bias"]
            x = nn.relu(x * weight[:, None, None] + bias[:, None, None])
        h = x.reshape(len(x), -1) @ p["7.weight"].T + p["7.bias"]
        return -np.take_along_axis(nn.log_softmax(h, axis=1), y[:, None], 1).mean(), new

    def step(state, x, y):
        p, means = state
        (value, means), slopes = jax.value_and_grad(loss, has_aux=True)(p, means, x, y)
        return value, (jax.tree.map(lambda a, g: a - 0.05 * g, p, slopes), means)

    return step, (state, means)
