"""Predicted beside measured times of every program of the corpus: how good is the price?

    python -m benchmarks prices [--only TEXT] [--page]

The programs are those of ``ablation``: the suite, convolutions, products, small programs. Each is
compiled for one thread and run until the least time is steady; its plan is priced by
``staticgrad.analysis.cost``. No prediction is fitted to the machine that runs this. Rank
correlations are Spearman's. A ratio is the predicted time over the measured one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.compiler.ablation import builders as builders, corpus
from benchmarks.harness.machine import describe
from benchmarks.suite.report import machine_text
from staticgrad.analysis.cost import plan_seconds
from staticgrad.support.records import dataclass

PAGE: Final = File(__file__).parents[1] / "results" / "machine" / "prices.md"
#: Seconds for which a program runs, and its runs at least.
SAMPLE: Final = 0.2
FEWEST: Final = 5
#: Programs of a table, on either side.
LISTED: Final = 10
#: Programs in which a call takes longer than the steps.
SHORT: Final = 2e-6


@dataclass(frozen=True)
class Priced:
    """A program, its measured and its predicted seconds."""

    name: str
    measured: float
    predicted: float

    @property
    def ratio(self) -> float:
        """The predicted time over the measured one."""
        return self.predicted / self.measured


def price_program(name: str, make: Callable[[], tuple[sg.Graph, Mapping[str, Any]]]) -> Priced:
    """Measure one program, and predict its time."""
    graph, feeds = make()
    program = sg.compile(graph, threads=1)
    program.run(feeds)
    plan = program.plan(**program.profile(feeds, runs=1).sizes)
    least, count, end = float("inf"), 0, time.perf_counter() + SAMPLE
    while count < FEWEST or time.perf_counter() < end:
        start = time.perf_counter()
        program.run(feeds)
        least, count = min(least, time.perf_counter() - start), count + 1
    return Priced(name, least, plan_seconds(plan))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two sequences without ties."""
    ranks = np.array([np.argsort(np.argsort(values)) for values in (first, second)])
    return float(np.corrcoef(ranks)[0, 1])


def page_text(programs: Sequence[Priced]) -> str:
    """Return the tables of the page."""
    lines = [
        "| programs | rank correlation | 5 % | 25 % | median | 75 % | 95 % | worst |",
        f"|---|{'--:|' * 7}",
    ]
    long = [p for p in programs if p.measured >= SHORT]
    for title, rows in (("all", programs), (f"from {SHORT * 1e6:.0f} us on", long)):
        ratios = sorted(p.ratio for p in rows)
        parts = [f"{np.percentile(ratios, q):.2f}" for q in (5, 25, 50, 75, 95)]
        rank = rank_correlation([p.measured for p in rows], [p.predicted for p in rows])
        worst = f"{ratios[0]:.2f}, {ratios[-1]:.1f}"
        cells = [f"{title} ({len(rows)})", f"{rank:.3f}", *parts, worst]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| program | measured, us | predicted, us | ratio |", "|---|--:|--:|--:|"]
    ranked = sorted(long, key=lambda program: program.ratio)
    for p in dict.fromkeys([*ranked[:LISTED], *ranked[-LISTED:]]):
        times = f"{p.measured * 1e6:,.1f} | {p.predicted * 1e6:,.1f} | {p.ratio:.2f}"
        lines.append(f"| {p.name.replace('|', 'of')} | {times} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the tables; with ``--page`` write the page."""
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--only", default="", help="programs whose name holds this text")
    reader.add_argument("--page", action="store_true", help="write the page of results")
    options = reader.parse_args()
    chosen = {name: make for name, make in corpus().items() if options.only in name}
    text = page_text([price_program(name, make) for name, make in chosen.items()])
    print(text)
    if options.page:
        heading = "# Predicted and measured times\n\n"
        about = (
            f"{machine_text(describe())}, one thread:\n\n    python -m benchmarks prices --page\n\n"
        )
        PAGE.write_text(heading + about + text, encoding="utf-8")


if __name__ == "__main__":
    main()
