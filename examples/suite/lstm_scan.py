"""An LSTM layer over a sequence."""

import numpy as np

import staticgrad as sg


class Reader(sg.nn.Module):
    def __init__(self):
        self.lstm, self.out = sg.nn.LSTM(8, 24), sg.nn.Linear(24, 4)

    def forward(self, x):
        return self.out(self.lstm(x)[0])


draw = np.random.default_rng(0)
example = (
    Reader(), draw.normal(size=(12, 8, 8)).astype("float32"), draw.integers(0, 4, (12, 8))
)  # fmt: skip


def torch():
    import torch

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = torch.nn.LSTM(8, 24), torch.nn.Linear(24, 4)

        def forward(self, x):
            return self.out(self.lstm(x)[0])

    return Other()


def jax():
    from jax import lax, nn, numpy as np

    def loss(p, x, y):
        bias = p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]

        def cell(state, x):
            h, c = state
            gates = x @ p["lstm.weight_ih_l0"].T + h @ p["lstm.weight_hh_l0"].T + bias
            i, f, g, o = np.split(gates, 4, 1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * np.tanh(g)
            h = nn.sigmoid(o) * np.tanh(c)
            return (h, c), h

        zero = np.zeros((x.shape[1], 24))
        _, hidden = lax.scan(cell, (zero, zero), x)
        logits = nn.log_softmax(hidden @ p["out.weight"].T + p["out.bias"])
        return -np.take_along_axis(logits, y[..., None], 2).mean()

    return loss, example[0].torch_state()
