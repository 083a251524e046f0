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


def torch():
    import torch

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            nn = torch.nn
            self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
            self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
            self.up, self.down = nn.Linear(32, 128), nn.Linear(128, 32)

        def forward(self, x):
            at, own = self.norm1(x), self.attention
            heads = torch.nn.functional.linear(at, own.in_proj_weight, own.in_proj_bias)
            q, k, v = heads.view(*at.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4)
            seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + own.out_proj(seen.transpose(1, 2).reshape(x.shape))
            return x + self.down(torch.nn.functional.gelu(self.up(self.norm2(x))))

    return Other()


def jax():
    from jax import nn, numpy as np

    def norm(p, name, x):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def loss(p, x, y):
        n, t, _ = x.shape
        heads = norm(p, "norm1", x) @ p["attention.in_proj_weight"].T + p["attention.in_proj_bias"]
        q, k, v = heads.reshape(n, t, 3, 2, 16).transpose(2, 0, 3, 1, 4)
        scores = np.where(np.tri(t, dtype=bool), q @ k.swapaxes(2, 3) / 4.0, -np.inf)
        seen = (nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(n, t, 32)
        x = x + seen @ p["attention.out_proj.weight"].T + p["attention.out_proj.bias"]
        up = nn.gelu(norm(p, "norm2", x) @ p["up.weight"].T + p["up.bias"], approximate=False)
        return ((x + up @ p["down.weight"].T + p["down.bias"] - y) ** 2).mean()

    return loss, example[0].torch_state()
