"""Plans under budgets beside what an integer program finds, on schedules of at most 150 steps.

    python -m benchmarks optima [--only TEXT] [--json FILE] [--seconds 60] [--hours 1]

Twelve training steps, twenty budgets each, from storing everything down to the smallest. HiGHS
is given the load that a budget allows, one order of first runs (that of the lowest load), and some
seconds; its bound holds for that order, while the planner chooses among orders. Rows are written
after each call, so that a run may be ended and taken up again; budgets come in an order that halves
the widest gap, so that what is there is spread evenly.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from passes.pipelines import pipeline
from passes.remat.abstract import translate_problem
from passes.remat.base import Problem
from staticgrad.analysis.planning.exact import solve
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.plan import Plan

BATCH = 256
BUDGETS = 20
Row = dict[str, Any]
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


def hourglass(x: Any, weight: Weight) -> Any:
    """Layers of falling and rising widths."""
    h = x
    for width in (128, 32, 8, 8, 32, 128):
        h = sg.tanh(h @ weight(h.shape[1], width) + weight(width))
    return sg.nn.mse(h @ weight(h.shape[1], x.shape[1]), x)


def residual(x: Any, weight: Weight) -> Any:
    """Normalized residual layers."""
    h = x
    for _ in range(5):
        n = sg.nn.layer_norm(h, weight(h.shape[1]), weight(h.shape[1]))
        h = h + sg.nn.gelu(n @ weight(h.shape[1], 128)) @ weight(128, h.shape[1])
    return sg.square(h).mean()


#: Loss, columns of the input.
MODELS: Mapping[str, tuple[Loss, int]] = {
    "second order": (second_order, 64),
    "hessian-vector": (hessian_vector, 64),
    "hourglass": (hourglass, 64),
    "transformer block": (blocks(1, 32, 64), 32 * 64),
    "deep mlp, 8 layers": (perceptron(8, 64), 64),
    "u-shape": (u_shape, 256),
    "recurrence, 8 steps": (partial(recurrence, iterations=8), 64),
    "lstm, 4 steps": (partial(gates, iterations=4), 32),
    "residual": (residual, 64),
    "deep mlp, 16 layers": (perceptron(16, 64), 64),
    "transformer, 2 blocks": (blocks(2, 32, 64), 32 * 64),
    "gpt, 2 blocks": (blocks(2, 32, 64, tokens=True), 32 * 64),
}


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


def builders() -> Builders:
    """Return what builds the training steps."""
    return {name: partial(step, name, *model) for name, model in MODELS.items()}


def plan_model(name: str) -> tuple[Problem, tuple[tuple[Plan, float], ...]]:
    """The problem of a model, and the plans that budgets choose from."""
    planner = Planner(fuse(pipeline("O1")(step(name, *MODELS[name]))))
    points = planner.front({"batch": BATCH})
    return planner._problem(planner.extents.at({"batch": BATCH}), frozenset()), points


def budgets(points: tuple[tuple[Plan, float], ...]) -> list[int]:
    """Bytes between the largest arena and the smallest; the one that halves a gap comes first."""
    top, least = points[0][0].peak_bytes, points[-1][0].peak_bytes
    places: list[int] = []
    for parts in (2, 4, 8, 16, 32):
        places += [place * 32 // parts for place in range(1, parts, 2)]
    chosen = [32, *places][:BUDGETS]
    return [top - (top - least) * place // 32 for place in chosen]


def rows(names: list[str], finished: set[tuple[str, int]], seconds: float) -> Iterator[Row]:
    """A row for each budget and model that is not known, one budget of each model after another."""
    models = {name: plan_model(name) for name in names}
    for number in range(BUDGETS):
        for name, (problem, points) in models.items():
            if (name, number) not in finished:
                yield {
                    "model": name,
                    "number": number,
                    **solution(problem, budgets(points)[number], seconds),
                }


def solution(problem: Problem, budget: int, seconds: float) -> Row:
    """Return the plan of the integer program within a budget."""
    abstract = translate_problem(problem)
    begin = time.process_time()
    result = solve(abstract.net, abstract.ops(problem.order), budget, seconds)
    cost = None if result.sequence is None else abstract.net.cost(result.sequence)
    return {
        "steps": len(problem.seconds),
        "budget": budget,
        "once": abstract.net.total,
        "solver": cost,
        "bound": result.bound,
        "seconds": round(time.process_time() - begin, 1),
    }


def add_planner_costs(results: list[Row]) -> list[Row]:
    """The rows with what the planner's plan costs, and by how many points of the time without a
    budget that exceeds what the solver found."""
    fronts = {name: plan_model(name)[1] for name in {row["model"] for row in results}}
    for row in results:
        fitting = [s for plan, s in fronts[row["model"]] if plan.peak_bytes <= row["budget"]]
        row["planner"] = min(fitting, default=None)
        row["excess"] = None
        if row["planner"] is not None and row["solver"] is not None:
            row["excess"] = round(100.0 * (row["planner"] - row["solver"]) / row["once"], 3)
    return results


def table(results: list[Row]) -> str:
    """Per model: how many budgets, what the planner's plans exceed those of the solver by, and
    their proven bound where it closed."""
    lines = [
        "| model (steps) | budgets | proven | median excess | worst | refused | solver none |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in (*MODELS, "all"):
        chosen = [row for row in results if name in (row["model"], "all")]
        excess = [row["excess"] for row in chosen if row["excess"] is not None]
        if not excess:
            continue
        proven = sum(
            row["solver"] is not None and row["bound"] >= row["solver"] * (1 - 1e-5)
            for row in chosen
        )
        refused = sum(row["planner"] is None and row["solver"] is not None for row in chosen)
        none = sum(row["solver"] is None for row in chosen)
        steps = "" if name == "all" else f" ({chosen[0]['steps']})"
        lines.append(
            f"| {name}{steps} | {len(chosen)} | {proven} | {median(excess):.2f} "
            f"| {max(excess):.2f} | {refused} | {none} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Solve what the command line asks for and is not in the file yet."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--only", default="", help="models whose names contain this")
    reader.add_argument("--json", type=Path, help="read rows from this file, and add to it")
    reader.add_argument("--seconds", type=float, default=60.0, help="for each call of the solver")
    reader.add_argument("--hours", type=float, default=1.0, help="after which none is called")
    options = reader.parse_args()
    results: list[Row] = []
    if options.json and options.json.exists():
        results = json.loads(options.json.read_text("utf-8"))["rows"]
    names = [name for name in MODELS if options.only in name]
    until = time.monotonic() + 3600.0 * options.hours
    finished = {(row["model"], row["number"]) for row in results}
    fresh = rows(names, finished, options.seconds)
    while time.monotonic() < until and (row := next(fresh, None)) is not None:
        results.append(row)
        if options.json:
            _write(options.json, results)
    results = add_planner_costs(results)
    if options.json:
        _write(options.json, results)
    print(table(results))


def _write(path: Path, results: list[Row]) -> None:
    document = {"machine": asdict(describe()), "batch": BATCH, "rows": results}
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
