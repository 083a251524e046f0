"""The time of programs to a first result: ours by stage, JAX's and PyTorch's.

    python -m benchmarks compile_times [--only NAMES] [--repeat 3] [--limit 60] [--json FILE]
    python -m benchmarks compile_times --first [--repeat 5]

``--first``: ten programs of all kinds, beside eager PyTorch too, as a table of Markdown with the
time by the clock, too. Processes of the libraries take turns, and their losses are compared.

The programs are those of ``benchmarks.compile_time.compile_programs``; of recurrent cells a scan of
1,000 steps stands beside one step, and behind the table is how much longer the scan takes to
compile. Each row is a process of its own; ``cold`` begins with an empty cache of compiled code,
``warm`` with the one that the cold row of the same turn has filled (JAX's too). All are process
times with one thread. ``whole`` is that of the process from its start to the first result: the
interpreter, the imports of NumPy and of the library, and the rest, which stands beside it: building
and differentiating, compiling, and the first call, from the library's loaded name on. What a
library imports later than at its import is in that, so only ``whole`` compares libraries. The
modules of the benchmark and the arrays of the program are not counted
(``benchmarks.compile_time.first_result``). The least of the turns stands in the table, of either
time for itself. One further cold process counts by stage, each stage without those inside of it:
this costs a little, so that its sum is more than the row's. A process that takes more than
``--limit`` seconds is stopped, and the row says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.compile_time.compile_programs import CELLS, FIRST, OF_A_CELL, programs
from benchmarks.compile_time.first_result import LIBRARIES, Row
from benchmarks.harness import machine
from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.harness.implementation import Settings, implementation_at

ROOT: Final = Path(__file__).parents[2]
#: Those beside us in a line of the long table.
PEERS: Final = ("staticgrad", "jax")
#: What the rows of a library's processes are called behind its name.
ENDINGS: Final = ("", ", warm")


def in_a_process(
    row: tuple[str, str], cache: str, bytecode: str, options: argparse.Namespace, stages: bool
) -> Row | None:
    """The same in a process of its own; None where that takes too long."""
    variables = {
        **implementation_at(LIBRARIES[row[0]]).environment(Settings(1, cache)),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONPYCACHEPREFIX": bytecode,
    }
    environment = {**os.environ, **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "benchmarks.compile_time.first_result", *row, cache]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, "stages"] if stages else command,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=options.limit,
        )
    except subprocess.TimeoutExpired:
        return None
    result: Row = json.loads(done.stdout.splitlines()[-1])
    result["clock"] = result.pop("until") - start
    return result


def total(row: Row) -> float:
    """From the loaded library to the first result."""
    return row["build"] + row["compile"] + row["call"]


def least(turns: Sequence[Row]) -> Row:
    """The turn that took least from the loaded library on, and the least whole time of any."""
    best = min(turns, key=total)
    return {**best, **{key: min(turn[key] for turn in turns) for key in ("whole", "clock")}}


def rows_of(name: str, bytecode: str, options: argparse.Namespace) -> dict[str, Row | None]:
    """All rows of a program: the least of the turns, ours by stage too."""
    by_kind: dict[str, list[Row | None]] = defaultdict(list)
    libraries = LIBRARIES if options.first else PEERS
    chosen = [library for library in libraries if options.library in library and find_spec(library)]
    for _ in range(options.repeat):
        for library in chosen:
            if by_kind[library] and by_kind[library][-1] is None:
                continue  # it took too long, and would again
            with tempfile.TemporaryDirectory() as cache:
                for kind in (f"{library}{ending}" for ending in ENDINGS):
                    row = (library, name)
                    by_kind[kind].append(in_a_process(row, cache, bytecode, options, False))
                    if by_kind[kind][-1] is None:
                        break
    if "staticgrad" in chosen and by_kind["staticgrad"][-1] is not None:
        with tempfile.TemporaryDirectory() as cache:
            row = ("staticgrad", name)
            by_kind["by stage"].append(in_a_process(row, cache, bytecode, options, True))
    return {
        kind: None if None in turns else least([turn for turn in turns if turn])
        for kind, turns in by_kind.items()
    }


def line(name: str, rows: dict[str, Row | None]) -> str:
    """A line of the table: ms of each row, ours over JAX's whole, and the stages' ms."""

    def ms(kind: str, time: Callable[[Row], float]) -> str:
        if kind not in rows:
            return f"{'-':>7}"
        row = rows[kind]
        return f"{'late':>7}" if row is None else f"{time(row) * 1e3:7.0f}"

    def ratio(ending: str) -> str:
        ours, theirs = (rows.get(f"{library}{ending}") for library in PEERS)
        return f"{ours['whole'] / theirs['whole']:6.2f}" if ours and theirs else f"{'-':>6}"

    stages, ours = rows.get("by stage"), rows.get("staticgrad")
    cells = [
        f"{stage.removeprefix('stage ')} {spent * 1e3:.0f}"
        for stage, spent in sorted((stages or {}).items(), key=lambda item: -item[1])
        if stage.startswith("stage ") and spent >= 0.0005
    ]
    about = f"{ours['nodes']:6.0f} {ours['kernels']:5.0f}" if ours else f"{'':12}"
    kinds = [f"{library}{ending}" for ending in ENDINGS for library in PEERS]
    totals = [ms(kind, lambda row: row["whole"]) for kind in kinds]
    texts = [f"{totals[k]}{totals[k + 1]}{ratio(ENDINGS[k // 2])}" for k in (0, 2)]
    texts += [ms(kind, total) for kind in kinds]
    return f"{name:20} {about}{''.join(texts)}  {', '.join(cells)}"


def scans_over_steps(by_program: dict[str, dict[str, Row | None]]) -> str:
    """The time to build and compile a scan over that of one step, for each cell and library."""
    lines = []
    for kind in CELLS:
        rows = [by_program.get(f"{kind}_{program}", {}) for program in OF_A_CELL]
        for library in PEERS:
            times = [
                row["build"] + row["compile"]
                for by_library in rows
                if (row := by_library.get(library))
            ]
            if len(times) == len(rows):
                *steps, scan = times
                texts = ", ".join(f"{scan / step:.2f}" for step in steps)
                lines.append(
                    f"{library}, {kind}: a scan over a step, and without its state: {texts}"
                )
    return "\n".join(lines)


#: The heads of the table of first results.
HEADS: Final = (
    "program", "process ms", "JAX", "PyTorch", "JAX / ours", "clock ms", "JAX", "PyTorch",
    "warm: process ms", "JAX", "PyTorch", "JAX / ours", "clock ms", "JAX", "PyTorch",
    "cold, by stage, ms",
)  # fmt: skip


def first_line(name: str, rows: dict[str, Row | None]) -> str:
    """A line of the table of first results, in Markdown."""
    cells = [name]
    for ending in ENDINGS:
        for key in ("whole", "clock"):
            times = [row[key] if (row := rows.get(f"{n}{ending}")) else None for n in LIBRARIES]
            cells += ["-" if seconds is None else f"{seconds * 1e3:,.0f}" for seconds in times]
            if key == "whole":
                ours, jax, _ = times
                cells.append(f"{jax / ours:.2f}" if ours and jax else "-")
    stages = rows.get("by stage") or {}
    spent = sorted((-value, key) for key, value in stages.items() if key.startswith("stage "))
    cells.append(
        ", ".join(f"{key.removeprefix('stage ')} {-v * 1e3:.0f}" for v, key in spent if v < -2e-3)
    )
    return f"| {' | '.join(cells)} |"


def disagreement(rows: dict[str, Row | None]) -> str:
    """Return the losses of a program's libraries if they differ; they are compared in float32."""
    losses = {kind: row["loss"] for kind, row in rows.items() if row}
    expected = next(iter(losses.values()), 0.0)
    if all(abs(loss - expected) <= 1e-3 * max(1e-3, abs(expected)) for loss in losses.values()):
        return ""
    return f"losses differ: {losses}"


