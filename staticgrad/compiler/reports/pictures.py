"""The views of a compiled program in notebooks, and the table of what passes did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan, plan_picture
from staticgrad.language.ir.schedule import Step
from staticgrad.language.pictures import Runner, graph_picture
from staticgrad.support.pictures.markup import (
    details,
    fragment,
    nbytes,
    paragraph,
    table,
    text_block,
)

if TYPE_CHECKING:
    from staticgrad.analysis.pass_report import Report

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
    """Return a compiled program as HTML: lines with their kernels, arena, kernel sources."""
    sources = "".join(
        details(f"{k.name}: {k.label}", text_block(k.source, _MOST_SOURCE)) for k in kernels
    )
    memory = "" if plan is None else plan_picture(plan)
    return fragment(
        paragraph(title.strip("<>")),
        graph_picture(graph, runners(steps)),
        memory,
        f"<details><summary>kernels</summary>{sources}</details>",
    )


def kernel_html(title: str, source: str) -> str:
    """A kernel: what it computes, and its source."""
    return fragment(paragraph(title), text_block(source, _MOST_SOURCE))


def passes_table(reports: Iterable[Report]) -> str:
    """Return the HTML table of passes: nodes before and after, bytes, applied rules."""
    rows = [
        (
            report.name,
            f"{report.nodes_before:,} to {report.nodes_after:,}" if report.changed else "unchanged",
            f"{nbytes(report.bytes_before)} to {nbytes(report.bytes_after)}"
            if report.changed
            else "",
            ", ".join(f"{count}x {name}" for name, count in report.hits.items()),
        )
        for report in reports
    ]
    return table(("pass", "nodes", "bytes of all values", "rules"), rows)


def write_report(path: str | PathLike[str], text: str) -> Path:
    """Write the text of a report to a file, and return its path."""
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"the path of a file comes first, got {kind_of(path)}")
    file = Path(path)
    file.write_text(text, "utf-8")
    return file
