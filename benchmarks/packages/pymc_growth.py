"""Compile time of PyMC models against their size: ours beside PyTensor's modes.

    python -m benchmarks pymc_growth [--groups 10 30 100 300 1000] [--modes NUMBA C] [--json FILE]

A hierarchical model written as a loop: each group has variables of its own (a mean, a deviation and
ten observations). Each row is a process with empty caches: seconds of processor time from the built
model to the first value with its gradient, and then the least time of a call by optimized code. Of
our mode also its parts: PyTensor's work (the gradient and the rewrites), our reading of the graph,
``sg.compile``, the first call. ``sg.grad``: the density by ``sg.pytensor.function``, differentiated
here, as ``sg.pytensor.logp`` and ``sg.pytensor.nutpie`` do: PyTensor rewrites the value alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe
from benchmarks.packages.pymc import (
    OURS,
    PEERS,
    compile_density,
    least_times,
    quiet,
    run_process,
    start_of,
)
from benchmarks.peers.calls import Call

ROWS: Final = 10
#: The density differentiated here, in the columns.
DENSITY: Final = "sg.grad"
#: Seconds by the clock for one of the processor, at most: other processes may be running.
CLOCK: Final = 8


def build(groups: int) -> Any:
    """Build the model of so many groups, and register our mode."""
    import_module("staticgrad.pytensor")
    pm = import_module("pymc")
    random = np.random.default_rng(groups)
    with pm.Model() as model:
        center, spread = pm.Normal("center", 0, 5), pm.HalfNormal("spread", 5)
        for k in range(groups):
            mean, deviation = pm.Normal(f"mean{k}", center, spread), pm.HalfNormal(f"error{k}", 2)
            pm.Normal(f"y{k}", mean, deviation, observed=random.normal(k % 5, 1, ROWS))
    return model


def builders() -> Builders:
    """Return what builds the model of one group."""
    return {"1": partial(build, 1)}


def trace_density(model: Any) -> Call:
    """Return value and gradient of a log density over one vector, differentiated here."""
    function = sg.pytensor.function(model.logp(), model.value_vars)
    shapes = [np.shape(part) for part in model.initial_point().values()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()

    def density(point: Any) -> Any:
        pieces = zip([0, *ends[:-1]], ends, shapes, strict=True)
        return function(*[point[begin:end].reshape(shape) for begin, end, shape in pieces])

    return sg.function(sg.value_and_grad(density))


class ProgramCall:
    """A program of one vector as a function of it."""

    def __init__(self, program: Any) -> None:
        self._run = program.run

    def __call__(self, point: Any) -> Any:
        return self._run({"point": point})


def measure(groups: int, mode: str) -> dict[str, Any]:
    """Return seconds from the model to the first value, its parts, and the value."""
    model = build(groups)
    x = start_of(model)
    start = time.process_time()
    if mode == DENSITY:
        call: Any = trace_density(model)
    else:
        call = compile_density(model, PEERS.get(mode, mode))
    compiled_at = time.process_time()
    value, gradient = (np.array(result) for result in call(x))
    end = time.process_time()
    seconds = {"total": end - start, "first call": end - compiled_at}
    if mode == OURS:
        seconds |= call.vm.jit_fn.seconds
        parts = seconds["reading"] + seconds["sg.compile"] + seconds["first call"]
        seconds["PyTensor"] = seconds["total"] - parts
        for program in call.vm.jit_fn.programs:
            program.wait()
    elif mode == DENSITY:
        program = call.compile(x)
        program.wait()
        call = ProgramCall(program)
    microseconds = least_times({mode: call}, x, 0.5)[mode]["dropped"]
    return {**seconds, "us": microseconds, "value": float(value), "slope": float(gradient.sum())}


def end_after(seconds: float) -> None:
    """End this process once it has taken so many seconds of processor time.

    The system's own limit (``RLIMIT_CPU``) makes its clock of processor time a coarse one.
    """
    while time.process_time() < seconds:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGXCPU)


def measure_in_a_process(groups: int, mode: str, limit: float) -> dict[str, Any] | None:
    """Return the same of a process with empty caches; None if it takes too long."""
    arguments = ["benchmarks.packages.pymc_growth", "--process", mode, "--groups", str(groups)]
    arguments += ["--limit", str(limit)]
    with tempfile.TemporaryDirectory() as cache:
        try:
            return run_process(arguments, cache, CLOCK * limit)
        except subprocess.TimeoutExpired:
            return None
        except subprocess.CalledProcessError as error:
            if error.returncode != -signal.SIGXCPU:
                raise RuntimeError(error.stderr) from error
            return None


def main() -> int:
    """Print a table; return 1 if our value differs from the first peer's, or there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks pymc_growth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--groups", nargs="*", type=int, default=[10, 30, 100, 300, 1000])
    add("--modes", nargs="*", default=["NUMBA", "C"], choices=[*PEERS], help="of PyTensor")
    add("--limit", type=float, default=300.0, help="seconds of processor time of a process")
    add("--json", help="write the figures into this file")
    add("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet()
    if options.process:
        (groups,) = options.groups
        threading.Thread(target=end_after, args=(options.limit,), daemon=True).start()
        with sg.options(threads=1):
            print(json.dumps(measure(groups, options.process)))
        return 0
    machine = describe()
    print(
        f"# Growth\n\n`python -m benchmarks pymc_growth`, {machine.processor},"
        f" {machine.cores} cores, Python {machine.python}.\n"
    )
    parts = ["PyTensor", "reading", "sg.compile", "first call"]
    others = [DENSITY, *options.modes]
    columns = ["groups", OURS, *parts, *others, "µs a call", *others]
    print(f"| {' | '.join(columns)} |\n|{'--:|' * len(columns)}")
    rows, failed = [], 0
    for groups in options.groups:
        by_mode = {
            mode: measure_in_a_process(groups, mode, options.limit) for mode in [OURS, *others]
        }
        rows.append({"groups": groups, **by_mode})
        ours = by_mode[OURS]
        reference = next((by_mode[mode] for mode in options.modes if by_mode[mode]), None)
        failed += ours is None or (reference is not None and not agrees(ours, reference))
        density = by_mode[DENSITY]
        failed += bool(ours and density and not agrees(ours, density))
        cells = [str(groups)]
        cells += [f"{ours[part]:.2f}" if ours else "-" for part in ("total", *parts)]
        peers = [by_mode[mode] for mode in others]
        cells += [f"{row['total']:.1f}" if row else f"> {options.limit:.0f}" for row in peers]
        cells += [f"{row['us']:,.1f}" if row else "-" for row in (ours, *peers)]
        print(f"| {' | '.join(cells)} |", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": vars(machine), "rows": rows}))
    return int(failed > 0)


def agrees(ours: dict[str, Any], reference: dict[str, Any]) -> bool:
    """Return whether value and sum of the gradient are the peer's."""
    return all(
        abs(ours[name] - reference[name]) <= 1e-11 * max(1.0, abs(reference[name]))
        for name in ("value", "slope")
    )


if __name__ == "__main__":
    sys.exit(main())
