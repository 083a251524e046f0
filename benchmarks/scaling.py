"""How the time of every stage grows with the graph: 20,000 nodes against 2,000.

    python -m benchmarks.scaling [--nodes N] [--json]

The graphs are deep, wide and fanned out. Process time, the best of two runs each; a ratio of 10 is
linear. Exits with 1 where a stage that takes more than 0.05 s is beyond 13.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import staticgrad as sg
from passes.fuse import fuse
from passes.memory import Planner
from passes.pipelines import pipeline

Make = Callable[[int], tuple[sg.Value, sg.Value]]
FEEDS = {"x": np.linspace(-1, 1, 8, dtype=np.float32)}
LIMIT = 13.0  # ten times the nodes; a logarithm and noise on top
SHORTEST = 0.05  # seconds: below, a ratio says nothing


def deep(nodes: int) -> tuple[sg.Value, sg.Value]:
    """A chain; views cut it into kernels, so that the schedule is long too."""
    x = sg.input("x", (8,), "float32")
    value: sg.Value = x
    for number in range(nodes):
        value = (lambda v: v * 0.5, sg.tanh, lambda v: v + x, lambda v: v[::-1])[number % 4](value)
    return x, value


def wide(nodes: int) -> tuple[sg.Value, sg.Value]:
    """Many readers of one input, and a tree that adds them."""
    x = sg.input("x", (8,), "float32")
    values = [sg.tanh(x * float(number % 7)) for number in range(nodes // 4)]
    while len(values) > 1:
        rest = values[-1:] if len(values) % 2 else []
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=False)] + rest
    return x, values[0]


def fan(nodes: int) -> tuple[sg.Value, sg.Value]:
    """Many independent kernels and outputs of one wide concatenation."""
    x = sg.input("x", (8,), "float32")
    return x, sg.concat(
        [sg.tanh(x * float(number % 7)).sum()[None] for number in range(nodes // 4)], 0
    )


def everything(make: Make, nodes: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Every stage once: the process time of each, and what is compared afterwards."""
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        spent[name] = time.process_time() - start
        return result

    x, value = timed("build", lambda: make(nodes))
    slope = timed("grad", lambda: sg.grad(sg.sum(value), x))
    graph = timed("graph", lambda: sg.Graph({"value": value, "slope": slope}))
    text = timed("print", lambda: str(graph))
    parsed = timed("parse", lambda: sg.parse(text))
    wanted = timed("evaluate", lambda: sg.evaluate(graph, FEEDS))
    pickled = timed("pickle", lambda: pickle.loads(pickle.dumps(graph)))
    copied = timed("copy", lambda: copy.deepcopy(graph))
    shorter = timed("passes", lambda: pipeline("O1")(graph))
    schedule = timed("fuse", lambda: fuse(shorter))
    timed("plan", lambda: Planner(schedule).plan({}))
    compiled = timed("compile", lambda: sg.compile(graph))
    found = timed("run", lambda: {k: v.copy() for k, v in compiled.run(FEEDS).items()})
    same = [sg.same_graph(other, graph) for other in (parsed, pickled, copied)]

    def delete() -> None:
        nonlocal x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        del x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        gc.collect()

    timed("delete", delete)
    return spent, {"same": same, "found": found, "wanted": wanted}


def growth(make: Make, nodes: int) -> dict[str, tuple[float, float]]:
    """Per stage: process seconds at ``nodes``, and that over the seconds at a tenth of them."""
    everything(make, 200)  # kernels, caches, imports

    def best(count: int) -> dict[str, float]:
        runs = [everything(make, count)[0] for _ in range(2)]
        return {stage: min(run[stage] for run in runs) for stage in runs[0]}

    few, many = best(nodes // 10), best(nodes)
    return {stage: (many[stage], many[stage] / max(few[stage], 1e-9)) for stage in few}


def main() -> int:
    """Print the table; 1 if a stage grows faster than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = {make.__name__: growth(make, options.nodes) for make in (deep, wide, fan)}
    if options.json:
        print(json.dumps(table))
    else:
        for name, rows in table.items():
            for stage, (seconds, ratio) in rows.items():
                print(f"{name:6} {stage:10} {seconds:8.3f} s  x{ratio:.1f}")
    late = [s > SHORTEST * LIMIT and r > LIMIT for rows in table.values() for s, r in rows.values()]
    return int(any(late))


if __name__ == "__main__":
    sys.exit(main())
