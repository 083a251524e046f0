"""Kernels with the directives that lowering chooses, with the measured choice, with the best set.

Every kernel of the ablation's corpus that is no product is timed alone at the sizes of its step.
*Tuned* is what ``sg.compile(tune=True)`` takes of four sets beside the default; *best* is the least
of all sets that ``staticgrad.compiler.compiling.tuning`` can list.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path as File
from time import perf_counter

import numpy as np

from benchmarks.compiler.ablation import builders as builders, compile_program, corpus
from staticgrad.compiler.compiling import tuning
from staticgrad.compiler.nest.directives import describe
from staticgrad.language.ir.schedule import KernelStep, Schedule


@dataclass(frozen=True)
class Row:
    """One kernel; times in nanoseconds."""

    program: str
    label: str
    outer: str
    default: int
    tuned: int
    best: int
    chosen: str
    fastest: str
    seconds: float


def steps_of(schedule: Schedule) -> Iterator[tuple[KernelStep, Schedule]]:
    """Yield the kernels of a schedule and of its loops, with the schedules they are in."""
    for step in schedule.steps:
        if isinstance(step, KernelStep):
            yield step, schedule
        for body in step.bodies():
            yield from steps_of(body.schedule)


def rows(name: str, seen: set[object]) -> Iterator[Row]:
    """Measure the kernels of one program that were not measured before."""
    program, feeds, graph = compile_program(corpus()[name])
    sizes = {
        str(entry): size
        for value in graph.inputs
        for entry, size in zip(value.shape, np.shape(feeds[value.node.label]), strict=True)
    }
    for step, schedule in steps_of(program.schedule):
        arguments, elements = tuning.sizes_of(step, schedule.by_name, sizes)
        key = step.kernel, *arguments
        every = tuning.candidates(step.kernel, most=99)
        if key in seen or len(every) == 1:
            continue
        seen.add(key)
        tuning.find_fastest(every, arguments, elements)  # compiles all of them
        start = perf_counter()
        chosen, _ = tuning.find_fastest(tuning.candidates(step.kernel), arguments, elements)
        seconds = perf_counter() - start
        _, times = tuning.find_fastest(every, arguments, elements)
        fastest, default = min(times, key=lambda candidate: times[candidate]), next(iter(every))
        yield Row(
            name,
            step.label,
            step.kernel.outer,
            times[default],
            times[chosen],
            times[fastest],
            describe(chosen),
            describe(fastest),
            seconds,
        )


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks tuning", description=__doc__)
    parser.add_argument("--program", action="append", default=[], help="only names with this")
    parser.add_argument("--least", type=float, default=5.0, help="microseconds of kernels shown")
    parser.add_argument("--json", type=File)
    options = parser.parse_args()
    seen: set[object] = set()
    results: list[Row] = []
    print(
        "| program | kernel | default us | tuned | best of all | set |\n|---|---|--:|--:|--:|---|"
    )
    for name in corpus():
        if options.program and not any(part in name for part in options.program):
            continue
        for row in rows(name, seen):
            if row.default < 1e3 * options.least:
                continue
            results.append(row)
            tuned, best = row.tuned / row.default, row.best / row.default
            times = f"{row.default / 1e3:.1f} | {tuned:.2f} | {best:.2f}"
            fastest = "" if row.chosen == row.fastest else f"; {row.fastest}"
            print(f"| {name} | {row.label[:40]} | {times} | {row.chosen}{fastest} |", flush=True)
    near = sum(row.default <= 1.1 * row.best for row in results)
    near_tuned = sum(row.tuned <= 1.1 * row.best for row in results)
    print(f"\n{len(results)} kernels; default within 10 % of the best: {near}; tuned: {near_tuned}")
    mean = statistics.geometric_mean(row.tuned / row.default for row in results)
    print(f"tuned / default, geometric mean: {mean:.3f}; seconds a kernel to choose,")
    print(f"compiled before: {sum(row.seconds for row in results) / max(len(results), 1):.3f}")
    print(Counter(row.fastest for row in results).most_common(12))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in results], indent=1) + "\n")
    return 0
