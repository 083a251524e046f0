"""The time of each step, next to the bytes and operations it needs and the machine's limits.

Bytes and operations are counted from the kernels, as predictions do (``analysis.cost``): each
operand once, however often a kernel reads it. Limits are measured on this machine, once per process
and number of threads: a matrix product, and a copy of arrays beyond the caches. A step in a cache
may move more bytes in a second than that copy does. Each step is waited for, also those that
workers run in other runs (``runtime/cuts.py``), so the sum may exceed the time of a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np

from staticgrad.analysis.cost import counted_work
from staticgrad.compiler.reports.explain import StepSection
from staticgrad.compiler.reports.pictures import write_report
from staticgrad.compiler.runtime.probed import TimedTable
from staticgrad.functions.creation import input as symbolic
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.value import Value
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.pictures import charts
from staticgrad.support.pictures.markup import details, fragment, paragraph, seconds, table
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.records import dataclass
from staticgrad.support.source import common_call, fold_labels

_MOST_BARS: Final = 12  # of the chart of the slowest steps
_BAR_WIDTH: Final = 30  # characters of a bar's name
_PRODUCT_SIZE: Final = 768  # of the product
_COPY_ELEMENTS: Final = 1 << 24  # elements of the copy
_RUNS: Final = 12
#: Rows below this part of the time are put together; lines that a row names.
_SMALL: Final = 0.01
_LINES: Final = 4
#: Rates that differ by less than a tenth do not contradict each other.
_SLACK: Final = 0.9
#: (value, threads) -> a function of feeds.
Compile = Callable[[Value, int], Callable[[Mapping[str, Any]], object]]


@dataclass(frozen=True)
class Limits:
    """The limits of this machine for a thread count: f32 operations of a product, bytes of a copy.

    Both by the second.
    """

    threads: int
    flops: float
    bandwidth: float


@dataclass(frozen=True)
class StepProfile:
    """One position of the plan.

    ``seconds`` is the median of the runs, ``fastest`` the least. ``nbytes`` and ``flops`` are
    counted, ``products`` those of matrix products among them, which count twice in f64. ``share``:
    the least time that the limits allow, as a part of ``seconds``. ``live`` are the bytes of the
    arena in use meanwhile. A loop makes so many ``iterations``; of one that a test ends they are
    not counted. ``module`` is the outermost scope that it was made in.
    """

    position: int
    step: int
    kernel: str
    computes: str
    lines: tuple[str, ...]
    threads: int
    seconds: float
    fastest: float
    nbytes: float
    flops: float
    share: float
    live: int
    iterations: int = 1
    products: float = 0.0
    module: str = ""

    told = deprecated_attribute("0.2", "description")

    @property
    def description(self) -> str:
        """The kernel, what it computes, and the time of an iteration if it is a loop."""
        text = f"{self.kernel} {self.computes}"
        if self.iterations < 2:
            return text
        microseconds = self.seconds / self.iterations * 1e6
        return f"{text}, {self.iterations:,} iterations of {microseconds:.3f} us"


@dataclass(frozen=True)
class ProfileRow:
    """Steps that a table shows in one row."""

    steps: tuple[StepProfile, ...]

    @property
    def seconds(self) -> float:
        """The time of all steps together."""
        return sum(step.seconds for step in self.steps)

    told = deprecated_attribute("0.2", "description")

    @property
    def description(self) -> str:
        """Description of what a profiled step computes, or its number."""
        first, count = self.steps[0], len(self.steps)
        if count == 1:
            return first.description
        kernels = {step.kernel for step in self.steps}
        if len(kernels) == 1:
            return f"{first.kernel} {first.computes}, {count} times"
        modules = {step.module for step in self.steps}
        calls = {common_call(step.lines) for step in self.steps}
        where = f" in {first.module}" if len(modules) == 1 and first.module else ""
        if len(calls) == 1 and calls != {""}:
            where = ""  # the line says it
        return f"{count} steps of {len(kernels)} kernels{where}"

    def cells(self, profile: Profile) -> tuple[str, ...]:
        """Return a step's row of the profile: us, %, threads, GB/s, GFLOP/s, % of the limit.

        There is no % of a limit that the steps exceed: their bytes come from caches.
        """
        spent = self.seconds or 1e-9
        share = sum(step.share * step.seconds for step in self.steps) / spent
        lines = fold_labels(line for step in self.steps for line in step.lines)
        more = f" and {len(lines) - _LINES} more" if len(lines) > _LINES else ""
        return (
            f"{self.seconds * 1e6:.2f}",
            f"{100 * self.seconds / (profile.seconds or 1.0):.1f}",
            ", ".join(map(str, sorted({step.threads for step in self.steps}))),
            f"{sum(step.nbytes for step in self.steps) / spent / 1e9:.1f}",
            f"{sum(step.flops for step in self.steps) / spent / 1e9:.1f}",
            "-" if profile.doubt else "in caches" if share > 1 else f"{100 * share:.1f}",
            self.description,
            ", ".join(lines[:_LINES]) + more,
        )


@dataclass(frozen=True)
class Profile:
    """All positions of one plan in order, ``begins`` in seconds from the start of one run."""

    graph: str
    sizes: Mapping[str, int]
    runs: int
    limits: tuple[Limits, ...]
    steps: tuple[StepProfile, ...]
    begins: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The time of all steps together."""
        return sum(step.seconds for step in self.steps)

    @property
    def doubt(self) -> str:
        """Evidence that the measured machine limits are too low; empty if there is none.

        A step that reads from caches may be faster than the copy. A step that moves as much as the
        copy may not; no step may be faster than the product, nor fewer threads than more.
        """
        fewest = self.limits[0]
        for limits in self.limits[1:]:
            if min(limits.flops / fewest.flops, limits.bandwidth / fewest.bandwidth) < _SLACK:
                return f"{limits.threads} threads reach less than {fewest.threads}"
        rates = {limits.threads: limits.flops for limits in self.limits}
        for step in self.steps:
            if step.products * _SLACK > rates[step.threads] * step.seconds:
                return f"{step.kernel} is faster than a product"
            if step.nbytes >= 4 * _COPY_ELEMENTS and step.share * _SLACK > 1:
                return f"{step.kernel} is faster than a copy"
        return ""

    def rows(self, full: bool = False) -> list[ProfileRow]:
        """Return the profiled steps by their time, the longest first.

        Steps of one call of a graph are put together, and then steps below a hundredth of the time:
        those of one kernel, then what is still below by module, then the rest. ``full``: every step
        has a row of its own.
        """
        calls: dict[object, list[StepProfile]] = {}
        for number, step in enumerate(self.steps):
            call = "" if full else common_call(step.lines)
            calls.setdefault(call or number, []).append(step)
        rows = [ProfileRow(tuple(steps)) for steps in calls.values()]
        keys: tuple[Callable[[StepProfile], str], ...] = (
            lambda step: step.kernel,
            lambda step: step.module,
            lambda step: "",
        )
        for key in () if full else keys:
            groups: dict[str, list[StepProfile]] = {}
            large = [row for row in rows if row.seconds >= _SMALL * self.seconds]
            for row in rows:
                if row.seconds < _SMALL * self.seconds:
                    groups.setdefault(key(row.steps[0]), []).extend(row.steps)
            rows = large + [ProfileRow(tuple(steps)) for steps in groups.values()]
        return sorted(rows, key=lambda row: -row.seconds)

    def title(self) -> list[str]:
        """Return the profile's title with the machine's limits, a line each."""
        lines = [f"{self.graph}: {self.seconds * 1e6:.1f} us in steps, median of {self.runs} runs"]
        lines += [
            f"limits, {limits.threads} thread{'s' * (limits.threads > 1)}:"
            f" {limits.flops / 1e9:.0f} GFLOP/s,"
            f" {limits.bandwidth / 1e9:.1f} GB/s"
            for limits in self.limits
        ]
        if self.doubt:
            lines.append(
                f"these limits are too low, the machine was busy: {self.doubt}; there is no %"
            )
        return lines

    def text(self, full: bool = False) -> str:
        """Return the profile as a table of ``rows``; ``full``: one row for every step."""
        lines = self.title()
        lines.append("       us      %  threads   GB/s  GFLOP/s  % of limit  kernel")
        for row in self.rows(full):
            spent, part, threads, bandwidth, flops, share, description, at = row.cells(self)
            lines.append(
                f"{spent:>9}  {part:>5}  {threads:>7}  {bandwidth:>5}  {flops:>7}  {share:>10}"
                f"  {description}  # {at}"
            )
        return PrintedText("\n".join(lines))

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """Return the profile as HTML: a chart of the slowest steps, and the table."""
        rows = self.rows()
        bars = [(row.description, row.seconds) for row in rows[:_MOST_BARS]]
        heads = ("us", "%", "threads", "GB/s", "GFLOP/s", "% of limit", "kernel", "lines")
        short = [(_shorten_list(name), spent) for name, spent in bars]
        chart = charts.bars(short, seconds, "time of steps")
        return fragment(
            paragraph("\n".join(self.title())),
            f'<div class="chart">{chart}</div>' if bars else "",
            details(
                "table", table(heads, [row.cells(self) for row in rows], range(6)), opened=True
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """The profile as JSON has it."""
        return asdict(self)

    def trace(self) -> dict[str, Any]:
        """The profile for Chrome's trace viewer: steps, and live bytes of the arena."""
        events: list[dict[str, Any]] = []
        for begin, timed in zip(self.begins, self.steps, strict=True):
            place = {"pid": 0, "tid": 0, "ts": begin * 1e6}
            args = {"lines": list(timed.lines), "bytes": timed.nbytes, "flops": timed.flops,
                    "threads": timed.threads, "percent of limit": 100 * timed.share}  # fmt: skip
            name = f"{timed.kernel} {timed.computes}"
            events.append(
                {"name": name, "ph": "X", "dur": timed.seconds * 1e6, "args": args, **place}
            )
            events.append({"name": "live bytes", "ph": "C", "args": {"arena": timed.live}, **place})
        return {"traceEvents": events, "displayTimeUnit": "ns"}

    def save_trace(self, path: str | Path) -> None:
        """Write ``trace`` to a file, for chrome://tracing or ui.perfetto.dev."""
        write_report(path, json.dumps(self.trace()))


def profile_of(
    graph: str, table: TimedTable, sections: tuple[StepSection, ...], compile: Compile
) -> Profile:
    """Return the profile of a table's timed runs, without the first run if there are others.

    Limits that the runs contradict are measured once more.
    """
    workers = sorted({1, table.plan.workers})
    for again in (False, True):
        limits = {n: limits_of(n, compile, again) for n in workers}
        profile = _build_profile(graph, table, sections, limits)
        if not profile.doubt:
            break
    return profile


def _build_profile(
    graph: str, table: TimedTable, sections: tuple[StepSection, ...], limits: Mapping[int, Limits]
) -> Profile:
    """Build the profile: median time of each step, with its bytes, operations and limits."""
    plan, runs = table.plan, table.runs[1:] or table.runs
    live, steps = live_bytes(plan), []
    for position, planned in enumerate(plan.steps):
        spent = [run[position][1] / 1e9 for run in runs]
        threads = table.threads(position)
        work = counted_work(plan.schedule.steps[planned.step], planned.arguments)
        section = sections[planned.step]
        limit = limits[threads]
        # outside of products an addition is no half of a fused one: half the rate
        busy = (work.products + 2 * work.maps) / limit.flops
        least = max(busy, work.nbytes / limit.bandwidth)
        seconds = median(spent)
        steps.append(
            StepProfile(
                position, planned.step, section.kernel, section.computes, section.lines, threads,
                seconds, min(spent), work.nbytes, work.products + work.maps,
                least / seconds if seconds else 0.0, live[position], iterations_of(plan, planned),
                work.products, module_of(plan, planned),
            )
        )  # fmt: skip
    start = runs[-1][0][0] if plan.steps else 0
    begins = tuple((begun - start) / 1e9 for begun, _ in runs[-1])
    return Profile(graph, dict(plan.sizes), len(runs), tuple(limits.values()), tuple(steps), begins)


def _shorten_list(names: str) -> str:
    """Cut names of ops, as of a bar, behind a whole one."""
    if len(names) <= _BAR_WIDTH:
        return names
    head = names[:_BAR_WIDTH].rpartition(", ")[0] or names[:_BAR_WIDTH]
    return f"{head}, ..."


def module_of(plan: Plan, planned: PlannedStep) -> str:
    """Return the outermost scope of the first line of a step that is in one."""
    scopes = [origin.resolve().scope for origin in plan.schedule.steps[planned.step].origins]
    return next((scope.partition("/")[0] for scope in scopes if scope), "")


def iterations_of(plan: Plan, planned: PlannedStep) -> int:
    """Return the number of iterations of a step; 1 if it is not a loop."""
    step = plan.schedule.steps[planned.step]
    return planned.arguments[0] if planned.bodies and step.control.kind == "loop" else 1


def live_bytes(plan: Plan) -> list[int]:
    """Return the bytes of the arena in use at each position; shared bytes count once."""
    bytes_in_use = []
    for position in range(len(plan.steps)):
        live = [p for p in plan.placements if p.first <= position <= p.last]
        used = covered_end = 0
        for offset, end in sorted((p.offset, p.offset + p.nbytes) for p in live):
            used += max(0, end - max(offset, covered_end))
            covered_end = max(covered_end, end)
        bytes_in_use.append(used)
    return bytes_in_use


_limits_by_threads: Final[dict[int, Limits]] = {}


def limits_of(threads: int, compile: Compile, repeat: bool = False) -> Limits:
    """Return the limits of this machine for a thread count: the best measured so far.

    They are measured at the first call, and once more if ``repeat``.
    """
    if repeat or threads not in _limits_by_threads:
        a = symbolic("a", (_PRODUCT_SIZE, _PRODUCT_SIZE))
        x = symbolic("x", (_COPY_ELEMENTS,))
        square = np.ones((_PRODUCT_SIZE, _PRODUCT_SIZE), np.float32)
        product = _best_seconds(compile(a @ a, threads), {"a": square})
        copied = np.ones(_COPY_ELEMENTS, np.float32)
        copy = _best_seconds(compile(x + 1.0, threads), {"x": copied})
        flops, bandwidth = 2.0 * _PRODUCT_SIZE**3 / product, 8.0 * _COPY_ELEMENTS / copy
        best = _limits_by_threads.get(threads, Limits(threads, 0.0, 0.0))
        _limits_by_threads[threads] = Limits(
            threads, max(flops, best.flops), max(bandwidth, best.bandwidth)
        )
    return _limits_by_threads[threads]


def _best_seconds(run: Callable[[Mapping[str, Any]], object], feeds: Mapping[str, Any]) -> float:
    durations = []
    for _ in range(_RUNS):
        begun = perf_counter()
        run(feeds)
        durations.append(perf_counter() - begun)
    return min(durations)
