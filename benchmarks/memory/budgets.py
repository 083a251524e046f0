"""The cost of memory budgets: the front of plans of training steps, as predicted, without a run.

    python -m benchmarks budgets [--only TEXT] [--json FILE] [--long]

For each model: steps of its schedule, the smallest arena beside that of ``store_all``, the
predicted extra time in percent at budgets of 0.9 to 0.2 of that arena (``-`` where no plan meets
one), how much more than its load an arena takes at worst, and the seconds of process time for the
first plan without a budget, for the front, and for a plan under a budget at the next batch size.
``--long`` adds a perceptron of 2,000 layers. Kernels are neither compiled nor run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.harness.machine import describe
from passes.pipelines import pipeline
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.plan import Plan

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
Weight = Callable[..., Any]
Loss = Callable[[Any, Weight], Any]


def perceptron(layers: int, width: int) -> Loss:
    """Layers of tanh."""

    def loss(x: Any, weight: Weight) -> Any:
        h = x
        for i in range(layers):
            h = sg.tanh((h if i else x[:, :width]) @ weight(width, width) + weight(width))
        return sg.square(h).mean()

    return loss


def blocks(layers: int, context: int, width: int, tokens: bool = False) -> Loss:
    """Transformer blocks before a projection, on a batch of sequences."""

    def loss(x: Any, weight: Weight) -> Any:
        size = context * width
        h = x[:, :size].reshape((x.shape[0], context, width))
        for _ in range(layers):
            n = sg.nn.layer_norm(h, weight(width), weight(width))
            query, key, value = (n @ weight(width, width) for _ in range(3))
            h = h + sg.nn.attention(query, key, value, causal=True) @ weight(width, width)
            n = sg.nn.layer_norm(h, weight(width), weight(width))
            h = h + sg.nn.gelu(n @ weight(width, 4 * width)) @ weight(4 * width, width)
        if not tokens:
            return sg.square(h).mean()
        logits = (h @ weight(width, 65)).reshape((x.shape[0] * context, 65))
        places = sg.astype(sg.clip(x[:, :context] * 10.0 + 30.0, 0.0, 64.0), "int64")
        return sg.nn.cross_entropy(logits, sg.ravel(places))

    return loss


def u_shape(x: Any, weight: Weight) -> Any:
    """Down and up again, with skips between equal widths."""
    h, skips = x, []
    for width in (256, 128, 64, 32):
        skips.append(h)
        h = sg.tanh(h @ weight(h.shape[1], width))
    for skip in reversed(skips):
        h = sg.concat([h @ weight(h.shape[1], skip.shape[1]), skip], 1)
        h = sg.tanh(h @ weight(2 * skip.shape[1], skip.shape[1]))
    return sg.nn.mse(h, x)


def recurrence(x: Any, weight: Weight, iterations: int = 40, width: int = 64) -> Any:
    """One matrix through many points in time."""
    w, u, h = weight(width, width), weight(8, width), sg.tanh(x[:, :8] @ weight(8, width))
    for t in range(1, iterations):
        h = sg.tanh(h @ w + x[:, 8 * t : 8 * t + 8] @ u)
    return sg.square(h).mean()


def gates(x: Any, weight: Weight, iterations: int = 24, width: int = 64) -> Any:
    """An LSTM, step by step."""
    w, u, b = weight(width, 4 * width), weight(8, 4 * width), weight(4 * width)
    h = c = x[:, :1] * sg.constant(np.zeros(width, "float32"))
    for t in range(iterations):
        linear = h @ w + x[:, 8 * t : 8 * t + 8] @ u + b
        keep, new, out, what = (linear[:, width * k : width * (k + 1)] for k in range(4))
        c = sg.sigmoid(keep) * c + sg.sigmoid(new) * sg.tanh(what)
        h = sg.sigmoid(out) * sg.tanh(c)
    return sg.square(h - 0.5).mean()


def second_order(x: Any, weight: Weight) -> Any:
    """A penalty on the slope of the loss by its input."""
    h = x
    for _ in range(4):
        h = sg.tanh(h @ weight(x.shape[1], x.shape[1]))
    loss = sg.square(h).mean()
    return loss + sg.square(sg.grad(loss, x)).sum()


def hessian_vector(x: Any, weight: Weight) -> Any:
    """Four layers whose Hessian is applied to a vector; see ``step``."""
    return perceptron(4, 64)(x, weight)


#: Loss, columns of the input.
MODELS: Mapping[str, tuple[Loss, int]] = {
    "deep mlp, 100 layers": (perceptron(100, 64), 64),
    "deep mlp, 400 layers": (perceptron(400, 64), 64),
    "gpt, 2 blocks": (blocks(2, 32, 64, tokens=True), 32 * 64),
    "gpt, 12 blocks": (blocks(12, 32, 64, tokens=True), 32 * 64),
    "u-shape": (u_shape, 256),
    "hessian-vector": (hessian_vector, 64),
    "transformer block": (blocks(1, 32, 64), 32 * 64),
    "recurrence, 40 steps": (recurrence, 320),
    "lstm, 24 steps": (gates, 192),
    "second order": (second_order, 64),
}
LONG: Mapping[str, tuple[Loss, int]] = {"deep mlp, 2000 layers": (perceptron(2000, 16), 16)}


def step(name: str, loss: Loss, columns: int) -> sg.Graph:
    """One step of SGD; of the Hessian's model, its product with a vector as well."""
    parameters: list[Any] = []
    numbers = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        start = numbers.standard_normal(shape).astype("float32") / np.float32(shape[0] ** 0.5)
        parameters.append(sg.parameter(f"w{len(parameters)}", start))
        return parameters[-1]

    value = loss(sg.input("x", ("batch", columns), "float32"), weight)
    outputs = {"loss": value}
    if name == "hessian-vector":
        vector = sg.constant(numbers.standard_normal(parameters[0].shape).astype("float32"))
        outputs["product"] = sg.hvp(value, parameters[0], vector)
    return sg.Graph(outputs, sg.optim.SGD(0.01).updates(value, parameters))


