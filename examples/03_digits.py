"""Handwritten digits: a multilayer perceptron, Adam, mini-batches.

The images come with scikit-learn: nothing is downloaded. The last mini-batch is smaller than the
others and the test set is larger; neither compiles anything. `python -m staticgrad demo` runs the
same program with a stop-watch.
"""

from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import staticgrad as sg

LAYERS, BATCH, EPOCHS = (64, 256, 128, 10), 64, 30
random = np.random.default_rng(0)

images, classes = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)  # pixels are 0 to 16
train_x, test_x, train_y, test_y = train_test_split(
    images, classes, test_size=0.2, stratify=classes, random_state=0
)

# The network. Every weight is a parameter: an array that updates may replace.
x = sg.input("x", ("batch", LAYERS[0]), "float32")
y = sg.input("y", ("batch",), "int64")
weights, h = [], x
for depth, (width, after) in enumerate(pairwise(LAYERS), 1):
    with sg.scope(f"layer{depth}"):
        start = random.normal(0, np.sqrt(2 / width), (width, after)).astype(np.float32)
        w = sg.parameter(f"w{depth}", start)
        b = sg.parameter(f"b{depth}", np.zeros(after, np.float32))
        h = h @ w + b
        weights += [w, b]
        if after != LAYERS[-1]:
            h = sg.nn.relu(h)

loss = sg.nn.cross_entropy(h, y)
step = sg.compile(sg.Graph({"loss": loss}, updates=sg.optim.Adam(3e-3).updates(loss, weights)))
predict = sg.compile(h)

print(f"{step!r}")
for batch in (BATCH, len(train_x) % BATCH):
    print(f"arena at batch {batch:2}: {step.plan(batch=batch).peak_bytes:,} bytes, before any run")

compiles = step.stats.compiles + predict.stats.compiles
for epoch in range(1, EPOCHS + 1):
    order = random.permutation(len(train_x))
    losses = []
    for begin in range(0, len(order), BATCH):
        chosen = order[begin : begin + BATCH]
        losses.append(float(step.run({"x": train_x[chosen], "y": train_y[chosen]})["loss"]))
    if epoch % 5 == 0:
        print(f"epoch {epoch:2}  loss {np.mean(losses):.5f}")

accuracy = np.mean(np.argmax(predict.run({"x": test_x}), axis=1) == test_y)
print(f"test accuracy {accuracy:.2%} of {len(test_y)} images")
assert accuracy > 0.96
assert step.stats.compiles + predict.stats.compiles == compiles, "a batch size compiled something"
