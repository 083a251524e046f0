"""The views of a compiled program and of an explanation in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.pictures import Runner, graph_svg, plan_svg
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Step
from staticgrad.support.errors import ArgumentError
from staticgrad.support.errors.wording import kind_of
from staticgrad.support.pictures import charts
from staticgrad.support.pictures.markup import (
    fold,
    fragment,
    nbytes,
    paragraph,
    preformatted,
    seconds,
    table,
)

if TYPE_CHECKING:
    from staticgrad.analysis.pass_report import Report
    from staticgrad.compiler.reports.explain import Explanation, StepSection
    from staticgrad.compiler.reports.profiling import Profile

_MOST_BARS = 12
_MOST_SOURCE = 40_000  # characters of a kernel that are shown


class KernelText(Protocol):
    """A kernel as text, with its name and what it computes."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def source(self) -> str: ...


def runners(steps: Iterable[tuple[str, Step]]) -> list[Runner]:
    """The kernels of a schedule's steps, as the picture of a graph has them."""
    return [
        Runner(name, step.label, step.phase, step.origins)
        for names, step in steps
        for name in names.split(", ")
    ]


def compiled_html(
    title: str,
    graph: Graph,
    steps: Sequence[tuple[str, Step]],
    kernels: Iterable[KernelText],
    plan: Plan | None,
) -> str:
    """A compiled program: its lines with their kernels, its arena, the kernels' sources."""
    sources = "".join(
        fold(f"{k.name}: {k.label}", preformatted(k.source, _MOST_SOURCE)) for k in kernels
    )
    memory = "" if plan is None else f'<div class="scroll">{plan_svg(plan)}</div>'
    return fragment(
        paragraph(title.strip("<>")),
        f'<div class="scroll">{graph_svg(graph, runners(steps))}</div>',
        memory,
        f"<details><summary>kernels</summary>{sources}</details>",
    )


def kernel_html(title: str, source: str) -> str:
    """A kernel: what it computes, and its source."""
    return fragment(paragraph(title), preformatted(source, _MOST_SOURCE))


def profile_html(found: Profile) -> str:
    """A profile: where the time goes, as bars, and the table."""
    rows = found.rows()
    bars = [(row.told, row.seconds) for row in rows[:_MOST_BARS]]
    heads = ("us", "%", "threads", "GB/s", "GFLOP/s", "% of limit", "kernel", "lines")
    chart = charts.bars([(name[:32], spent) for name, spent in bars], seconds, "time of steps")
    return fragment(
        paragraph("\n".join(found.title())),
        f'<div class="chart">{chart}</div>' if bars else "",
        fold("table", table(heads, [row.cells(found) for row in rows], range(6)), opened=True),
    )


def explanation_html(found: Explanation) -> str:
    """An explanation: what each pass did, the steps, why neighbours are two, the arena."""
    plan = found.plan
    return fragment(
        paragraph(f"{found.graph}: {len(found.steps)} steps, {found.kernels} kernels"),
        passes_table(found.passes),
        table(("step", "kernel", "order", "computes", "lines"), _rows(found.steps)),
        "" if plan is None else f'<div class="scroll">{plan_svg(plan)}</div>',
        fold("text", preformatted(str(found))),
    )


def passes_table(reports: Iterable[Report]) -> str:
    """A row for each pass: nodes before and after, bytes of all values, rules that applied."""
    rows = [
        (
            each.name,
            f"{each.nodes_before:,} to {each.nodes_after:,}" if each.changed else "unchanged",
            f"{nbytes(each.bytes_before)} to {nbytes(each.bytes_after)}" if each.changed else "",
            ", ".join(f"{count}x {name}" for name, count in each.hits.items()),
        )
        for each in reports
    ]
    return table(("pass", "nodes", "bytes of all values", "rules"), rows)


def _rows(sections: Sequence[StepSection], before: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, section in enumerate(sections):
        own = f"{before}{number}"
        order = "forward" if not section.phase else f"derivative {section.phase}"
        rows.append((own, section.kernel, order, section.computes, ", ".join(section.lines)))
        for inside in section.inside:
            rows += _rows(inside, f"{own}.")
    return rows


def written(path: str | PathLike[str], text: str) -> Path:
    """Write a report's text."""
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"the path of a file comes first, got {kind_of(path)}")
    found = Path(path)
    found.write_text(text, "utf-8")
    return found
