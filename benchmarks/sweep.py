"""How staticgrad's times grow: with the batch, the depth and the number of nodes.

``python -m benchmarks sweep [--json FILE]``: per point the stages that a program goes through, in
this process, whose kernel cache is empty before the first point. Node counts are those of
``benchmarks/scaling.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import staticgrad as sg
from benchmarks import figures
from benchmarks.implementations.with_staticgrad import (
    Staticgrad,
    feeds_of,
    graph_of,
    open_sizes,
)
from benchmarks.measure import steady
from benchmarks.scaling import deep, everything, wide
from benchmarks.workload import Workload
from benchmarks.workloads.mlp import loss, perceptron
from passes.pipelines import pipeline
from staticgrad.lowering.fuse import fuse
from staticgrad.memory.planner import Planner

Point = dict[str, float]
BATCHES = tuple(2**power for power in range(13))
DEPTHS = (2, 4, 8, 16, 32, 64, 128)
NODES = (500, 2_000, 8_000)
WIDTH = 256  # of the layers of the sweep over batches


def _mlp(layers: int, width: int, batch: int) -> Workload:
    make = perceptron((width,) * layers + (10,), batch)
    return Workload(f"mlp{layers}", "sgd", loss, make, make, 1e-4, "", rate=1e-4)


def by_batch() -> Iterator[Point]:
    """One program, ever larger batches: nothing is compiled again, a plan is made for each."""
    data = _mlp(4, WIDTH, 1).make()
    compiled = sg.compile(graph_of(_mlp(4, WIDTH, 1), data, Staticgrad()))
    for batch in BATCHES:
        workload = _mlp(4, WIDTH, batch)
        data = workload.make()
        sizes, feeds = open_sizes(data), feeds_of(workload, data)
        plan, peak = _timed(partial(_peak, compiled, sizes))
        compiled.run(feeds)
        found = steady(partial(compiled.run, feeds), 0.3)
        yield {"batch": batch, "plan": plan, "run": found.median, "peak bytes": peak}


def by_depth() -> Iterator[Point]:
    """Ever more layers of one width: kernels repeat, so code should not grow with them."""
    for layers in DEPTHS:
        workload = _mlp(layers, 64, 32)
        data = workload.make()
        build, graph = _timed(partial(graph_of, workload, data, Staticgrad()))
        passes, shorter = _timed(partial(pipeline("O1"), graph))
        fusing, schedule = _timed(partial(fuse, shorter))
        sizes = open_sizes(data)
        plan, _ = _timed(partial(Planner(schedule).plan, sizes))
        compiling, compiled = _timed(partial(sg.compile, graph))
        feeds = feeds_of(workload, data)
        compiled.run(feeds)
        found = steady(partial(compiled.run, feeds), 0.2)
        yield {
            "layers": layers, "build": build, "passes": passes, "fuse": fusing, "plan": plan,
            "compile, all": compiling, "distinct kernels": len(compiled.kernels),
            "run": found.median,
        }  # fmt: skip


def by_nodes() -> Iterator[Point]:
    """Stages of graphs of many small nodes, process time."""
    for make in (deep, wide):
        for nodes in NODES:
            spent, _ = everything(make, nodes)
            wanted = ("build", "grad", "passes", "fuse", "plan", "compile", "first run", "run")
            yield {f"{make.__name__}: nodes": nodes} | {name: spent[name] for name in wanted}


def _peak(compiled: sg.Compiled, sizes: dict[str, int]) -> int:
    return compiled.plan(**sizes).peak_bytes


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Print the tables, and write them as JSON if asked to."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--json", type=Path, metavar="FILE", help="write the tables")
    file, console = reader.parse_args().json, Console(width=None if sys.stdout.isatty() else 220)
    with tempfile.TemporaryDirectory() as empty:
        before = os.environ.get("STATICGRAD_CACHE_DIR")
        os.environ["STATICGRAD_CACHE_DIR"] = empty
        try:
            tables = {name: list(make()) for name, make in _SWEEPS.items()}
        finally:
            os.environ.pop("STATICGRAD_CACHE_DIR")
            if before is not None:
                os.environ["STATICGRAD_CACHE_DIR"] = before
    for name, points in tables.items():
        _show(console, name, points)
    if file:
        file.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


_SWEEPS: dict[str, Callable[[], Iterator[Point]]] = {
    "4 layers of 256, by batch": by_batch,
    "layers of 64, batch 32, by depth": by_depth,
    "many small nodes": by_nodes,
}
_COUNTS = ("batch", "layers", "nodes", "distinct kernels", "peak bytes")


def _show(console: Console, title: str, points: list[Point]) -> None:
    table: Table | None = None
    columns: list[str] = []
    for point in points:
        if list(point) != columns:
            if table is not None:
                console.print(table)
            columns = list(point)
            table = Table(*columns, title=title, title_justify="left")
        if table is not None:
            table.add_row(*(_text(name, value) for name, value in point.items()))
    if table is not None:
        console.print(table)


def _text(name: str, value: float) -> str:
    if name.endswith(_COUNTS):
        return f"{np.int64(value):,}"
    return figures.duration(value)
