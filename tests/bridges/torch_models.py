"""Models in plain PyTorch with examples of their input."""

import torch
from torch import nn

F = nn.functional


class Residual(nn.Module):
    def __init__(self, width, stride=1):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.short = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = F.relu(self.norm(self.first(x)))
        return F.relu(self.norm2(self.second(y)) + self.short(x))


class ResNet(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.blocks = nn.Sequential(Residual(width), Residual(width, 2))
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (u.view(n, t, self.heads, -1).transpose(1, 2) for u in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, c))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, words=50, width=32, length=16, blocks=2):
        super().__init__()
        self.token, self.position = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, 4, True) for _ in range(blocks)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.token.weight  # tied

    def forward(self, ids):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class ViT(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, 4, False), Block(width, 4, False))
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.blocks(x)[:, 0])


class LSTM(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.cell, self.head, self.width = nn.LSTMCell(8, width), nn.Linear(width, 5), width

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], self.width)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class VAE(nn.Module):
    """With the noise as an argument."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 8))
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 20))

    def forward(self, x, noise):
        mean, spread = self.encoder(x).chunk(2, -1)
        y = self.decoder(mean + noise * torch.exp(0.5 * spread))
        kl = -0.5 * torch.sum(1 + spread - mean.pow(2) - spread.exp(), -1)
        return F.mse_loss(y, x) + kl.mean()


def mlp():
    return nn.Sequential(
        nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 32), nn.ELU(), nn.Linear(32, 5)
    )


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, 2), nn.GroupNorm(4, 16), nn.Hardswish(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip


def image(count, size):
    return lambda: (torch.randn(count, 3, size, size),)


#: Name -> (makes the module, makes its arguments).
MODELS = {
    "mlp": (mlp, lambda: (torch.randn(6, 12),)),
    "cnn": (cnn, image(4, 12)),
    "resnet": (ResNet, image(2, 16)),
    "vit": (ViT, image(2, 16)),
    "gpt": (GPT, lambda: (torch.randint(0, 50, (3, 16)),)),
    "lstm": (LSTM, lambda: (torch.randn(4, 6, 8),)),
    "vae": (VAE, lambda: (torch.randn(6, 20), torch.randn(6, 4))),
}


def loss(out):
    """A smooth loss of any output."""
    return out if out.ndim == 0 else (out * out).mean() + 0.1 * out.sum() / out.shape[0]
