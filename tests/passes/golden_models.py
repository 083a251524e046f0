"""Four training steps as benchmarks have them, small; and what the rules of O1 do in them."""

from collections import Counter

import numpy as np

import staticgrad as sg
from passes.pipelines import pipeline


def mlp():
    """Three layers with ReLU, cross entropy, gradient descent."""
    x, y = sg.input("x", ("batch", 12)), sg.input("y", ("batch",), "int64")
    weights, hidden = [], x
    for layer, (inputs, outputs) in enumerate([(12, 8), (8, 8), (8, 4)], 1):
        w = sg.parameter(f"w{layer}", np.ones((inputs, outputs), "f4"))
        b = sg.parameter(f"b{layer}", np.zeros(outputs, "f4"))
        weights += [w, b]
        hidden = hidden @ w + b
        hidden = sg.nn.relu(hidden) if layer < 3 else hidden
    return training_step(sg.nn.cross_entropy(hidden, y), weights, "mlp")


def logreg():
    """Logistic regression with an L2 term: value, gradient and Hessian-vector product."""
    x, y = sg.input("x", ("n", 6), "float64"), sg.input("y", ("n",), "float64")
    w = sg.parameter("w", np.zeros(6))
    direction = sg.input("v", (6,), "float64")
    loss = sg.nn.binary_cross_entropy_with_logits(x @ w, y) + 0.5 * (w * w).sum()
    return sg.Graph(
        {"loss": loss, "slope": sg.grad(loss, w), "hvp": sg.hvp(loss, w, direction)}, name="logreg"
    )


def lnblock():
    """Layer norm, GELU and mean square, with three gradients."""
    x = sg.input("x", ("rows", 16))
    gain, bias = sg.parameter("gain", np.ones(16, "f4")), sg.parameter("bias", np.zeros(16, "f4"))
    loss = sg.square(sg.nn.gelu(sg.nn.layer_norm(x, gain, bias))).mean()
    dx, dgain, dbias = sg.grad(loss, [x, gain, bias])
    return sg.Graph({"loss": loss, "dx": dx, "dgain": dgain, "dbias": dbias}, name="lnblock")


def attention():
    """One causal head with its projections and a softmax over the scores; gradient descent."""
    x = sg.input("x", ("batch", 5, 8))
    names = ("query", "key", "value", "out")
    weights = [sg.parameter(name, np.ones((8, 8), "f4")) for name in names]
    query, key, value, out = weights
    mixed = sg.nn.attention(x @ query, x @ key, x @ value, causal=True)
    return training_step(sg.square(mixed @ out - x).mean(), weights, "attention")


def training_step(loss, weights, name):
    """The loss, and a step of gradient descent."""
    slopes = sg.grad(loss, weights)
    updates = {w: w - 0.1 * slope for w, slope in zip(weights, slopes, strict=True)}
    return sg.Graph({"loss": loss}, updates, name=name)


MODELS = {f.__name__: f for f in (mlp, logreg, lnblock, attention)}


def hits_table(level="O1"):
    """Return the hits of each rule in each model as Markdown, from the reports of passes."""
    runs = [pipeline(level).run(build())[1] for build in MODELS.values()]
    hits = [sum((Counter(report.hits) for report in reports), Counter()) for reports in runs]
    rules = sorted(
        {rule for counts in hits for rule in counts}, key=lambda rule: _order(rule, hits)
    )
    rows = [
        ("nodes built", [reports[0].nodes_before for reports in runs]),
        (f"nodes after {level}", [reports[-1].nodes_after for reports in runs]),
        ("bytes of values built", [reports[0].bytes_before for reports in runs]),
        (f"bytes of values after {level}", [reports[-1].bytes_after for reports in runs]),
        *((rule, [counts[rule] for counts in hits]) for rule in rules),
    ]
    lines = [f"| | {' | '.join(MODELS)} |", "|---|" + "---:|" * len(MODELS)]
    return lines + [
        f"| {name} | {' | '.join(f'{count:,}' if count else '-' for count in counts)} |"
        for name, counts in rows
    ]


def _order(rule, hits):
    """Rules that apply most often first."""
    return -sum(counts[rule] for counts in hits), rule
