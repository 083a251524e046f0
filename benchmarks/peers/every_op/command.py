"""``python -m benchmarks every_op``: measure, show, write. ``--help`` lists the options."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import astuple
from pathlib import Path

from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import AVX2
from benchmarks.peers.every_op.cases import LAYOUTS
from benchmarks.peers.every_op.parts import describe_points, measured_points, merge, part
from benchmarks.peers.every_op.report import SLOWER, drawing, read, summary, to_markdown


def parser() -> argparse.ArgumentParser:
    """The options."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks every_op", description=__doc__)
    add = reader.add_argument
    add("--op", action="append", default=[], help="only this case; may be repeated")
    add("--size", action="append", type=int, default=[], help="only this many elements")
    add("--layout", action="append", choices=LAYOUTS, default=[], help="only these layouts")
    add("--threads", type=int, default=1)
    add("--avx2", action="store_true", help="no library uses wider instructions")
    add("--quick", action="store_true", help="one round of each, to fill the caches")
    add(
        "--seconds",
        type=float,
        default=float("inf"),
        help="stop after so long; the next run goes on",
    )
    add("--not-faster", action="store_true", help="only points of --json that are not faster")
    add("--json", type=Path, metavar="FILE", help="add to these results the points they lack")
    add("--merge", nargs="+", type=Path, metavar="PART", help="write these to --json, and stop")
    add("--show", type=Path, metavar="FILE", help="print the table of results, and stop")
    add("--plot", type=Path, metavar="SVG", help="with --show: draw it, too")
    return reader


def builders() -> Builders:
    """Return what builds the ops."""
    from benchmarks.peers.every_op import measure

    return measure.builders()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the options say; the exit code."""
    options = parser().parse_args(arguments)
    if options.merge:
        if options.json is None:
            parser().error("--merge needs --json")
        merge(options.merge, options.json)
        return 0
    if options.show:
        results = read(options.show)
        print(f"{summary(results)}\n\n{describe_points(options.show)}\n")
        print(to_markdown(results), end="")
        if options.plot:
            options.plot.write_text(drawing(results), encoding="utf-8")
        return 0
    return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    _set_environment(options)
    from benchmarks.peers.every_op.cases import CASES
    from benchmarks.peers.every_op.measure import SIZES, available, measure, points

    libraries = available(options.threads)
    chosen = [c for c in CASES if not options.op or c.label in options.op or c.op in options.op]
    about = part(options.threads, options.avx2)
    finished = (
        measured_points(options.json, about) if options.json and options.json.exists() else set()
    )
    waiting = [
        (case, point)
        for case, point in points(chosen, options.size or SIZES)
        if (not options.layout or point.layout in options.layout) and astuple(point) not in finished
    ]
    if options.not_faster:  # both sides of the border: what is slower now, and what may be then
        cells = (cell for cell in read(options.json) if cell.ratio >= 1 / SLOWER)
        close = {(c.label, c.dtype, c.layout, c.size, c.backward) for c in cells}
        waiting = [(case, point) for case, point in waiting if astuple(point) in close]
    start, wrong = time.monotonic(), 0
    with (
        options.json.open("a", encoding="utf-8")
        if options.json
        else nullcontext(sys.stdout) as file
    ):
        for number, (case, point) in enumerate(waiting):
            if time.monotonic() - start >= options.seconds:
                print(f"{len(waiting) - number} points are left", file=sys.stderr)
                return 2
            measurement = measure(case, point, libraries, options.quick, options.threads)
            wrong += bool(measurement.wrong)
            print(json.dumps({**measurement.as_dict(), **about}), file=file, flush=True)
            if measurement.wrong:
                print(point, measurement.wrong, file=sys.stderr)
    print("all points are measured", file=sys.stderr)
    return int(bool(wrong))


def _set_environment(options: argparse.Namespace) -> None:
    """Set the variables that libraries read at their import: threads and instructions."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    flags = ["--xla_cpu_multi_thread_eigen=false"] * (options.threads == 1)
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
    if options.avx2 and AVX2.items() - os.environ.items():  # NumPy is imported already
        command = [sys.executable, "-m", "benchmarks", "every_op", *sys.argv[1:]]
        flags.append("--xla_cpu_max_isa=AVX2")
        os.execve(sys.executable, command, os.environ | AVX2 | {"XLA_FLAGS": " ".join(flags)})
