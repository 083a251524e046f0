"""Five whole models, each with inputs and arrays for them."""

import numpy as np

import staticgrad as sg
from staticgrad import nn


class Classifier(nn.Module):
    """Embeddings, two layers of an LSTM in both directions, and a layer on the last output."""

    def __init__(self):
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 16, num_layers=2, bidirectional=True)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0][-1])


class Transformer(nn.Module):
    """Embeddings of tokens and positions, two blocks, the mean over time."""

    def __init__(self):
        self.tokens, self.positions = nn.Embedding(50, 16), nn.Embedding(64, 16)
        self.blocks = [nn.TransformerBlock(16, 4), nn.TransformerBlock(16, 4)]
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(sg.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(axis=1))


class Autoencoder(nn.Module):
    """Convolutions with strides, and transposed ones back to the image."""

    def __init__(self):
        self.down = [nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)]
        self.norm = nn.GroupNorm(4, 8)
        self.up = [nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ConvTranspose2d(8, 1, 4, 2, 1)]

    def forward(self, image):
        x = nn.silu(self.down[1](nn.relu(self.down[0](image))))
        return sg.sigmoid(self.up[1](nn.gelu(self.norm(self.up[0](x)))))


def perceptron():
    return nn.Sequential(
        nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softmax()
    )


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


#: Model -> (what makes it, its input, the shape of an array for it).
MODELS = {
    "mlp": (perceptron, ("x", ("batch", 6), "float32"), (7, 6)),
    "cnn": (convolutions, ("image", ("batch", 3, 16, 16), "float32"), (5, 3, 16, 16)),
    "lstm": (Classifier, ("tokens", ("time", "batch"), "int64"), (11, 4)),
    "transformer": (Transformer, ("tokens", ("batch", "time"), "int64"), (3, 9)),
    "autoencoder": (Autoencoder, ("image", ("batch", 1, 16, 16), "float32"), (2, 1, 16, 16)),
}


def model(name):
    """A model as after training, its input, and feeds."""
    make, (label, shape, dtype), sizes = MODELS[name]
    nn.manual_seed(0)
    random = np.random.default_rng(0)
    integers = dtype == "int64"
    array = random.integers(0, 20, sizes) if integers else random.normal(size=sizes).astype(dtype)
    return make().eval(), sg.input(label, shape, dtype), {label: array}
