"""Memory of the gradient of a long scan: budgets and policies, beside JAX's scans.

    python -m benchmarks checkpoints [--json] [--into FILE] [--iterations 4000] [--only TEXT]

The program is a recurrent layer over ``iterations`` steps of time, its state ``batch`` by
``hidden``, and the mean of the squares of all states as loss; it gives the loss and its gradients
with respect to the recurrent matrix and the bias. Each row is a process of its own with as many
``--threads``. Its peak is the growth of resident memory in the first call of the compiled program
(Linux counts it; on other systems it is missing); ``planned`` is what the library itself says that
a call works in. The time is the least of ``--calls`` calls behind the first. Budgets are shares of
what ``store_all`` plans. All rows of staticgrad have to give the same bytes, those of JAX the same
loss and the same gradient to three digits. ``--into`` adds rows to those of a file, so that several
runs make one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import staticgrad as sg
from benchmarks.implementation import Settings
from benchmarks.implementations.with_jax import JaxImplementation
from benchmarks.machine import describe

ROOT = Path(__file__).parent.parent
SHARES = (50, 25, 10, 5, 2)
POLICIES = ("store_all", "recompute", "sqrt")
JAX = ("scan", "scan, checkpoint of the body", "scan of scans, checkpoint of the inner one")
ROWS = (
    *(f"staticgrad, {policy}" for policy in POLICIES),
    *(f"staticgrad, budget of {share} %" for share in SHARES),
    *(f"jax, {way}" for way in JAX),
)
#: A call, what it works in as far as the library says, and what it gives as arrays.
Prepared = tuple[Callable[[], Any], int | None, Callable[[Any], Mapping[str, Any]]]


def arrays(iterations: int, hidden: int) -> dict[str, np.ndarray]:
    """Inputs, a row for each step of time, the recurrent matrix and the bias."""
    random = np.random.default_rng(0)
    return {
        "x": random.normal(0.0, 0.3, (iterations, hidden)).astype("float32"),
        "u": random.normal(0.0, hidden**-0.5, (hidden, hidden)).astype("float32"),
        "b": random.normal(0.0, 0.1, hidden).astype("float32"),
    }


def with_staticgrad(
    row: str, given: dict[str, np.ndarray], options: argparse.Namespace
) -> Prepared:
    """The program compiled under the row's budget or policy."""
    x, u, b = (sg.input(name, array.shape, "float32") for name, array in given.items())

    def step(carry: Any, each: Any) -> Any:
        h, total = carry
        h = sg.tanh(each + h @ u + b)
        return (h, total + (h * h).mean()), None

    start = (sg.zeros((options.batch, options.hidden), "float32"), sg.zeros((), "float32"))
    loss = sg.scan(step, start, x)[0][1] / float(options.iterations)
    graph = sg.Graph(dict(zip(("loss", "u", "b"), (loss, *sg.grad(loss, [u, b])), strict=True)))
    way = row.split(", ")[1]
    limits: dict[str, Any] = {"checkpoint": way} if way in POLICIES else {}
    if not limits:
        whole = sg.compile(graph, threads=options.threads).peak_bytes
        limits["memory_budget"] = whole * int(way.split()[2]) // 100
    f = sg.compile(graph, threads=options.threads, **limits)
    return lambda: f.run(given), f.peak_bytes, lambda found: found


