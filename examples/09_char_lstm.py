"""An LSTM that learns to write what Python's help says, character by character.

`sg.nn.lstm` is a loop of the graph: one node for all times, so that a sequence of 48 characters
compiles like one of 4. Its gradient is a loop that runs backwards, and the weights' gradients are
one product each behind it. The text comes with Python.
"""

import pydoc_data.topics

import numpy as np

import staticgrad as sg

HIDDEN, TIMES, BATCH, STEPS = 64, 48, 16, 150

text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
text = text.encode("ascii", "ignore").decode()[:60_000]
letters = sorted(set(text))
codes = np.array([letters.index(letter) for letter in text])

rng = np.random.default_rng(0)


def weight(name, rows, columns):
    scale = rows**-0.5
    return sg.parameter(name, rng.normal(scale=scale, size=(rows, columns)).astype("float32"))


table = weight("table", len(letters), 32)
w, u = weight("w", 32, 4 * HIDDEN), weight("u", HIDDEN, 4 * HIDDEN)
bias = sg.parameter("bias", np.repeat([0.0, 1.0, 0.0, 0.0], HIDDEN).astype("float32"))
out = weight("out", HIDDEN, len(letters))
weights = [table, w, u, bias, out]


def predicted(x, state=None):
    """The logits of the next letters [time, batch, letter], and the last state."""
    hidden, last = sg.nn.lstm(sg.nn.embedding(table, x), w, u, bias, state)
    return hidden @ out, last


x = sg.input("x", (TIMES, BATCH), "int64")
y = sg.input("y", (TIMES, BATCH), "int64")
logits, _ = predicted(x)
loss = sg.nn.cross_entropy(logits.reshape(-1, len(letters)), y.reshape(-1))
adam = sg.optim.Adam(learning_rate=1e-2)
step = sg.compile(sg.Graph({"loss": loss}, updates=adam.updates(loss, weights)))

losses = []
for number in range(STEPS):
    starts = rng.integers(len(codes) - TIMES - 1, size=BATCH)
    rows = codes[starts + np.arange(TIMES + 1)[:, None]]
    losses.append(float(step.run({"x": rows[:-1], "y": rows[1:]})["loss"]))
    if number % 50 == 49:
        print(f"step {number + 1:3}, loss {np.mean(losses[-20:]):.2f} nats a letter")

# One letter at a time, with the state fed back: the same weights, another graph.
one = sg.input("one", (1, 1), "int64")
state = (sg.input("h", (1, HIDDEN), "float32"), sg.input("c", (1, HIDDEN), "float32"))
logits, (h, c) = predicted(one, state)
write = sg.compile({"p": sg.nn.softmax(logits[0, 0] * 1.5), "h": h, "c": c})
letter, memory = letters.index("T"), {name: np.zeros((1, HIDDEN), "float32") for name in "hc"}
written = "T"
for _ in range(60):
    found = write.run({"one": [[letter]], **memory})
    chances = found["p"].astype("float64")
    letter = rng.choice(len(letters), p=chances / chances.sum())
    memory = {name: found[name].copy() for name in "hc"}
    written += letters[letter]
print(f"it writes: {written!r}")

assert np.mean(losses[-20:]) < 2.6 < np.mean(losses[:5])
