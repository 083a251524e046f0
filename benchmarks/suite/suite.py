"""``python -m benchmarks``: run, show, write and compare; also a benchmark by NAME."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.commands import BENCHMARKS
from benchmarks.harness import machine, schema
from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.implementations import all_implementations, is_installed
from benchmarks.suite import compare, report
from benchmarks.suite.runner import Run, execute
from benchmarks.workloads import all_workloads

QUICK = ("mlp", "tiny", "blackscholes", "lnblock", "gpt")


def parser(group: str) -> argparse.ArgumentParser:
    """The options."""
    reader = argparse.ArgumentParser(
        prog="python -m benchmarks " + ("[NAME]" if group == "suite" else group),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="NAME is one of these; python -m benchmarks NAME --help lists its options:\n"
        + "\n".join(f"  {name:17} {about}" for name, about in BENCHMARKS.items()),
    )
    add = reader.add_argument
    add("--workload", action="append", default=[], help="only this one; may be repeated")
    add("--impl", action="append", default=[], help="only this implementation; may be repeated")
    add("--threads", action="append", type=int, default=[], help="default: 1 and all cores")
    add("--rounds", type=int, help="processes per row (default 3)")
    add("--seconds", type=float, help="measuring time per process (default 1)")
    add("--timeout", type=float, default=600.0, help="longest life of a process, in seconds")
    add("--seed", type=int, default=0, help="of the order of the processes")
    add("--avx2", action="store_true", help="no library uses wider instructions")
    add("--busy", action="store_true",
        help="another process holds one of the cores of rows with several threads")  # fmt: skip
    add("--quick", action="store_true", help="few workloads, one thread, under three minutes")
    add("--list", action="store_true", help="list workloads, implementations and benchmarks")
    add("--json", type=Path, metavar="FILE", help="write the report")
    add("--from", type=Path, metavar="FILE", dest="read", help="read a report instead of running")
    add("--markdown", action="store_true", help="print the README's tables instead")
    add("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"),
        help="what got worse beyond noise; exit code 1 if anything did")  # fmt: skip
    return reader


def builders() -> Builders:
    """Return what builds the workloads of the suite."""
    return of_workloads(all_workloads())


def main(group: str = "suite") -> int:
    """Do what the options say, with the workloads of a group; the exit code."""
    options = parser(group).parse_args()
    console = Console(width=None if sys.stdout.isatty() else 220)
    if options.list:
        return _list(console, group)
    if options.compare:
        comparison = compare.compare(*map(schema.read, options.compare))
        console.print(compare.text(comparison), markup=False, highlight=False)
        return int(comparison.worse)
    result = schema.read(options.read) if options.read else _run(options, group)
    if options.json:
        options.json.write_text(schema.dump(result), encoding="utf-8")
    if options.markdown:
        print(report.to_markdown(result), end="")
    else:
        report.show(result, console)
    wrong = [row for row in result.rows if not row.peer and row.status in ("wrong", "crashed")]
    return int(bool(wrong))


def _run(options: argparse.Namespace, group: str) -> schema.Report:
    workloads, implementations = all_workloads(group), all_implementations()
    for kind, names, choices in (
        ("workload", options.workload, workloads),
        ("implementation", options.impl, implementations),
    ):
        unknown = [name for name in names if name not in choices]
        if unknown:
            raise SystemExit(f"no {kind} is named {unknown[0]!r}: {', '.join(choices)}")
    quick = options.quick
    usual = [n for n, i in implementations.items() if i.default and (i.quick or not quick)]
    chosen = options.impl or usual
    every = (1, machine.cores()) if not quick else (1,)
    every_workload = QUICK if quick and group == "suite" else workloads
    run = Run(
        workloads=tuple(workloads[n] for n in options.workload or every_workload),
        implementations=tuple(
            implementations[name] for name in chosen if is_installed(implementations[name])
        ),
        threads=tuple(sorted(set(options.threads or every))),
        rounds=options.rounds or (2 if quick else 3),
        seconds=options.seconds or (0.2 if quick else 1.0),
        timeout=60.0 if quick else options.timeout,
        seed=options.seed,
        overhead=not quick,
        quick=quick and not options.impl,
        busy=options.busy,
        avx2=options.avx2,
    )  # fmt: skip
    return execute(run, lambda line: print(line, file=sys.stderr, flush=True))


def _list(console: Console, group: str) -> int:
    for workload in all_workloads(group).values():
        console.print(f"{workload.name:16} {workload.about}", markup=False, highlight=False)
    console.print()
    for name, implementation in all_implementations().items():
        state = implementation.settings if is_installed(implementation) else "not installed"
        console.print(f"{name:18} {state}", markup=False, highlight=False)
    console.print()
    for name, about in BENCHMARKS.items():
        console.print(f"{name:18} {about}", markup=False, highlight=False)
    return 0