def with_jax(row: str, given: dict[str, np.ndarray], options: argparse.Namespace) -> Prepared:
    """The same by ``lax.scan``."""
    jax = import_module("jax")
    lax, jnp = jax.lax, jax.numpy
    iterations, way = options.iterations, JAX.index(row.split(", ", 1)[1])
    length = min(
        (n for n in range(1, iterations + 1) if iterations % n == 0),
        key=lambda n: abs(n * n - iterations),
    )

    def loss(u: Any, b: Any, x: Any) -> Any:
        def step(carry: Any, each: Any) -> Any:
            h, total = carry
            h = jnp.tanh(each + h @ u + b)
            return (h, total + (h * h).mean()), None

        def segment(carry: Any, part: Any) -> Any:
            return lax.scan(step, carry, part)

        start = (jnp.zeros((options.batch, options.hidden), "float32"), jnp.zeros((), "float32"))
        if way < 2:
            (_, total), _ = lax.scan(jax.checkpoint(step) if way else step, start, x)
        else:
            parts = x.reshape(iterations // length, length, -1)
            (_, total), _ = lax.scan(jax.checkpoint(segment), start, parts)
        return total / iterations

    def value(u: Any, b: Any, x: Any) -> Any:
        found, slopes = jax.value_and_grad(loss, (0, 1))(u, b, x)
        return {"loss": found, "u": slopes[0], "b": slopes[1]}

    placed = [jax.device_put(given[name]) for name in ("u", "b", "x")]
    compiled = jax.jit(value).lower(*placed).compile()
    sizes = compiled.memory_analysis()
    planned = None if sizes is None else int(sizes.temp_size_in_bytes)
    return lambda: jax.block_until_ready(compiled(*placed)), planned, lambda found: found


def measured(row: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row, in this process."""
    given = arrays(options.iterations, options.hidden)
    make = with_staticgrad if row.startswith("staticgrad") else with_jax
    call, planned, results = make(row, given, options)
    before = _restarted()
    found = {name: np.asarray(array) for name, array in results(call()).items()}
    grown = None if before is None else _status("VmHWM") - before
    seconds = []
    for _ in range(options.calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    text = b"".join(found[name].tobytes() for name in sorted(found))
    return {
        "row": row,
        "seconds": round(min(seconds), 5),
        "peak_bytes": grown,
        "planned_bytes": planned,
        "loss": float(found["loss"]),
        "slope": float(np.linalg.norm(found["u"].astype("float64"))),
        "digest": hashlib.sha256(text).hexdigest()[:16],
    }


def _restarted() -> int | None:
    """Resident bytes now, from which the peak is counted anew; None where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def in_a_process(row: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row, in a process of its own."""
    settings = Settings(
        options.threads, str(Path.home() / ".cache" / "staticgrad-time-checkpoints")
    )
    own = JaxImplementation.environment(settings) if row.startswith("jax") else {}
    command = [sys.executable, "-m", "benchmarks", "checkpoints", "--row", row]
    for name in ("iterations", "batch", "hidden", "threads", "calls"):
        command += [f"--{name}", str(getattr(options, name))]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **own, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(rows: list[dict[str, Any]]) -> None:
    """Refuse rows that do not agree.

    Raises:
        ValueError: other bytes of staticgrad, or another gradient of JAX.
    """
    ours = [row for row in rows if row["row"].startswith("staticgrad")]
    if len({row["digest"] for row in ours}) > 1:
        raise ValueError("the rows of staticgrad give several results")
    for row in rows:
        for name in ("loss", "slope"):
            if not np.isclose(row[name], rows[0][name], rtol=1e-3):
                raise ValueError(f"{row['row']}: {name} {row[name]}, not {rows[0][name]}")


def show(rows: list[dict[str, Any]]) -> None:
    """A table in Markdown."""
    print("| row | planned | peak | time |\n|---|--:|--:|--:|")
    for row in rows:
        sizes = (row["planned_bytes"], row["peak_bytes"])
        texts = ["-" if size is None else f"{size / 1e6:,.1f} MB" for size in sizes]
        print(f"| {row['row']} | {texts[0]} | {texts[1]} | {row['seconds'] * 1e3:,.0f} ms |")


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("iterations", 4000), ("batch", 64), ("hidden", 256), ("threads", 1)):
        reader.add_argument(f"--{name}", type=int, default=default)
    reader.add_argument("--calls", type=int, default=3, help="timed calls of a row")
    reader.add_argument("--only", default="", help="rows whose name holds this text")
    reader.add_argument("--json", action="store_true", help="print one JSON object")
    reader.add_argument("--into", type=Path, metavar="FILE", help="add the rows to this file's")
    reader.add_argument("--row", choices=ROWS, help="measure this row in this process")
    options = reader.parse_args()
    if options.row:
        print(json.dumps(measured(options.row, options)))
        return
    sizes = {name: getattr(options, name) for name in ("iterations", "batch", "hidden", "threads")}
    kept: dict[str, Any] = {}
    if options.into and options.into.exists():
        old = json.loads(options.into.read_text(encoding="utf-8"))
        kept = {row["row"]: row for row in old["rows"] if old["sizes"] == sizes}
    for row in ROWS:
        if options.only in row:
            kept[row] = in_a_process(row, options)
    rows = [kept[row] for row in ROWS if row in kept]
    check(rows)
    machine = describe()
    report = {"sizes": sizes, "machine": vars(machine), "rows": rows}
    text = json.dumps(report, indent=1)
    if options.into:
        options.into.write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)
    else:
        show(rows)
