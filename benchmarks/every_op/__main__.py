"""``python -m benchmarks.every_op``: measure, show, write. ``--help`` lists the options."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.every_op.report import drawing, markdown, read


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.every_op", description=__doc__)
    add = found.add_argument
    add("--op", action="append", default=[], help="only this case; may be repeated")
    add("--size", action="append", type=int, default=[], help="only this many elements")
    add("--threads", type=int, default=1)
    add("--quick", action="store_true", help="one round of each, to fill the caches")
    add("--begin", type=int, default=0, help="the point to begin with")
    add("--seconds", type=float, help="stop after so long, and print where to go on")
    add("--json", type=Path, metavar="FILE", help="write, or add to, the results")
    add("--show", type=Path, metavar="FILE", help="print the table of results, and stop")
    add("--plot", type=Path, metavar="SVG", help="with --show: draw it, too")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the options say; the exit code."""
    options = parser().parse_args(arguments)
    if options.show:
        results = read(options.show)
        print(markdown(results), end="")
        if options.plot:
            options.plot.write_text(drawing(results), encoding="utf-8")
        return 0
    return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    if options.threads == 1:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    from benchmarks.every_op.cases import CASES
    from benchmarks.every_op.measure import SIZES, available, measure, points

    libraries = available(options.threads)
    chosen = [c for c in CASES if not options.op or c.label in options.op or c.op in options.op]
    every = list(points(chosen, options.size or SIZES))
    start, wrong, lines = time.monotonic(), 0, []
    number = options.begin
    for number in range(options.begin, len(every)):
        if options.seconds and time.monotonic() - start > options.seconds:
            break
        found = measure(*every[number], libraries, options.quick)
        wrong += bool(found.wrong)
        lines.append(json.dumps({**found.as_dict(), "threads": options.threads}))
        if found.wrong:
            print(found.point, found.wrong, file=sys.stderr)
    else:
        number = len(every)
    if options.json:
        with options.json.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    else:
        print("\n".join(lines))
    print(number if number < len(every) else "done", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
