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
