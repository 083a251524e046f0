"""A block of causal attention and a perceptron."""

import numpy as np

import staticgrad as sg


class Block(sg.nn.Module):
    def __init__(self):
        self.norm1, self.norm2 = sg.nn.LayerNorm(32), sg.nn.LayerNorm(32)
        self.attention = sg.nn.MultiHeadAttention(32, 2, causal=True)
        self.up, self.down = sg.nn.Linear(32, 128), sg.nn.Linear(128, 32)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(sg.nn.gelu(self.up(self.norm2(x))))


draw = np.random.default_rng(0)
x = draw.normal(size=(8, 16, 32)).astype("float32")
example = Block(), x, np.roll(x, 1, 1)
