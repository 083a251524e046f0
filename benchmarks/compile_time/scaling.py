"""The growth of the time of every stage with the graph: us per node at 64,000 nodes against 4,000.

    python -m benchmarks scaling [--few 4000] [--nodes 64000] [--only TEXT] [--json]
    python -m benchmarks scaling --compile [--only TEXT]

A chain, a wide graph, a fan, repeated blocks and a recurrence, each with its gradients; the nodes
are those of the joint graph. Process time, the least of several runs at each number, and calls of
functions, which no load of the machine moves. A graph of 64,000 nodes does not fit the caches that
one of 4,000 does: ``control`` walks plain objects as large as nodes, by a table, and shows by how
much that alone is slower. Exits with 1 where a stage beyond 1 us per node takes more time per node
by a fifth than the control, or both more calls and more time by a fifth.

``--compile``: process time from building to the first result, and peak memory, against nodes,
layers, parameters, outputs, the length of a loop and the number of shapes; each number in a process
of its own with an empty cache and full code. The last column compares the time of a further unit
with that between the two numbers before: 1 is linear.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import gc
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from passes.pipelines import pipeline
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.lowering.fuse import fuse
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.verify_schedule import verify_schedule

Make = Callable[[int], tuple[sg.Value, sg.Value]]
FEEDS = {"x": np.linspace(-1, 1, 8, dtype=np.float32)}
LIMIT = 1.2
COLUMNS = ("few_us", "many_us", "ratio", "few_calls", "many_calls", "calls_ratio")
Table = dict[str, dict[str, dict[str, float]]]
LEAST = 1.0  # us per node: below, a ratio says nothing


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
        odd = values[-1:] if len(values) % 2 else []
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=False)] + odd
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

    def time_stage(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        spent[name] = time.process_time() - start
        return result

    x, value = time_stage("build", lambda: make(nodes))
    slope = time_stage("grad", lambda: sg.grad(sg.sum(value), x))
    graph = time_stage("graph", lambda: sg.Graph({"value": value, "slope": slope}))
    text = time_stage("print", lambda: str(graph))
    parsed = time_stage("parse", lambda: sg.parse(text))
    expected = time_stage("evaluate", lambda: sg.evaluate(graph, FEEDS))
    pickled = time_stage("pickle", lambda: pickle.loads(pickle.dumps(graph)))
    copied = time_stage("copy", lambda: copy.deepcopy(graph))
    shorter = time_stage("passes", lambda: pipeline("O1")(graph))
    schedule = time_stage("fuse", lambda: fuse(shorter))
    time_stage("plan", lambda: Planner(schedule).plan({}))
    compiled = time_stage("compile", lambda: sg.compile(graph))
    actual = time_stage("first run", lambda: {k: v.copy() for k, v in compiled.run(FEEDS).items()})
    time_stage("run", lambda: compiled.run(FEEDS))
    same = [sg.same_graph(candidate, graph) for candidate in (parsed, pickled, copied)]

    def delete() -> None:
        nonlocal x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        del x, value, slope, graph, parsed, pickled, copied, shorter, schedule, compiled
        gc.collect()

    time_stage("delete", delete)
    return spent, {"same": same, "found": actual, "wanted": expected}


def blocks(count: int) -> sg.Graph:
    """A training step of residual blocks, each with weights of its own."""
    x = sg.input("x", ("batch", 16), "float32")
    value: sg.Value = x
    weights: list[sg.Parameter] = []

    def weight(name: str, *shape: int) -> sg.Parameter:
        weights.append(sg.parameter(f"{name}{len(weights)}", np.ones(shape, "float32")))
        return weights[-1]

    for _ in range(count):
        normal = sg.nn.layer_norm(value, weight("gain", 16), weight("bias", 16))
        hidden = sg.nn.gelu(normal @ weight("up", 16, 32) + weight("shift", 32))
        value = value + hidden @ weight("down", 32, 16)
    return _with_update(sg.mean(value * value), weights)


def transformers(count: int) -> sg.Graph:
    """A training step of transformer layers by AdamW, each with weights of its own."""
    x = sg.input("x", ("batch", 16, 32), "float32")
    layers = [sg.nn.TransformerBlock(32, 2) for _ in range(count)]
    value: sg.Value = x
    for layer in layers:
        value = layer(value)
    weights = [weight for layer in layers for weight in layer.parameters()]
    step: sg.Graph = sg.optim.AdamW(1e-3).minimize(sg.mean(value * value), weights)
    return step


def recurrence(count: int) -> sg.Graph:
    """A training step of an LSTM, unrolled ``count`` times; each time reads another offset."""
    x = sg.input("x", (count, "batch", 8), "float32")
    inner, outer = (sg.parameter(name, np.ones((8, 32), "float32")) for name in ("wx", "wh"))
    shift = sg.parameter("b", np.zeros(32, "float32"))
    hidden = cell = sg.zeros((x.shape[1], 8), "float32")
    for time_step in range(count):
        gates = x[time_step] @ inner + hidden @ outer + shift
        keep, add, new, show = (gates[:, k : k + 8] for k in range(0, 32, 8))
        cell = sg.sigmoid(keep) * cell + sg.sigmoid(add) * sg.tanh(new)
        hidden = sg.sigmoid(show) * sg.tanh(cell)
    return _with_update(sg.mean(hidden * hidden), [inner, outer, shift])


def _with_update(loss: sg.Value, weights: list[sg.Parameter]) -> sg.Graph:
    slopes = sg.grad(loss, weights)
    return sg.Graph(
        {"loss": loss}, {w: w - 0.1 * slope for w, slope in zip(weights, slopes, strict=True)}
    )


def _with_slope(make: Make) -> Callable[[int], sg.Graph]:
    def make_graph(count: int) -> sg.Graph:
        x, value = make(count)
        return sg.Graph({"value": value, "slope": sg.grad(sg.sum(value), x)})

    return make_graph


PROGRAMS: dict[str, Callable[[int], sg.Graph]] = {
    "chain": _with_slope(deep),
    "wide": _with_slope(wide),
    "fan": _with_slope(fan),
    "blocks": blocks,
    "recurrence": recurrence,
}


def many_parameters(count: int) -> sg.Graph:
    """A training step of so many small parameters."""
    x = sg.input("x", ("batch", 8), "float32")
    weights = [sg.parameter(f"w{k}", np.full(8, 0.1, "float32")) for k in range(count)]
    parts = [sg.mean(sg.tanh(x * w)) for w in weights]
    return _with_update(sg.mean(sg.stack(parts) ** 2), weights)


def many_outputs(count: int) -> sg.Graph:
    """So many results of one input."""
    x = sg.input("x", ("batch", 8), "float32")
    return sg.Graph({f"y{k}": sg.sum(sg.tanh(x * (1.0 + k))) for k in range(count)})


def long_loop(count: int) -> sg.Graph:
    """A recurrent cell over so many steps, and its gradients."""
    x = sg.input("x", (count, "batch", 8), "float32")
    w = sg.parameter("w", np.full((8, 8), 0.1, "float32"))

    def step(h: sg.Value, row: sg.Value) -> tuple[sg.Value, None]:
        return sg.tanh(h @ w + row), None

    last, _ = sg.scan(step, sg.zeros((x.shape[1], 8), "float32"), x)
    return _with_update(sg.mean(last * last), [w])


def _shape(count: int) -> sg.Graph:
    x = sg.input("x", (count, 8), "float32")
    w = sg.parameter("w", np.full((8, 8), 0.1, "float32"))
    return _with_update(sg.mean(sg.tanh(x @ w) ** 2), [w])


def _of_nodes(count: int) -> sg.Graph:
    return _with_slope(deep)(count // 3)  # a joint graph of about so many


def _one(make: Callable[[int], sg.Graph]) -> Callable[[int], list[sg.Graph]]:
    return lambda count: [make(count)]


#: What grows -> its numbers, the programs of a number.
COMPILED: dict[str, tuple[tuple[int, ...], Callable[[int], list[sg.Graph]]]] = {
    "nodes": ((1_000, 10_000, 50_000, 100_000), _one(_of_nodes)),
    "layers": ((10, 50, 100, 200), _one(blocks)),
    "transformer layers": ((10, 50, 100, 200), _one(transformers)),
    "parameters": ((10, 100, 500, 1_000), _one(many_parameters)),
    "outputs": ((10, 100, 500, 1_000), _one(many_outputs)),
    "steps of a loop": ((10, 100, 1_000, 10_000), _one(long_loop)),
    "steps written out": ((10, 50, 100, 200), _one(recurrence)),
    "shapes": ((1, 25, 50, 100), lambda count: [_shape(k) for k in range(2, 2 + count)]),
}


def builders() -> Builders:
    """Return what builds the smallest program of each table."""
    return {
        **{name: partial(make, 8) for name, make in PROGRAMS.items()},
        **{what: partial(make, 4) for what, (_, make) in COMPILED.items()},
    }


def point(name: str, count: int) -> dict[str, float]:
    """Build, compile and run the programs of a number once, in this process."""
    make = COMPILED[name][1]
    sg.compile(_shape(3)).run({"x": np.ones((3, 8), "float32")})  # imports, and the driver's code
    start_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, nodes, kernels = time.process_time(), 0, 0
    for graph in make(count):
        compiled = sg.compile(graph, threads=1)
        sizes = dict.fromkeys(graph.sizes, 8)
        feeds = {
            value.name: np.full(
                [d if isinstance(d, int) else sizes[str(d)] for d in value.type.shape],
                0.5,
                "float32",
            )
            for value in graph.inputs
        }
        compiled.run(feeds)
        nodes, kernels = nodes + len(graph.nodes), kernels + len(compiled.kernels)
    spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": spent, "mb": (peak - start_peak) / 1024, "nodes": nodes, "kernels": kernels}


def compile_growth(only: str) -> int:
    """Print the tables of compile time and memory, in Markdown."""
    print("| what grows | number | nodes | kernels | s | ms each | MB | KB each | a further one |")
    print(f"|---{'|--:' * 8}|")
    for name, (counts, _) in COMPILED.items():
        if only not in name:
            continue
        previous, slopes = (0, 0.0), [0.0]
        for count in counts:
            with tempfile.TemporaryDirectory() as cache:
                settings = {"STATICGRAD_CACHE_DIR": cache, "STATICGRAD_TIER": "full"}
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks",
                    "scaling",
                    "--point",
                    name,
                    str(count),
                ]
                done = subprocess.run(
                    command,
                    env=os.environ | settings,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            row = json.loads(done.stdout.splitlines()[-1])
            slope = (row["seconds"] - previous[1]) / (count - previous[0])
            ratio = f"{slope / slopes[-1]:.2f}" if slopes[-1] > 0 and len(slopes) > 2 else "-"
            print(
                f"| {name} | {count:,} | {row['nodes']:,} | {row['kernels']} | {row['seconds']:.2f}"
                f" | {row['seconds'] / count * 1e3:.2f} | {row['mb']:.0f}"
                f" | {row['mb'] / count * 1024:.1f} | {ratio} |",
                flush=True,
            )
            previous = count, row["seconds"]
            slopes.append(slope)
    return 0


class _Thing:
    """An object as large as a node with its annotations."""

    __slots__ = ("args", "number", "parts")

    def __init__(self, number: int, args: tuple[_Thing, ...]) -> None:
        self.number, self.args, self.parts = number, args, [number] * 40


def control(nodes: int) -> float:
    """Process seconds of a walk over plain objects, which looks each operand up in a table.

    As before each stage, a collection has just walked all objects there are.
    """
    things: list[_Thing] = []
    for number in range(nodes):
        things.append(_Thing(number, tuple(things[-2:])))
    spent = []
    for _ in range(5):
        gc.collect()
        start = time.process_time()
        table: dict[_Thing, tuple[int, ...]] = {}
        for thing in things:
            table[thing] = tuple([table[arg][0] + len(arg.parts) for arg in thing.args]) or (0,)
        spent.append(time.process_time() - start)
    return min(spent)


def stages(
    make: Callable[[int], sg.Graph], count: int, calls: bool = False
) -> tuple[int, dict[str, float]]:
    """The nodes of the joint graph; the process seconds of each stage, or (``calls``) its calls."""
    spent: dict[str, float] = {}

    def time_stage(name: str, work: Callable[[], Any]) -> Any:
        if calls:
            profile = cProfile.Profile()
            result = profile.runcall(work)
            spent[name] = sum(entry.callcount for entry in profile.getstats())
            return result
        gc.collect()
        start = time.process_time()
        result = work()
        spent[name] = time.process_time() - start
        return result

    graph: sg.Graph = time_stage("build, grad", lambda: make(count))
    time_stage("print", lambda: str(graph))
    shorter = time_stage("passes", lambda: pipeline("O1")(graph))
    schedule = time_stage("fuse", lambda: fuse(shorter))
    time_stage("verify schedule", lambda: verify_schedule(schedule))
    planner = time_stage("planner", lambda: Planner(schedule))
    plan = time_stage("first plan", lambda: planner.plan(dict.fromkeys(graph.sizes, 8)))
    time_stage("next plan", lambda: planner.plan(dict.fromkeys(graph.sizes, 9)))
    time_stage("verify plan", lambda: verify_plan(plan))
    return len(graph.nodes), spent


def per_node(
    make: Callable[[int], sg.Graph], nodes: int, repeat: int
) -> dict[str, tuple[float, float]]:
    """us and calls per node of each stage, at about so many nodes."""
    nodes_of_40, _ = stages(make, 40)  # imports, and nodes for each unit
    count = max(8, 40 * nodes // nodes_of_40 // 8 * 8)  # what a graph ends with is the same in all
    runs = [stages(make, count) for _ in range(repeat)]
    number, calls = stages(make, count, calls=True)
    return {
        stage: (min(spent[stage] for _, spent in runs) / number * 1e6, calls[stage] / number)
        for stage in calls
    }


def growth(few: int, nodes: int, only: str = "") -> Table:
    """Per program and stage: us and calls per node at ``few`` and at ``nodes``; the ratios."""

    def row(at_few: tuple[float, float], at_many: tuple[float, float]) -> dict[str, float]:
        ratios = [new / max(old, 1e-9) for old, new in zip(at_few, at_many, strict=True)]
        values = (at_few[0], at_many[0], ratios[0], at_few[1], at_many[1], ratios[1])
        return {name: round(value, 3) for name, value in zip(COLUMNS, values, strict=True)}

    slow = [control(count) / count * 1e6 for count in (few, nodes)]
    table = {"control": {"walk": row((slow[0], 1.0), (slow[1], 1.0))}}
    for name, make in PROGRAMS.items():
        if only in name:
            at_few, at_many = per_node(make, few, 5), per_node(make, nodes, 2)
            table[name] = {stage: row(at_few[stage], at_many[stage]) for stage in at_few}
    return table


def late(table: Table) -> list[str]:
    """The stages that take more time than a walk over as many objects, or more calls and time."""
    usual = max(1.0, table["control"]["walk"]["ratio"])

    def grows(row: dict[str, float]) -> bool:
        both_grow = min(row["ratio"], row["calls_ratio"]) > LIMIT
        return row["many_us"] > LEAST and (row["ratio"] > LIMIT * usual or both_grow)

    return [
        f"{name}: {stage}"
        for name, rows in table.items()
        for stage, row in rows.items()
        if grows(row)
    ]


def main() -> int:
    """Print the table; 1 if a stage grows faster than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=4_000, help="nodes of the small graphs")
    parser.add_argument("--nodes", type=int, default=64_000, help="nodes of the large ones")
    parser.add_argument("--only", default="", help="programs whose name holds this text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--compile", action="store_true", help="time and memory of compiling")
    parser.add_argument("--point", nargs=2, help="what grows, number: measure in this process")
    options = parser.parse_args()
    if options.point:
        print(json.dumps(point(options.point[0], int(options.point[1]))))
        return 0
    if options.compile:
        return compile_growth(options.only)
    table = growth(options.few, options.nodes, options.only)
    if options.json:
        print(json.dumps(table, indent=2))
        return int(bool(late(table)))
    print(f"{'per node':28} {'us, few':>8} {'many':>8} {'ratio':>6} {'calls':>8} {'many':>8} ratio")
    for name, rows in table.items():
        for stage, row in rows.items():
            us, more, ratio, calls, later, grown = row.values()
            print(
                f"{name:11} {stage:16} {us:8.2f} {more:8.2f} {ratio:6.2f}"
                f" {calls:8.2f} {later:8.2f} {grown:5.2f}"
            )
    print("\n".join(["", *(f"late: {text}" for text in late(table))]))
    return int(bool(late(table)))
