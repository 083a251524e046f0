"""Exported files beside ``f.run``: time, bits, lines, on one thread.

    python -m benchmarks exports [--workload NAME ...] [--seconds 1]

Each workload of the suite is exported and run by a process of its own that does not import
staticgrad. Times are the least of many runs, those of the two programs in turns: other work of the
machine spoils both alike. ``first`` is the first run of a file, which Numba compiles in it.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.machine import describe
from benchmarks.harness.workload import Workload
from benchmarks.implementations.with_staticgrad import Staticgrad, feeds_of, graph_of
from benchmarks.suite.suite import builders as builders
from benchmarks.workloads import all_workloads
from staticgrad.errors import ExportError

#: Runs the file once, then for so many seconds as often as it is asked by a line on its input.
CHILD: Final = """
import json, pickle, sys, time
sys.path.insert(0, "")
import program
with open("feeds", "rb") as file:
    feeds = pickle.load(file)
start = time.perf_counter()
results = program.run(feeds)
first = time.perf_counter() - start
with open("results", "wb") as file:
    pickle.dump((results, program.parameters), file)
print(json.dumps(first), flush=True)
for line in sys.stdin:
    end, least = time.perf_counter() + float(line), float("inf")
    while (start := time.perf_counter()) < end:
        program.run(feeds)
        least = min(least, time.perf_counter() - start)
    print(json.dumps(least), flush=True)
"""
ROUNDS: Final = 3


def least(run: Callable[[], object], seconds: float) -> float:
    """The least time of a run in so many seconds."""
    end, shortest = time.perf_counter() + seconds, float("inf")
    while (start := time.perf_counter()) < end:
        run()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def measure_workload(workload: Workload, seconds: float) -> dict[str, Any]:
    """Measure one workload; ``refused`` says why it cannot be exported."""
    data = workload.make()
    graph = graph_of(workload, data, Staticgrad())
    feeds = feeds_of(workload, data)
    f = sg.compile(graph, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        try:
            f.export(path)
        except ExportError as error:
            return {"refused": error.headline}
        (Path(folder) / "feeds").write_bytes(pickle.dumps(feeds))
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD], cwd=folder, text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            first = json.loads(process.stdout.readline())
            outputs, parameters = pickle.loads((Path(folder) / "results").read_bytes())
            expected = f.run(feeds)
            expected = expected | {p.node.label: p.value for p in graph.parameters}
            differs = max(
                0.0
                if np.array_equal(value, actual[name], equal_nan=True)
                else float(np.max(np.abs(value - actual[name])) / np.max(np.abs(value)))
                for actual in ({**parameters, **outputs},)
                for name, value in expected.items()
            )
            call = f.bind(feeds)
            ours = theirs = float("inf")
            for _ in range(ROUNDS):
                ours = min(ours, least(call, seconds / ROUNDS))
                process.stdin.write(f"{seconds / ROUNDS}\n")
                process.stdin.flush()
                theirs = min(theirs, json.loads(process.stdout.readline()))
            process.stdin.close()
        lines = len(path.read_text("utf-8").splitlines())
    return {"run": ours, "file": theirs, "first": first, "differs": differs, "lines": lines}


def row(name: str, measurement: dict[str, Any]) -> str:
    """A line of the table."""
    if "refused" in measurement:
        return f"| `{name}` | | | | | | refused: {measurement['refused']} |"
    ratio = measurement["file"] / measurement["run"]
    times = " | ".join(f"{measurement[key] * 1e6:,.0f}" for key in ("run", "file"))
    bits = f"differ by {measurement['differs']:.0e}" if measurement["differs"] else "identical"
    first, lines = measurement["first"], measurement["lines"]
    return f"| `{name}` | {times} | {ratio:.2f} | {first:.1f} | {lines} | {bits} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks exports", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--workload", action="append", default=[], help="only this one")
    parser.add_argument("--seconds", type=float, default=1.0, help="measuring time of each program")
    options = parser.parse_args()
    machine = describe()
    print(f"{machine.processor}, {machine.cores} cores, Python {machine.python}\n")
    print("| workload | `f.run`, µs | file, µs | file / run | first, s | lines | results |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for name, workload in all_workloads().items():
        if name in options.workload or not options.workload:
            print(row(name, measure_workload(workload, options.seconds)), flush=True)
    return 0
