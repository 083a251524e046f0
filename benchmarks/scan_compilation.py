"""How long a scan takes to compile beside one step of it written out, ours and JAX's.

    python -m benchmarks scan_compilation [--cell lstm] [--iterations 1000] [--hidden 128] [--repeat
    9]
                                          [--only TEXT] [--json]

The program is a cell (an LSTM's, a GRU's, or tanh of a sum: ``rnn``) over ``iterations`` steps of
time by the library's scan, or once without one; it gives half the squared distance of the last
state from a target, and the gradients by all weights and by the state before the first step, which
each step of a scan has to work out. A second step gives those by weights alone, and so lacks a
product. All begin with a state that is given, so that none may leave out what zeros would spare. A
turn is a process of its own with an empty cache of compiled code: process time from the loaded
library to code that runs (build, differentiate, compile), and that of the first call behind it.
Both programs of a library take turns. The ratio is that of least times; JAX is left out where it is
not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.implementation import Settings
from benchmarks.operations import GATES
from benchmarks.worker import implementation_at
from benchmarks.workload import Data, Workload

ROOT: Final = Path(__file__).parent.parent
LIBRARIES: Final = {
    "staticgrad": "benchmarks.implementations.with_staticgrad:StaticgradImplementation",
    "jax": "benchmarks.implementations.with_jax:JaxImplementation",
}
ALONE: Final = "step, weights alone"
PROGRAMS: Final = ("step", ALONE, "scan")
WEIGHTS: Final = ("w", "u", "b")
#: The parts of a cell's weights, side by side.
CELLS: Final = {"rnn": 1, **GATES}
#: Seconds of process time: to compile, and of the first call.
Times = tuple[float, float]


def arrays(
    random: np.random.Generator, cell: str, iterations: int, hidden: int, batch: int = 32
) -> Data:
    """Weights and the state before the first step; inputs for each step of time, and the target."""
    state, inputs, width = (batch, hidden), hidden // 2, CELLS[cell] * hidden
    shapes = {"w": (inputs, width), "u": (hidden, width), "b": (width,), "h": state}
    shapes |= {"c": state} if cell == "lstm" else {}
    feeds = {"x": (iterations, batch, inputs), "y": state}
    bound = hidden**-0.5
    return Data(
        {name: random.uniform(-bound, bound, shape) for name, shape in shapes.items()},
        {name: random.uniform(-1, 1, shape) for name, shape in feeds.items()},
        sizes={"hidden": hidden},
    )


def weights_alone(random: np.random.Generator, cell: str, iterations: int, hidden: int) -> Data:
    """The same, the state before the first step among what is fed."""
    data = arrays(random, cell, iterations, hidden)
    weights = {name: data.variables[name] for name in WEIGHTS}
    states = {name: array for name, array in data.variables.items() if name not in weights}
    return Data(weights, {**data.feeds, **states}, sizes=data.sizes)


def loss(
    cell: str, program: str, ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """Half the squared distance of the last state from the target, per sequence."""
    w, u, b = (v[name] for name in WEIGHTS)

    def rnn(part: Any, state: Any, u: Any) -> Any:
        return (ops.tanh(part + state[0] @ u),)

    step = rnn if cell == "rnn" else ops.recurrent_cell(cell, sizes["hidden"])

    def iteration(state: Any, at: Any) -> Any:
        return step(at @ w + b, state, u), None

    run = ops.scan if program == "scan" else lambda body, start, x: body(start, x[0])
    first = tuple(v[name] for name in ("h", "c") if name in v)
    away = run(iteration, first, v["x"])[0][0] - v["y"]
    return 0.5 * ops.mean(ops.sum(away * away, axis=1)), {}


def workload_of(cell: str, program: str, iterations: int, hidden: int) -> Workload:
    """The program of a row: a scan over so many steps, or one step."""
    given = weights_alone if program == ALONE else arrays
    make, few = (
        partial(given, cell=cell, iterations=n if program == "scan" else 1, hidden=hidden)
        for n in (iterations, 3)
    )
    about = "a recurrent cell and its gradients"
    return Workload(program, "gradient", partial(loss, cell, program), make, few, 1e-4, about)


def measured(library: str, program: str, options: argparse.Namespace) -> dict[str, float]:
    """Process seconds of one row in this process, and the loss."""
    settings = Settings(options.threads, options.cache)
    implementation = implementation_at(LIBRARIES[library])()
    implementation.load(settings)
    workload = workload_of(options.cell, program, options.iterations, options.hidden)
    work = implementation.program(workload, workload.make(), settings)
    start = time.process_time()
    work.build()
    work.compile()
    compiled = time.process_time()
    found = work.results(work.step())
    done = time.process_time()
    return {"compile": compiled - start, "call": done - compiled, "loss": float(found["loss"])}


def in_a_process(library: str, program: str, options: argparse.Namespace, folder: str) -> Times:
    """The same in a process of its own, with an empty cache; bytecode is kept in ``folder``."""
    with tempfile.TemporaryDirectory() as cache:
        settings = Settings(options.threads, cache)
        own = {
            **implementation_at(LIBRARIES[library]).environment(settings),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONPYCACHEPREFIX": folder,
        }
        command = [
            sys.executable,
            "-m",
            "benchmarks",
            "scan_compilation",
            "--row",
            library,
            program,
        ]
        for name in ("cell", "iterations", "hidden", "threads"):
            command += [f"--{name}", str(getattr(options, name))]
        environment = {**os.environ, **own}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(
            [*command, "--cache", cache],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    row = json.loads(done.stdout.splitlines()[-1])
    return row["compile"], row["call"]


def summary(rows: Mapping[str, list[Times]]) -> dict[str, dict[str, float]]:
    """By program: the least and the median time to compile, and the least of the first call."""
    found = {}
    for program, times in rows.items():
        compiling, calls = zip(*times, strict=True)
        found[program] = {
            "compile_min_s": round(min(compiling), 4),
            "compile_median_s": round(median(compiling), 4),
            "call_min_s": round(min(calls), 4),
        }
    return found


def ratios(programs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The scan's least time to compile over that of each step."""
    least = {program: row["compile_min_s"] for program, row in programs.items()}
    return {step: round(least["scan"] / least[step], 3) for step in PROGRAMS if step != "scan"}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--cell", choices=CELLS, default="lstm")
    reader.add_argument("--hidden", type=int, default=128, help="the width of the state")
    reader.add_argument("--iterations", type=int, default=1000, help="steps of time of the scan")
    reader.add_argument("--repeat", type=int, default=9, help="processes per row")
    reader.add_argument("--threads", type=int, default=1)
    reader.add_argument("--only", default="", help="libraries whose name holds this text")
    reader.add_argument("--json", action="store_true", help="print one JSON object")
    reader.add_argument("--row", nargs=2, help="measure this library's program in this process")
    reader.add_argument("--cache", default="", help="the folder of compiled code of a row")
    options = reader.parse_args()
    if options.row:
        library, program = options.row
        print(json.dumps(measured(library, program, options)))
        return
    chosen = [name for name in LIBRARIES if options.only in name and find_spec(name)]
    times: dict[str, dict[str, list[Times]]] = {
        library: {program: [] for program in PROGRAMS} for library in chosen
    }
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.repeat + 1):
            for library, rows in times.items():
                for program in PROGRAMS:
                    found = in_a_process(library, program, options, folder)
                    if turn:  # the first fills the cache of bytecode
                        rows[program].append(found)
    results = {library: summary(rows) for library, rows in times.items()}
    if options.json:
        over = {library: ratios(programs) for library, programs in results.items()}
        about = {"cell": options.cell, "iterations": options.iterations, "hidden": options.hidden}
        print(json.dumps({**about, "libraries": results, "ratios": over}))
        return
    print(f"{'process time, seconds':32} {'compile':>8} {'median':>8} {'first call':>10}")
    for library, programs in results.items():
        for program, row in programs.items():
            least, middle, call = row.values()
            print(f"{f'{library}, {program}':32} {least:8.3f} {middle:8.3f} {call:10.3f}")
        for step, ratio in ratios(programs).items():
            print(f"{f'{library}, scan over {step}':42} {ratio:8.2f}")
