"""Start-up: process time from the interpreter's start, in fresh processes.

    python benchmarks/startup.py [--repeat 9] [--json]

Rows: NumPy alone; import, build, differentiate and print the README's graph; the same, compiled
and run with an empty and with a filled kernel cache. Medians and minima of process time, which the
load of the machine moves less than wall time. Bytecode is cached outside the source tree, as an
installed package has it.
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

ROOT = Path(__file__).parent.parent
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
PROGRAMS = {
    "python": "",
    "numpy": "import numpy",
    "build, grad, print": BUILD,
    "compile and run, warm cache": BUILD + RUN,
    "compile and run, cold cache": BUILD + RUN,
}


def seconds(program: str, folder: str, cache: str) -> float:
    """Process time of a fresh interpreter that runs ``program``, in seconds."""
    settings = {
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": folder,
        "STATICGRAD_CACHE_DIR": cache,
    }
    environment = {**os.environ, **settings}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    run = subprocess.run(
        [sys.executable, "-c", program + CLOCK],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout.split()[-1])


def measure(name: str, repeat: int, folder: str) -> list[float]:
    """``repeat`` times after one that fills the caches; the cold row empties its own."""
    warm = str(Path(folder) / "kernels")
    Path(warm).mkdir(exist_ok=True)
    seconds(PROGRAMS[name], folder, warm)
    times = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as empty:
            times.append(seconds(PROGRAMS[name], folder, empty if "cold" in name else warm))
    return times


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--repeat", type=int, default=9, help="processes per row")
    reader.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: measure(name, arguments.repeat, folder) for name in PROGRAMS}
    summary = {
        name: {"median_s": round(statistics.median(times), 4), "min_s": round(min(times), 4)}
        for name, times in rows.items()
    }
    if arguments.json:
        print(json.dumps(summary, indent=2))
        return
    print(f"{'process time, seconds':30} {'median':>8} {'min':>8}")
    for name, row in summary.items():
        print(f"{name:30} {row['median_s']:8.3f} {row['min_s']:8.3f}")


if __name__ == "__main__":
    main()
