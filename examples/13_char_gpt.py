"""A small GPT that learns to write what Python's help says; its layers are the iterations of a
scan.

All layers are alike, so each weight of all of them is one parameter whose first axis is the layer,
and `sg.scan` runs along it: the graph has one block, whose kernels are compiled once, however many
layers there are. The gradient is a scan that goes back from the last layer to the first. The text
comes with Python.
"""

import pydoc_data.topics

import numpy as np

import staticgrad as sg

LAYERS, WIDTH, HEADS, TIMES, BATCH, STEPS = 3, 64, 4, 32, 16, 200

text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
text = text.encode("ascii", "ignore").decode()[:60_000]
letters = sorted(set(text))
codes = np.array([letters.index(letter) for letter in text])

rng = np.random.default_rng(0)


def weight(name, *shape, scale=None):
    """Normal numbers, as large as the rows of a product want them."""
    scale = shape[-2] ** -0.5 if scale is None else scale
    return sg.parameter(name, rng.normal(scale=scale, size=shape).astype("float32"))


def ones(name, *shape):
    return sg.parameter(name, np.ones(shape, "float32"))


letter_table = weight("letter", len(letters), WIDTH, scale=0.1)
place_table = weight("place", TIMES, WIDTH, scale=0.1)
layers = {  # each along the layers first
    "into": weight("into", LAYERS, WIDTH, 3 * WIDTH),
    "out": weight("out", LAYERS, WIDTH, WIDTH),
    "up": weight("up", LAYERS, WIDTH, 4 * WIDTH),
    "down": weight("down", LAYERS, 4 * WIDTH, WIDTH),
    "gain0": ones("gain0", LAYERS, WIDTH),
    "gain1": ones("gain1", LAYERS, WIDTH),
}
last_gain, head = ones("gain", WIDTH), weight("head", WIDTH, len(letters))
nothing = np.zeros(WIDTH, "float32")


def heads(x):
    """[batch, time, width] as [batch, head, time, a head's width]."""
    return x.reshape(x.shape[0], TIMES, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)


def block(x, layer):
    """One layer: what each letter takes from those before it, then what it makes of that."""
    seen = sg.nn.layer_norm(x, layer["gain0"], nothing)
    q, k, v = (heads(part) for part in sg.split(seen @ layer["into"], 3, -1))
    mixed = sg.nn.attention(q, k, v, causal=True).transpose(0, 2, 1, 3)
    x = x + mixed.reshape(x.shape) @ layer["out"]
    thought = sg.nn.gelu(sg.nn.layer_norm(x, layer["gain1"], nothing) @ layer["up"])
    return x + thought @ layer["down"], None


def logits_of(codes_of):
    """The logits of the letter that follows each one [batch, time, letter]."""
    x = sg.nn.embedding(codes_of, letter_table) + place_table
    x, _ = sg.scan(block, x, layers)
    return sg.nn.layer_norm(x, last_gain, nothing) @ head


x = sg.input("x", ("batch", TIMES), "int64")
y = sg.input("y", ("batch", TIMES), "int64")
logits = logits_of(x)
loss = sg.nn.cross_entropy(logits.reshape(-1, len(letters)), y.reshape(-1))
weights = [letter_table, place_table, *layers.values(), last_gain, head]
adam = sg.optim.Adam(learning_rate=3e-3)
step = sg.compile(sg.Graph({"loss": loss}, updates=adam.updates(loss, weights)))
print(f"{LAYERS} layers, {len(step.kernels)} kernels, {step.plan(batch=BATCH).peak_bytes:,} bytes")

losses = []
for number in range(STEPS):
    starts = rng.integers(len(codes) - TIMES - 1, size=BATCH)
    rows = codes[starts[:, None] + np.arange(TIMES + 1)]
    losses.append(float(step.run({"x": rows[:, :-1], "y": rows[:, 1:]})["loss"]))
    if number % 50 == 49:
        print(f"step {number + 1:3}, loss {np.mean(losses[-20:]):.2f} nats a letter")

# The letter behind the last one; a mask of what follows would change nothing before it.
write = sg.compile({"p": sg.nn.softmax(logits * 1.5)})
seed = " The following statements"
written = [letters.index(letter) for letter in seed.rjust(TIMES)]
for _ in range(60):
    chances = write.run({"x": [written[-TIMES:]]})["p"][0, -1].astype("float64")
    written.append(rng.choice(len(letters), p=chances / chances.sum()))
print("it writes:", repr("".join(letters[code] for code in written).strip()))

assert np.mean(losses[-20:]) < 2.6 < np.mean(losses[:5])
