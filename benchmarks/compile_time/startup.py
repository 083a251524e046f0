"""Start-up: process time from the interpreter's start, in fresh processes.

    python -m benchmarks startup [--repeat 9] [--json] [--beside FOLDER] [--only TEXT]

Rows: NumPy alone; build, differentiate and print the README's graph; the same, compiled and run;
one step of four workloads. Compiled ones with an empty (cold) and with a filled (warm) kernel
cache. Medians and minima of process time, which the load of the machine moves less than wall time:
until the program is done, and of the whole process, which includes the interpreter's exit. Bytecode
is cached outside the source tree, as an installed package has it. ``--beside`` measures another
checkout too, in turns with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLOCK = "\nimport time\nprint(time.process_time())\n"
BUILD = """
import numpy as np
import staticgrad as sg

x = sg.input("x", ("batch", 3), "float32")
y = sg.input("y", ("batch",), "int64")
w = sg.parameter("w", np.zeros((3, 2), "float32"))
b = sg.parameter("b", np.zeros(2, "float32"))
loss = sg.nn.cross_entropy(x @ w + b, y)
dw, db = sg.grad(loss, [w, b])
step = sg.Graph({"loss": loss}, updates={w: w - dw, b: b - db}, name="step")
text = str(step)
"""
RUN = """
f = sg.compile(step)
f.run({"x": np.ones((8, 3), "float32"), "y": np.zeros(8, "int64")})
"""
#: One step of a workload; its own modules are few and small.
WORKLOAD = """
import staticgrad as sg
from benchmarks.implementations.with_staticgrad import Staticgrad, feeds_of, graph_of
from benchmarks.workloads.{module} import WORKLOADS

workload = next(each for each in WORKLOADS if each.name == "{name}")
data = workload.make()
f = sg.compile(graph_of(workload, data, Staticgrad()))
f.run(feeds_of(workload, data))
"""
COMPILED = {
    "build, compile and run": BUILD + RUN,
    "tiny": WORKLOAD.format(module="mlp", name="tiny"),
    "mlp": WORKLOAD.format(module="mlp", name="mlp"),
    "gpt": WORKLOAD.format(module="gpt", name="gpt"),
    "lstm": WORKLOAD.format(module="lstm", name="lstm"),
}
PROGRAMS = {
    "python": "",
    "numpy": "import numpy",
    "build, grad, print": BUILD,
    **{f"{name}, {cache}": p for name, p in COMPILED.items() for cache in ("warm", "cold")},
}
#: Seconds of process time: until the program is done, and of the whole process.
Times = tuple[float, float]


def seconds(program: str, root: Path, folder: str, cache: str) -> Times:
    """Process times of a fresh interpreter that runs ``program`` over the sources of ``root``."""
    settings = {
        "PYTHONPATH": str(root),
        "PYTHONPYCACHEPREFIX": folder,
        "STATICGRAD_CACHE_DIR": cache,
    }
    environment = {**os.environ, **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program + CLOCK]
    with subprocess.Popen(  # elsewhere: the working directory comes before PYTHONPATH
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return float(printed.split()[-1]), used.ru_utime + used.ru_stime


def measure(name: str, repeat: int, roots: list[Path], folder: str) -> list[list[Times]]:
    """Per checkout ``repeat`` times, after one that fills caches; cold rows have an empty one."""
    program, cold = PROGRAMS[name], name.endswith("cold")
    times: list[list[Times]] = [[] for _ in roots]
    for turn in range(repeat + 1):
        for number, root in enumerate(roots):
            place = Path(folder) / str(number)
            warm = place / "kernels"
            warm.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as empty:
                cache = empty if cold and turn else str(warm)
                times[number].append(seconds(program, root, str(place), cache))
    return [runs[1:] for runs in times]


def summary(times: list[Times]) -> dict[str, float]:
    """Medians and minima of both times."""
    done, total = zip(*times, strict=True)
    return {
        "median_s": round(statistics.median(done), 4),
        "min_s": round(min(done), 4),
        "whole_median_s": round(statistics.median(total), 4),
        "whole_min_s": round(min(total), 4),
    }


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--repeat", type=int, default=9, help="processes per row")
    reader.add_argument("--json", action="store_true", help="print one JSON object")
    reader.add_argument("--beside", type=Path, help="another checkout, measured in turns")
    reader.add_argument("--only", default="", help="rows whose name holds this text")
    arguments = reader.parse_args()
    roots = [ROOT] if arguments.beside is None else [ROOT, arguments.beside.resolve()]
    summaries: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in PROGRAMS if arguments.only in name):
            rows = measure(name, arguments.repeat, roots, folder)
            for times, beside in zip(rows, ("", ", beside"), strict=False):
                summaries[name + beside] = summary(times)
    if arguments.json:
        print(json.dumps(summaries, indent=2))
        return
    print(f"{'process time, seconds':38} {'median':>8} {'min':>8} {'with exit':>10} {'min':>8}")
    for name, row in summaries.items():
        first, low, total, lowest = row.values()
        print(f"{name:38} {first:8.3f} {low:8.3f} {total:10.3f} {lowest:8.3f}")