def first_results(bytecode: str, options: argparse.Namespace) -> int:
    """Print the table of first results; 1 if a loss differs."""
    described = machine.describe()
    print(f"{described.processor}, {described.cores} cores, load {os.getloadavg()[0]:.1f}\n")
    print(f"| {' | '.join(HEADS)} |\n|---{'|--:' * (len(HEADS) - 2)}|---|")
    wrong, logs = [], []
    for name in options.only.split(",") if options.only else FIRST:
        rows = rows_of(name, bytecode, options)
        print(first_line(name, rows), flush=True)
        wrong += [f"{name}: {text}"] if (text := disagreement(rows)) else []
        ours, theirs = rows.get("staticgrad"), rows.get("jax")
        if ours and theirs:
            logs.append(np.log(theirs["whole"] / ours["whole"]))
    if logs:
        print(f"\nJAX / ours, cold, geometric mean: {np.exp(np.mean(logs)):.2f}")
    print("\n".join(wrong))
    return int(bool(wrong))


def builders() -> Builders:
    """Return what builds the programs."""
    return of_workloads(programs())


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--only", default="", help="names of programs, with commas between")
    reader.add_argument("--library", default="", help="libraries whose name holds this text")
    reader.add_argument("--repeat", type=int, default=3, help="processes per row")
    reader.add_argument("--limit", type=float, default=60.0, help="seconds of a process")
    reader.add_argument("--json", type=Path, help="add the rows to this file")
    reader.add_argument("--first", action="store_true", help="those of FIRST, as Markdown")
    options = reader.parse_args()
    with tempfile.TemporaryDirectory() as bytecode:
        quick = argparse.Namespace(limit=None)  # reading sources takes long
        for library in LIBRARIES:  # fills the cache of bytecode
            if options.library in library and find_spec(library):
                in_a_process((library, "tiny"), bytecode, bytecode, quick, False)
        if options.first:
            return first_results(bytecode, options)
        workloads = programs()
        names = options.only.split(",") if options.only else [*workloads]
        heads = f"{'cold':>7}{'jax':>7}{'ratio':>6}{'warm':>7}{'jax':>7}{'ratio':>6}"
        print(f"{'process ms':33}{'whole':40}from the loaded library to a result")
        print(
            f"{'':20} {'nodes':>6} {'kern.':>5}{heads}{'cold':>7}{'jax':>7}{'warm':>7}{'jax':>7}"
            "  cold, by stage"
        )
        results = {}
        for name in names:
            results[name] = rows = rows_of(name, bytecode, options)
            print(line(name, rows), flush=True)
            if options.json:
                earlier = json.loads(options.json.read_text()) if options.json.exists() else {}
                options.json.write_text(json.dumps(earlier | {name: rows}, indent=1) + "\n")
    print(scans_over_steps(results))
    return 0
