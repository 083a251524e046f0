"""Textbook figures about what training stores and costs, and what a graph known beforehand needs.

The figures are those of the autograd chapter of TinyTorch (harvard-edge/cs249r_book, module 6):
bytes of one linear layer, stored activations of a small perceptron, and "the backward pass costs
twice the forward pass". Each is computed here by the text's own convention, then compared with the
plan of the compiled step, which is exact before anything has run.
"""

import math
from itertools import pairwise

import numpy as np

import staticgrad as sg

BATCH = 64


def bytes_of(*values):
    """Bytes of float32 values; a named size is the batch."""
    return sum(4 * math.prod(n if isinstance(n, int) else BATCH for n in v.shape) for v in values)


def show(label, count):
    print(f"  {label:34}{count:>10,} B  = {count / 1e6:5.2f} MB = {count / 2**20:5.2f} MiB")


# One linear layer, batch 32, 512 -> 768. The text counts x, W and a gradient for each of x, W, b.
x = sg.input("x", (32, 512), "float32")
w = sg.parameter("w", np.zeros((512, 768), "float32"))
b = sg.parameter("b", np.zeros(768, "float32"))
told = bytes_of(x, w, x, w, b)

# In a graph x is the caller's array and W a parameter, stored once; the gradient of x is made only
# if somebody wants it. What is left: two gradients, which are output arrays, and the arena.
cotangent = sg.input("cotangent", (32, 768), "float32")  # what the rest of a network would send
dw, db = sg.grad(x @ w + b, [w, b], seed=cotangent)
layer = sg.compile({"dw": dw, "db": db})

print("linear layer 512 -> 768, batch 32, float32")
show("by the text's convention", told)
show("the gradients that were asked for", layer.memory.outputs)
show("the arena besides", layer.peak_bytes)
assert told == 3_279_872
assert layer.memory.outputs == 1_575_936
assert layer.memory.outputs + layer.peak_bytes < told / 2

# A perceptron: the text stores the input of every layer, and the output.
WIDTHS = (784, 512, 256, 128, 10)
images = sg.input("images", ("batch", WIDTHS[0]), "float32")
classes = sg.input("classes", ("batch",), "int64")
random = np.random.default_rng(0)
stored, weights, h = [images], [], images
for depth, (width, after) in enumerate(pairwise(WIDTHS), 1):
    start = random.normal(0, np.sqrt(2 / width), (width, after)).astype("float32")
    weights.append(sg.parameter(f"w{depth}", start))
    weights.append(sg.parameter(f"b{depth}", np.zeros(after, "float32")))
    h = h @ weights[-2] + weights[-1]
    h = sg.nn.relu(h) if after != WIDTHS[-1] else h
    stored.append(h)
loss = sg.nn.cross_entropy(h, classes)
gradients = sg.grad(loss, weights)
updates = {p: p - 0.1 * g for p, g in zip(weights, gradients, strict=True)}
step = sg.compile(sg.Graph({"loss": loss}, updates=updates))

told = bytes_of(*stored)
plan = step.plan(batch=BATCH)
count = sum(p.value.size for p in weights)
print(f"\nperceptron {'-'.join(map(str, WIDTHS))}, batch {BATCH}, {count:,} parameters")
show("activations that the text stores", told)
show("of these, the input is a feed", bytes_of(images))
show("parameter gradients", bytes_of(*gradients))
show("the whole step's arena, planned", plan.peak_bytes)
assert told == 432_640
assert count == 567_434
assert plan.peak_bytes < told + bytes_of(*gradients)

feeds = {"images": random.random((BATCH, 784), "float32"), "classes": np.arange(BATCH) % 10}
first, second = (float(step.run(feeds)["loss"]) for _ in range(2))
assert second < first
assert step.peak_bytes == plan.peak_bytes, "the step used what was planned"


def matmul_flops(graph):
    """Operations of all matrix products: (forward, backward).

    A node's `order` is 0 where the user built it and 1 where `sg.grad` did.
    """
    total = [0, 0]
    for node in graph.nodes:
        if node.op.name == "matmul":
            inner = node.args[0].shape[-2 if node.op.transpose_a else -1]
            extents = [*node.values[0].shape, inner]
            total[node.order] += 2 * math.prod(n if isinstance(n, int) else BATCH for n in extents)
    return total


# The rule of thumb holds if every layer sends a gradient on. Nobody asks the first layer for its
# input's, so in the joint graph it does not exist.
forward, backward = matmul_flops(step.graph)
everything = sg.grad(loss, [images, *weights])
_, by_the_rule = matmul_flops(sg.Graph({f"gradient{i}": g for i, g in enumerate(everything)}))
print("\nmatrix products of the perceptron")
print(f"  forward                       {forward:>12,} operations")
print(f"  backward, input's gradient    {by_the_rule:>12,} = {by_the_rule / forward:.2f} x forward")
print(f"  backward, as asked for        {backward:>12,} = {backward / forward:.2f} x forward")
assert forward == 2 * BATCH * 566_528
assert round(backward / forward, 2) == 1.29