def measure_model(name: str, loss: Loss, columns: int, batch: int = 256) -> dict[str, Any]:
    """The row of one model."""
    schedule = fuse(pipeline("O1")(step(name, loss, columns)))
    planner = Planner(schedule)
    began = time.process_time()
    everything = planner.plan({"batch": batch})
    planned = time.process_time()
    points = planner.front({"batch": batch})
    ended = time.process_time()
    planner.budget = (points[0][0].peak_bytes + points[-1][0].peak_bytes) // 2
    planner.plan({"batch": batch - 1})
    again = time.process_time()
    return {
        "model": name,
        "steps": len(schedule.steps),
        "bytes": everything.peak_bytes,
        "smallest": points[-1][0].peak_bytes / everything.peak_bytes,
        "points": len(points),
        "overhead": {str(share): overhead(points, share) for share in SHARES},
        "over_load": max(plan.peak_bytes / load(plan) - 1.0 for plan, _ in points),
        "seconds": {
            "store_all": planned - began,
            "front": ended - planned,
            "next_batch": again - ended,
        },
    }


def overhead(points: tuple[tuple[Plan, float], ...], share: float) -> float | None:
    """Percent of extra time at a share of the bytes of the cheapest plan; None: no plan."""
    top, least = points[0][0].peak_bytes, points[0][1]
    fitting = [seconds for plan, seconds in points if plan.peak_bytes <= share * top]
    return 100.0 * (min(fitting) / least - 1.0) if fitting else None


def load(plan: Plan) -> int:
    """The most bytes that are alive at one position of a plan, in-place results counted once."""
    change = [0] * (len(plan.steps) + 1)
    last_at: dict[int, int] = {}  # offset: the last position of what lies there
    for place in sorted(plan.placements, key=lambda placement: (placement.first, placement.last)):
        # what begins where something else still lives has taken over its bytes
        begin = max(place.first, last_at.get(place.offset, -1) + 1)
        if place.nbytes and place.last >= begin:
            last_at[place.offset] = place.last
            change[begin] += -(-place.nbytes // 64) * 64
            change[place.last + 1] -= -(-place.nbytes // 64) * 64
    return max(accumulate(change))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    shares = "".join(f"{share:>7}" for share in SHARES)
    lines = [
        f"{'model':24}{'steps':>7}{'least':>7}{shares}{'frag':>6}{'all':>7}{'front':>7}{'next':>7}"
    ]
    for row in rows:
        costs = "".join(
            "      -" if cost is None else f"{cost:7.1f}" for cost in row["overhead"].values()
        )
        seconds = "".join(f"{value:7.2f}" for value in row["seconds"].values())
        begin = f"{row['model']:24}{row['steps']:7}{row['smallest']:7.3f}"
        lines.append(f"{begin}{costs}{100 * row['over_load']:6.1f}{seconds}")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--only", default="", help="models whose names contain this")
    reader.add_argument("--json", type=Path, help="write rows to this file")
    reader.add_argument("--long", action="store_true", help="2,000 layers as well")
    options = reader.parse_args()
    models = {**MODELS, **(LONG if options.long else {})}
    rows = [measure_model(name, *case) for name, case in models.items() if options.only in name]
    print(table(rows))
    if options.json:
        document = {"machine": asdict(describe()), "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
