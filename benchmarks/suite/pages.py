"""Figures of README and CONTRIBUTING, written from measured data, and the tables of commands.

    python -m benchmarks pages              # write the pages
    python -m benchmarks pages --measure    # on a quiet machine: time the quick tests first

``results/suite/pages.json`` names the run of the suite behind README's table, and has the time of
the quick tests. A page has its figures between ``<!-- figures: NAME -->`` and ``<!-- end -->``.
``tests/tools/documentation/test_written.py`` compares the pages with what this writes, and both
measurements with the releases of ``CHANGELOG.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import staticgrad
from benchmarks.commands import CATEGORIES
from benchmarks.harness import figures, schema
from benchmarks.suite.report import starts

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "benchmarks/results/suite"
SETTINGS: Final = RESULTS / "pages.json"
#: Column of README's table -> implementation.
COLUMNS: Final = {"staticgrad": "staticgrad", "JAX": "jax", "PyTorch": "torch"}
_BLOCK: Final = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_settings() -> dict[str, Any]:
    """Return the contents of ``results/suite/pages.json``."""
    settings: dict[str, Any] = json.loads(SETTINGS.read_text("utf-8"))
    return settings


def speed_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield README's paragraph about speed and its table."""
    suite = settings["suite"]
    report = schema.read(RESULTS / suite["file"])
    versions = {row.implementation: row.versions for row in report.rows}
    workloads = len({row.workload for row in report.rows})
    peers = f"JAX {versions['jax']['jax']}, PyTorch {versions['torch']['torch'].partition('+')[0]}"
    yield (
        f"Median time of a training step or gradient on {suite['machine']}, best of one and two"
        f" threads for each library ({peers},\n{written_day(suite['date'])}). The results of"
        " the last eight calls are kept while the next one runs, so no call writes over the memory"
        " of the one before. Results are checked against float64 before anything is timed. All"
        f" {workloads} workloads, and other machines, are in `benchmarks/results/`; `python -m"
        " benchmarks` repeats them."
    )
    yield ""
    yield f"| workload | {' | '.join(COLUMNS)} | time / best peer |"
    yield "|---|" + "--:|" * (len(COLUMNS) + 1)
    for workload in suite["workloads"]:
        rows = [row for row in report.rows if row.workload == workload and row.status == "ok"]
        times = [
            min(
                figures.seconds(row, keep=True)
                for row in rows
                if row.implementation == implementation
            )
            for implementation in COLUMNS.values()
        ]
        yield table_row(f"`{workload}`", times, figures.duration)
    cold, _, peak = zip(*starts(report, list(COLUMNS.values())).values(), strict=True)
    count = len(cold[0])
    yield table_row(
        f"first result, empty caches (median of {count})", [*map(median, cold)], figures.duration
    )
    yield table_row(
        f"peak memory of the process (median of {count})", [*map(median, peak)], figures.size
    )


def table_row(name: str, values: list[float], text: Callable[[float], str]) -> str:
    """Return a row: ours, the peers', and the ratio of ours to the best of them."""
    ours, *peers = values
    return f"| {name} | {' | '.join(map(text, values))} | {ours / min(peers):.2f} |"


def check_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield CONTRIBUTING's sentence about the quick tests."""
    quick = settings["quick_tests"]
    yield (
        f"The quick tests are {quick['tests']:,} and take {quick['seconds'] / 60:.0f} minutes on"
        f" {quick['machine']} ({written_day(quick['date'])})."
    )


def command_lines(_: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the questions and one of the commands."""
    yield "| question | folder | commands |"
    yield "|---|---|---|"
    for folder, category in CATEGORIES.items():
        names = ", ".join(f"`{name}`" for name in category.commands)
        yield f"| {category.question} | `{folder}` | {names} |"
    yield ""
    yield "| command | what it measures |"
    yield "|---|---|"
    for category in CATEGORIES.values():
        for name, about in category.commands.items():
            yield f"| `{name}` | {about} |"


def written_day(text: str) -> str:
    """Return a day in words: ``23 November 2026``."""
    day = date.fromisoformat(text)
    return f"{day.day} {day:%B %Y}"


#: Page -> name of a block -> what writes it.
PAGES: Final[dict[str, dict[str, Callable[[Mapping[str, Any]], Iterator[str]]]]] = {
    "README.md": {"speed": speed_lines},
    "CONTRIBUTING.md": {"checks": check_lines},
    "benchmarks/README.md": {"commands": command_lines},
}


def with_figures(page: str, text: str, settings: Mapping[str, Any]) -> str:
    """Return the text of a page with the figures of its blocks.

    Raises:
        SystemExit: the page has other blocks than ``PAGES`` says.
    """
    writers = PAGES[page]
    names = [name for _, name, _ in _BLOCK.findall(text)]
    if names != [*writers]:
        raise SystemExit(f"{page} has the figures {names}, expected {[*writers]}")

    def write(match: re.Match[str]) -> str:
        head, name, end = match.groups()
        return head + "".join(f"{line}\n" for line in writers[name](settings)) + end

    return _BLOCK.sub(write, text)


def measured_versions(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of staticgrad that each measurement is of."""
    report = schema.read(RESULTS / settings["suite"]["file"])
    (version,) = {
        row.versions["staticgrad"] for row in report.rows if row.implementation == figures.OWN
    }
    return {"suite": version, "quick tests": settings["quick_tests"]["version"]}


def measure_quick_tests(machine: str) -> dict[str, Any]:
    """Run the quick tests and return their number and seconds, by the clock and of processors.

    On a quiet machine of two cores the seconds by the clock are little more than half of those of
    processors; elsewhere others had the cores, and the time is not measured.

    Raises:
        SystemExit: a test failed.
    """
    begin, begin_of_processors = time.monotonic(), seconds_of_children()
    command = [sys.executable, "-m", "pytest", "-q"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    tests = count_passed(run.stdout)
    if run.returncode or tests is None:
        raise SystemExit(f"the quick tests did not pass:\n{run.stdout[-4000:]}{run.stderr[-1000:]}")
    return {
        "version": staticgrad.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine,
        "tests": tests,
        "seconds": round(seconds),
        "processor_seconds": round(seconds_of_children() - begin_of_processors),
    }


def count_passed(output: str) -> int | None:
    """Return how many tests passed by the summary of a run without failures."""
    summary = re.search(r"^(\d+) passed.* in \d", output, re.MULTILINE)
    return int(summary[1]) if summary is not None else None


def seconds_of_children() -> float:
    """Return the processor time of the processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> int:
    """Write the figures of the pages; with ``--measure`` after timing the quick tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="time the quick tests first")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores", help="the machine in words")
    options = parser.parse_args()
    settings = read_settings()
    if options.measure:
        settings["quick_tests"] = measure_quick_tests(options.machine)
        SETTINGS.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    for name in PAGES:
        page = ROOT / name
        page.write_text(with_figures(name, page.read_text("utf-8"), settings), "utf-8")
    return 0
