"""Handwritten digits: a convolutional network, and what it looks at.

Two convolutions with pooling, a linear layer, Adam. The images come with scikit-learn: nothing is
downloaded. Afterwards the gradient of a class with respect to an image shows which pixels speak for
it: the same graph, differentiated by its input.
"""

from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import staticgrad as sg

CHANNELS, CLASSES, BATCH, EPOCHS = (1, 16, 32), 10, 64, 8
random = np.random.default_rng(0)

images, classes = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)  # pixels are 0 to 16
train_x, test_x, train_y, test_y = train_test_split(
    images, classes, test_size=0.2, stratify=classes, random_state=0
)


def start(*shape: int) -> np.ndarray:
    """Weights after He et al. (arXiv 1502.01852): the variance is 2 / inputs of a unit."""
    inputs = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
    return random.normal(0, np.sqrt(2 / inputs), shape).astype(np.float32)


# The network: [batch, channels, height, width], halved by each pooling, 8x8 -> 4x4 -> 2x2.
x = sg.input("x", ("batch", 1, 8, 8), "float32")
y = sg.input("y", ("batch",), "int64")
weights, h = [], x
for depth, (before, after) in enumerate(pairwise(CHANNELS), 1):
    w = sg.parameter(f"w{depth}", start(after, before, 3, 3))
    b = sg.parameter(f"b{depth}", np.zeros(after, np.float32))
    h = sg.nn.max_pool(sg.nn.relu(sg.nn.conv(h, w, b, padding="same")), 2)
    weights += [w, b]
flat = CHANNELS[-1] * 2 * 2
w = sg.parameter("w", start(flat, CLASSES))
b = sg.parameter("b", np.zeros(CLASSES, np.float32))
weights += [w, b]
scores = sg.reshape(h, (-1, flat)) @ w + b

# A filter with a wrong number of channels is refused where it is written.
try:
    sg.nn.conv(x, sg.input("filters", (16, 3, 3, 3), "float32"))
except sg.StaticgradError as error:
    print(f"refused: {error}\n")

loss = sg.nn.cross_entropy(scores, y)
step = sg.compile(sg.Graph({"loss": loss}, updates=sg.optim.Adam(5e-3).updates(loss, weights)))
predict = sg.compile(scores)

for epoch in range(1, EPOCHS + 1):
    order, losses = random.permutation(len(train_x)), []
    for begin in range(0, len(order), BATCH):
        chosen = order[begin : begin + BATCH]
        losses.append(float(step.run({"x": train_x[chosen], "y": train_y[chosen]})["loss"]))
    if epoch % 4 == 0:
        print(f"epoch {epoch}  loss {np.mean(losses):.4f}")

accuracy = np.mean(np.argmax(predict.run({"x": test_x}), axis=1) == test_y)
print(f"test accuracy {accuracy:.2%} of {len(test_y)} images")
assert accuracy > 0.97

# How much more a pixel's ink would speak for the true class, against all classes.
chosen = sg.take_along_axis(sg.nn.log_softmax(scores, axis=1), y[:, None], axis=1)
(slope,) = sg.grad(sg.sum(chosen), [x])
looks = sg.compile(slope)
at = int(np.argmax(test_y == 3))
seen = looks.run({"x": test_x[at : at + 1], "y": test_y[at : at + 1]})[0, 0]
print(f"\na {test_y[at]}: its ink, and where more ink (+) or less (-) would make it clearer")
for ink, row in zip(test_x[at, 0], seen, strict=True):
    marks = ["+" if v > 0.1 else "-" if v < -0.1 else "." for v in row / np.abs(seen).max()]
    print("".join(" .:#"[min(3, int(4 * v))] for v in ink), " ", "".join(marks))
