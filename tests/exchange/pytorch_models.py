"""Models that PyTorch exports, by both of its exporters."""

import logging
import warnings

import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 16, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.positions = nn.Parameter(torch.randn(64, 16))

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        return self.head(self.encoder(x).mean(1))


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.Conv2d(4, 1, 1)

    def forward(self, image):
        x = nn.functional.leaky_relu(self.norm(self.down(image)))
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.up(nn.functional.avg_pool2d(x, 2))).flatten(1)


class Sums(nn.Module):
    """Sizes that are computed: b * 10 // 2 and the like."""

    def __init__(self):
        super().__init__()
        self.gru, self.norm = nn.GRU(6, 10), nn.LayerNorm(10)

    def forward(self, x):
        batch = x.shape[1]
        y = self.norm(self.gru(x)[0])
        return torch.einsum("tbi,tbj->bij", y, y).view(batch, -1) + y.reshape(-1, batch * 10).sum()


#: Model -> (what makes it, what makes an input, its axes that have names).
MODELS = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(6, 32), nn.ELU(), nn.Linear(32, 3), nn.LogSoftmax(-1)),
        lambda: torch.randn(7, 6),
        ("batch",),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        ),
        lambda: torch.randn(2, 3, 9, 9),
        ("batch",),
    ),
    "lstm": (Classifier, lambda: torch.randint(0, 20, (4, 11)), ("batch", "time")),
    "transformer": (Transformer, lambda: torch.randint(0, 20, (4, 11)), ("batch", "time")),
    "images": (Images, lambda: torch.randn(2, 3, 16, 16), ("batch",)),
    "gru": (Sums, lambda: torch.randn(5, 3, 6), ("time", "batch")),
}  # fmt: skip


def export(name, path, dynamo):
    """Export a model, and return what an input of it is, and PyTorch's result."""
    make, draw, axes = MODELS[name]
    torch.manual_seed(0)
    module, x = make().eval(), draw()
    if dynamo:
        named = {k: torch.export.Dim(axis) for k, axis in enumerate(axes)}
        options = {"dynamic_shapes": (named,), "verbose": False}
    else:
        options = {"dynamic_axes": {"x": dict(enumerate(axes))}, "opset_version": 17}
    logging.disable(logging.WARNING)  # of libraries that PyTorch does without
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the older exporter, that it is the older
            torch.onnx.export(module, (x,), path, dynamo=dynamo, input_names=["x"], **options)
    finally:
        logging.disable(logging.NOTSET)
    return x.numpy(), module(x).detach().numpy()
